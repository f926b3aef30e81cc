"""A process ends though something in it does not: otherwise no orchestrator would start it again."""

import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio
from connector.cli._leaving import run_and_leave
from connector.errors import Retryable

async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def work():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    {ends}

run_and_leave(work(), within=0.5)
"""


@pytest.mark.parametrize(
    ("ends", "code", "reason"),
    [("pass", 0, "its work was done"), ("raise Retryable('start it again')", 1, "start it again")],
)
def test_a_task_that_never_ends_does_not_keep_the_process(ends: str, code: int, reason: str) -> None:
    program = [sys.executable, "-c", _PROGRAM.replace("{ends}", ends)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - this Python
    assert ended.returncode == code
    assert "process_ends_all_the_same" in ended.stdout + ended.stderr
    assert "stubborn" in ended.stdout + ended.stderr
    assert reason in ended.stdout + ended.stderr


_HANGS = """
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from connector.cli._leaving import run_and_leave

async def work():
    asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1, "spool"), threading.Event().wait)

run_and_leave(work(), within=0.5)
"""


def test_a_thread_that_never_ends_does_not_keep_the_process() -> None:
    """Such as that of the spool, when its disk does not answer."""
    program = [sys.executable, "-c", _HANGS]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - this Python
    assert ended.returncode == 0
    assert "process_ends_all_the_same" in ended.stdout + ended.stderr
    assert "spool_0" in ended.stdout + ended.stderr
