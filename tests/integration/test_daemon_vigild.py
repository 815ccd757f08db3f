"""vigild by itself: what it refuses, what it takes over, when it gives up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import DEADTIME_MS, ROOT, Cluster, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", 1) as made:
        yield made


def vigild(config: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "crm.daemon.supervisor", "--config", str(config)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_wrong_configuration_is_refused_with_every_problem_and_its_line(alone: Cluster) -> None:
    config = alone.nodes["n1"].folder / "vigil.toml"
    config.write_text(
        config.read_text().replace(f"deadtime_ms = {DEADTIME_MS}\ninit", 'deadtime_ms = "soon"\nspeed = 3\ninit')
    )
    line = config.read_text().splitlines().index("speed = 3") + 1
    ended = vigild(config)
    assert ended.returncode == 78
    assert f"{config}:{line}: timers.speed" in ended.stderr
    assert f"{config}:{line - 1}: timers.deadtime_ms" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    ended = vigild(tmp_path / "nothing.toml")
    assert ended.returncode == 78 and "nothing.toml" in ended.stderr and "Traceback" not in ended.stderr


def test_a_key_file_that_is_not_there_ends_the_node_with_the_reason(alone: Cluster) -> None:
    (alone.folder / "keys").unlink()
    alone.start("n1")
    process = alone.nodes["n1"].process
    assert process is not None and process.wait(120) == 78
    assert str(alone.folder / "keys") in alone.nodes["n1"].log() and "Traceback" not in alone.nodes["n1"].log()
    alone.wait_gone("n1")


def test_a_second_vigild_of_the_same_node_is_refused(alone: Cluster) -> None:
    alone.start("n1")
    alone.wait_online("n1")
    ended = vigild(alone.nodes["n1"].folder / "vigil.toml")
    assert ended.returncode == 1 and "another vigild is at work" in ended.stderr
    assert alone.online("n1") == {"n1"}


def test_a_new_vigild_takes_the_running_children_over_and_restarts_them_too(alone: Cluster) -> None:
    node = alone.nodes["n1"]
    alone.start("n1")
    alone.wait_online("n1")
    before = {part: node.pid_of(part) for part in ("messaging", "crm")}
    alone.kill("n1", "vigild")
    alone.start("n1")
    wait_for(lambda: "is running already" in node.log(), "the new vigild to take over")
    assert {part: node.pid_of(part) for part in ("messaging", "crm")} == before
    alone.kill("n1", "crm")
    wait_for(lambda: node.pid_of("crm") not in (None, before["crm"]), "crm to be started again")
    alone.wait_online("n1")
    assert alone.stop("n1") == 0
    alone.wait_gone("n1")


def test_a_child_that_dies_again_and_again_makes_vigild_give_the_node_up(alone: Cluster) -> None:
    node = alone.nodes["n1"]
    alone.start("n1")
    process = node.process
    assert process is not None
    seen: dict[int, float] = {}

    def over() -> bool:
        pid = node.pid_of("messaging")
        # Who lives for half a second is started again without a pause; the deaths have to be close together.
        if pid is not None and time.monotonic() - seen.setdefault(pid, time.monotonic()) > 0.55:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return process.poll() is not None

    wait_for(over, "vigild to give up")
    assert process.returncode == 1 and "giving this node up" in node.log()
    alone.wait_gone("n1")


def test_an_unchanged_configuration_is_validated_once(alone: Cluster) -> None:
    node = alone.nodes["n1"]
    for _ in range(2):
        alone.start("n1")
        alone.wait_online("n1")
        assert alone.stop("n1") == 0
    assert node.log().count("cluster test, node n1: good") == 1
