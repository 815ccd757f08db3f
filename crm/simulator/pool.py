"""Seeds in several processes; what comes out is in the order of the seeds."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from crm.simulator import mutants
from crm.simulator.course import Outcome, run

Made = TypeVar("Made")
AHEAD = 4
"""Runs that are asked for beyond those that are being made, for each process."""


def run_one(seed: int, mutant: str | None, trace: bool) -> Outcome:
    with mutants.installed(mutant):
        return run(seed, trace)


def in_processes(
    chosen: Iterable[int], one: Callable[[int, str | None, bool], Made], mutant: str | None, trace: bool, jobs: int
) -> Iterator[Made]:
    """What `one` makes of these seeds. `chosen` is read as processes become free."""
    waiting: deque[Future[Made]] = deque()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for seed in chosen:
                waiting.append(pool.submit(one, seed, mutant, trace))
                if len(waiting) > AHEAD * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
