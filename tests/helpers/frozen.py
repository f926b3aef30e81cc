"""Freezes a process as SIGSTOP does: it keeps its connections, and answers nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freezes a child of this process until the block ends. It begins when all threads of the child stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitpid(pid, os.WUNTRACED)  # a busy process goes on for a moment after the signal
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
