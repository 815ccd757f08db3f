"""`python -m crm.simulator --scope cluster`: seeds one by one, a line for each that fails, the totals last."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from crm.simulator.cluster.course import Outcome, run
from crm.simulator.cluster.mutants import installed
from crm.simulator.pool import in_processes

HOUR_MS = 3_600_000


class Totals:
    """What was run, over all seeds."""

    def __init__(self) -> None:
        self.outcomes = self.failures = self.virtual_ms = self.faults = self.calls = self.cuts = 0
        self.promises = self.actions = self.decisions = self.slowest_ms = 0
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        self.outcomes += 1
        self.failures += bool(outcome.failure)
        self.virtual_ms += outcome.virtual_ms
        self.faults += outcome.faults
        self.calls += outcome.calls
        self.cuts += outcome.cuts
        self.promises += outcome.counts.promises
        self.actions += outcome.counts.actions
        self.decisions += outcome.counts.decisions
        self.slowest_ms = max(self.slowest_ms, outcome.settled_after_ms)

    def lines(self) -> list[str]:
        wall_s = max(0.001, time.monotonic() - self._began)
        return [
            f"{self.outcomes} seeds, {self.failures} failed; {self.virtual_ms / HOUR_MS:.2f} simulated hours in {wall_s:.1f} s",
            f"{self.faults} faults, {self.cuts} machines fenced, {self.decisions} decisions, {self.actions} operations, "
            f"{self.calls} calls of clients, {self.promises} promises kept; slowest to settle {self.slowest_ms / 1000:.1f} s",
        ]


def run_one(seed: int, mutant: str | None, trace: bool) -> Outcome:
    with installed(mutant):
        return run(seed, trace)


def main(seeds: Iterable[int], mutant: str | None, trace: bool, jobs: int) -> int:
    """Exit code 0 when all checkers held, 1 when one failed. Under a mutant the run ends at the first seed that finds it."""
    totals = Totals()
    here = (run_one(seed, mutant, trace) for seed in seeds)
    for outcome in here if jobs == 1 else in_processes(seeds, run_one, mutant, trace, jobs):
        totals.add(outcome)
        if trace:
            _say(f"seed {outcome.seed}", f"swarm: {outcome.swarm.describe()}", *outcome.log)
        if outcome.failure:
            chosen = f" --mutant {mutant}" if mutant else ""
            replay = f"python -m crm.simulator --scope cluster --seeds {outcome.seed}{chosen} --trace"
            _say(f"seed {outcome.seed} FAILED: {outcome.failure}", f"  replay: {replay}")
            if mutant:
                break
    _say(*totals.lines())
    return 1 if totals.failures else 0


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
