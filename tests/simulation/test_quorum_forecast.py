"""`crm cluster quorum what-if` says what the cluster then does: for every split, and every set of dead nodes, in every mode.

The forecast is asked of a node of the whole cluster, as the command does; then the network is cut (or the nodes lose power), and
what each side installs is compared. Afterwards all must come together again, with everybody's vote.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from arbitrated_world import ArbitratedWorld
from messaging_world import TIMERS, World

from crm.simulator.swarm import Mode, Swarm
from crm.simulator.world import World as DiskWorld
from messaging.config import QuorumConfig, TieBreakerConfig, TieBreakerType
from messaging.forecast import Side, forecast
from messaging.quorum import configured
from messaging.tiebreak.qdisk_blocks import Claim

WINDOW_MS = 1500
LIMIT_MS = 4 * TIMERS.deadtime_ms

PLAIN = QuorumConfig(0)
MODES = {
    "none": PLAIN,
    "ignore": replace(PLAIN, ignore=True),
    "wait_for_all": replace(PLAIN, wait_for_all=True),
    "two_node": replace(PLAIN, two_node=True, wait_for_all=True),
    "lowest": replace(PLAIN, auto_tie_breaker="lowest"),
    "highest": replace(PLAIN, auto_tie_breaker="highest"),
    "list": replace(PLAIN, auto_tie_breaker="list", tie_nodes=(2, 1)),
    "last_man_standing": replace(
        PLAIN, wait_for_all=True, last_man_standing=True, last_man_standing_window_ms=WINDOW_MS
    ),
    "last_man_standing+lowest": replace(
        PLAIN,
        wait_for_all=True,
        last_man_standing=True,
        last_man_standing_window_ms=WINDOW_MS,
        auto_tie_breaker="lowest",
    ),
    "allow_downscale": replace(PLAIN, allow_downscale=True),
    "ping": replace(PLAIN, tie_breaker=TieBreakerConfig(TieBreakerType.PING, ("target",))),
}


def partitions(nodes: list[int]) -> Iterator[list[set[int]]]:
    """Every way to divide the nodes into sides."""
    if not nodes:
        yield []
        return
    first, rest = nodes[0], nodes[1:]
    for sides in partitions(rest):
        for place in range(len(sides)):
            yield [*sides[:place], sides[place] | {first}, *sides[place + 1 :]]
        yield [{first}, *sides]


def cluster(mode: str, count: int) -> World:
    world = World(1, count, replace(MODES[mode], expected_votes=count))
    for node_id in world.machines:
        world.boot(node_id)
    world.wait(lambda: world.agree(set(world.machines)), LIMIT_MS, "the first view")
    return world


def ask(world: World, sides: list[set[int]], seeing: set[int]) -> tuple[Side, ...]:
    core = world.machines[1].core
    assert core is not None
    return forecast(core.standing(), [frozenset(side) for side in sides], frozenset(seeing))


def compare(world: World, foretold: tuple[Side, ...], what: str) -> None:
    """What each side does, at once and after the window."""
    for side in foretold:
        world.wait(partial(world.agree, set(side.members)), LIMIT_MS, f"a view of {set(side.members)}")
    world.run_for(TIMERS.keepalive_ms)
    for side in foretold:
        for node_id in side.members:
            core = world.machines[node_id].core
            assert core is not None
            assert core.membership.view is not None
            view = core.membership.view
            assert (view.quorate, view.reason) == (side.quorate, side.reason), (what, node_id)
    if any(side.later for side in foretold):
        world.run_for(WINDOW_MS + TIMERS.keepalive_ms)
    for side in foretold:
        for node_id in side.members:
            core = world.machines[node_id].core
            assert core is not None
            assert core.membership.view is not None
            assert core.membership.view.quorate == side.quorate, (what, node_id)
            roll = core.membership.roll
            assert roll.pending is None, (what, node_id)
            wanted = side.later or configured(core.config.votes, world.count).current
            assert roll.current == wanted, (what, node_id)


def restore(world: World) -> None:
    """All together again; everybody's vote counts."""
    world.heal()
    for node_id, machine in world.machines.items():
        if machine.core is None:
            world.boot(node_id)
    everybody = configured(dict.fromkeys(world.machines, 1), world.count).current

    def whole() -> bool:
        rolls = [machine.core.membership.roll for machine in world.machines.values() if machine.core]
        return world.agree(set(world.machines)) and all(
            roll.current == everybody and not roll.pending for roll in rolls
        )

    world.wait(whole, LIMIT_MS, "the whole cluster, everybody with a vote")
    world.run_for(TIMERS.keepalive_ms)  # and everybody knows what the others know


def cases(mode: str) -> list[tuple[str, int]]:
    most = {"two_node": 2, "ignore": 3}  # more of the same
    return [(mode, count) for count in (2, 3, 4, 5) if count <= most.get(mode, 5)]


@pytest.mark.parametrize(("mode", "count"), [case for mode in MODES for case in cases(mode)])
def test_what_if_agrees_with_what_the_cluster_then_does(mode: str, count: int) -> None:
    world = cluster(mode, count)
    nodes = sorted(world.machines)
    for sides in partitions(nodes):
        seen_by: list[set[int]] = [set()]
        if mode == "ping" and any(2 * len(side) == count for side in sides):
            seen_by = [set(), {1}, {count}, {1, count}]
        for seeing in seen_by:
            for node_id in nodes:
                world.set_evidence(node_id, node_id in seeing)
            foretold = ask(world, sides, seeing)
            world.split(*sides)
            compare(world, foretold, f"{mode}: split {sides}, target seen by {seeing}")
            restore(world)
    for size in range(1, count):
        for dead in itertools.combinations(nodes, size):
            survivors = set(nodes) - set(dead)
            foretold = ask(world, [survivors], set())
            for node_id in nodes:
                world.set_evidence(node_id, False)
            for node_id in dead:
                world.crash(node_id)
            compare(world, foretold, f"{mode}: {dead} down")
            restore(world)


