"""Messaging under faults, seed by seed: agreement, order, exactly one fate, and convergence after the faults end."""

from __future__ import annotations

import pytest
from messaging_world import Violation, World

from messaging.config import QuorumConfig, TieBreakerConfig, TieBreakerType

SEEDS = range(1, 101)
FAULTS_MS = 12_000
QUIET_MS = 20_000
PING = TieBreakerConfig(TieBreakerType.PING, ("10.0.0.1",))
PAIRS = [
    None,
    QuorumConfig(2, two_node=True, wait_for_all=True),
    QuorumConfig(2, wait_for_all=True, tie_breaker=PING),
    QuorumConfig(2, tie_breaker=PING),
]


def storm(seed: int) -> World:
    """A run of random faults over a busy cluster, then quiet; the checkers of the world watch all the time."""
    count = 2 + seed % 4
    world = World(seed, count, PAIRS[seed // 4 % 4] if count == 2 else None)
    rng = world.random
    for node_id in world.machines:
        world.at(world.now + rng.randint(0, 1500), lambda n=node_id: world.boot(n))
    world.run_for(1600)
    end = world.now + FAULTS_MS
    while world.now < end:
        act(world)
        stop = world.now + rng.choice([5, 50, 300, 1500])
        while world.now < stop:
            world.multicast(rng.choice(list(world.machines)), b"%d" % world.multicasts)
            world.run_for(rng.randint(1, 40))
    world.heal()
    world.run_for(5000)  # pauses end, and who was leaving has left
    for node_id, machine in world.machines.items():
        if machine.core is None:
            world.boot(node_id)
    world.run_for(10)
    for node_id, machine in world.machines.items():
        if not machine.attached:
            world.attach(node_id)
    world.wait(lambda: world.agree(set(world.machines)), QUIET_MS, "all nodes in one view")
    world.run_for(500)
    if not world.machines[1].crm_view or not world.machines[1].crm_view.quorate:
        raise Violation(f"all nodes are together and not quorate: {world.describe()}")
    for machine in world.machines.values():
        if machine.open_tokens:
            raise Violation(f"n{machine.node_id}: multicasts without a fate: {machine.open_tokens}")
    return world


def act(world: World) -> None:
    """One random fault, or its end."""
    rng = world.random
    node_id = rng.choice(list(world.machines))
    machine = world.machines[node_id]
    match rng.choice(
        [
            "crash",
            "boot",
            "boot",
            "split",
            "heal",
            "heal",
            "oneway",
            "pause",
            "loss",
            "crm",
            "leave",
            "bounce",
            "evidence",
        ]
    ):
        case "crash":
            if machine.core is not None:
                world.crash(node_id)
        case "boot":
            for other in world.machines.values():
                if other.core is None:
                    world.boot(other.node_id)
        case "split":
            left = {n for n in world.machines if rng.random() < 0.5}
            world.split(left, set(world.machines) - left)
        case "heal":
            world.heal()
        case "oneway":
            other = rng.choice(list(world.machines))
            world.cut.add((node_id, other))
            world.note(f"cut n{node_id} -> n{other}")
        case "pause":
            if machine.core is not None:
                world.pause(node_id, rng.choice([150, 600, 1500, 4000]))
        case "loss":
            world.loss, world.duplication = rng.choice([(0.0, 0.0), (0.1, 0.1), (0.3, 0.3)])
        case "crm":
            if world.now < machine.paused_until:
                pass
            elif machine.core is not None and machine.attached:
                world.detach(node_id, graceful=rng.random() < 0.5)
            elif machine.core is not None:
                world.attach(node_id)
        case "leave":
            if machine.core is not None and rng.random() < 0.5:
                world.leave(node_id)
        case "evidence":
            world.set_evidence(node_id, rng.random() < 0.5)
        case "bounce":
            if machine.core is not None:
                world.crash(node_id)
                world.boot(node_id, reboot=False)


@pytest.mark.parametrize("block", range(10))
def test_views_agree_and_messages_have_one_order_and_one_fate_under_any_faults(block: int) -> None:
    for seed in SEEDS[block * 10 : block * 10 + 10]:
        try:
            world = storm(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert world.multicasts > 20


def test_the_same_seed_gives_the_same_run() -> None:
    assert storm(7).log == storm(7).log
