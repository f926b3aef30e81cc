"""A Kafka broker as a child process that ends with this process."""

import asyncio
import base64
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from os import getpid
from pathlib import Path

from connector.sandbox.broker._common import JVM, SETTINGS, VERSION, NotHere, until_it_answers
from connector.sandbox.broker._jars import java_and_jars

_STOP_WITHIN = 20.0  # seconds for a clean stop; it takes 1 to 3
_LOOK = 0.05  # seconds between two checks of an ending process
# Below the ports that systems give to outgoing connections. Otherwise a client that reconnects while the broker is down
# could get the broker's own port.
_PORTS = range(20000, 32768)
_PORT_TRIES = 3  # another process may take a port between our check and Kafka's start

# This script turns into the broker's process. Linux kills it when the thread that started it ends, for any reason.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""

_LOG4J = """
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=OUT
"""


class LocalBroker:
    """One Kafka node. `folder` holds its data and its log.

    It can be stopped and started again with the same data and address, from any event loop. Start it in a thread that
    outlives it: Linux kills it when that thread ends.
    """

    way = "local"

    def __init__(self, java: Path, jars: Path, folder: Path) -> None:
        self._log4j = folder / "log4j2.properties"
        self._java = (str(java), *JVM, f"-Dlog4j2.configurationFile={self._log4j}", "-cp", f"{jars}/*")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._cluster = (
            base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        )  # must not begin with -
        self.log_file = folder / "broker.log"
        self.bootstrap_servers = ""

    @property
    def pid(self) -> int:
        """The broker's process id, to freeze or kill it. Raises RuntimeError when the broker does not run."""
        if self._process is None:
            raise RuntimeError("the broker does not run")
        return self._process.pid

    async def boot(self) -> None:
        """Creates an empty broker and starts it. Raises NotHere, with the log's path, when it does not come up."""
        self._log4j.write_text(_LOG4J)
        for tries_left in reversed(range(_PORT_TRIES)):
            self._configure()
            await self._format()
            try:
                await self.start()
                break
            except NotHere:
                if not tries_left or "Address already in use" not in self.log_file.read_text(errors="replace"):
                    raise

    async def start(self) -> None:
        """Starts the broker. Raises NotHere, with the log's path, when it does not come up."""
        process = self._process = self._run("kafka.Kafka", str(self._properties))
        try:
            await until_it_answers(self.bootstrap_servers, runs=lambda: process.poll() is None)
        except BaseException as error:
            self.kill()
            if isinstance(error, NotHere):
                raise NotHere(f"{error}; its log is {self.log_file}") from None
            raise

    async def stop(self) -> None:
        """Stops the broker cleanly; all written data stays."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await _ended(self._process, _STOP_WITHIN)
        self.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """Kills the broker as kill -9 does. `start` brings it back with the data that had reached its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    def _configure(self) -> None:
        port, controller = _free_ports()
        self.bootstrap_servers = f"127.0.0.1:{port}"
        settings = SETTINGS | {
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self._folder / "data"),
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    async def _format(self) -> None:
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        process = self._run("kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(self._properties))
        try:
            await _ended(process, _STOP_WITHIN)
        except TimeoutError:
            raise NotHere(f"formatting the broker's storage took over {_STOP_WITHIN:.0f} s") from None
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise NotHere(f"the broker's storage could not be formatted; its log is {self.log_file}")

    def _run(self, *main: str) -> subprocess.Popen[bytes]:
        tied = (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(getpid()))
        with self.log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the Java that was found
                (*tied, *self._java, *main),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C must reach only us; the broker stops last
            )


@asynccontextmanager
async def local_broker(environ: Mapping[str, str], say: Callable[[str], None]) -> AsyncIterator[LocalBroker]:
    """Raises NotHere without Java 17, when Kafka cannot be fetched, or when the boot failed; then the log stays."""
    java, jars = await java_and_jars(environ, say)
    folder = Path(tempfile.mkdtemp(prefix="connector-kafka-"))
    broker = LocalBroker(java, jars, folder)
    try:
        await broker.boot()
    except NotHere:
        shutil.rmtree(folder / "data", ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    say(f"Kafka {VERSION} runs as a child process at {broker.bootstrap_servers}")
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def _ended(process: subprocess.Popen[bytes], within: float) -> None:
    async with asyncio.timeout(within):
        while process.poll() is None:  # noqa: ASYNC110 - unlike asyncio's processes, this one belongs to no loop
            await asyncio.sleep(_LOOK)


def _free_ports() -> tuple[int, int]:
    """Raises NotHere when hardly any port is free."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == 2:
            return found[0], found[1]
    raise NotHere(f"no free port was found between {_PORTS.start} and {_PORTS.stop}")
