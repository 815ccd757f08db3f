"""`python -m crm.simulator --scope membership|cluster --seeds 1-300 [--mutant NAME] [--trace] [--minutes N]
[--jobs N]`.

A line per failing seed with the command that replays it, the totals last. Exit code 0 when all checkers held, 1 when one
failed, 2 for a wrong command line. Under `--mutant` the run ends at the first seed that finds it. `--jobs` runs seeds
in that many processes (0: one a core); what is printed is the same, in the order of the seeds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from crm.simulator import mutants
from crm.simulator.cluster import command
from crm.simulator.cluster import mutants as cluster_mutants
from crm.simulator.course import Outcome, run
from crm.simulator.pool import in_processes, run_one

HOUR_MS = 3_600_000


def seeds(text: str) -> range:
    """`7` or `1-300`. ValueError for anything else."""
    first, dash, last = text.partition("-")
    chosen = range(int(first), int(last if dash else first) + 1)
    if not chosen:
        raise ValueError(text)
    return chosen


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m crm.simulator", description=__doc__)
    parser.add_argument("--scope", choices=["membership", "cluster"], default="membership")
    parser.add_argument("--seeds", type=seeds, default=range(1, 301), help="one seed or a range: 1-300")
    parser.add_argument("--mutant", help="break this safety rule on purpose")
    parser.add_argument("--trace", action="store_true", help="print what happens in each run")
    parser.add_argument("--minutes", type=float, help="go on with further seeds for this long")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 0 for one a core")
    options = parser.parse_args(arguments)
    known = cluster_mutants.MUTANTS if options.scope == "cluster" else mutants.MUTANTS
    if options.mutant is not None and options.mutant not in known:
        parser.error(f"no mutant {options.mutant} in the scope {options.scope}; there are {', '.join(sorted(known))}")
    return options


class Totals:
    """What was run, over all seeds."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.failures = 0
        self.virtual_ms = self.faults = self.multicasts = self.deliveries = self.packets = self.views = 0
        self.quorate = self.slowest_ms = self.storm_ms = 0
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        self.outcomes += 1
        self.failures += bool(outcome.failure)
        self.virtual_ms += outcome.virtual_ms
        self.storm_ms += outcome.storm_ms
        self.faults += outcome.faults
        self.multicasts += outcome.multicasts
        self.deliveries += outcome.deliveries
        self.packets += outcome.packets
        self.views += outcome.views
        self.quorate += outcome.quorate_views
        self.slowest_ms = max(self.slowest_ms, outcome.agreed_after_ms)

    def lines(self) -> list[str]:
        wall_s = max(0.001, time.monotonic() - self._began)
        hours, minutes = self.virtual_ms / HOUR_MS, wall_s / 60
        return [
            f"{self.outcomes} seeds, {self.failures} failed; {hours:.2f} simulated hours in {wall_s:.1f} s, "
            f"{self.storm_ms / HOUR_MS:.2f} of them with a fault every second or so",
            f"{self.faults} faults, {self.views} views installed ({self.quorate} quorate), {self.multicasts} multicasts, "
            f"{self.deliveries} deliveries, {self.packets} packets; slowest agreement {self.slowest_ms / 1000:.1f} s",
            f"per minute of wall time: {hours / minutes:.1f} simulated hours, {self.faults / minutes:.0f} faults, "
            f"{self.packets / minutes:.0f} packets",
        ]


def replay(outcome: Outcome, mutant: str | None) -> str:
    chosen = f" --mutant {mutant}" if mutant else ""
    return f"python -m crm.simulator --scope membership --seeds {outcome.seed}{chosen} --trace"


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    chosen: Iterable[int] = options.seeds
    end = None
    if options.minutes is not None:
        end, chosen = time.monotonic() + 60 * options.minutes, itertools.count(options.seeds.start)
    timely = itertools.takewhile(lambda _: end is None or time.monotonic() < end, chosen)
    jobs = options.jobs or os.cpu_count() or 1
    if options.scope == "cluster":
        return command.main(timely, options.mutant, options.trace, jobs)
    totals = Totals()
    outcomes = (
        _here(timely, options) if jobs == 1 else in_processes(timely, run_one, options.mutant, options.trace, jobs)
    )
    last_words: list[str] = []
    for outcome in outcomes:
        totals.add(outcome)
        if options.trace:
            _say(f"swarm: {outcome.swarm.describe()}", *outcome.log)
        if outcome.failure and options.trace:
            last_words.append(f"seed {outcome.seed} FAILED: {outcome.failure}")
        elif outcome.failure:
            _say(f"seed {outcome.seed} FAILED: {outcome.failure}", f"  replay: {replay(outcome, options.mutant)}")
        if outcome.failure and options.mutant:
            break
    _say(*totals.lines(), *last_words)
    return 1 if totals.failures else 0


def _here(chosen: Iterable[int], options: argparse.Namespace) -> Iterator[Outcome]:
    with mutants.installed(options.mutant):
        for seed in chosen:
            if options.trace or len(options.seeds) == 1:
                _say(f"seed {seed}")
            yield run(seed, options.trace)


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