# --- the network arbiter


ARBITER = TieBreakerConfig(TieBreakerType.ARBITER, interval_ms=80, tko=7, address="arbiter")


@pytest.mark.parametrize(
    ("algorithm", "prefer", "count"),
    [
        *itertools.product(("ffsplit", "lms"), ("lowest", "highest"), (2, 3, 4)),
        ("ffsplit", "lowest", 5),
        ("lms", "lowest", 5),
    ],
)
def test_what_if_agrees_with_what_a_cluster_with_an_arbiter_then_does(count: int, prefer: str, algorithm: str) -> None:
    votes = count - 1 if algorithm == "lms" else 0
    arbiter = replace(ARBITER, prefer=prefer, algorithm=algorithm, votes=votes)
    world = ArbitratedWorld(1, count, QuorumConfig(count, tie_breaker=arbiter))
    nodes = sorted(world.machines)
    for node_id in nodes:
        world.boot(node_id)
    splits = [(sides, ()) for sides in partitions(nodes)]
    deaths = [([], dead) for size in range(1, count) for dead in itertools.combinations(nodes, size)]
    for given, dead in [*splits, *deaths]:
        restore(world)
        world.run_for(2 * TIMERS.deadtime_ms)  # no vote is given away any more
        sides = given or [set(nodes) - set(dead)]
        foretold = ask(world, sides, set())
        world.split(*sides)
        for node_id in dead:
            world.crash(node_id)
        for side in sides:
            world.wait(partial(world.agree, side), LIMIT_MS, f"a view of {side}")
        world.run_for(2 * TIMERS.deadtime_ms)
        for answer in foretold:
            for node_id in answer.members:
                core = world.machines[node_id].core
                assert core is not None
                assert core.membership.view is not None
                view = core.membership.view
                assert view.quorate == answer.quorate, (given, dead, node_id, view.reason, answer.reason)


# --- the quorum disk, with the simulator's


def disk_world(count: int) -> DiskWorld:
    swarm = Swarm(
        size=count,
        mode=Mode.QDISK,
        timers=TIMERS,
        faults=(),
        weights=(),
        drift_ppm=(0,) * count,
        loss=0.0,
        duplication=0.0,
        max_delay_ms=3,
        safety_ms=0,
        fault_gap_ms=1,
        multicast_gap_ms=1,
        core_only=False,
    )
    world = DiskWorld(swarm, random.Random(1))
    assert world.disk is not None
    world.disk.calm = True
    for node_id in world.machines:
        world.boot(node_id)
        world.attach(node_id)
    return world


def run_until(world: DiskWorld, condition: Callable[[], bool], what: str) -> None:
    end = world.now + 2 * LIMIT_MS
    while not condition():
        assert world.now < end, f"{what}; {world.pending()}"
        world.clock.run_until(world.now + 20)


def restart(world: DiskWorld) -> None:
    """Everybody is up, hears everybody, and there is a master."""
    world.network.cut.clear()
    for node_id, machine in world.machines.items():
        if machine.core is None:
            world.boot(node_id)

    def whole() -> bool:
        for node_id, machine in world.machines.items():
            if machine.session is None:
                world.attach(node_id)  # a new life enters when another has followed it on the disk
        return world.agree(set(world.machines), fates=False) and master(world) is not None

    run_until(world, whole, "all together")
    world.clock.run_until(world.now + 2 * TIMERS.deadtime_ms)


def master(world: DiskWorld) -> int | None:
    assert world.disk is not None
    claims = {node_id: access.core.claim for node_id, access in world.disk._accesses.items()}
    return next((node_id for node_id, claim in claims.items() if claim is Claim.MASTER), None)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_what_if_agrees_with_what_a_cluster_with_a_quorum_disk_then_does(count: int) -> None:
    world = disk_world(count)
    nodes = sorted(world.machines)
    splits = [(sides, ()) for sides in partitions(nodes)]
    deaths = [([], dead) for size in range(1, count) for dead in itertools.combinations(nodes, size)]
    for given, dead in [*splits, *deaths]:
        restart(world)
        sides = given or [set(nodes) - set(dead)]
        core = world.machines[1].core
        assert core is not None
        holder = master(world)
        foretold = forecast(replace(core.standing(), holder=holder), [frozenset(side) for side in sides])
        home = {node_id: number for number, side in enumerate(sides) for node_id in side}
        world.network.cut = {(a, b) for a in home for b in home if home[a] != home[b]}
        for node_id in dead:
            world.crash(node_id)
        for side in sides:
            run_until(world, partial(world.agree, side, fates=False), f"a view of {side}")
        world.clock.run_until(world.now + 2 * TIMERS.deadtime_ms)
        for answer in foretold:
            for node_id in answer.members:
                view = world.machines[node_id].installed
                assert view is not None
                assert view.quorate == answer.quorate, (given, dead, holder, node_id, view.reason, answer.reason)
