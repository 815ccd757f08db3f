"""Whose votes count changes while the cluster runs: the last man, polite leaving, the operator's word; and it stays safe."""

from __future__ import annotations

import pytest
from messaging_world import TIMERS, World

from messaging.config import QuorumConfig
from messaging.effects import WaitingEnded, WishMade
from messaging.quorum import Roll
from messaging.types import View

WINDOW_MS = 2000
LIMIT_MS = 4 * TIMERS.deadtime_ms

LAST_MAN = {
    "wait_for_all": True,
    "last_man_standing": True,
    "last_man_standing_window_ms": WINDOW_MS,
    "auto_tie_breaker": "lowest",
}


def cluster(count: int, **rules: object) -> World:
    world = World(1, count, QuorumConfig(count, **rules))  # type: ignore[arg-type]
    for node_id in world.machines:
        world.boot(node_id)
    together(world, *world.machines)
    return world


def together(world: World, *nodes: int) -> None:
    world.wait(lambda: world.agree(set(nodes)), 2 * LIMIT_MS, f"a view of {nodes}")


def view(world: World, node_id: int) -> View:
    core = world.machines[node_id].core
    assert core is not None
    assert core.membership.view is not None
    return core.membership.view


def roll(world: World, node_id: int) -> Roll:
    core = world.machines[node_id].core
    assert core is not None
    return core.membership.roll


def settle(world: World) -> None:
    world.run_for(WINDOW_MS + TIMERS.keepalive_ms)


def expected_votes(world: World, node_id: int, votes: int, *, force: bool = False) -> None:
    core = world.machines[node_id].core
    assert core is not None
    world.give(node_id, WishMade(core.plan_expected(votes, force=force)))
    world.run_for(TIMERS.keepalive_ms)


# --- last_man_standing


def test_a_cluster_that_loses_node_after_node_goes_on_to_the_last_man() -> None:
    world = cluster(5, **LAST_MAN)
    for dead in (5, 4, 3, 2):
        world.crash(dead)
        together(world, *range(1, dead))
        assert view(world, 1).quorate, f"without {dead}"
        settle(world)
    assert roll(world, 1).current.members == (1,)
    assert "1 of 1 votes; majority" in view(world, 1).reason


def test_within_the_window_the_votes_of_the_lost_still_count() -> None:
    world = cluster(5, **LAST_MAN)
    for dead in (5, 4):
        world.crash(dead)
    together(world, 1, 2, 3)
    world.crash(3)
    together(world, 1, 2)
    assert not view(world, 1).quorate
    settle(world)
    assert not view(world, 1).quorate, "and who has no quorum counts nobody out"


def test_nodes_that_were_counted_out_and_restart_have_no_quorum_beside_the_last_man() -> None:
    world = cluster(5, **LAST_MAN)
    world.split({1, 2, 3}, {4, 5})
    together(world, 1, 2, 3)
    settle(world)
    world.split({1, 2}, {3, 4, 5})
    together(world, 1, 2)
    together(world, 3, 4, 5)
    assert view(world, 1).quorate
    assert not view(world, 3).quorate, "three of five, but of those whose votes count only one"
    settle(world)
    for node_id in (3, 4, 5):
        world.crash(node_id)
        world.boot(node_id)
    together(world, 3, 4, 5)
    settle(world)
    assert not view(world, 3).quorate
    assert view(world, 1).quorate
    world.heal()
    together(world, 1, 2, 3, 4, 5)
    settle(world)
    assert roll(world, 4).current.members == (1, 2, 3, 4, 5)


def test_who_is_back_is_counted_again_at_once() -> None:
    world = cluster(3, **LAST_MAN)
    world.crash(3)
    together(world, 1, 2)
    settle(world)
    assert roll(world, 1).current.members == (1, 2)
    world.boot(3)
    together(world, 1, 2, 3)
    world.run_for(TIMERS.keepalive_ms)
    assert roll(world, 3) == roll(world, 1)
    assert roll(world, 1).current.members == (1, 2, 3)


