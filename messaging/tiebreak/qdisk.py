"""The quorum disk at the edge: a thread that reads and writes, and the loop that tells the core what came of it.

The rules are `qdisk_core`'s. A disk can keep a system call for minutes; so all of them are made by one thread of their own,
one cycle at a time, and the loop never waits for it. A cycle that does not return extends no claim, which then runs out by
itself.

A master that leaves hands over first, while it is still a member: else the half that stays would have no quorum until it has
taken over. A new life of a master that was killed does the same before the others hear of it.

Reads must come from the disk, not from this machine's memory: O_DIRECT with aligned buffers. A block device without it is
refused; a file may do without, for the nodes of one machine (a lab).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import queue
import stat
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from messaging.config import MessagingConfig
from messaging.errors import SetupError
from messaging.tiebreak import Surroundings, Tell
from messaging.tiebreak.heuristics import Heuristics
from messaging.tiebreak.qdisk_blocks import (
    BLOCK_SIZE,
    BLOCKS,
    DISK_SIZE,
    EMPTY,
    VERSION,
    Claim,
    Label,
    pack,
    state_block,
    unpack_label,
    unpack_state,
)
from messaging.tiebreak.qdisk_core import (
    Cycle,
    Effect,
    Evicted,
    Evidence,
    NoEvidence,
    Outcome,
    QuorumDiskCore,
    Say,
)
from messaging.types import Member

log = logging.getLogger("messaging.qdisk")
T = TypeVar("T")

MAX_LABEL = 64
HAND_OVER_INTERVALS = 6
"""How long a master that leaves waits for another to follow."""


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Disk:
    """Whole blocks of an open device or file. Every call may block for as long as the disk likes."""

    def __init__(self, path: str) -> None:
        """OSError when it cannot be opened; SetupError when it never can serve."""
        self.path = path
        flags = os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC
        self.direct = True
        try:
            self._descriptor = os.open(path, flags | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            if stat.S_ISBLK(Path(path).stat().st_mode):
                raise SetupError(f"quorum disk {path}: the device permits no direct I/O (O_DIRECT)") from None
            self.direct = False
            self._descriptor = os.open(path, flags)
        self._buffer = mmap.mmap(-1, DISK_SIZE)  # anonymous memory begins at a page

    @property
    def size(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def read(self, first: int, count: int) -> list[bytes]:
        """That many blocks. OSError when not all of them can be read."""
        length = count * BLOCK_SIZE
        with memoryview(self._buffer) as whole, whole[:length] as part:
            if os.preadv(self._descriptor, [part], first * BLOCK_SIZE) != length:
                raise OSError(errno.EIO, "is shorter than a quorum disk")
            data = bytes(part)
        return [data[at : at + BLOCK_SIZE] for at in range(0, length, BLOCK_SIZE)]

    def write(self, number: int, block: bytes) -> None:
        """Returns when the block is on the disk."""
        self._buffer[:BLOCK_SIZE] = block
        with memoryview(self._buffer) as whole, whole[:BLOCK_SIZE] as part:
            if os.pwritev(self._descriptor, [part], number * BLOCK_SIZE) != BLOCK_SIZE:
                raise OSError(errno.EIO, "took a part of a block only")

    def close(self) -> None:
        os.close(self._descriptor)
        self._buffer.close()


def make(path: str, cluster: str, label: str, *, force: bool = False) -> Label:
    """Make a quorum disk of a device, or of a file, which is created. SetupError when something else is on it."""
    if len(label) > MAX_LABEL:
        raise SetupError(f"a label has up to {MAX_LABEL} characters, got {len(label)}")
    try:
        if not Path(path).exists():
            Path(path).touch(mode=0o600)
        if stat.S_ISREG(Path(path).stat().st_mode) and Path(path).stat().st_size == 0:
            os.truncate(path, DISK_SIZE)
        disk = Disk(path)
        with contextlib.closing(disk):
            if disk.size < DISK_SIZE:
                raise SetupError(f"{path} has {disk.size} bytes; a quorum disk needs {DISK_SIZE}")
            blocks = disk.read(0, BLOCKS)
            found = unpack_label(blocks[0])
            if found is not None and not force:
                raise SetupError(
                    f"{path} is the quorum disk {found.label!r} of cluster {found.cluster!r} already; --force replaces it"
                )
            if any(block != EMPTY for block in blocks) and not force:
                raise SetupError(f"{path} is not empty: --force overwrites what is on it")
            for number, block in enumerate(blocks):
                if block != EMPTY:
                    disk.write(number, EMPTY)
            made = Label(cluster, str(uuid.uuid4()), label)
            disk.write(0, pack(made))
    except OSError as error:
        raise SetupError(f"{path} cannot be made a quorum disk: {error.strerror or error}") from None
    return made


def read_label(disk: Disk, cluster: str, label: str) -> Label:
    """The label, when this disk is that cluster's. SetupError that names both when it is another's."""
    found = unpack_label(disk.read(0, 1)[0])
    if found is None:
        raise SetupError(
            f"{disk.path} is no quorum disk; make it one, once, on one node: crm cluster mkqdisk {disk.path}"
        )
    if (found.version, found.block_size) != (VERSION, BLOCK_SIZE):
        raise SetupError(
            f"quorum disk {disk.path} has version {found.version} and blocks of {found.block_size} bytes; expected "
            f"version {VERSION} and {BLOCK_SIZE}"
        )
    if found.cluster != cluster:
        raise SetupError(
            f"quorum disk {disk.path} belongs to cluster {found.cluster!r}, and this node to cluster {cluster!r}: "
            "each cluster needs a disk of its own"
        )
    if label and found.label != label:
        raise SetupError(f"quorum disk {disk.path} has the label {found.label!r}, and the configuration says {label!r}")
    return found


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, count) of those that follow each other."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and sum(found[-1]) == number:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def perform(disk: Disk, cycle: Cycle) -> Outcome:
    """One cycle, in the thread."""
    written_ms: int | None = None
    began_ms = now_ms()
    try:
        before = disk.read(cycle.own, 1)[0]
        began_ms = now_ms()
        for number, block in cycle.writes:
            disk.write(number, block)
        written_ms = read_began_ms = now_ms()
        blocks: dict[int, bytes] = {}
        for first, count in runs(cycle.reads):
            blocks |= zip(range(first, first + count), disk.read(first, count), strict=True)
        return Outcome(began_ms, written_ms, read_began_ms, now_ms(), blocks, before)
    except OSError as error:
        return Outcome(began_ms, written_ms, error=f"{disk.path}: {error.strerror or error}")


class _Thread:
    """Does what it is given, one thing after the other. A disk that never returns must not keep the process: daemon."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="quorum-disk", daemon=True).start()

    def call(self, job: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            result, failed = None, None
            try:
                result = job()
            except Exception as error:  # whoever waits for the result deals with it
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(settle, result, failed)

        self._jobs.put(work)
        return future

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def end(self) -> None:
        self._jobs.put(None)


class QuorumDisk:
    """The tie-breaker. `on_evicted` is told the name of the node that went on without this one."""

    def __init__(
        self,
        config: MessagingConfig,
        me: Member,
        surroundings: Callable[[], Surroundings],
        on_evicted: Callable[[str], None],
    ) -> None:
        self._config = config
        self._rules = config.quorum.tie_breaker
        self._me = me
        self._surroundings = surroundings
        self._on_evicted = on_evicted
        self._on_change: Tell | None = None
        self._core: QuorumDiskCore | None = None
        self._label: Label | None = None
        self._disk: Disk | None = None
        self._thread: _Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._heuristics = Heuristics(self._rules.heuristics, self._rules.min_score)
        self._trouble = ""
        self._resigning = False
        self._was_master = False
        self._wake = asyncio.Event()
        self._cycled = asyncio.Event()

    # --- what the daemon uses

    async def check(self) -> None:
        """Look whose disk it is. SetupError when it is another's; a disk that does not answer yet is only absent."""
        self._thread = _Thread()
        try:
            async with asyncio.timeout(self._config.timers.deadtime_ms / 1000):
                await self._open()
        except (OSError, TimeoutError) as error:
            self._absent(getattr(error, "strerror", "") or "does not answer")

    def start(self, on_change: Tell) -> None:
        """Begin to look, unless `settle` has."""
        self._on_change = on_change
        if self._task is not None:
            return
        self._heuristics.start()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(lambda task: None if task.cancelled() else task.result())

    async def settle(self, on_change: Tell) -> None:
        """To be awaited before any peer can hear of this life. SetupError as from `check`.

        When an earlier life of this node died as master, another follows first: its part is not without quorum then.
        """
        await self.check()
        if self._was_master:
            self.start(on_change)
            await self._let_another_follow(cycles=2)  # who is there is seen with the first
            self._resigning = False

    async def hand_over(self) -> None:
        """To be awaited before the goodbye."""
        if self._core is not None and self._core.claim is not Claim.NONE:
            await self._let_another_follow(cycles=1)
        self._resigning = True

    async def _let_another_follow(self, cycles: int) -> None:
        self._resigning = True
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_INTERVALS * self._rules.interval_ms / 1000):
                while cycles > 0 or self._may_be_followed():
                    self._cycled.clear()
                    await self._cycled.wait()
                    cycles -= 1

    def _may_be_followed(self) -> bool:
        core = self._core
        return core is not None and (core.claim is not Claim.NONE or core.another_may_follow())

    def ask(self) -> None:
        """What is known is never older than it may be: say it again."""
        if self._core is not None and self._core.status(now_ms())["holds"]:
            self._emit([Evidence(self._core.evidence_until_ms())])
        else:
            self._emit([NoEvidence()])

    def relist(self, config: MessagingConfig) -> None:
        self._config = config
        if self._core is not None:
            self._core.relist({node.node_id: node.name for node in config.nodes})

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"device": self._rules.device, "label": self._label.label if self._label else ""}
        if self._core is None:
            return {**answer, "holds": False, "error": self._trouble or "not read yet"}
        status = self._core.status(now_ms())
        return {**answer, **status, **self._heuristics.status(), "error": self._trouble or status["error"]}

    def close(self) -> None:
        self._heuristics.close()
        if self._task is not None:
            self._task.cancel()
        if self._thread is not None:
            self._thread.end()

    # --- the loop

    async def _open(self) -> None:
        thread, config = self._thread, self._config
        if thread is None:
            return

        def look() -> tuple[Disk, Label, bytes]:
            disk = Disk(self._rules.device)
            try:
                label = read_label(disk, config.cluster, self._rules.label)
                return disk, label, disk.read(state_block(self._me.node_id), 1)[0]
            except (OSError, SetupError):
                disk.close()
                raise

        disk, label, left = await thread.call(look)
        earlier = unpack_state(left, label.uuid, self._me.node_id)
        self._was_master = earlier is not None and earlier.claim is not Claim.NONE
        self._disk, self._label = disk, label
        if not disk.direct:
            log.info("quorum disk %s: no direct I/O; good only for nodes of one machine", self._rules.device)
        names = {node.node_id: node.name for node in config.nodes}
        rules = self._rules
        self._core = QuorumDiskCore(
            self._me, label.uuid, names, rules.interval_ms, rules.tko, master_wins=rules.master_wins
        )
        self._trouble = ""

    def _absent(self, why: str) -> None:
        text = f"{self._rules.device}: {why}"
        if text != self._trouble:
            log.error("quorum disk %s", text)
        self._trouble = text

    async def _run(self) -> None:
        due_ms = now_ms()
        while True:
            due_ms = max(due_ms + self._rules.interval_ms, now_ms())
            if self._core is None:
                await self._try_to_open()
            else:
                await self._cycle(self._core)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0, due_ms - now_ms()) / 1000):
                    await self._wake.wait()
            self._wake.clear()

    async def _try_to_open(self) -> None:
        try:
            await self._open()
        except OSError as error:
            self._absent(error.strerror or str(error))
        except SetupError as error:
            self._absent(str(error))

    async def _cycle(self, core: QuorumDiskCore) -> None:
        if self._disk is None or self._thread is None:
            return
        disk = self._disk
        around = self._surroundings()
        may_win = around.may_win and not self._resigning and self._heuristics.fit()
        effects, cycle = core.begin(replace(around, may_win=may_win), now_ms())
        self._emit(effects)
        job = self._thread.call(lambda: perform(disk, cycle))
        done, _ = await asyncio.wait([job], timeout=core.hold_ms / 1000)
        if not done:
            self._absent(f"has not answered for {core.hold_ms} ms")
            await asyncio.wait([job])
            log.warning("quorum disk %s: answers again", self._rules.device)
        self._trouble = ""
        self._emit(core.finish(job.result(), now_ms()))
        self._cycled.set()
        if core.may_bid(now_ms()):
            self._wake.set()

    def _emit(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Evidence(until_ms):
                    if self._on_change is not None:
                        self._on_change(True, until_ms)
                case NoEvidence():
                    if self._on_change is not None:
                        self._on_change(False)
                case Evicted(by):
                    self._on_evicted(by)
                case Say(text, trouble):
                    log.log(logging.ERROR if trouble else logging.INFO, text)
