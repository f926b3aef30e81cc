"""Several capture workers: one of them follows each channel, and a takeover loses and repeats nothing."""

from collections import Counter
from typing import Any

import pytest
from helpers.captured import CASES, captured, events, subjects
from helpers.service import running_app
from helpers.waiting import until

from connector.config import catalogue
from connector.kafka.channel_log import POSITIONS, ChannelLog
from connector.kafka.errors import Fenced
from connector.kafka.shared_work import partition_of
from connector.records import Position
from connector.sandbox.doubles.salesforce import SalesforceDouble

ONLY = ["capture"]
CHANNELS = [CASES, "/data/ContactChangeEvent", "/data/AccountChangeEvent", "/event/Store_Visit__e"]
TOPICS = ["salesforce.cdc.Case", "salesforce.cdc.Contact", "salesforce.cdc.Account", "salesforce.events.Store_Visit__e"]


async def test_workers_share_the_channels_and_take_over_from_each_other(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    setup = await capture_setup(channels=CHANNELS)

    def change_everything() -> None:
        sf.create("Case", {})
        sf.create("Contact", {"LastName": "Doe"})
        sf.create("Account", {"Name": "Acme"})
        sf.publish("Store_Visit__e", {"Store__c": "12"})

    async def all_captured(count: int) -> bool:
        return all([await captured(setup.kafka, count, topic) for topic in TOPICS])

    def followed() -> Counter[str]:
        return Counter(stream.topic for stream in sf.streams if stream.open)

    change_everything()
    async with running_app(setup.config, ONLY):
        await until(lambda: all_captured(1))
        async with running_app(setup.config, ONLY):
            await until(lambda: len(sf.streams) >= 2 * len(CHANNELS) and followed() == Counter(CHANNELS))
            change_everything()
            await until(lambda: all_captured(2))
        change_everything()
        await until(lambda: all_captured(3))
        await until(lambda: followed() == Counter(CHANNELS))


async def test_worker_that_was_taken_over_asks_for_its_share_and_goes_on_behind_the_other_one(
    sf: SalesforceDouble, capture_setup: Any
) -> None:
    """The other one acts like a worker that the group has forgotten. The group decides who writes; both cannot."""
    setup = await capture_setup()
    (positions,) = [topic for topic in catalogue.topics_for(setup.config) if topic.name.endswith(POSITIONS)]
    sf.create("Case", {"Subject": "first"})
    async with running_app(setup.config, ONLY):
        await until(lambda: captured(setup.kafka, 1))
        other = ChannelLog(setup.kafka, CASES, partition_of(CASES, positions.partitions))
        await other.open()
        assert isinstance(other.position, Position)
        sf.create("Case", {"Subject": "second"})
        await until(lambda: captured(setup.kafka, 2))
        with pytest.raises(Fenced):
            await other.append([], other.position)
        sf.create("Case", {"Subject": "third"})
        await until(lambda: captured(setup.kafka, 3))
    assert subjects(await events(setup.kafka)) == ["first", "second", "third"]
