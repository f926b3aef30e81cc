"""The demo that goes on, and commands in its environment."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from helpers.commands import connector
from helpers.waiting import PATIENCE

_EXAMPLE = Path(__file__).parents[2] / "examples" / "closed-case.yaml"
COMMAND = (sys.executable, "-c", "from connector.cli import main; main()")


class Running:
    """A command that goes on: its process, and the lines that it has printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.pid = process.pid
        self.lines: list[str] = []
        self._process = process

    async def wait_for(self, beginning: str) -> str:
        """Reads lines until one begins so, and returns it."""
        assert self._process.stdout is not None
        async with asyncio.timeout(3 * PATIENCE):
            while not self.lines or not self.lines[-1].startswith(beginning):
                self.lines.append(await asyncio.to_thread(self._process.stdout.readline))
                assert self.lines[-1], "".join(self.lines)
        return self.lines[-1]


class Kept:
    """`environment` is what the demo has printed, in which `file` means its service and its topics."""

    def __init__(self, environment: dict[str, str], file: Path, pid: int) -> None:
        self.file = str(file)
        self.environment = environment
        self.pid = pid

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Runs a command to its end. It never ends with a traceback."""
        ended = await connector(self.environment, *arguments, within=2 * PATIENCE)
        return ended.returncode, ended.stdout + ended.stderr


@asynccontextmanager
async def kept_demo(bootstrap_servers: str, folder: Path) -> AsyncIterator[Kept]:
    """Starts the demo on this broker, and ends it with Ctrl-C."""
    file = folder / "connector.yaml"
    servers = "  bootstrap_servers: ${KAFKA_BOOTSTRAP_SERVERS}\n"
    file.write_text(_EXAMPLE.read_text().replace(servers, servers + "  topic_prefix: ${KAFKA_TOPIC_PREFIX:-}\n", 1))
    arguments = ["demo", str(file), "--keep"]
    async with process(arguments, {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}, folder) as demo:
        await demo.wait_for("# in another shell")
        exports = re.findall(r"^export (\w+)=(.*)$", "".join(demo.lines), re.MULTILINE)
        yield Kept({name: "".join(shlex.split(value)) for name, value in exports}, file, demo.pid)


@asynccontextmanager
async def process(arguments: list[str], environment: dict[str, str], folder: Path) -> AsyncIterator[Running]:
    """Runs a command in this folder, and ends it with Ctrl-C."""
    with subprocess.Popen(  # noqa: ASYNC220, S603 - this same interpreter; it takes a millisecond
        [*COMMAND, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as running:
        try:
            yield Running(running)
            running.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(running.wait, PATIENCE) == 0
        finally:
            running.kill()
