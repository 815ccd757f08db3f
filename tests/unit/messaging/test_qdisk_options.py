"""Heuristics, scores and `master_wins` of the quorum disk, with real files and real programs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_qdisk_edge import config

from messaging.config import HeuristicConfig, MessagingConfig
from messaging.tiebreak import Surroundings, heuristics
from messaging.tiebreak.heuristics import Heuristics, Opinion
from messaging.tiebreak.qdisk import QuorumDisk, make, now_ms
from messaging.types import Member

WAIT_S = 60.0


class Node:
    """A quorum disk with changed rules, and the evidence it has now."""

    def __init__(self, path: Path, node_id: int, **rules: object) -> None:
        made = config(path, node_id)
        breaker = replace(made.quorum.tie_breaker, **rules)  # type: ignore[arg-type]
        self.config: MessagingConfig = replace(made, quorum=replace(made.quorum, tie_breaker=breaker))
        self.until_ms = 0
        self.evicted: list[str] = []
        me = Member(node_id, f"n{node_id}", 1)
        self.disk = QuorumDisk(self.config, me, lambda: Surroundings(True), self.evicted.append)

    @property
    def holds(self) -> bool:
        return now_ms() < self.until_ms

    def told(self, holds: bool, until_ms: int | None = None, _: frozenset[int] = frozenset()) -> None:
        self.until_ms = (until_ms or 0) if holds else 0

    async def start(self) -> None:
        await self.disk.settle(self.told)
        self.disk.start(self.told)


async def until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.005)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "qdisk"
    make(str(path), "c", "label")
    yield path


def rule(program: str, **changes: int) -> HeuristicConfig:
    return replace(HeuristicConfig(program, 1, 100, 90, 2), **changes)  # type: ignore[arg-type]


def test_a_node_that_its_heuristics_find_unfit_gives_the_mastership_to_the_other(disk: Path, tmp_path: Path) -> None:
    well = tmp_path / "well"
    well.touch()

    async def run() -> None:
        fit = {"heuristics": (rule(f"test -e {well}"), rule("false")), "min_score": 1}
        first, second = Node(disk, 1, **fit), Node(disk, 2)
        try:
            await first.start()
            await until(lambda: first.holds, "the first is master")
            await second.start()
            status = first.disk.status()
            assert (status["score"], status["min_score"]) == (1, 1)
            assert status["heuristics"] == {f"test -e {well}": "good", "false": "bad"}
            well.unlink()
            await until(lambda: second.holds, "the second follows")
            assert not first.holds
            well.touch()
            await until(lambda: first.disk.status()["score"] == 1, "it is fit again")
            assert second.holds, "who is master stays it"
        finally:
            first.disk.close()
            second.disk.close()

    asyncio.run(run())


def test_without_master_wins_every_node_that_writes_in_time_has_evidence_and_nobody_is_evicted(disk: Path) -> None:
    async def run() -> None:
        first, second = Node(disk, 1, master_wins=False), Node(disk, 2, master_wins=False)
        try:
            for node in (first, second):
                await node.start()
            await until(lambda: first.holds and second.holds, "both have evidence")
            assert first.disk.status()["holds"] and second.disk.status()["holds"]
            first.until_ms = 0
            first.disk.ask()
            assert first.holds, "what is known is said again"
            second.disk.close()
            await until(lambda: not second.holds, "evidence has an end")
            await until(lambda: first.holds, "the other goes on")
            assert not first.evicted and not second.evicted
        finally:
            first.disk.close()
            second.disk.close()

    asyncio.run(run())


def test_a_program_says_yes_by_ending_with_0_in_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    left = tmp_path / "left"

    async def run() -> None:
        assert await heuristics.run("true", 5000)
        assert not await heuristics.run("false", 5000)
        assert not await heuristics.run("/does/not/exist", 5000)
        assert not await heuristics.run("'unbalanced", 5000)
        assert not await heuristics.run(f"sh -c 'sleep 6000 & echo $! > {left}; wait'", 2000)
        pid = int(left.read_text())
        await until(
            lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes(),
            "its child ends",
        )

    asyncio.run(run())


def test_a_hanging_program_delays_neither_the_disk_nor_the_other_programs(disk: Path) -> None:
    async def run() -> None:
        slow = rule(f"{sys.executable} -c 'import time; time.sleep(60)'", interval_ms=30_000, timeout_ms=30_000)
        node = Node(disk, 1, heuristics=(slow, rule("true")), min_score=1)
        try:
            await node.start()
            await until(lambda: node.holds, "it is master while a program hangs")
        finally:
            node.disk.close()

    asyncio.run(run())


def test_some_noes_in_a_row_take_the_score_away_and_one_yes_gives_it_back() -> None:
    opinion = Opinion(rule("true", tko=2))
    assert not opinion.good, "before the first answer there is none"
    assert opinion.take(True) and opinion.good
    assert not opinion.take(False) and opinion.good
    assert opinion.take(False) and not opinion.good
    assert opinion.take(True) and opinion.good
    assert Heuristics((), 5).fit(), "without heuristics everybody is fit"
    assert not Heuristics((rule("true"),), 1).fit()
