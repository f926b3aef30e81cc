"""Ends a process in time: a library's task that swallows its cancellation, or a thread, must not keep it."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

log = structlog.get_logger(__name__)

_WITHIN = 5.0  # seconds for tasks and threads that are left when the work has ended


def run_and_leave(
    work: Coroutine[Any, Any, None],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    *,
    within: float = _WITHIN,
) -> None:
    """Runs `work` in a loop of its own, and raises what it raises.

    Tasks that are left then are cancelled. If they, or threads that are left, do not end `within` these seconds, the
    process ends at once, with exit code 0 if the work had ended well, else 1.
    """
    code, reason = 1, "it was interrupted"
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        runner.run(work)
        code, reason = 0, "its work was done"
    except Exception as error:
        reason = str(error)
        raise
    finally:
        leaving = threading.Timer(within, partial(_leave, runner.get_loop(), code, reason))
        leaving.daemon = True
        leaving.start()
        runner.close()
        if not _threads():  # else Python waits for them at the process's end
            leaving.cancel()


def _leave(loop: asyncio.AbstractEventLoop, code: int, reason: str) -> None:
    left = [*(str(task.get_coro()) for task in asyncio.all_tasks(loop)), *_threads()]
    log.error("process_ends_all_the_same", left=left, exit_code=code, reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _threads() -> list[str]:
    """Those that Python waits for, beside the main one. That of a call to a disk that hangs never ends."""
    every = threading.enumerate()
    return [thread.name for thread in every if not thread.daemon and thread is not threading.main_thread()]
