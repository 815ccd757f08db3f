"""Heuristics of the quorum disk: programs that say whether this node is fit to be master.

Each one runs now and then, as a process of its own with a time limit; nothing waits for it, the disk's cycles least of all. A
program says yes by ending with 0. `tko` noes in a row take its score away, one yes gives it back; before its first answer it has
none. A node whose scores add up to less than `min_score` is not fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from messaging.config import HeuristicConfig

log = logging.getLogger("messaging.qdisk")


class Opinion:
    """What one program says, over time. No I/O."""

    def __init__(self, rules: HeuristicConfig) -> None:
        self.rules = rules
        self.good = False
        self._noes = 0

    def take(self, yes: bool) -> bool:
        """The outcome of a run. Returns whether the opinion changed."""
        before = self.good
        self._noes = 0 if yes else self._noes + 1
        if yes:
            self.good = True
        elif self._noes >= self.rules.tko:
            self.good = False
        return self.good != before


class Heuristics:
    """All of a node. `fit` is asked by the disk's loop before each cycle."""

    def __init__(self, rules: Sequence[HeuristicConfig], min_score: int) -> None:
        self._opinions = [Opinion(each) for each in rules]
        self._min_score = min_score if rules else 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def score(self) -> int:
        return sum(opinion.rules.score for opinion in self._opinions if opinion.good)

    def fit(self) -> bool:
        return self.score >= self._min_score

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(opinion)) for opinion in self._opinions]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def status(self) -> dict[str, Any]:
        if not self._opinions:
            return {}
        programs = {opinion.rules.program: "good" if opinion.good else "bad" for opinion in self._opinions}
        return {"score": self.score, "min_score": self._min_score, "heuristics": programs}

    async def _watch(self, opinion: Opinion) -> None:
        rules = opinion.rules
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + rules.interval_ms / 1000
            yes = await run(rules.program, rules.timeout_ms)
            if opinion.take(yes):
                level = logging.INFO if opinion.good else logging.WARNING
                verdict = "good" if opinion.good else "bad"
                log.log(
                    level,
                    "heuristic %r is %s: score %d of at least %d",
                    rules.program,
                    verdict,
                    self.score,
                    self._min_score,
                )
            await asyncio.sleep(max(0.0, due - loop.time()))


async def run(program: str, timeout_ms: int) -> bool:
    """Whether the program ends with 0 in time. Its processes are killed afterwards; nobody waits for one that does not die."""
    nothing = subprocess.DEVNULL
    try:
        words = shlex.split(program)
        process = subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)  # noqa: ASYNC220
    except (OSError, ValueError, IndexError) as error:
        log.warning("heuristic %r cannot be run: %s", program, error)
        return False
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await _end_of(process.pid)
        return process.wait() == 0
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.poll() is None:
            threading.Thread(target=process.wait, name="heuristic", daemon=True).start()


async def _end_of(pid: int) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
