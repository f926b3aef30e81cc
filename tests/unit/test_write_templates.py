"""What a feedback rule's templates make from a webhook's body, before any call to Salesforce."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers.plans import carry_out

from connector.config import FeedbackRule
from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write
from connector.salesforce import CollectionWriter, Result
from connector.stages.write import WriteBack


class Org:
    """Takes every write; `fields` are the fields of the last one."""

    fields: dict[str, object] | None = None

    async def describe(self, _: str) -> dict[str, Any]:
        return {"fields": []}

    async def limits(self) -> object:
        raise AssertionError("nothing fails")

    async def upsert(self, _: str, __: str, records: Sequence[dict[str, object]], ___: object) -> list[Result]:
        (self.fields,) = records
        return [Result(True, "a00")]

    async def update(self, _: str, __: Sequence[dict[str, object]], ___: object) -> list[Result]:
        raise AssertionError("the rule upserts")


def nothing_is_set_aside(*_: object) -> OutRecord:
    raise AssertionError("every value fits")


async def stored(template: object, body: dict[str, Any]) -> object:
    """The value that the template gives for a body, as the connector would write it to Salesforce."""
    rule = {"upsert": "Answer__c", "by": {"Key__c": "{{ feedback.id }}"}, "fields": {"Text__c": template}}
    org = Org()

    async def none(_: int) -> AsyncIterator[Write]:
        for write in ():
            yield write

    async def publish(_: object) -> None: ...

    stage = WriteBack(
        {"answer": FeedbackRule.model_validate(rule)},
        CollectionWriter(org),
        publish,
        "salesforce.writes",
        read_writes=none,
        kept=timedelta(days=1),
        set_aside=nothing_is_set_aside,
        metrics=Metrics(),
    )
    feedback = Feedback(id="ab" * 32, account="main", received_at=datetime(2026, 1, 1, tzinfo=UTC), body=body)
    await carry_out(stage.plan, InRecord("pisano.feedback", 0, 0, b"key", feedback.model_dump_json().encode(), (), 0.0))
    assert org.fields is not None
    return org.fields.get("Text__c")


@pytest.mark.parametrize(
    ("template", "comment", "text"),
    [
        ("{{ body.comment }}", "good", "good"),
        ("{{ body.comment | url_decode }}", "very%20good", "very good"),
        ("{{ body.comment.text | upcase }}", {"text": "good"}, "GOOD"),
        ("{{ body.comment | join: ', ' }}", ["good", "cheap"], "good, cheap"),
        ("{{ body.comment[0].text }}", [{"text": "good"}], "good"),
        ("{{ body.missing }}", "good", None),
        ("{{ body.comment.text }}", {}, None),
        ("{{ body.comment.text }}", {"text": ""}, None),
        ("{{ body.comment[0].text | upcase }}", [{"score": 9}], None),
        ("{{ body.comment.text.first }}", None, None),
        ("{{ body.comment.text.long }}", {"text": None}, None),
        ("{{ body.comment.text.long }}", "", None),
        ("{{ body.missing.text.long | upcase }}", "good", None),
        ("By {{ body.missing.name }}.", "good", "By ."),
        ("{{ body.comment[0].text }}", [], None),
        ("{{ body.comment[7].text | default: 'none' }}", [{"text": "good"}], "none"),
        ("{{ body.comment.first.text }}{{ body.comment.last.text }}", [], None),
        ("{{ body.comment[-1].text }}", [{"text": "bad"}, {"text": "good"}], "good"),
        ("{% for each in body.comment %}{{ each.text }};{% endfor %}", [{"text": "a"}, {}], "a;;"),
    ],
)
async def test_a_template_finds_its_way_through_the_body(template: str, comment: object, text: object) -> None:
    assert await stored(template, {"comment": comment}) == text


@pytest.mark.parametrize(
    "template", ["{{ body.comment }}", "{{ body.comment | url_decode }}", "Said: {{ body.comment | upcase }}"]
)
@pytest.mark.parametrize("comment", [{"text": "good"}, [{"text": "good"}], {"texts": ["good"]}])
async def test_what_is_no_text_is_not_stored_as_one(template: str, comment: object) -> None:
    """Such as {'text': 'good'}, which is Python's notation and useless in Salesforce."""
    with pytest.raises(Rejected, match=r"cannot be rendered: |gives a (mapping|list);"):
        await stored({"value": template, "does_not_fit": "refuse"}, {"comment": comment})
