"""One of three brokers is killed and another one restarted, again and again under load: nobody is lost or asked twice.

`ROUNDS=20 make test ARGS=tests/chaos/test_cluster_killed.py` is the long form, for a change of Kafka or of its clients.
"""

import asyncio
import os
import random
from pathlib import Path

from helpers.busy import busy
from helpers.cluster import cluster
from helpers.service import Process
from helpers.waiting import PATIENCE, until

ROUNDS = int(os.environ.get("ROUNDS", "6"))  # each takes 10 to 15 s
RATE = 2.0  # cases in a second
LONG = 4 * PATIENCE  # three brokers that boot again and again keep two cores busy by themselves


async def test_rounds_of_a_killed_and_a_restarted_broker_lose_nobody(tmp_path: Path, unique: str) -> None:
    """While both are away nothing can be stored, so everything has to wait; between the rounds a case gets through."""
    async with cluster() as brokers, busy(tmp_path, brokers.bootstrap_servers, unique) as company:
        process = Process(company.setup, "capture,trigger,send,receive,write", tmp_path / "log")
        try:
            async with company.closing(RATE):
                await until(company.pisano.emails, LONG)
                for number in range(ROUNDS):
                    killed = brokers.controller() if number % 3 == 0 else random.choice(brokers.nodes)
                    restarted = random.choice([node for node in brokers.nodes if node is not killed])
                    before = len(company.pisano.emails())
                    await restarted.stop()
                    killed.kill()
                    await asyncio.gather(killed.start(), restarted.start())
                    await until(lambda before=before: len(company.pisano.emails()) > before, LONG)
            await company.all_asked_once(LONG)
            assert await process.drain() == 0, process.said()
        finally:
            process.kill()
        assert "Traceback" not in process.said()
