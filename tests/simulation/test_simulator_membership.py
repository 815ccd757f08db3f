"""The simulator over the membership cores: three hundred seeds hold, a run repeats, and what once failed is named."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crm.simulator.__main__ import main, parse, seeds
from crm.simulator.course import run


@pytest.mark.parametrize("block", range(60))
def test_views_quorum_and_messages_hold_under_any_faults_and_the_cluster_comes_together_after_them(block: int) -> None:
    failed = []
    for seed in range(5 * block + 1, 5 * block + 6):
        outcome = run(seed)
        assert outcome.views > 0
        if outcome.failure:
            failed.append(f"seed {seed}: {outcome.failure}")
    assert not failed, "\n".join(failed)


def test_the_same_seed_gives_the_same_run_and_tracing_changes_nothing() -> None:
    first, again, silent = run(7, trace=True), run(7, trace=True), run(7)
    assert first.log
    assert first.log == again.log
    assert (first.packets, first.views, first.virtual_ms) == (silent.packets, silent.views, silent.virtual_ms)


def test_all_seeds_together_meet_every_mode_and_fault() -> None:
    import random

    from crm.simulator.swarm import Fault, Mode, draw

    swarms = [draw(random.Random(seed)) for seed in range(1, 301)]
    assert {swarm.mode for swarm in swarms} == set(Mode)
    assert {fault for swarm in swarms for fault in swarm.faults} == set(Fault)
    assert {swarm.size for swarm in swarms} == {2, 3, 4, 5, 6, 7}


def test_a_run_without_failure_ends_with_the_totals_and_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", "membership", "--seeds", "3-4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("2 seeds, 0 failed")
    assert "simulated hours" in lines[-1]


def test_in_several_processes_the_same_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for jobs in ("1", "2"):
        assert main(["--seeds", "3-5", "--jobs", jobs]) == 0
        printed.append(capsys.readouterr().out.splitlines()[-2])
    assert printed[0] == printed[1]


def test_a_trace_ends_with_the_sentence_of_the_checker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1", "--mutant", "dead-vote", "--trace"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed 1"
    assert lines[1].startswith("swarm: ")
    assert lines[-1].startswith("seed 1 FAILED: quorum by")


def test_a_failing_seed_is_named_with_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "84-90", "--mutant", "own-verdict"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: view agreement" in out
    assert "replay: python -m crm.simulator --scope membership --seeds" in out
    assert "--mutant own-verdict --trace" in out


@pytest.mark.parametrize("text", ["x", "5-1", ""])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        seeds(text)


def test_one_seed_or_a_range() -> None:
    assert seeds("7") == range(7, 8)
    assert parse(["--seeds", "1-300"]).seeds == range(1, 301)


def test_it_runs_from_the_command_line_and_prints_the_seed_first() -> None:
    command = [sys.executable, "-m", "crm.simulator", "--scope", "membership", "--seeds", "4", "--trace"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.startswith("seed 4\nswarm: ")
