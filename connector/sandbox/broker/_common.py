"""What the container and the local process have in common: the version, the settings, and how to tell that it is up."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

VERSION = "4.1.0"
IMAGE = f"apache/kafka:{VERSION}"

BOOT_WITHIN = 90.0  # seconds; a boot takes 3, on a machine that does much else it has taken 30
_LOOK = 0.1  # seconds between two looks at a booting broker
_REQUEST_MS = 3000  # one look may take this long; then it is taken again

# One node that is the whole cluster, for tests and the sandbox.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "offsets.topic.num.partitions": "4",  # the default of 50 costs a second of start-up and buys one node nothing
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",  # the default waits 3 s for a second member
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # a killed broker is let in again only after this; the default is 9 s
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, as it is where the connector is deployed
}


class NotHere(Exception):
    """A broker cannot be had in this way; the message says why and what would help."""


async def until_it_answers(bootstrap_servers: str, *, runs: Callable[[], bool], within: float = BOOT_WITHIN) -> None:
    """Returns when a client is told of the broker's cluster.

    Raises:
        NotHere: `runs()` turned false, or `within` seconds passed.
    """
    try:
        async with asyncio.timeout(within):
            while not await _answers(bootstrap_servers):
                if not runs():
                    raise NotHere(f"the broker at {bootstrap_servers} ended while it started")
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise NotHere(f"the broker at {bootstrap_servers} did not answer within {within:.0f} s") from None


async def _answers(bootstrap_servers: str) -> bool:
    if not await _listens(bootstrap_servers):  # the client would log each refused connection as an error
        return False
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_REQUEST_MS / 1000):
            _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
