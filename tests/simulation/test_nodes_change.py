"""Nodes are added and removed while the cluster runs: everybody goes on, votes follow, and it is safe at every moment."""

from __future__ import annotations

import pytest
from messaging_world import TIMERS, World, make_config

from messaging.config import QuorumConfig
from messaging.effects import Relisted, WishMade
from messaging.node import Node
from messaging.types import View

LIMIT_MS = 4 * TIMERS.deadtime_ms


def cluster(running: int, machines: int, **rules: object) -> World:
    """`running` nodes that know of each other, in a world that has room for more."""
    world = World(1, machines, QuorumConfig(running, **rules))  # type: ignore[arg-type]
    world.count = running
    for node_id in range(1, running + 1):
        world.boot(node_id)
    together(world, *range(1, running + 1))
    return world


def core(world: World, node_id: int) -> Node:
    found = world.machines[node_id].core
    assert found is not None
    return found


def view(world: World, node_id: int) -> View:
    found = core(world, node_id).membership.view
    assert found is not None
    return found


def together(world: World, *nodes: int) -> None:
    world.wait(lambda: world.agree(set(nodes)), 2 * LIMIT_MS, f"a view of {nodes}")


def relist(world: World, nodes: set[int], count: int, **rules: object) -> None:
    quorum = QuorumConfig(count, **rules)  # type: ignore[arg-type]
    for node_id in nodes:
        world.give(node_id, Relisted(make_config(node_id, count, quorum)))
    world.count, world._quorum = count, quorum


def test_a_node_is_added_and_nobody_notices_but_by_its_vote() -> None:
    world = cluster(3, 4)
    before = view(world, 1).members
    relist(world, {1, 2, 3}, 4)
    world.give(2, WishMade(core(world, 2).plan_nodes()))
    world.run_for(TIMERS.keepalive_ms)
    for node_id in (1, 2, 3):
        assert core(world, node_id).membership.roll.current.members == (1, 2, 3, 4)
        assert all(not seen.left or seen.left == before for seen in world.machines[node_id].views)
    assert view(world, 1).members == before
    assert view(world, 1).quorate
    world.boot(4)
    together(world, 1, 2, 3, 4)
    world.split({1, 2}, {3, 4})
    together(world, 1, 2)
    together(world, 3, 4)
    assert not view(world, 1).quorate
    assert not view(world, 3).quorate


def test_a_node_that_starts_before_it_is_voted_for_is_counted_as_soon_as_it_is_a_member() -> None:
    world = cluster(2, 3)
    relist(world, {1, 2}, 3)
    world.boot(3)
    together(world, 1, 2, 3)
    world.run_for(TIMERS.keepalive_ms)
    assert core(world, 3).membership.roll.current.members == (1, 2, 3)
    world.crash(1)
    together(world, 2, 3)
    assert view(world, 2).quorate


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_node_is_removed_and_expected_votes_follow(count: int) -> None:
    world = cluster(count, count)
    rest = set(range(1, count))
    world.give(1, WishMade(core(world, 1).plan_retirement(count)))
    world.run_for(TIMERS.keepalive_ms)
    assert view(world, 1).member_ids == {*rest, count}, "still a member"
    assert core(world, count).membership.roll.current.members == tuple(sorted(rest)), "without a vote"
    world.leave(count)
    together(world, *rest)
    assert view(world, 1).quorate
    relist(world, rest, count - 1)
    world.give(1, WishMade(core(world, 1).plan_nodes()))
    world.run_for(TIMERS.keepalive_ms)
    roll = core(world, 1).membership.roll
    assert (roll.current.members, roll.current.expected, roll.current.retired) == (tuple(sorted(rest)), count - 1, ())
    for node_id in rest:
        answers = (core(world, node_id).quorum(), core(world, node_id).peers(world.now), core(world, node_id).watched())
        assert f"n{count}" not in str(answers), "nobody speaks of it any more"
    for node_id in rest:
        world.crash(node_id)
    for node_id in rest:
        world.boot(node_id)
    together(world, *rest)
    assert view(world, 1).quorate


def test_a_removed_node_that_starts_again_is_nobody_and_has_no_quorum() -> None:
    world = cluster(2, 2)
    world.give(1, WishMade(core(world, 1).plan_retirement(2)))
    world.run_for(TIMERS.keepalive_ms)
    world.leave(2)
    together(world, 1)
    world.cut = {(1, 2), (2, 1)}
    world.boot(2)
    world.run_for(TIMERS.initdead_ms + TIMERS.deadtime_ms)
    assert view(world, 1).quorate
    assert not view(world, 2).quorate


@pytest.mark.parametrize("knows", [{1}, {2}, {3}, {1, 2}, {2, 3}, {1, 3}])
@pytest.mark.parametrize("side", [{1}, {2}, {3}])
@pytest.mark.parametrize("after_ms", [0, 2, 4, 6, 10, 40])
def test_wherever_the_network_breaks_while_a_node_is_added_one_side_at_most_has_quorum(
    knows: set[int], side: set[int], after_ms: int
) -> None:
    rules = {"auto_tie_breaker": "lowest"}
    world = cluster(3, 4, **rules)
    relist(world, knows, 4, **rules)
    asker = min(knows)
    world.give(asker, WishMade(core(world, asker).plan_nodes()))
    world.run_for(after_ms)
    world.split(side | {4}, {1, 2, 3} - side)
    world.boot(4)
    for _ in range(12):
        world.run_for(300)
        views = [view(world, n).member_ids for n in (1, 2, 3) if view(world, n).quorate]
        fourth = core(world, 4).membership.view
        if fourth is not None and fourth.quorate:
            views.append(fourth.member_ids)
        assert all(one & other for one in views for other in views), views
