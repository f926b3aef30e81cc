"""Other people's clients, installed from their registries into a folder that all test processes share."""

import asyncio
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

_PATIENCE = 180  # seconds of an installation; most take 20


def npm(root: Path, *packages: str) -> Path:
    """A folder in which Node scripts find the packages. Skips the test where npm or its registry is away."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, so no client for Node; install Node 20 or newer")
    options = ("--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--loglevel=error")
    options += ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")
    return _installed(root, packages, ["npm", "install", "--prefix", ".", *options, *packages])


def pip(root: Path, *packages: str) -> Path:
    """A folder for PYTHONPATH. Skips the test where PyPI is away."""
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--retries=1")
    return _installed(root, packages, [sys.executable, "-m", "pip", "install", *options, "--target", ".", *packages])


def _installed(root: Path, packages: Sequence[str], command: Sequence[str]) -> Path:
    folder = root / "-".join(each.replace("/", "_").replace("@", "_") for each in packages)
    folder.mkdir(exist_ok=True)
    failure = folder / "failure"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not failure.exists():
            failure.write_text(_run(command, folder))
    if reason := failure.read_text():
        pytest.skip(f"{' and '.join(packages)}: the registry did not give them: {reason}")
    return folder


def _run(command: Sequence[str], folder: Path) -> str:
    """Why the command failed; blank when it did not."""
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_PATIENCE} s"
    return " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}" if done.returncode else ""


async def said(*command: str, environment: dict[str, str]) -> Any:
    """What the program prints to stdout, as JSON. It must end well within a minute."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
    try:
        async with asyncio.timeout(60):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return orjson.loads(out)
