"""One child process, from its start to its certain end.

Theory of operation. A child gets a session, and so a process group, of its own: whatever it starts without leaving
that group can be ended together with it. Its output is drained as it comes and bounded, so that a chatty agent neither
blocks nor fills our memory. Waiting is on a pidfd (no SIGCHLD handler, no thread per child). The end of the
child is what counts, not the end of its output: a daemon that an agent leaves behind holds those pipes open.

When time is up the whole group gets SIGTERM, and after `TERM_GRACE_MS` SIGKILL. A child that cannot even be killed
(it waits for a dead disk) is given up after `KILL_PATIENCE_MS` and reported as such.

Ending a group is safe against reused process ids: a pid is not handed out again while a group or session of that
number exists, and ours is not reaped before we are done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TERM_GRACE_MS: Final = 500
"""Between SIGTERM and SIGKILL: enough for a handler that removes a temporary file."""
KILL_PATIENCE_MS: Final = 5_000
"""How long a killed process may take to disappear before we stop waiting for it."""
STDOUT_LIMIT: Final = 1 << 20
"""Bytes of standard output kept, from the beginning: the longest meta-data known are about 60 KiB."""
STDERR_LIMIT: Final = 1 << 16
"""Bytes of standard error kept, the last ones: that is where the exit reason is."""
UMASK: Final = 0o026
"""What Pacemaker gives its agents."""
_CHUNK: Final = 1 << 16
_RESULT_BY_POLL_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `code` is None when a signal ended it (`signal`) or when it is still there (`undead`)."""

    code: int | None
    signal: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    undead: bool
    run_ms: int


class _Output:
    """One bounded stream. `tail` keeps the last `limit` bytes, otherwise the first."""

    def __init__(self, fd: int, limit: int, tail: bool) -> None:
        self._fd = fd
        self._limit = limit
        self._tail = tail
        self._data = bytearray()
        self._open = True
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self.drain)

    def drain(self) -> None:
        """Take what is there. At most a few chunks, so that an endless writer cannot hold the loop."""
        for _ in range(4):
            if not self._open:
                return
            try:
                chunk = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                self.close()
                return
            room = self._limit - len(self._data)
            if self._tail:
                self._data += chunk
                del self._data[: max(0, len(self._data) - self._limit)]
            elif room > 0:
                self._data += chunk[:room]

    def close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)

    def take(self) -> bytes:
        self.drain()
        self.close()
        return bytes(self._data)


class Child:
    """A started child. `pid` is also its process group and session."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, cwd: str) -> None:
        """OSError when the program cannot be executed."""
        self._began = time.monotonic()
        source = _stdin(stdin)
        try:
            process = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=cwd,
                umask=UMASK,
                start_new_session=True,
            )
        finally:
            os.close(source)
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        self._process = process
        self._out = _Output(os.dup(process.stdout.fileno()), STDOUT_LIMIT, tail=False)
        self._err = _Output(os.dup(process.stderr.fileno()), STDERR_LIMIT, tail=True)
        process.stdout.close()
        process.stderr.close()
        self._timed_out = False

    async def wait(self, timeout_ms: int) -> Ended:
        """The end. `timeout_ms` 0 waits without limit. Being cancelled ends the child first."""
        gone = _exit_of(self.pid)
        try:
            ended = await _within(gone, timeout_ms)
            if not ended:
                self._timed_out = True
                ended = await self._end(gone)
        except asyncio.CancelledError:
            # Whoever cancels must not find the agent still at work afterwards.
            await asyncio.shield(self._end(gone))
            self._reap()
            raise
        finally:
            stdout, stderr = self._out.take(), self._err.take()
        status = self._reap() if ended else None
        return Ended(
            code=None if status is None or status < 0 else status,
            signal=-status if status is not None and status < 0 else 0,
            stdout=stdout,
            stderr=stderr,
            timed_out=self._timed_out,
            undead=status is None,
            run_ms=round((time.monotonic() - self._began) * 1000),
        )

    async def _end(self, gone: asyncio.Future[None]) -> bool:
        signal_group(self.pid, signal.SIGTERM)
        ended = await _within(gone, TERM_GRACE_MS)
        # The leader may be gone while its children ignore SIGTERM: the group is killed in any case. We have not
        # reaped the leader yet, so its number is still ours.
        signal_group(self.pid, signal.SIGKILL)
        return ended or await _within(gone, KILL_PATIENCE_MS)

    def _reap(self) -> int | None:
        return self._process.poll()


async def run_process(
    argv: Sequence[str],
    environment: Mapping[str, str],
    timeout_ms: int,
    *,
    stdin: bytes | None = None,
    cwd: str = "/",
    started: Callable[[int], None] | None = None,
) -> Ended:
    """Run a program to its end. OSError when it cannot be executed; `started` is told the pid."""
    child = Child(argv, environment, stdin, cwd)
    if started is not None:
        started(child.pid)
    return await child.wait(timeout_ms)


def signal_group(pgid: int, number: signal.Signals) -> bool:
    """Signal a process group. False when it does not exist any more (or is not ours to signal)."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stdin(data: bytes | None) -> int:
    """A descriptor to read `data` from. A memory file: no writer to wait for, no limit of a pipe."""
    if data is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("options", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _exit_of(pid: int) -> asyncio.Future[None]:
    """Done when the child has ended (it stays a zombie until it is reaped)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        # A kernel or a sandbox without pidfd: look now and then instead.
        _poll_exit(pid, future, loop)
        return future

    def ended() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        if not future.done():
            future.set_result(None)

    loop.add_reader(fd, ended)
    return future


def _poll_exit(pid: int, future: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
    gone = True
    with contextlib.suppress(ChildProcessError):
        gone = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    if not gone:
        loop.call_later(_RESULT_BY_POLL_MS / 1000, _poll_exit, pid, future, loop)
    elif not future.done():
        future.set_result(None)


async def _within(future: asyncio.Future[None], timeout_ms: int) -> bool:
    if timeout_ms <= 0:
        await asyncio.shield(future)
        return True
    done, _ = await asyncio.wait((future,), timeout=timeout_ms / 1000)
    return bool(done)
