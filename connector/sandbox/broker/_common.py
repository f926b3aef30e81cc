"""What the container and the local process share: the version, the settings, and the check that the broker is up."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

VERSION = "4.4.0"
IMAGE = f"apache/kafka:{VERSION}"

# 300 MB and up in 3 s; it never runs for long. The last two save a seventh of a boot: Kafka's classes are trusted.
JVM = (
    *("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
)

BOOT_WITHIN = 90.0  # seconds; a boot takes 3, on a busy machine it has taken 30
_LOOK = 0.1  # seconds between two checks of a booting broker
_REQUEST_MS = 3000  # timeout of one check; then we check again

# A cluster of one node, for tests and the sandbox.
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
    "offsets.topic.num.partitions": "4",  # the default of 50 adds a second of start-up and does not help one node
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",  # the default waits 3 s for a second member
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # a killed broker can rejoin only after this; the default is 9 s
    "metadata.max.idle.interval.ms": "0",  # an idle controller writes nothing, by default twice a second
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, as in production
}


class NotHere(Exception):
    """This way cannot provide a broker; the message says why and what would help."""


async def until_it_answers(bootstrap_servers: str, *, runs: Callable[[], bool], within: float = BOOT_WITHIN) -> None:
    """Returns when the broker tells a client about its cluster.

    Raises:
        NotHere: `runs()` returned false, or `within` seconds passed.
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
