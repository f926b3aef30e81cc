"""A Kafka broker in a container that ends with this process."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.sandbox.broker._common import IMAGE, JVM, SETTINGS, NotHere, until_it_answers

if TYPE_CHECKING:
    import docker
    from testcontainers.core.container import DockerContainer

_PORT = 9092
_ENGINE_WITHIN = 10  # seconds; an engine that answers does so in milliseconds

# Docker chooses the port, so we learn the address for clients only after the container starts. We send it by standard
# input. When this process ends, even by kill -9, the input closes and the container stops: we need no clean-up helper.
_COMMAND = """
exec 3<&0
read -r KAFKA_ADVERTISED_LISTENERS && export KAFKA_ADVERTISED_LISTENERS || exit
/etc/kafka/docker/run </dev/null &
cat <&3 >/dev/null
"""

_SETTINGS = SETTINGS | {
    "listeners": f"PLAINTEXT://:{_PORT},CONTROLLER://localhost:9093",
    "controller.quorum.voters": "1@localhost:9093",
    "log.dirs": "/tmp/kraft-combined-logs",  # noqa: S108 - in the container
}


class ContainerBroker:
    """`bootstrap_servers` is the host:port that this process connects to."""

    way = "docker"

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


@asynccontextmanager
async def container_broker(environ: Mapping[str, str], say: Callable[[str], None]) -> AsyncIterator[ContainerBroker]:
    """Raises NotHere when no engine answers, the image cannot be pulled, or the broker does not come up."""
    running = await asyncio.to_thread(_Running, environ, say)
    try:
        try:
            # The container waits for its input to close even after Kafka in it has ended: its log would go with it.
            await until_it_answers(running.address, runs=lambda: True)
        except NotHere as error:
            log = await asyncio.to_thread(running.keep_log)
            raise NotHere(f"{error}; its log is {log}") from error
        say(f"Kafka runs in a container of {IMAGE} at {running.address}")
        yield ContainerBroker(running.address)
    finally:
        await asyncio.to_thread(running.remove)


class _Running:
    """A started container, and the connection that keeps it alive. Everything here blocks."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._container = _container(environ, say)
        try:
            self._container.start()
            self._input = self._container.get_wrapped_container().attach_socket(params={"stdin": 1, "stream": 1})
            self.address = f"{self._container.get_container_host_ip()}:{self._container.get_exposed_port(_PORT)}"
            self._socket = _socket(self._input)
            self._socket.sendall(f"PLAINTEXT://{self.address}\n".encode())
        except Exception as error:
            with suppress(Exception):
                self._container.stop()
            raise NotHere(f"Docker could not start a container of {IMAGE}: {error}") from error

    def keep_log(self) -> Path:
        out, err = self._container.get_logs()
        with tempfile.NamedTemporaryFile(prefix="connector-kafka-", suffix=".log", delete=False) as file:
            file.write(out + err)
        return Path(file.name)

    def remove(self) -> None:
        with suppress(Exception):  # the container removes itself when it ends, so it may be gone already
            self._container.stop()
        self._socket.close()
        getattr(self._input, "_response", self._input).close()  # the response closes the file over the socket


def _container(environ: Mapping[str, str], say: Callable[[str], None]) -> "DockerContainer":
    with closing(docker_engine(environ)) as engine:
        from docker.errors import ImageNotFound  # noqa: PLC0415 - an optional extra
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        try:
            engine.images.get(IMAGE)
        except ImageNotFound:
            say(f"pulling {IMAGE}")
    testcontainers_config.ryuk_disabled = True  # its clean-up container needs one more image; see _COMMAND
    environment = dict(environ, DOCKER_HOST=docker_host(environ))
    container = DockerContainer(IMAGE, docker_client_kw={"environment": environment}).with_command(
        ["bash", "-c", _COMMAND]
    )
    for name, value in _SETTINGS.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    container.with_env("KAFKA_HEAP_OPTS", " ".join(JVM)).with_exposed_ports(_PORT)
    container.with_env("KAFKA_JVM_PERFORMANCE_OPTS", " ".join(JVM))  # replaces defaults that contradict
    return container.with_kwargs(stdin_open=True, auto_remove=True)


def docker_engine(environ: Mapping[str, str]) -> "docker.DockerClient":
    """A client of an engine that answers; the caller closes it. Blocks. Raises NotHere when no engine answers."""
    try:
        from docker.errors import DockerException  # noqa: PLC0415 - an optional extra
        from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415
    except ImportError as error:
        raise NotHere("testcontainers is not installed (pip install 'salesforce-pisano-connector[sandbox]')") from error

    host = docker_host(environ)
    nobody = f"no Docker engine answers at {host}"
    if not _is_there(host):
        raise NotHere(nobody)
    try:
        engine = DockerClient(environment=dict(environ, DOCKER_HOST=host), timeout=_ENGINE_WITHIN).client
        engine.ping()
    except DockerException as error:
        raise NotHere(f"{nobody}: {error}") from error
    return engine


def docker_host(environ: Mapping[str, str]) -> str:
    """The address of the engine that the `docker` command would use."""
    from testcontainers.core.docker_client import get_docker_host  # noqa: PLC0415 - an optional extra

    return environ.get("DOCKER_HOST") or get_docker_host() or "unix:///var/run/docker.sock"


def _is_there(address: str) -> bool:
    """False when a local engine's socket refuses. docker-py would report that too, but leaves a socket open."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _socket(attached: Any) -> socket.socket:
    """docker-py returns the socket itself or a file over it, depending on the connection to the engine."""
    found: socket.socket = getattr(attached, "_sock", attached)
    return found
