"""Three brokers as three local processes: each is a controller too, and each record has three copies.

A record that is stored is on two brokers at least, so that one broker may end at any moment.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.errors import KafkaError

from connector.config import Kafka
from connector.errors import Fatal
from connector.kafka.connection import admin_client
from connector.sandbox.broker import LocalBroker
from connector.sandbox.broker._common import SETTINGS
from connector.sandbox.broker._jars import java_and_jars
from connector.sandbox.broker._local import _free_ports
from helpers.waiting import until

_COPIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "replica.lag.time.max.ms": "3000",  # as the session: a copy that stands still counts no longer after this
    "controlled.shutdown.enable": "true",
}


class Node(LocalBroker):
    """One broker of a cluster; `settings` are its own."""

    def __init__(self, java: Path, jars: Path, folder: Path, address: str, settings: Mapping[str, str]) -> None:
        super().__init__(java, jars, folder)
        self.bootstrap_servers = address
        self._settings = {**settings, "log.dirs": str(folder / "data")}

    def _configure(self) -> None:
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings.items()))


class Cluster:
    """`nodes` may be killed and started one by one. `bootstrap_servers` names all of them."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.bootstrap_servers = ",".join(node.bootstrap_servers for node in nodes)
        for node in nodes:
            node._cluster = nodes[0]._cluster

    def controller(self) -> Node:
        """The active controller: the last one that says in its log that it became it."""
        return max(self.nodes, key=_became_controller)

    async def whole(self) -> None:
        """Waits until every copy of every partition is in sync."""

        async def is_whole() -> bool:
            try:
                async with admin_client(Kafka(bootstrap_servers=self.bootstrap_servers)) as admin:
                    described = await admin.describe_topics(await admin.list_topics())
            except (KafkaError, Fatal):
                return False
            partitions = [each for topic in described for each in topic["partitions"]]
            return all(len(each["isr"]) == len(each["replicas"]) for each in partitions)

        await until(is_whole)


def _became_controller(node: Node) -> str:
    lines = node.log_file.read_text(errors="replace").splitlines()
    return max((line[:25] for line in lines if "Becoming the active controller" in line), default="")


@asynccontextmanager
async def cluster(**settings: str) -> AsyncIterator[Cluster]:
    """Boots three brokers with Kafka `settings` (underscores for dots)."""
    java, jars = await java_and_jars(os.environ, print)
    ports = [_free_ports() for _ in range(3)]
    voters = ",".join(f"{number}@127.0.0.1:{port}" for number, (_, port) in enumerate(ports, 1))
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    folder = Path(tempfile.mkdtemp(prefix="connector-cluster-"))
    nodes = []
    for number, (port, controller) in enumerate(ports, 1):
        own = folder / str(number)
        own.mkdir()
        listeners = f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"
        of_node = {"node.id": str(number), "listeners": listeners, "controller.quorum.voters": voters}
        nodes.append(Node(java, jars, own, f"127.0.0.1:{port}", {**SETTINGS, **_COPIES, **changed, **of_node}))
    try:
        together = Cluster(nodes)
        await asyncio.gather(*(node.boot() for node in nodes))
        yield together
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)
