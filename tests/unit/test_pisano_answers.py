"""What a 2xx of Pisano means by an account's settings, and how its answers are told apart."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConnectorError, Rejected
from connector.observe.metrics import Metrics
from connector.pisano import Accepted, AnswerRules, Recipient, Results, Sharings, StaticToken, Unclear, shape
from connector.stages._shapes import Shapes
from connector.templates import Condition

JANE, JOE = Recipient("Jane@example.com"), Recipient("joe@example.com")
SECRET = "secret-token-of-this-account"


async def refused(
    rules: AnswerRules, body: object, *recipients: Recipient, status: int = 200, content_type: str = ""
) -> set[str]:
    """The addresses that the answer refuses, or the error of the whole call."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = httpx.Response(status, content=content, headers={"X-Result": "fine", "Content-Type": content_type})
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        sharings = Sharings(http, "https://pisano", StaticToken(SECRET), rules=rules)
        return {*(await sharings.send("4711", recipients or (JANE,))).refused}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", {"status": "error"}, [1], {"rejected": ["jane@example.com"]}])
async def test_without_rules_every_2xx_means_sent(body: object) -> None:
    assert await refused(AnswerRules(), body) == set()


@pytest.mark.parametrize(
    ("sent_when", "refused_when", "body", "error"),
    [
        ('answer.body.status == "ok"', None, {"status": "ok"}, None),
        ('answer.body.status == "ok"', None, {"status": "queued"}, Unclear),
        ('answer.body.status == "ok"', None, b"<html>maintenance", Unclear),
        ('answer.body.status == "ok"', None, b"", Unclear),
        (None, 'answer.body.status == "error"', {"status": "error"}, Rejected),
        (None, 'answer.body.status == "error"', {"status": "ok"}, None),
        (None, "answer.body.rejected != blank", {"rejected": []}, None),
        (None, 'answer.headers["x-result"] == "fine"', {}, Rejected),
        (None, 'answer.headers["X-Result"] == "fine"', {}, Rejected),
        (None, "answer.status == 202", {}, Rejected),
        ('answer.body contains "accepted"', None, b"accepted, thank you", None),
        ('answer.body.status == "ok"', 'answer.body.status == "ok"', {"status": "ok"}, Rejected),
        (None, "answer.body.count == 0", {"count": "none"}, Unclear),
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
        (Results("data.failed", "to"), {"data": {"failed": [{"to": "joe@example.com"}]}}, {"joe@example.com"}),
        (Results("data.1.to"), {"data": [{}, {"to": "joe@example.com"}]}, {"joe@example.com"}),
        (Results("data.2.to"), {"data": [{}, {"to": "joe@example.com"}]}, set()),
        (Results("."), ["joe@example.com"], {"joe@example.com"}),
        (Results("a", "user.0.email"), {"a": [{"user": [{"email": "joe@example.com"}]}]}, {"joe@example.com"}),
        (
            Results("a"),
            {"a": [" joe@example.com ", "Jane <jane@EXAMPLE.com>"]},
            {"joe@example.com", "Jane@example.com"},
        ),
        (Results("a"), {"a": ["joe@example.com", "jane@example.com", "x@example.com", 7]}, {JANE.address, JOE.address}),
        (
            Results("a", refused_when=Condition('result == "rejected"')),
            {"a": {"jane@example.com": "sent", "joe@example.com": "rejected"}},
            {"joe@example.com"},
        ),
        (
            Results("a", refused_when=REJECTED),
            {"a": [{"email": "joe@example.com", "status": each} for each in ("sent", "rejected", "sent")]},
            {"joe@example.com"},
        ),
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


@pytest.mark.parametrize(
    ("sent_when", "refused_when", "status", "error"),
    [
        (None, None, "error", Unclear),
        (None, 'answer.body.status == "error"', "error", Rejected),
        (None, 'answer.body.status == "error"', "ok", Unclear),
        ('answer.body.status == "ok"', None, "ok", None),
        ('answer.body.status == "ok"', None, "error", Unclear),
    ],
)
@pytest.mark.parametrize(
    "listed", ["j***@example.com", ["invalid email"], {"base": ["invalid"]}, [{"mail": "jane@example.com"}], [None], 3]
)
async def test_results_without_an_address_of_the_call_leave_the_decision_to_the_conditions(
    sent_when: str | None, refused_when: str | None, status: str, error: type[ConnectorError] | None, listed: object
) -> None:
    rules = AnswerRules(
        sent_when and Condition(sent_when),  # type: ignore[arg-type]
        refused_when and Condition(refused_when),  # type: ignore[arg-type]
        Results("listed"),
    )
    body = {"status": status, "listed": listed}
    if error is None:
        assert await refused(rules, body) == set()
    else:
        with pytest.raises(error):
            await refused(rules, body)


async def test_results_that_may_mean_an_address_which_they_do_not_name_are_unclear() -> None:
    rules = AnswerRules(refused_when=Condition('answer.body.status == "error"'), results=Results("rejected"))
    with pytest.raises(Unclear, match="leave out one"):
        await refused(rules, {"status": "error", "rejected": ["joe@example.com", "j***@example.com"]}, JANE, JOE)


@given(st.lists(st.sampled_from([JANE.address, JOE.address, "JOE@example.com", "j***@example.com", 7, None])))
def test_nobody_counts_as_sent_whom_a_list_may_mean(listed: list[Any]) -> None:
    """Every listed address is refused. An entry that is nobody's may mean anybody whom the list does not name."""
    named = {each for each in (JANE.address, JOE.address) if each.lower() in {str(one).lower() for one in listed}}
    others = any(one in {"j***@example.com", 7, None} for one in listed)
    found = refused(AnswerRules(results=Results("rejected")), {"rejected": listed}, JANE, JOE)
    if others and len(named) < 2:
        with pytest.raises(Unclear):
            asyncio.run(found)
    else:
        assert asyncio.run(found) == named


async def test_an_address_is_found_in_both_spellings_of_its_domain() -> None:
    for sent, listed in (("jane@müller.de", "jane@xn--mller-kva.de"), ("jane@xn--mller-kva.de", "JANE@MÜLLER.de")):
        assert await refused(AnswerRules(results=Results("a")), {"a": [listed]}, Recipient(sent), JOE) == {sent}


FAILED = AnswerRules(refused_when=Condition('answer.body.status == "geçersiz"'))


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "undefined"])
@pytest.mark.parametrize("status", [200, 422])
async def test_an_answer_that_names_a_wrong_charset_is_read_all_the_same(charset: str, status: int) -> None:
    rules = AnswerRules(
        refused_when=FAILED.refused_when, campaign_off_when=Condition('answer.text contains "provider"')
    )
    with pytest.raises(Rejected):
        await refused(rules, {"status": "geçersiz"}, status=status, content_type=f"text/plain; charset={charset}")


