"""The network is cut in two equal halves, and then the master of the quorum disk dies: the other half may win only when the rest of the
first one has noticed that it lost its quorum."""

from __future__ import annotations

from functools import partial

import pytest
from test_quorum_forecast import TIMERS, DiskWorld, disk_world, master, restart, run_until


def quorate(world: DiskWorld) -> list[frozenset[int]]:
    """The quorate views that somebody who is alive is in."""
    found = []
    for node_id, machine in world.machines.items():
        view = machine.installed
        if machine.core is not None and view is not None and view.quorate and node_id in view.member_ids:
            found.append(frozenset(view.member_ids))
    return found


@pytest.mark.parametrize("moment_ms", range(0, 2 * TIMERS.deadtime_ms, 150))
@pytest.mark.parametrize("size", [4, 6])
def test_when_the_master_of_the_winning_half_dies_there_are_never_two_quorate_halves(size: int, moment_ms: int) -> None:
    world = disk_world(size)
    restart(world)
    first, second = set(range(1, size // 2 + 1)), set(range(size // 2 + 1, size + 1))
    home = {node: number for number, half in enumerate((first, second)) for node in half}
    world.network.cut = {(a, b) for a in home for b in home if home[a] != home[b]}
    for half in (first, second):
        run_until(world, partial(world.agree, half, fates=False), f"a view of {half}")
    world.clock.run_until(world.now + moment_ms)
    run_until(world, lambda: len(quorate(world)) > 0, "a half with quorum")
    holder = master(world)
    assert holder is not None
    winners = first if holder in first else second
    losers = second if winners is first else first
    world.crash(holder)
    end = world.now + 4 * TIMERS.deadtime_ms
    while world.now < end:
        world.clock.run_until(world.now + 1)
        views = quorate(world)
        assert all(one & other for one in views for other in views), f"at {world.now} ms: {views}"
    run_until(world, partial(world.agree, losers, fates=False), f"a view of {losers}")
    run_until(world, lambda: frozenset(losers) in quorate(world), "the whole half has won in the end")
