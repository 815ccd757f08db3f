"""Exercises for three machines, named as in Pacemaker's own test laboratory, each followed by an audit (exercises.py).

The machines stay the same throughout, so that each exercise starts from what the one before left. Which node is taken follows from a printed seed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import exercises
import pytest
from conftest import LabCluster, make_labs
from exercises import audit, power_on, powered, settle

from crm.lab import cluster
from crm.lab.layout import TieBreaker, Timers

pytestmark = pytest.mark.usefixtures("machines")

SEED = int(os.environ.get("VIGIL_TEST_SEED", "20260"))
TIMERS = Timers(keepalive_ms=400, warntime_ms=1200, deadtime_ms=2000, initdead_ms=6000)


class Ground:
    """The three machines, the watcher over them, and the dice."""

    def __init__(self, made: LabCluster, watcher: exercises.Watcher) -> None:
        self.made = made
        self.watcher = watcher
        self.rng = random.Random(SEED)
        self.marks: dict[str, int] = {}

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.made.lab.nodes

    def any(self) -> str:
        return self.rng.choice(self.nodes)

    def others(self, *nodes: str) -> list[str]:
        return [each for each in self.nodes if each not in nodes]

    def off(self, *nodes: str) -> None:
        for node in nodes:
            self.made.ask("power-off", node=node)

    def on(self, *nodes: str) -> None:
        for node in nodes:
            power_on(self.made, node)

    def settled(self, *nodes: str) -> None:
        """All nodes when none is named: members, at rest, and the audit."""
        settle(self.made, nodes or self.nodes)
        audit(self.made, nodes or self.nodes, self.marks)

    def owner(self, resource: str) -> str:
        return next(node for node, running in exercises.everywhere(self.made).items() if resource in running)


@pytest.fixture(scope="module")
def machine_room(request: pytest.FixtureRequest) -> Iterator[Ground]:
    print(f"seed {SEED}; VIGIL_TEST_SEED chooses another")  # noqa: T201
    with make_labs() as make:
        made = make("x", nodes=3, tie_breaker=TieBreaker.NONE, timers=TIMERS)
        made.configure(exercises.configuration(made))
        with exercises.Watcher(made) as watcher:
            yield Ground(made, watcher)


@pytest.fixture
def ground(machine_room: Ground) -> Iterator[Ground]:
    """The machines whole and at rest before; nothing active twice meanwhile; the audit afterwards."""
    exercises.repair(machine_room.made)
    settle(machine_room.made, machine_room.nodes)
    machine_room.watcher.found.clear()
    looks, since_ms = machine_room.watcher.looks, int(time.time() * 1000)
    yield machine_room
    machine_room.settled()
    assert machine_room.watcher.looks > looks
    assert machine_room.watcher.found == []
    assert exercises.orders_hold(machine_room.made, since_ms) == []


def test_flip_a_node_that_is_up_goes_and_one_that_is_down_comes(ground: Ground) -> None:
    for _ in range(3):
        node = ground.any()
        if node in powered(ground.made):
            ground.off(node)
        else:
            ground.on(node)
        ground.settled(*powered(ground.made))
        if len(powered(ground.made)) == 2:
            ground.on(*ground.others(*powered(ground.made)))
            ground.settled()


def test_restart_a_node_leaves_and_comes_back(ground: Ground) -> None:
    node = ground.owner("first")
    ground.off(node)
    ground.settled(*ground.others(node))
    ground.on(node)


def test_simul_stop_and_simul_start_all_nodes_leave_at_one_time_and_come_at_one_time(ground: Ground) -> None:
    for node in ground.nodes:
        os.kill(powered(ground.made)[node], signal.SIGTERM)
    ground.made.wait(lambda: not powered(ground.made), "not all nodes have stopped")
    ground.on(*ground.nodes)


def test_stop_one_by_one_and_start_one_by_one(ground: Ground) -> None:
    first, second, third = ground.rng.sample(ground.nodes, 3)
    ground.off(first)
    ground.settled(second, third)
    ground.off(second)
    settle(ground.made, [third])
    ground.off(third)
    ground.on(third)
    ground.on(second)
    ground.settled(second, third)
    ground.on(first)


def test_restart_one_by_one_every_node_once(ground: Ground) -> None:
    for node in ground.rng.sample(ground.nodes, 3):
        ground.off(node)
        ground.settled(*ground.others(node))
        ground.on(node)
        ground.settled()


def test_partial_start_a_node_is_stopped_while_it_starts(ground: Ground) -> None:
    node = ground.any()
    ground.off(node)
    for pause_s in (0.05, 0.3, 0.8, 1.5):
        ground.on(node)
        time.sleep(pause_s)  # the moment is what is exercised
        ground.off(node)
        ground.settled(*ground.others(node))
    ground.on(node)


def test_standby_moves_everything_away_and_online_lets_it_return(ground: Ground) -> None:
    node = ground.owner("first")
    ground.made.crm(node, "node", "standby", node)
    ground.made.wait(lambda: not exercises.active(ground.made, node), f"{node} does not become empty")
    settle(ground.made, ground.nodes)
    ground.made.crm(node, "node", "online", node)


def test_maintenance_mode_nothing_is_touched_and_what_failed_is_recovered_afterwards(ground: Ground) -> None:
    before = exercises.everywhere(ground.made)
    owner = ground.owner("alone")
    ground.made.crm(owner, "configure", "property", "maintenance-mode=true")
    settle(ground.made, ground.nodes)
    (ground.made.lab.run_dir(owner) / "resource-agents" / "vigil-Dummy-alone.state").unlink()
    ground.made.crm(owner, "resource", "refresh", "alone")
    settle(ground.made, ground.nodes)
    now = exercises.everywhere(ground.made)
    assert "alone" not in now[owner]
    del before[owner]["alone"]
    assert now == before
    ground.made.crm(owner, "configure", "property", "maintenance-mode=false")


def test_resource_recover_what_is_gone_is_started_again(ground: Ground) -> None:
    for name in ("alone", "first", "third", "near"):
        state = ground.made.lab.run_dir(ground.owner(name)) / "resource-agents" / f"vigil-Dummy-{name}.state"
        state.unlink()
        ground.made.wait(state.exists, f"{name} is not started again where it was")
        settle(ground.made, ground.nodes)


@pytest.mark.parametrize("role", ["vigild", "messaging", "crm"])
def test_component_fail_a_process_of_the_cluster_is_killed(ground: Ground, role: str) -> None:
    with cluster.api(ground.made.lab, ground.nodes[0]) as client:
        dc = client.call("membership")["dc"]
    for node in (dc, ground.rng.choice(ground.others(dc))):
        ground.made.kill(node, role)
        ground.settled()


def test_split_brain_the_minority_is_fenced_and_comes_back(ground: Ground) -> None:
    alone = ground.owner("first")
    cut = ground.made.ask("partition", nodes=[alone])["at"]
    rest = ground.others(alone)
    settle(ground.made, rest)
    assert alone in ground.made.fenced_since(cut)
    ground.made.ask("heal")


def test_reattach_the_cluster_stops_under_its_resources_and_finds_them_again(ground: Ground) -> None:
    before = exercises.everywhere(ground.made)
    lives = {name: file.stat().st_ino for name, file in state_files(ground).items()}
    ground.made.crm(ground.nodes[0], "configure", "property", "maintenance-mode=true")
    settle(ground.made, ground.nodes)
    for node in ground.nodes:
        ground.made.ask("stop-vigild", node=node)
    ground.made.wait(lambda: not any(daemons(ground, node) for node in ground.nodes), "not all daemons have ended")
    assert exercises.everywhere(ground.made) == before
    for node in ground.nodes:
        ground.made.ask("start-vigild", node=node)
    settle(ground.made, ground.nodes)
    ground.made.crm(ground.nodes[0], "configure", "property", "maintenance-mode=false")
    settle(ground.made, ground.nodes)
    assert {name: file.stat().st_ino for name, file in state_files(ground).items()} == lives, "something was restarted"


def test_resync_cib_a_node_that_lost_its_copy_gets_the_clusters(ground: Ground) -> None:
    node = ground.any()
    ground.off(node)
    shutil.rmtree(ground.made.lab.state_dir(node))
    ground.made.crm(ground.others(node)[0], "configure", "property", f"cluster-name=after-{node}")
    ground.on(node)
    ground.settled()
    assert f"after-{node}" in exercises.document(ground.made, node)


def test_near_quorum_point_nodes_come_and_go_until_few_or_many_are_left(ground: Ground) -> None:
    for _ in range(3):
        up = [node for node in ground.nodes if ground.rng.random() < 0.5]
        for node in ground.nodes:
            if node in up:
                ground.on(node)
            else:
                ground.off(node)
        if up:
            settle_or_wait(ground, up)
    ground.on(*ground.nodes)


def settle_or_wait(ground: Ground, up: list[str]) -> None:
    """With a majority everything runs; without one nothing does."""
    if len(up) >= 2:
        ground.settled(*up)
        return
    ground.made.wait(lambda: not any(exercises.everywhere(ground.made).values()), "a minority runs something")


def state_files(ground: Ground) -> dict[str, Path]:
    return {
        f"{node} {file.name}": file
        for node in ground.nodes
        for file in (ground.made.lab.run_dir(node) / "resource-agents").glob("vigil-*.state")
    }


def daemons(ground: Ground, node: str) -> list[int]:
    found = ground.made.pids_of(node)
    return [pid for role in ("vigild", "messaging", "crm") for pid in found.get(role, [])]
