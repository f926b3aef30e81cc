"""capture under load on a real broker: answers that arrive together lose nothing, and a bad event is refused alone."""

from typing import Any

from helpers import topics
from helpers.captured import CASE_TOPIC, Garbage, captured, events, position
from helpers.service import running_app
from helpers.waiting import until

from connector.sandbox.doubles.salesforce import SalesforceDouble


async def test_bad_event_in_a_backlog_is_a_dead_letter_alone(sf: SalesforceDouble, capture_setup: Any) -> None:
    """A backlog of many answers goes to Kafka in few transactions, each record once and in order, and the position."""
    setup = await capture_setup()
    case = sf.create("Case", {"Subject": "0"})
    for number in range(1, 600):
        sf.update("Case", case, {"Subject": str(number)})
        if number == 350:
            bad = sf.log.publish("Case", Garbage(sf.store.schemas["Case"][-1].schema_id), {}, {})  # type: ignore[arg-type]
    async with running_app(setup.config, ["capture"]):
        await until(lambda: captured(setup.kafka, 600))
    assert [event.fields["Subject"] for event in await events(setup.kafka, CASE_TOPIC)] == list(map(str, range(600)))
    (letter,) = await topics.read(setup.kafka, "connector.deadletters")
    assert (letter.value, dict(letter.headers)["dl_reason"]) == (bad.payload, b"undecodable")
    reached = await position(setup.kafka)
    assert reached
    assert reached.replay_id == sf.log.entries[-1].replay_id.hex()
    assert len(await topics.read(setup.kafka, "salesforce.positions")) < 600 / 50  # fewer than answers
