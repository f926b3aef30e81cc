"""The peers of `intake.py` as command lines, and how to know that one takes webhooks."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import _command
from _builds import connector, in_build
from helpers.service import WEBHOOK_SECRET, Setup

PATH = "/pisano/main"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A program that takes webhooks at `port`. `topic` is where it puts them."""

    program: str | Path
    arguments: list[str | Path]
    port: int
    topic: str
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def ours(setup: Setup, build: Path, *options: str) -> Peer:
    port = free_port()
    arguments = connector("run", setup.file, "--stages", "receive", "--log-level", "error", *options)
    environ = {**in_build(build), **setup.environ, "SERVICE_PORT": str(port)}
    return Peer(sys.executable, arguments, port, f"{setup.kafka.topic_prefix}pisano.feedback", environ)


def bare(servers: str, topic: str) -> Peer:
    port = free_port()
    return Peer(
        sys.executable, [_HERE / "_bare_intake.py", servers, topic, PATH, WEBHOOK_SECRET, str(port)], port, topic
    )


def bento(program: Path, servers: str, topic: str) -> Peer:
    port = free_port()
    environ = {"SERVERS": servers, "TOPIC": topic, "ADDRESS": f"127.0.0.1:{port}", "WEBHOOK": PATH}
    arguments: list[str | Path] = ["-c", _HERE / "peers" / "bento" / "intake.yaml"]
    return Peer(program, arguments, port, topic, {**os.environ, **environ, "SECRET": WEBHOOK_SECRET})


def built_bento(folder: Path, within: float) -> Path | None:
    """Bento as a program in this folder. None, with a printed reason, where it cannot be built in that many seconds."""
    go = shutil.which("go")
    if go is None:
        _command.say("Bento is left out: there is no Go here to build it with")
        return None
    program = folder / "bento"
    try:
        built = subprocess.run(  # noqa: S603 - our own module
            [go, "build", "-o", program, "."],
            cwd=_HERE / "peers" / "bento",
            timeout=within,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _command.say(f"Bento is left out: its build took longer than {within:g} s")
        return None
    if built.returncode:
        _command.say(f"Bento is left out: {built.stderr.decode().strip().splitlines()[-1]}")
        return None
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def listens(port: int, within: float = 60.0) -> None:
    """Returns when something listens at the port."""
    async with asyncio.timeout(within):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
