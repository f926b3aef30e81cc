"""Several processes that do the same: their parent starts them, starts a crashed one again, and ends them together."""

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable

import structlog

from connector.cli._output import CANNOT_RUN, exit_with
from connector.errors import ConnectorError

log = structlog.get_logger(__name__)

_PAUSE = 1.0  # seconds until a crashed process is started again: if it crashes at once, it must not take a whole core
_STOPS = {signal.SIGTERM, signal.SIGINT}
_HEARD = _STOPS | {signal.SIGCHLD}


def run_processes(serve: Callable[[int], None], count: int, *, sleep: Callable[[float], object] = time.sleep) -> int:
    """Runs `serve(number)` in `count` child processes, numbered from 1, and returns the exit code for the parent.

    It returns after SIGTERM or Ctrl-C, which it passes on, or when `serve` has raised Fatal, which ends all. Call it
    before there are threads or a loop. The signals are blocked when `serve` begins: call `hear_signals` when there is
    a handler for them. A child whose parent is gone must stop by itself: `multiprocessing.parent_process().sentinel`
    becomes readable then.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    fork = multiprocessing.get_context("fork")  # the imports and the configuration are shared, in memory too

    def started(number: int) -> multiprocessing.process.BaseProcess:
        process = fork.Process(target=_child, args=(serve, number))
        process.start()
        return process

    processes: dict[int, multiprocessing.process.BaseProcess] = {}
    try:
        for number in range(1, count + 1):
            processes[number] = started(number)
        while True:
            ended = {number: code for number, each in processes.items() if (code := each.exitcode) is not None}
            if CANNOT_RUN in ended.values():
                break
            for number, code in ended.items():
                log.error("process_ended", process=number, exit_code=code, next_start_in=_PAUSE)
                sleep(_PAUSE)
                processes[number] = started(number)
            if signal.sigwait(_HEARD) in _STOPS:
                break
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()
    codes = {process.exitcode for process in processes.values()}
    return CANNOT_RUN if CANNOT_RUN in codes else int(codes != {0})


def hear_signals() -> None:
    """Lets the signals come that `run_processes` has blocked, and those that came meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _child(serve: Callable[[int], None], number: int) -> None:
    try:
        serve(number)
    except ConnectorError as error:
        exit_with(error)
    sys.exit(0)
