"""SIGTERM while Kafka hangs: the process ends before an orchestrator would kill it."""

import asyncio
from pathlib import Path

from helpers import topics
from helpers.bulkheads import answer
from helpers.frozen import frozen
from helpers.invitations import as_records, invitation
from helpers.service import Process, set_up
from helpers.waiting import until

from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from connector.wiring import STAGES

DRAIN, LEAVE, CLOSE = 1.0, 10.0, 8.0  # seconds; README.md, Stop, gives the last one 10


async def test_a_kafka_that_hangs_does_not_hold_up_the_end_for_longer_than_the_readme_says(
    tmp_path: Path, unique: str
) -> None:
    """Each of three clients got 5 s of its own to close, after the stages had had 10 s twice."""
    async with (
        kafka_broker("local") as broker,
        PisanoDouble() as pisano,
        SalesforceDouble() as salesforce,
    ):
        assert isinstance(broker, LocalBroker)
        service = {"host": "127.0.0.1", "port": 0, "drain": DRAIN}
        setup = await set_up(
            tmp_path, broker.bootstrap_servers, unique, pisano=pisano, salesforce=salesforce, service=service
        )
        process = Process(setup, ",".join(STAGES), tmp_path / "log")
        try:
            await until(lambda: process.said().count('"stage_started"') == len(STAGES) - 1)
            invited = as_records(setup.kafka, [invitation(number) for number in range(100)])
            answers = [answer(setup.kafka, number) for number in range(100)]
            await topics.publish(setup.kafka, [*invited, *answers])
            with frozen(broker.pid):
                await asyncio.sleep(2)
                began = asyncio.get_running_loop().time()
                await process.drain()
                assert asyncio.get_running_loop().time() - began < DRAIN + LEAVE + CLOSE
        finally:
            process.kill()
