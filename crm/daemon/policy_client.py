"""The daemon's side of the policy worker: one question at a time, and a new worker when one is lost.

Theory of operation. `ask` sends the document and returns at once; the answer arrives by the callback, exactly once for each question, be it a
graph or a reason why there is none. A worker that ends or exceeds its time takes the question with it: the answer then says so, and
the next question starts another worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from crm.daemon.worker import ANSWER, DECISION_LIMIT_S, METRICS, OK, QUESTION

Answered = Callable[[int, bytes | None, str], None]
"""Number, the graph or None, the error."""

_log = logging.getLogger("vigil.policy")


class PolicyClient:
    """`pid` and `channel` come from `worker.fork()`, made before the loop ran."""

    def __init__(self, answered: Answered, pid: int, channel: socket.socket) -> None:
        self._answered = answered
        self._pid = pid
        self._channel: socket.socket | None = channel
        self._spawned: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[Any] | None = None
        self._last_description = 0
        self.decisions = 0
        self.decision_s = 0.0
        """Answered questions, and how long their answers took together."""
        self.last_decision_s = 0.0

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def ask(self, number: int, document: bytes, epoch_s: int) -> None:
        """One question; whoever asks waits for the answer before the next."""
        self._task = asyncio.create_task(self._exchange(number, document, epoch_s, self._task))
        self._task.add_done_callback(_tell_what_escaped)

    async def describe(self, document: bytes, epoch_s: int) -> str | None:
        """The metrics of this CIB; None when the worker has better things to do, or is not there."""
        if self.busy or self._channel is None:
            return None
        task = asyncio.create_task(self._describe(self._channel, document, epoch_s))
        self._task = task
        # Whoever asks may go away; the worker's answer must be taken from the channel all the same.
        return await asyncio.shield(task)

    async def _describe(self, channel: socket.socket, document: bytes, epoch_s: int) -> str | None:
        self._last_description += 1
        try:
            async with asyncio.timeout(DECISION_LIMIT_S):
                verdict, text = await _ask(channel, METRICS | self._last_description, document, epoch_s)
        except (OSError, EOFError, TimeoutError) as problem:
            _log.warning("the policy worker did not describe the cluster: %s", problem or "it ended")
            await self._drop()
            return None
        if verdict != OK:
            _log.warning("the policy worker could not describe the cluster: %s", text.decode(errors="replace"))
        return text.decode() if verdict == OK else None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._drop()

    async def _exchange(self, number: int, document: bytes, epoch_s: int, before: asyncio.Task[Any] | None) -> None:
        if before is not None and not before.done():
            await before
        began = time.monotonic()
        graph: bytes | None = None
        error = ""
        try:
            async with asyncio.timeout(DECISION_LIMIT_S):
                channel = self._channel or await self._start()
                verdict, text = await _ask(channel, number, document, epoch_s)
            if verdict == OK:
                graph = text
            else:
                error = text.decode(errors="replace")
        except TimeoutError:
            error = f"no decision within {DECISION_LIMIT_S:.0f} s"
            await self._drop()
        except (OSError, EOFError) as problem:
            error = f"the policy worker is gone ({problem or 'it ended'})"
            await self._drop()
        self.last_decision_s = time.monotonic() - began
        self.decisions += 1
        self.decision_s += self.last_decision_s
        self._answered(number, graph, error)

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = (sys.executable, "-m", "crm.daemon.worker", str(theirs.fileno()))
        try:
            self._spawned = await asyncio.create_subprocess_exec(*command, pass_fds=(theirs.fileno(),))
        finally:
            theirs.close()
        self._pid = self._spawned.pid
        self._channel = ours
        _log.info("started a policy worker (process %d)", self._pid)
        return ours

    async def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        pid, self._pid = self._pid, 0
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # ours and not reaped yet, so the id is still its own
        if self._spawned is not None:
            await self._spawned.wait()
            self._spawned = None
        else:
            with contextlib.suppress(ChildProcessError):  # the forked one; it was just killed
                await asyncio.to_thread(os.waitpid, pid, 0)


def _tell_what_escaped(task: asyncio.Task[Any]) -> None:
    """Nobody waits for this task: without a word, the DC would wait for its answer for ever."""
    if not task.cancelled() and task.exception() is not None:
        context = {"message": "the answer of the policy worker was not taken", "exception": task.exception()}
        asyncio.get_running_loop().call_exception_handler(context)


async def _ask(channel: socket.socket, number: int, document: bytes, epoch_s: int) -> tuple[int, bytes]:
    loop = asyncio.get_running_loop()
    channel.setblocking(False)
    await loop.sock_sendall(channel, QUESTION.pack(number, epoch_s, len(document)) + document)
    while True:
        answered, verdict, length = ANSWER.unpack(await _receive(channel, ANSWER.size))
        text = await _receive(channel, length)
        if answered == number:
            return verdict, text


async def _receive(channel: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = await loop.sock_recv_into(channel, view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return bytes(data)
