"""What docs/kafka.md says of Kafka's own tools: setting offsets back repeats work, and e-mails nobody twice."""

from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from helpers import topics
from helpers.invitations import CAMPAIGN, KEYS, outcomes
from helpers.service import Setup, metric, running_app, set_up
from helpers.waiting import until

from connector.kafka.channel_log import POSITIONS
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble

READS = {"trigger": "salesforce.cdc.Case", "send": "pisano.invitations", "write": "pisano.feedback"}


async def set_back(setup: Setup) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets --to-earliest`, which commits for a group without members."""
    for group, topic in READS.items():
        name = setup.kafka.topic_prefix + topic
        consumer = AIOKafkaConsumer(
            bootstrap_servers=setup.kafka.bootstrap_servers,
            group_id=setup.kafka.topic_prefix + group,
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            places = [TopicPartition(name, number) for number in await topics.lag(setup.kafka, group, topic)]
            consumer.assign(places)
            await consumer.commit(dict.fromkeys(places, 0))
        finally:
            await consumer.stop()


async def lag(setup: Setup) -> int:
    return sum([sum((await topics.lag(setup.kafka, group, topic)).values()) for group, topic in READS.items()])


async def test_groups_that_are_set_back_do_the_work_again_and_email_nobody_twice(
    tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble
) -> None:
    async with PisanoDouble() as pisano:
        pisano.add_campaign(CAMPAIGN, KEYS)
        setup = await set_up(tmp_path, bootstrap_servers, unique, pisano=pisano, salesforce=sf)

        async def idle() -> bool:
            return len(await outcomes(setup.kafka)) == 1 and await lag(setup) == 0

        async with running_app(setup.config):
            await until(lambda: sf.streams)
            contact = sf.create("Contact", {"LastName": "Kaya", "Email": "bora@example.com"})
            sf.update("Case", sf.create("Case", {"ContactId": contact, "Status": "New"}), {"Status": "Closed"})
            await until(idle)
        positions = len(await topics.read(setup.kafka, POSITIONS))
        await set_back(setup)
        assert await lag(setup) > 0
        async with running_app(setup.config, ["trigger", "send", "write"]) as app:
            await until(idle)
            assert await metric(app, 'connector_repeated_invitations_total{account="main"}') == 2
        assert len(pisano.emails()) == 1
        assert {tuple(found.items()) for found in (await outcomes(setup.kafka)).values()} == {(("sent", 1),)}
        assert len(await topics.read(setup.kafka, POSITIONS)) == positions
