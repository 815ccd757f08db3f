"""Whole clusters in the simulator: two hundred seeds hold, a run repeats, and what once failed is named."""

from __future__ import annotations

import re

import pytest

from crm.simulator.__main__ import main, parse
from crm.simulator.cluster.course import run
from crm.simulator.cluster.dice import Dice
from crm.simulator.cluster.swarm import Fault, draw
from crm.simulator.swarm import Mode

SEEDS = 200
BLOCK = 10


@pytest.mark.parametrize("block", range(SEEDS // BLOCK))
def test_nothing_runs_twice_nothing_acknowledged_is_lost_and_the_cluster_settles(block: int) -> None:
    failed = []
    for seed in range(BLOCK * block + 1, BLOCK * (block + 1) + 1):
        outcome = run(seed)
        assert outcome.counts.actions > 0
        if outcome.failure:
            failed.append(f"seed {seed}: {outcome.failure}")
    assert not failed, "\n".join(failed)


def test_the_same_seed_gives_the_same_run_and_tracing_changes_nothing() -> None:
    def told(log: list[str]) -> list[str]:
        # Without what differs: the process id, and the folder that the run has for itself.
        return [re.sub(r"/vigil-sim-\w+/", "", line) for line in log if " crm_started " not in line]

    first, again, silent = run(2, trace=True), run(2, trace=True), run(2)
    assert first.log
    assert told(first.log) == told(again.log)
    assert (first.virtual_ms, first.counts.actions) == (silent.virtual_ms, silent.counts.actions)


def test_all_seeds_together_meet_every_fault_every_quorum_rule_and_every_kind_of_resource() -> None:
    swarms = [draw(Dice(seed)) for seed in range(1, SEEDS + 1)]
    assert {fault for swarm in swarms for fault in swarm.faults} == set(Fault)
    assert {swarm.messaging.mode for swarm in swarms} == {Mode.MAJORITY, Mode.WAIT_FOR_ALL, Mode.TWO_NODE}
    assert {swarm.size for swarm in swarms} == {2, 3, 4, 5}
    assert {name[0] for swarm in swarms for name in swarm.configuration.tops} == set("pgcm")
    assert {swarm.wild for swarm in swarms} == {swarm.fencing for swarm in swarms} == {True, False}
    assert any(swarm.messaging.votes for swarm in swarms) and any(swarm.configuration.levels for swarm in swarms)
    policies = {swarm.configuration.options["no-quorum-policy"] for swarm in swarms}
    assert policies == {"stop", "freeze", "suicide", "ignore", "demote"}
    assert any(swarm.client_gap_ms == 0 for swarm in swarms) and any(swarm.client_gap_ms == 200 for swarm in swarms)


def test_the_command_runs_clusters_and_prints_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", "cluster", "--seeds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 seeds, 0 failed")
    assert "machines fenced" in lines[1]


def test_seeds_in_several_processes_find_what_one_finds_and_the_command_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--scope", "cluster", "--seeds", "1-2", "--mutant", "two-dcs", "--jobs", "2"]) == 1
    assert "seed 1 FAILED: two DCs in view" in capsys.readouterr().out


def test_a_mutant_of_the_other_scope_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--scope", "cluster", "--mutant", "skip-flush"])
    assert "no mutant skip-flush in the scope cluster" in capsys.readouterr().err
