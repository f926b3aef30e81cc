"""capture goes on after its position: after restarts, quiet days, shared replay ids, and a lost position."""

from typing import Any

from helpers import topics
from helpers.captured import CASES, Garbage, captured, events, failure, position, subjects
from helpers.service import running_app
from helpers.waiting import until

from connector.sandbox.doubles.salesforce import Channel, Fault, SalesforceDouble

ONLY = ["capture"]
CONTACTS, CONTACT_TOPIC = "/data/ContactChangeEvent", "salesforce.cdc.Contact"


async def test_restart_resumes_strictly_after_the_last_position(sf: SalesforceDouble, capture_setup: Any) -> None:
    """capture picks up the changes made while it was away, and repeats none that it captured (salesforce §A2)."""
    setup = await capture_setup()
    for so_far in (0, 70, 140):
        for number in range(so_far, so_far + 70):
            sf.create("Case", {"Subject": f"{number:03}"})
        async with running_app(setup.config, ONLY):
            await until(lambda count=so_far + 70: captured(setup.kafka, count))
    assert subjects(await events(setup.kafka)) == [f"{number:03}" for number in range(210)]
    assert [stream.preset for stream in sf.streams] == ["EARLIEST", "CUSTOM", "CUSTOM"]


async def test_start_at_the_latest_has_a_position_from_the_first_keepalive_on(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """salesforce §A2: there is no position before the first keep-alive; each later one moves it, within the 72 h."""
    sf.configure(keepalive=0.1)
    setup = await capture_setup(pubsub={"start": "latest"})
    sf.create("Case", {"Subject": "before it was there"})
    async with running_app(setup.config, ONLY):
        first = await until(lambda: position(setup.kafka))

        async def moved_on() -> bool:
            now = await position(setup.kafka)
            return now is not None and now.replay_id > first.replay_id

        await until(moved_on)
    sf.create("Case", {"Subject": "while it was away"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    assert subjects(await events(setup.kafka)) == ["while it was away"]


async def test_shared_replay_id_is_captured_once_over_restarts_in_its_midst(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """salesforce §0.7: enrichment splits a merged event into events that share one replay id.

    A position after this replay id would skip the rest. The same applies when a dead letter was written last.
    """
    sf.add_channel("Cases__chn", Channel(entities=("Case",), enriched={"Case": ("Subject",)}))
    sf.configure(batch=3)
    setup = await capture_setup(channels=["/data/Cases__chn"])
    cases = [sf.create("Case", {"Subject": str(number)}) for number in range(9)]
    sf.update("Case", cases, {"Priority": "High"})
    garbage = sf.log.publish("Case", Garbage("no-such-schema"), {"changeType": "GAP_UPDATE"}, {})
    for delivered, on_the_topic in ((9 + 4, 13), (6, 15), (9 + 1, 18)):  # capture had stored four of the six before
        sf.fail(Fault(match="rpc Subscribe", after=delivered, kind="hang"))
        async with running_app(setup.config, ONLY):
            await until(lambda count=on_the_topic: captured(setup.kafka, count))
    sf.create("Case", {"Subject": "the end"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 19))
    updated = [event.record_id for event in await events(setup.kafka) if event.change_type == "UPDATE"]
    assert sorted(updated) == sorted(cases)
    assert [letter.value for letter in await topics.read(setup.kafka, "connector.deadletters")] == [garbage.payload]


async def test_first_events_of_a_channel_share_a_replay_id_and_a_restart_in_their_midst_loses_none(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """salesforce §0.7: there is no replay id before theirs that capture could go back to."""
    sf.add_channel("Cases__chn", Channel(entities=("Case",), enriched={"Case": ("Subject",)}))
    sf.configure(batch=3)
    setup = await capture_setup(channels=["/data/Cases__chn"])
    cases = [sf.create("Case", {}) for _ in range(7)]
    sf.advance(80 * 3600)  # Salesforce has forgotten these events
    sf.update("Case", cases, {"Priority": "High"})
    for delivered, on_the_topic in ((3, 3), (6, 6), (9, 7)):
        sf.fail(Fault(match="rpc Subscribe", after=delivered, kind="hang"))
        async with running_app(setup.config, ONLY):
            await until(lambda count=on_the_topic: captured(setup.kafka, count))
    assert len({event.record_id for event in await events(setup.kafka)}) == 7


async def test_lost_position_ends_with_one_clear_message(sf: SalesforceDouble, capture_setup: Any) -> None:
    """salesforce §0.4: the events in between may be gone, so a person decides. The message says what and how."""
    setup = await capture_setup()
    sf.create("Case", {"Subject": "seen"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
    sf.lose_positions()
    said = await failure(setup)
    assert f"channel {CASES}: Salesforce no longer knows the position of 20" in said
    assert "Set salesforce.pubsub.lost_position to earliest" in said


async def test_lost_position_goes_on_from_the_earliest_on_that_channel_alone(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """A channel without a position begins where the configuration says, even if another channel loses its position."""
    setup = await capture_setup(channels=[CASES, CONTACTS], pubsub={"start": "latest", "lost_position": "earliest"})

    def opened() -> int:
        return [stream.topic for stream in sf.streams].count(CONTACTS)

    async with running_app(setup.config, ONLY):
        await until(lambda: len(sf.streams) == 2)
        sf.create("Case", {"Subject": "seen"})
        await until(lambda: captured(setup.kafka, 1))
    sf.lose_positions()
    sf.create("Case", {"Subject": "still kept"})
    sf.create("Contact", {"LastName": "Nobody asked for"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 2))
        await until(lambda: opened() == 2)
        sf.break_streams(topic=CONTACTS)
        await until(lambda: opened() == 3)
        sf.create("Contact", {"LastName": "New"})
        await until(lambda: captured(setup.kafka, 1, CONTACT_TOPIC))
    assert subjects(await events(setup.kafka)) == ["seen", "still kept"]
    assert (await events(setup.kafka, CONTACT_TOPIC))[0].fields["LastName"] == "New"
