"""Calls commands as a shell does."""

import asyncio
import os
import subprocess
import sys

from helpers.service import Setup
from helpers.waiting import PATIENCE

_COMMAND = "from connector.cli import main; main()"


async def command(setup: Setup, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`connector ARGUMENTS --config FILE`, ended. It never ends with a traceback."""
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _COMMAND, *arguments, "--config", str(setup.file)],
        env={**os.environ, **setup.environ},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    return ended