@pytest.mark.parametrize(
    ("charset", "named"), [("utf-8-sig", False), ("utf-16", False), ("iso-8859-9", True), ("utf-8", False)]
)
async def test_an_answer_is_read_in_its_charset(charset: str, named: bool) -> None:
    body = '{"status": "geçersiz"}'.encode(charset)
    with pytest.raises(Rejected):
        await refused(FAILED, body, content_type=f"application/json; charset={charset}" if named else "text/plain")


@pytest.mark.parametrize("body", [b'{"status": "error", "x": NaN}', b'{"status": ', b" [1", b"[" * 2_000])
async def test_json_with_a_mistake_is_unclear_if_there_is_a_rule(body: bytes) -> None:
    with pytest.raises(Unclear, match="JSON with a mistake"):
        await refused(FAILED, body)
    assert await refused(AnswerRules(), body) == set()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_json_in_a_json_text_is_read(times: int) -> None:
    """A front that encodes an answer again must not make a refusal look like a success."""
    body: object = {"status": "error", "rejected": ["jane@example.com"]}
    for _ in range(times):
        body = orjson.dumps(body).decode()
    assert await refused(AnswerRules(results=Results("rejected")), body, JANE, JOE) == {"Jane@example.com"}
    with pytest.raises(Rejected):
        await refused(AnswerRules(refused_when=Condition('answer.body.status == "error"')), body)
    with pytest.raises(Unclear, match="JSON with a mistake"):
        await refused(FAILED, '{"rejected": [')
    for text in ("accepted", "5", '"quoted" words'):
        assert await refused(AnswerRules(sent_when=Condition(f"answer.body == {text!r}")), text) == set()


class CutOff(httpx.AsyncByteStream):
    """An answer whose connection breaks, or that is longer than the connector reads."""

    def __init__(self, body: bytes, breaks: bool) -> None:
        self._body, self._breaks = body, breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
        if self._breaks:
            raise httpx.ReadError("gone")


@pytest.mark.parametrize(
    ("body", "breaks", "is_clear"),
    [
        (b'{"rejected":[]}', False, True),
        (b'{"rejected":[]}', True, False),
        (b'{"rejected":[]}' + b" " * 1_000_000, False, True),
        (b'{"rejected":[]}' + b" " * 1_100_000, False, False),
    ],
)
async def test_an_answer_that_is_cut_off_is_unclear_if_there_is_a_rule(
    body: bytes, breaks: bool, is_clear: bool
) -> None:
    def answers(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=CutOff(body, breaks))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as http:

        async def accepted(rules: AnswerRules) -> Accepted:
            return await Sharings(http, "https://pisano", StaticToken(SECRET), rules=rules).send("4711", [JANE])

        assert len((await accepted(AnswerRules())).text or "") < 70_000
        for rules in (FAILED, AnswerRules(results=Results("rejected"))):
            if is_clear:
                assert not (await accepted(rules)).refused
            else:
                with pytest.raises(Unclear, match="cut off"):
                    await accepted(rules)


async def test_an_address_is_masked_in_an_answer_in_any_charset() -> None:
    with pytest.raises(Unclear) as caught:
        await refused(AnswerRules(sent_when=Condition("answer.status == 202")), "jane@example.com".encode("utf-16"))
    assert "j***@example.com" in str(caught.value)


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
        (b'{"Jane":1,"Jane Doe":2,"jean-luc":3,"first_name":4,"_x":5}', None, "{*: number, first_name: number}"),
        ("\ufeff{}".encode(), None, "{}"),
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
