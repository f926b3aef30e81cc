"""One customer's way is one trace up to the survey; the answer has a trace of its own, with a link to the first."""

from pathlib import Path

from helpers.service import EXAMPLE, metric, running_app
from helpers.spans import Collected, collected_spans
from helpers.waiting import until
from opentelemetry.trace import SpanKind

from connector.config import catalogue
from connector.config.file import load
from connector.kafka.topics import apply
from connector.sandbox.company import sandbox
from connector.sandbox.doubles import pisano

SURVEY = [
    "receive /data/CaseChangeEvent",
    "  create salesforce.cdc.Case",
    "    process salesforce.cdc.Case",
    "      GET /services/data/v66.0/query",
    "      create pisano.invitations",
    "        process pisano.invitations",
    "        call Pisano",
    "          create pisano.attempts",
    "          POST /v1/email_campaigns/4711/email_sharings",
    "          create pisano.attempts",
]
ANSWER = [
    "POST /pisano/main",
    "  create pisano.feedback",
    "    process pisano.feedback",
    "      GET /services/data/v66.0/sobjects/Survey_Response__c/describe",
    "      PATCH /services/data/v66.0/composite/sobjects/Survey_Response__c/Pisano_Id__c",
    "      create salesforce.writes",
]


async def test_a_customers_traces(bootstrap_servers: str, unique: str, tmp_path: Path) -> None:
    """Also the times from end to end, which the metrics tell."""
    file = tmp_path / "connector.yaml"
    file.write_text(EXAMPLE.read_text().replace("kafka:\n", f"kafka:\n  topic_prefix: {unique}\n", 1))
    with collected_spans() as collected:
        async with sandbox() as both:
            environ = {**both.environment(), "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "SERVICE_PORT": "0"}
            config = load(file, environ)
            await apply(config.kafka, catalogue.topics_for(config))
            async with running_app(config) as app:
                both.expect_webhooks_at(app.address)
                await until(lambda: both.salesforce.streams)
                both.pisano.customers["ada@example.com"] = pisano.Customer(answers={"nps_score": 9})
                ada = both.salesforce.create("Contact", {"LastName": "Yilmaz", "Email": "ada@example.com"})
                case = both.salesforce.create("Case", {"ContactId": ada, "Branch__c": "17"})
                both.salesforce.update("Case", case, {"Status": "Closed"})

                async def written() -> bool:
                    return await metric(app, 'connector_webhook_to_write_seconds_count{rule="response"}') == 1

                await until(written)
                assert await metric(app, 'connector_change_to_call_seconds_count{survey="closed-case"}') == 1

        webhook, call = collected.only("POST /pisano/main"), collected.only("call Pisano")
        [link] = webhook.links
        assert link.context.trace_id == call.context.trace_id != webhook.context.trace_id
        assert drawn(collected, call.context.trace_id, unique) == SURVEY
        assert drawn(collected, webhook.context.trace_id, unique) == ANSWER
        first = collected.trace(call.context.trace_id)[0]
        assert (first.parent, first.kind, first.attributes) == (None, SpanKind.CONSUMER, {"connector.record_id": case})
        [invitation] = [span for span in collected.spans if span.name == f"create {unique}pisano.invitations"]
        assert link.context.span_id == invitation.context.span_id
        assert invitation.kind is SpanKind.PRODUCER
        processed = collected.only(f"process {unique}pisano.invitations")
        known = processed.attributes or {}
        assert (known["connector.cell"], known["messaging.consumer.group.name"]) == ("send/main/closed-case", "send")
        assert not any(name in span.to_json() for span in collected.spans for name in ("ada@", "Yilmaz"))


def drawn(collected: Collected, trace_id: int, prefix: str) -> list[str]:
    """The names of a trace's spans, each below its parent and further to the right; alike ones stand there once."""
    spans = collected.trace(trace_id)

    def below(parent: int | None, depth: int) -> list[str]:
        children = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
        lines: list[str] = []
        for span in children:
            lines += ["  " * depth + span.name.replace(prefix, ""), *below(span.context.span_id, depth + 1)]
        return [line for line, before in zip(lines, [None, *lines], strict=False) if line != before]

    return below(None, 0)