@pytest.mark.parametrize("moment_ms", range(0, 60, 3))
@pytest.mark.parametrize("sides", [({1}, {2, 3}), ({1, 3}, {2}), ({1, 2}, {3})])
def test_a_split_at_any_moment_of_counting_out_leaves_one_quorate_side_at_most(
    moment_ms: int, sides: tuple[set[int], set[int]]
) -> None:
    world = cluster(4, **LAST_MAN)
    world.crash(4)
    together(world, 1, 2, 3)
    world.run_for(WINDOW_MS - 40 + moment_ms)
    world.boot(4)
    world.split(sides[0] | {4}, sides[1])
    for _ in range(20):
        world.run_for(400)
        quorate = {view(world, n).view_id: view(world, n).member_ids for n in (1, 2, 3) if view(world, n).quorate}
        parts = list(quorate.values())
        assert all(one & other for one in parts for other in parts), parts


# --- allow_downscale


def test_a_node_that_leaves_politely_is_not_expected_any_more() -> None:
    world = cluster(5, allow_downscale=True, least_votes=2)
    for leaving in (5, 4, 3):
        world.leave(leaving)
        together(world, *range(1, leaving))
        world.run_for(TIMERS.keepalive_ms)
        assert view(world, 1).quorate
    assert roll(world, 1).current.expected == 2
    world.boot(5)
    together(world, 1, 2, 5)
    world.run_for(TIMERS.keepalive_ms)
    assert roll(world, 1).current.members == (1, 2, 5)


def test_a_node_that_dies_is_expected_as_before() -> None:
    world = cluster(5, allow_downscale=True)
    world.crash(5)
    together(world, 1, 2, 3, 4)
    settle(world)
    assert roll(world, 1).current.expected == 5


def test_polite_leaving_stops_at_the_least_votes() -> None:
    world = cluster(4, allow_downscale=True, least_votes=3)
    for leaving in (4, 3):
        world.leave(leaving)
        together(world, *range(1, leaving))
        world.run_for(TIMERS.keepalive_ms)
    assert roll(world, 1).current.expected == 3
    assert view(world, 1).quorate


# --- the operator


def test_expected_votes_are_what_the_operator_says_until_who_was_absent_is_back() -> None:
    world = cluster(5)
    for dead in (4, 5):
        world.crash(dead)
    together(world, 1, 2, 3)
    expected_votes(world, 3, 3)
    assert roll(world, 1).current.expected == 3
    world.crash(3)
    together(world, 1, 2)
    assert view(world, 1).quorate
    world.boot(5)
    together(world, 1, 2, 5)
    world.run_for(TIMERS.keepalive_ms)
    assert roll(world, 5).current.members == (1, 2, 3, 5)


def test_without_quorum_expected_votes_need_force() -> None:
    world = cluster(5)
    for dead in (3, 4, 5):
        world.crash(dead)
    together(world, 1, 2)
    assert not view(world, 1).quorate
    with pytest.raises(ValueError, match="--force"):
        expected_votes(world, 2, 2)
    expected_votes(world, 2, 2, force=True)
    assert view(world, 1).quorate
    assert view(world, 1).view_id == view(world, 2).view_id


def test_fewer_expected_votes_than_are_here_are_refused() -> None:
    world = cluster(3)
    with pytest.raises(ValueError, match="two halves could each have a majority"):
        expected_votes(world, 1, 2)


def test_what_the_operator_said_survives_a_restart_of_everybody() -> None:
    world = cluster(3)
    world.crash(3)
    together(world, 1, 2)
    expected_votes(world, 1, 2)
    for node_id in (1, 2):
        world.crash(node_id)
    for node_id in (1, 2):
        world.boot(node_id)
    together(world, 1, 2)
    assert roll(world, 1).current.members == (1, 2)
    assert view(world, 2).quorate


def test_waiting_for_all_ends_when_the_operator_says_so() -> None:
    world = World(1, 3, QuorumConfig(3, wait_for_all=True))
    for node_id in (1, 2):
        world.boot(node_id)
    together(world, 1, 2)
    assert not view(world, 1).quorate
    world.give(2, WaitingEnded())
    world.wait(lambda: view(world, 1).quorate, TIMERS.keepalive_ms, "quorum")
