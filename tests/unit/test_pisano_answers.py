"""What a 2xx of Pisano means by an account's settings, and how its answers are told apart."""

from typing import Any

import httpx
import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConnectorError, Rejected, Unknown
from connector.observe.metrics import Metrics
from connector.pisano import AnswerRules, EmailSharings, Recipient, Results, StaticToken, shape
from connector.stages._shapes import Shapes
from connector.templates import Condition

JANE, JOE = Recipient("Jane@example.com"), Recipient("joe@example.com")
SECRET = "secret-token-of-this-account"


async def refused(rules: AnswerRules, body: object, *recipients: Recipient, status: int = 200) -> set[str]:
    """The addresses that the answer refuses, or the error of the whole call."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = httpx.Response(status, content=content, headers={"X-Result": "fine"})
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        sharings = EmailSharings(http, "https://pisano", StaticToken(SECRET), rules=rules)
        return {*(await sharings.send("4711", recipients or (JANE,))).refused}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", {"status": "error"}, [1], {"rejected": ["jane@example.com"]}])
async def test_without_rules_every_2xx_means_sent(body: object) -> None:
    assert await refused(AnswerRules(), body) == set()


@pytest.mark.parametrize(
    ("sent_when", "refused_when", "body", "error"),
    [
        ('answer.body.status == "ok"', None, {"status": "ok"}, None),
        ('answer.body.status == "ok"', None, {"status": "queued"}, Unknown),
        ('answer.body.status == "ok"', None, b"<html>maintenance", Unknown),
        ('answer.body.status == "ok"', None, b"", Unknown),
        (None, 'answer.body.status == "error"', {"status": "error"}, Rejected),
        (None, 'answer.body.status == "error"', {"status": "ok"}, None),
        (None, "answer.body.rejected != blank", {"rejected": []}, None),
        (None, 'answer.headers["x-result"] == "fine"', {}, Rejected),
        (None, "answer.status == 202", {}, Rejected),
        ('answer.body contains "accepted"', None, b"accepted, thank you", None),
        ('answer.body.status == "ok"', 'answer.body.status == "ok"', {"status": "ok"}, Rejected),
        (None, "answer.body.count == 0", {"count": "none"}, Unknown),
    ],
)
async def test_conditions_decide_what_a_2xx_means(
    sent_when: str | None, refused_when: str | None, body: object, error: type[ConnectorError] | None
) -> None:
    """Report 19. What cannot be decided is in doubt: the e-mail may have been sent, and nobody sends it again."""
    rules = AnswerRules(sent_when and Condition(sent_when), refused_when and Condition(refused_when))  # type: ignore[arg-type]
    if error is None:
        assert await refused(rules, body, status=202 if "202" not in str(refused_when) else 200) == set()
    else:
        with pytest.raises(error) as caught:
            await refused(rules, body, status=202)
        assert type(caught.value) is error


REJECTED = Condition('result.status == "rejected"')


@pytest.mark.parametrize(
    ("results", "body", "expected"),
    [
        (Results("rejected"), {"rejected": [{"email": "jane@example.com"}]}, {"Jane@example.com"}),
        (Results("rejected"), {"rejected": ["JANE@example.com"]}, {"Jane@example.com"}),
        (Results("rejected"), {"rejected": []}, set()),
        (Results("rejected"), {"rejected": None}, set()),
        (Results("rejected"), b"<html>", set()),
        (Results("data.failed", "to"), {"data": {"failed": [{"to": "joe@example.com"}, 7]}}, {"joe@example.com"}),
        (
            Results("results", refused_when=REJECTED),
            {
                "results": [
                    {"email": "jane@example.com", "status": "sent"},
                    {"email": "joe@example.com", "status": "rejected"},
                ]
            },
            {"joe@example.com"},
        ),
        (
            Results("results", refused_when=REJECTED),
            {"results": {"jane@example.com": {"status": "rejected"}, "joe@example.com": {"status": "sent"}}},
            {"Jane@example.com"},
        ),
    ],
)
async def test_results_decide_on_each_address(results: Results, body: object, expected: set[str]) -> None:
    """Report 19: `{"status": "error", "rejected": [{"email": …}]}` counted as sent for all recipients of the call."""
    assert await refused(AnswerRules(results=results), body, JANE, JOE) == expected


async def test_results_come_before_the_conditions_only_where_there_are_some() -> None:
    rules = AnswerRules(refused_when=Condition('answer.body.status == "error"'), results=Results("rejected"))
    partly = {"status": "error", "rejected": [{"email": "joe@example.com"}]}
    assert await refused(rules, partly, JANE, JOE) == {"joe@example.com"}
    with pytest.raises(Rejected, match="refused_when holds"):
        await refused(rules, {"status": "error", "rejected": []}, JANE, JOE)


async def test_an_answer_that_refuses_every_address_is_a_rejection_without_secrets() -> None:
    body = {"rejected": [{"email": "jane@example.com"}], "token": SECRET}
    with pytest.raises(Rejected) as caught:
        await refused(AnswerRules(results=Results("rejected")), body)
    assert caught.value.code == "refused_by_answer"
    assert "j***@example.com" in str(caught.value)
    assert "jane@" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "name", "form"),
    [
        (b"", "empty", "empty"),
        (b"<html>", "page", "page"),
        (b"accepted", "text", "text"),
        (b'{"message":"a"}', None, "{message: text}"),
        (
            b'{"b":1,"a":[{"id":"x","ok":true},{"ok":false,"id":"y"}]}',
            None,
            "{a: [{id: text, ok: true or false}], b: number}",
        ),
        (b'{"jane@example.com":{"status":"sent"}}', None, "{*: {status: text}}"),
        (b"null", None, "null"),
    ],
)
def test_a_shape_says_keys_and_types_and_no_values(body: bytes, name: str | None, form: str) -> None:
    assert shape(body)[1] == form
    assert name in {None, shape(body)[0]}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_every_body_has_a_short_name_that_does_not_depend_on_the_order_of_keys(body: Any) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    name, _ = shape(orjson.dumps(body))
    assert name == shape(orjson.dumps(turned(body)))[0]
    assert len(name) <= 13


def test_a_new_shape_is_counted_and_told_once_and_there_are_not_too_many() -> None:
    """An operator sees in the log that Pisano answers in a way that nobody has seen yet."""
    metrics = Metrics()
    shapes = Shapes(metrics)
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            shapes.saw("main", 200, b'{"message":"secret words"}')
        shapes.saw("main", 202, b'{"message":"x"}')
        for number in range(100):
            shapes.saw("main", 200, orjson.dumps([number] if number % 2 else {"k" * (number // 2 + 1): 1}))
    name = shape(b'{"message":"x"}')[0]
    labels = {"account": "main", "status": "200", "shape": name}
    assert metrics.registry.get_sample_value("connector_pisano_answers_total", labels) == 3
    said = [(line["status"], line["form"]) for line in log if line["shape"] == name]
    assert said == [(200, "{message: text}"), (202, "{message: text}")]
    assert "secret words" not in str(log)
    assert len(log) <= 50
