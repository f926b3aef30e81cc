"""Child processes of a benchmark, and the CPU time that they take."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

_ENDS_WITHIN = 40.0  # seconds from SIGTERM: the service drains and leaves Kafka in at most 35


def python(*arguments: str | Path, environ: Mapping[str, str] = os.environ) -> AbstractAsyncContextManager[Process]:
    """Runs Python with these arguments until the end of the `with` body."""
    return program(sys.executable, *arguments, environ=environ)


@asynccontextmanager
async def program(
    name: str | Path, *arguments: str | Path, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Process]:
    """Runs a program with these arguments until the end of the `with` body."""
    process = await asyncio.create_subprocess_exec(
        name, *arguments, stdin=PIPE, stdout=PIPE, env={**os.environ, **environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.communicate(), _ENDS_WITHIN)
        except TimeoutError:
            process.kill()


def cpu_seconds(process: Process) -> float | None:
    """The CPU time that the process and its children have taken; None on a system without /proc."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return _cpu_seconds(process.pid) + sum(map(_cpu_seconds, children))
    except OSError:
        return None


def _cpu_seconds(pid: int | str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
