"""`connector demo --keep`, and what an operator does beside it: look, explain, work off, replay, compare."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE

EXAMPLE = Path(__file__).parents[2] / "examples" / "closed-case.yaml"
COMMAND = (sys.executable, "-c", "from connector.cli import main; main()")
SENT = "ada@example.com"


class Kept:
    """The demo that goes on, and commands in its environment."""

    def __init__(self, environment: dict[str, str], file: Path) -> None:
        self.file = str(file)
        self._environment = environment

    async def run(self, *arguments: str) -> tuple[int, str]:
        ended = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, *arguments],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
async def kept(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[Kept]:
    file = tmp_path / "connector.yaml"
    servers = "  bootstrap_servers: ${KAFKA_BOOTSTRAP_SERVERS}\n"
    file.write_text(EXAMPLE.read_text().replace(servers, servers + "  topic_prefix: ${KAFKA_TOPIC_PREFIX:-}\n", 1))
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
    with subprocess.Popen(  # noqa: ASYNC220, S603 - this same interpreter; it takes a millisecond
        [*COMMAND, "demo", str(file), "--keep"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            lines: list[str] = []
            async with asyncio.timeout(3 * PATIENCE):
                while not lines or not lines[-1].startswith("# in another shell"):
                    assert process.stdout is not None
                    lines.append(await asyncio.to_thread(process.stdout.readline))
                    assert lines[-1], "".join(lines)
            exports = dict(re.findall(r"^export (\w+)=(.*)$", "".join(lines), re.MULTILINE))
            yield Kept(exports, file)
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, PATIENCE) == 0
        finally:
            process.kill()


async def test_an_operator_works_beside_the_running_service(kept: Kept) -> None:
    file = kept.file
    code, said = await kept.run("explain", SENT, file)
    assert (code, "sent" in said, SENT in said) == (0, True, False)
    code, said = await kept.run("status", file, "--json")
    assert code in {0, 1}
    assert json.loads(said.splitlines()[0])["stages"]
    code, said = await kept.run("deadletters", "list", "--json", "--config", file)
    (letter,) = map(json.loads, said.splitlines())
    assert (code, letter["stage"], letter["reason"]) == (1, "send", "rejected")
    code, said = await kept.run("deadletters", "retry", letter["place"], "--config", file)
    assert code == 1, "what Pisano refused is in the ledger, and is not sent again"
    code, said = await kept.run("deadletters", "discard", letter["place"], "--why", "a test", "--config", file)
    assert code == 0, said
    code, said = await kept.run("deadletters", "list", "--json", "--config", file)
    assert (code, said) == (0, "")
    code, said = await kept.run("replay", "send", "--from", "earliest", "--dry-run", "--config", file)
    assert (code, "28 of 28 records; nothing was written" in said) == (0, True)
    code, said = await kept.run("reconcile", file, "--grace", "0s")
    assert (code, said.splitlines()[-1]) == (0, "nothing is missing")
