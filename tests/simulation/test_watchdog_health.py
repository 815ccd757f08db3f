"""What the watchdog is told of a node: by the view, by whom it really hears, and by its crm."""

from __future__ import annotations

from messaging_world import TIMERS, World

from messaging.config import QuorumConfig


def formed(count: int) -> World:
    world = World(1, count, QuorumConfig(count))
    for node_id in range(1, count + 1):
        world.boot(node_id)
    world.wait(lambda: world.agree(set(range(1, count + 1))), 20_000, "a view of all")
    world.run_for(2 * TIMERS.deadtime_ms)
    return world


def health(world: World, node_id: int, later_ms: int = 0) -> tuple[bool, bool]:
    machine = world.machines[node_id]
    assert machine.core is not None
    now_ms = max(peer.heard_ms for peer in machine.core.detector.alive.values()) if machine.core.detector.alive else 0
    found = machine.core.health(now_ms + later_ms)
    return found.quorate, found.in_group


def test_a_member_of_a_whole_cluster_is_well_as_long_as_it_really_hears_the_others() -> None:
    world = formed(3)
    assert health(world, 1) == (True, True)
    # Excused or not: what was heard too long ago does not count, though the view still stands.
    assert health(world, 1, TIMERS.deadtime_ms + 2 * TIMERS.keepalive_ms) == (False, True)


def test_a_node_that_is_cut_off_is_not_well_and_the_others_are() -> None:
    world = formed(3)
    world.split({1}, {2, 3})
    world.wait(lambda: world.agree({2, 3}), 20_000, "a view of the rest")
    world.run_for(TIMERS.deadtime_ms)
    assert health(world, 1)[0] is False
    assert health(world, 2) == (True, True)
