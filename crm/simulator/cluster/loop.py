"""An event loop in virtual time, and processes that can be killed and stopped in it.

Theory of operation. The daemon's asyncio code runs on this loop unchanged: a callback, a timer, the end of a write are entries of the world's one queue
(`Clock`), so all nodes and the messaging cores share one time and one order, and the seed decides both. There are no sockets, threads or
processes: whoever asks the loop for one gets `NotImplementedError`.

A `Process` is what SIGKILL and SIGSTOP hit. Each callback belongs to the process in whose context it was made; those of a dead one never
run again (nothing of it is cleaned up, as with a killed process), those of a stopped one wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from crm.simulator.clock import Clock, Violation

_EXACT = 1e-6
MAX_CALLS: Final = 20_000
"""Callbacks at one virtual moment; beyond it somebody wakes himself again and again."""

MAX_ENDINGS: Final = 20
"""Places at which a coroutine may wait while it is being ended."""


@dataclass(slots=True, eq=False)
class Process:
    """One process of a simulated machine. `held` are callbacks that wait while it is stopped."""

    name: str
    alive: bool = True
    stopped: bool = False
    held: deque[asyncio.Handle] = field(default_factory=deque)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def kill(self) -> None:
        self.alive = False
        self.held.clear()


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)

Execute = Callable[[Process | None, Callable[[], Any], asyncio.Future[Any]], None]
"""Carry out what blocks (a write to disk) on behalf of a process, and resolve the future."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """See the module's text. `failed` is told what escapes a callback or a task of a living process."""

    def __init__(self, clock: Clock, execute: Execute, failed: Callable[[Process | None, str, object], None]) -> None:
        self._clock = clock
        self._execute = execute
        self._failed = failed
        self._ended = False
        self._moment = (0, 0)

    # --- what asyncio asks for

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._ended

    def time(self) -> float:
        return self._clock.now / 1000

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None, **_: Any) -> asyncio.Task[Any]:
        if self._ended:
            coro.close()
            stillborn = self.create_future()
            stillborn.cancel()
            return cast("asyncio.Task[Any]", stillborn)
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = CURRENT.get()
        if process is not None:
            process.tasks.append(task)
            task.add_done_callback(process.tasks.remove)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        return self._at(self._clock.now, callback, args, context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        return self._at(self._clock.now, callback, args, context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self._at(-int(-(when * 1000 - _EXACT) // 1), callback, args, context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in the queue and does nothing."""

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()
        self._execute(CURRENT.get(), partial(func, *args), future)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._ended:
            self._failed(CURRENT.get(), str(context.get("message")), context.get("exception"))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    # --- running

    def _at(self, when_ms: int, callback: Any, args: tuple[Any, ...], context: Any) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when_ms / 1000, callback, args, self, context)
        if not self._ended:
            self._clock.at(when_ms, partial(self._run, handle, cast("contextvars.Context", handle._context)))  # type: ignore[attr-defined]
        return handle

    def _run(self, handle: asyncio.Handle, context: contextvars.Context) -> None:
        if handle.cancelled():
            return
        moment, count = self._moment
        self._moment = (moment, count + 1) if moment == self._clock.now else (self._clock.now, 0)
        if count > MAX_CALLS:
            raise Violation(
                f"a loop without end: more than {MAX_CALLS} callbacks in one millisecond, the last {handle}"
            )
        process = context.get(CURRENT)
        if process is None or (process.alive and not process.stopped):
            handle._run()
        elif process.alive:
            process.held.append(handle)

    def go_on(self, process: Process) -> None:
        """SIGCONT: everything that waited, in its order."""
        process.stopped = False
        held, process.held = process.held, deque()
        for handle in held:
            self._clock.at(self._clock.now, partial(self._run, handle, handle._context))  # type: ignore[attr-defined]

    def start(self, process: Process, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run this as (a part of) the process."""
        context = contextvars.copy_context()
        context.run(CURRENT.set, process)
        return context.run(lambda: self.create_task(work()))

    def end(self, processes: list[Process]) -> None:
        """The run is over: take its coroutines apart in order, so that nothing of it acts later."""
        self._ended = True
        for process in processes:
            for task in list(process.tasks):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _take_apart(task.get_coro())


def _take_apart(coro: Any) -> None:
    """Whatever a killed process would have wanted to do at its end, it does not matter any more.

    Who waits for something while he is ended is ended there again, and again: what is left half ended would go on when memory is cleaned up,
    without a loop, and its tasks would never be begun.
    """
    for _ in range(MAX_ENDINGS):
        if coro is None or inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED:
            return
        with contextlib.suppress(Exception, GeneratorExit):
            coro.close()
