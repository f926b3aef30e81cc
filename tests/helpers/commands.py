"""Calls commands as a shell does."""

import asyncio
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from helpers.forked import forked
from helpers.service import Setup
from helpers.waiting import PATIENCE


async def command(setup: Setup, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`connector ARGUMENTS --config FILE`, ended. It never ends with a traceback."""
    done = await asyncio.to_thread(_ended, setup.environ, *arguments, "--config", str(setup.file))
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


async def connector(
    environ: Mapping[str, str], *arguments: str, within: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """As `ended`, while the doubles of this process go on."""
    return await asyncio.to_thread(ended, environ, *arguments, within=within)


def ended(environ: Mapping[str, str], *arguments: str, within: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """`connector ARGUMENTS`, ended, with `environ` beside this environment. It never ends with a traceback."""
    done = _ended(environ, *arguments, within=within)
    output, errors = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in errors, errors
    return subprocess.CompletedProcess(done.args, done.returncode, output, errors)


def _ended(environ: Mapping[str, str], *arguments: str, within: float = PATIENCE) -> subprocess.CompletedProcess[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = forked(arguments, environ, output, errors)
        process.join(within)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, within, output.read_bytes(), errors.read_bytes())
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_bytes(), errors.read_bytes())
