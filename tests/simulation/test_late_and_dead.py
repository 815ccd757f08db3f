"""A node that was delayed suspects itself first; who is silent is late before it is dead; all in the time that was set."""

from __future__ import annotations

import pytest
from messaging_world import TIMERS, World

from messaging.config import Timers
from messaging.types import PeerLate

FAST = Timers(keepalive_ms=40, warntime_ms=100, deadtime_ms=200, initdead_ms=2200, vouch_ms=3000)


def cluster(count: int, timers: Timers = TIMERS, seed: int = 1) -> World:
    world = World(seed, count, timers=timers)
    for node_id in world.machines:
        world.boot(node_id)
    world.wait(lambda: world.agree(set(world.machines)), 2000, "the first view")
    world.run_for(2 * timers.deadtime_ms)
    return world


def said(world: World, node_id: int, words: str) -> list[int]:
    """When a node said so."""
    return [int(line.split()[0]) for line in world.log if f" n{node_id} " in line and words in line]


@pytest.mark.parametrize("timers", [TIMERS, FAST])
@pytest.mark.parametrize("part", [0.55, 0.75, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_a_node_that_was_stopped_for_less_than_deadtime_accuses_nobody(timers: Timers, part: float, seed: int) -> None:
    world = cluster(3, timers, seed)
    views = len(world.machines[1].views)
    stopped_ms = int(part * timers.deadtime_ms)
    world.pause(2, stopped_ms)
    world.run_for(3 * timers.deadtime_ms)
    for accused in ("n1", "n3"):
        assert not said(world, 2, f"node {accused} is late"), "the silence was its own"
        assert not said(world, 2, f"node {accused} is dead")
    assert len(world.machines[2].views) == len(world.machines[1].views)
    assert len(world.machines[1].views) - views in (0, 2), "it is given up and taken back, or neither"


@pytest.mark.parametrize("timers", [TIMERS, FAST])
@pytest.mark.parametrize("seed", range(5))
def test_who_dies_is_late_first_and_dead_within_a_tenth_more_than_deadtime(timers: Timers, seed: int) -> None:
    world = cluster(3, timers, seed)
    died_ms = world.now
    world.crash(3)
    world.wait(lambda: world.agree({1, 2}), 2 * timers.deadtime_ms, "a view without it")
    for node_id in (1, 2):
        late, dead = said(world, node_id, "node n3 is late"), said(world, node_id, "node n3 is dead")
        assert len(late) == len(dead) == 1
        assert late[0] + timers.deadtime_ms - timers.warntime_ms - 10 <= dead[0]
        assert dead[0] - died_ms <= 1.1 * timers.deadtime_ms
    assert world.now - died_ms <= 1.1 * timers.deadtime_ms + 60


def test_crm_is_told_who_is_late_before_the_view_without_it() -> None:
    world = cluster(2)
    told: list[object] = []
    core = world.machines[1].core
    assert core is not None
    notify = core._out.notify
    core._out.notify = lambda event: (told.append(event), notify(event))[1]  # type: ignore[method-assign, func-returns-value]
    world.crash(2)
    world.wait(lambda: world.agree({1}), 2 * TIMERS.deadtime_ms, "a view without it")
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["PeerLate", "View"]
    first = told[0]
    assert isinstance(first, PeerLate)
    assert first.node_id == 2
    assert TIMERS.warntime_ms <= first.silent_ms < TIMERS.deadtime_ms
