"""Processes on one simulated loop: each can freeze, wake and die on its own while the outside world goes on."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from helpers.simulated_loop import SimulatedLoop

T = TypeVar("T")

_here: ContextVar["Process | None"] = ContextVar("here", default=None)
_LATEST = 0.05  # seconds after waking within which a process gets the answers that came while it was frozen


class Process:
    """Its tasks and timers stand still while it is not `running`. Work that is `outside` goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = True
        self.missed: list[_Step] = []

    def start(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        context = Context()
        context.run(_here.set, self)
        return asyncio.get_running_loop().create_task(main, context=context)

    def wake(self, order: random.Random) -> None:
        """Runs all that is due: its own steps and timers in order, and answers before, between or after them."""
        self.running, missed, self.missed = True, self.missed, []
        answers_first = order.random() < 0.5
        loop = asyncio.get_running_loop()
        for step in sorted(missed, key=lambda step: answers_first and not step.is_answer):
            delay = order.random() * _LATEST if step.is_answer and not answers_first else 0.0
            loop.call_later(delay, step, context=step.context)


class _Step:
    """A callback of a process."""

    handle: asyncio.Handle

    def __init__(self, process: Process, call: Callable[..., object], args: Any, context: Context, outer: bool) -> None:
        self.is_answer, self.context = outer, context
        self._process, self._call, self._args = process, call, args

    def __call__(self) -> None:
        if not self._process.running:
            self._process.missed.append(self)
        elif not self.handle.cancelled():
            self._call(*self._args)


class _Task(asyncio.Task[Any]):
    """A task with a fixed hash, so that sets of tasks have the same order in every run."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **settings)

    def __hash__(self) -> int:
        return self._number


class ProcessLoop(SimulatedLoop):
    """A simulated loop that knows which process each callback belongs to."""

    def __init__(self) -> None:
        super().__init__(tick=1e-6)
        _Task._numbers = itertools.count()
        self.set_task_factory(_new_task)
        self.set_exception_handler(lambda *_: None)  # a killed process leaves tasks behind that nothing awaits

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        step = _step(callback, args, context)
        if step is None:
            return super().call_soon(callback, *args, context=context)
        step.handle = super().call_soon(step, context=step.context)
        return step.handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        step = None if isinstance(callback, _Step) else _step(callback, args, context)
        if step is None:
            return super().call_at(when, callback, *args, context=context)
        step.handle = handle = super().call_at(when, step, context=step.context)
        return handle


def _step(callback: Any, args: Any, context: Context | None) -> _Step | None:
    context = copy_context() if context is None else context  # an empty context is false
    process = context.get(_here)
    return process and _Step(process, callback, args, context, outer=_here.get() is not process)


def _new_task(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any] | Generator[Any], **settings: Any) -> Any:
    return _Task(main, loop=loop, **settings)


def apart(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Like `tracing.apart`, which leaves the context, but in this process: else it would go on when that freezes."""
    context = Context()
    context.run(_here.set, _here.get())
    return asyncio.get_running_loop().create_task(work, context=context)


async def outside(work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Runs this in the outside world, which goes on even if this process freezes, dies or stops waiting."""
    return await asyncio.shield(asyncio.get_running_loop().create_task(work(*args), context=Context()))


def name_of_this() -> str:
    """The name of the calling process."""
    process = _here.get()
    assert process is not None
    return process.name
