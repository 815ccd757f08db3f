"""The shell against a real node: vigild, messaging and crm on loopback, from `cluster init` to `cluster stop`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from crm.shell.main import start

LIMIT_S = 60.0


@dataclass(frozen=True)
class Node:
    """A node of its own in a folder; `crm` runs the command and returns code, output and errors."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in ("CIB_file", "NO_COLOR", "COLUMNS")}
        return {**kept, "VIGIL_RUN_DIR": str(self.folder / "run"), "HA_RSCTMP": str(self.folder / "rsctmp")}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "crm.shell.main", *words]

    def crm(self, *words: str) -> tuple[int, str, str]:
        """In this process, because starting Python for each command would take most of the time."""
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch("sys.stdin", io.StringIO()),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            code = start(list(words))
        return code, output.getvalue(), errors.getvalue()

    def good(self, *words: str) -> str:
        code, output, errors = self.crm(*words)
        assert code == 0, errors
        return output


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("live")
    node = Node(folder)
    config = str(folder / "vigil.toml")
    # An address that nobody else uses: a port that is free now may be another's when it is needed.
    address = "127." + ".".join(str(1 + secrets.randbelow(250)) for _ in range(3))
    node.good(
        "cluster", "init", "--config", config, "--name", "live", "--node", f"solo={address}", "--as", "solo",
        "--deadtime-ms", "200", "--state-dir", str(folder / "state"), "--run-dir", str(folder / "run"),
    )  # fmt: skip
    # A process of its own: it leaves a daemon behind.
    subprocess.run(
        node.command("cluster", "start", "--config", config), env=node.environment, timeout=LIMIT_S, check=True
    )
    yield node
    node.crm("cluster", "stop")
    for name in ("messaging", "crm"):
        pid_file = folder / "run" / f"{name}.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


@pytest.fixture(scope="module")
def fenceless(node: Node) -> Node:
    """Fencing off, one Dummy configured and running; tests leave it so."""
    node.good("configure", "property", "fencing-enabled=false")
    node.good(
        "--wait", "configure", "primitive", "d1", "ocf:vigil:Dummy", "op", "monitor", "interval=10s", "timeout=20s"
    )
    return node


def test_a_new_cluster_is_idle_and_quorate(node: Node) -> None:
    node.good("cluster", "wait")
    first = node.good("status").splitlines()[0]
    assert first == "live · 1 of 1 nodes online · quorum · DC solo · idle"
    assert node.good("cluster", "wait") == "idle\n"
    assert "node solo of cluster live" in node.good("cluster", "status")
    assert "quorate" in node.good("cluster", "quorum")
    assert node.good("cluster", "links").startswith("link 0 unicast")
    assert "authenticated, not encrypted; sending with key 1, accepting 1" in node.good("cluster", "links")


def test_the_doctor_asks_the_daemons_that_run(node: Node) -> None:
    told = node.good("cluster", "doctor")
    assert "daemons of this node do not run" not in told
    assert "there is no other node" in told


def test_the_key_of_a_cluster_is_replaced(node: Node) -> None:
    assert "all nodes use key 2, and it alone" in node.good("cluster", "rotate-key")
    assert "sending with key 2, accepting 2" in node.good("cluster", "links")


def test_without_fencing_device_nothing_starts_and_status_says_why(node: Node) -> None:
    node.good("--wait", "configure", "primitive", "waiting", "ocf:vigil:Dummy")
    try:
        assert "no fencing device is configured" in node.good("status")
        assert node.crm("resource", "locate", "waiting")[0] == 1
        assert node.crm("cluster", "health")[0] == 1
    finally:
        node.good("configure", "delete", "waiting")


def test_a_resource_is_started_stopped_restarted_and_banned(fenceless: Node) -> None:
    node = fenceless
    assert node.good("resource", "locate", "d1") == "d1: solo\n"
    node.good("resource", "stop", "d1", "--wait")
    assert node.crm("resource", "locate", "d1")[0] == 1
    node.good("resource", "start", "d1", "--wait")
    assert node.good("resource", "restart", "d1") == "restarted d1 on solo\n"
    node.good("resource", "ban", "d1", "5min", "--wait")
    assert "must not run on solo, until" in node.good("status")
    assert "cli-ban-d1-on-solo" in node.good("why", "d1")
    node.good("resource", "clear", "d1", "--wait")
    assert node.good("resource", "locate", "d1") == "d1: solo\n"
    assert node.good("cluster", "health").count("good") == 7


def test_a_failure_is_shown_counted_and_forgotten(fenceless: Node) -> None:
    node = fenceless
    node.good("--wait", "configure", "primitive", "bad", "ocf:vigil:Dummy", "params", "fail_on=start")
    try:
        text = node.good("status")
        assert "bad start on solo" in text
        assert "crm resource cleanup" in text
        assert node.good("resource", "failcount", "bad") == "bad on solo: INFINITY\n"
        node.good("resource", "param", "bad", "set", "fail_on", "none")
        assert "cleared the failures of bad" in node.good("resource", "cleanup", "bad", "--wait")
        assert node.good("resource", "locate", "bad") == "bad: solo\n"
    finally:
        node.good("resource", "stop", "bad", "--wait")
        node.good("configure", "delete", "bad")


def test_standby_moves_everything_off_and_online_brings_it_back(fenceless: Node) -> None:
    node = fenceless
    node.good("node", "standby", "--wait")
    assert "solo: standby" in node.good("node", "list")
    assert node.crm("resource", "locate", "d1")[0] == 1
    node.good("node", "online", "--wait")
    assert node.good("resource", "locate", "d1") == "d1: solo\n"
    node.good("node", "standby", "solo", "reboot", "--wait")
    assert node.good("node", "status-attr", "solo", "show", "standby") == "on\n"
    node.good("node", "online", "solo", "--wait")
    assert "solo: online" in node.good("node", "list")


def test_a_script_from_standard_input(fenceless: Node) -> None:
    script = (
        "configure\nprimitive d2 ocf:vigil:Dummy\ncolocation together inf: d2 d1\nshow changed\ncommit\nup\nstatus\n"
    )
    ended = subprocess.run(
        fenceless.command(),
        env=fenceless.environment,
        input=script,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("primitive d2 ocf:vigil:Dummy\ncolocation together inf: d2 d1\ncommitted: ")
    fenceless.good("resource", "stop", "d2", "--wait")
    fenceless.good("configure", "delete", "d2")


def test_a_wrong_agent_is_refused_and_the_cluster_sees_nothing_of_it(node: Node) -> None:
    before = node.good("cib", "version")
    code, _, errors = node.crm("configure", "primitive", "x", "ocf:vigil:Dumy")
    assert code == 1
    assert "did you mean Dummy?" in errors
    assert node.good("cib", "version") == before


def test_a_node_that_is_there_is_neither_deleted_nor_called_off(node: Node) -> None:
    assert "is in the cluster" in node.crm("--force", "node", "delete", "solo")[2]
    assert "member of the cluster" in node.crm("node", "clearstate", "solo", "--force")[2]


def test_status_for_programs(fenceless: Node) -> None:
    answer = json.loads(fenceless.good("status", "--json"))
    assert answer["live"] is True
    assert answer["dc"] == "solo"
    assert [resource["state"] for resource in answer["resources"]] == ["Started"]
    assert {daemon["name"] for daemon in answer["daemons"]} == {"messaging", "crm", "policy worker"}


def test_the_picture_is_drawn_again_when_something_happens(fenceless: Node) -> None:
    terminal, other_end = pty.openpty()
    environment = {**fenceless.environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1"}
    watching = subprocess.Popen(
        fenceless.command("status", "--watch"), env=environment, stdin=other_end, stdout=other_end, stderr=other_end
    )
    os.close(other_end)
    seen = bytearray()

    def shows(text: bytes) -> bool:
        while select.select([terminal], [], [], 0)[0]:
            try:
                seen.extend(os.read(terminal, 65536))
            except OSError:
                break
        return text in seen

    try:
        until(lambda: shows(b"Started"), "the first picture")
        del seen[:]
        fenceless.good("resource", "ban", "d1", "solo")
        until(lambda: shows(b"must not run on solo"), "the ban in the picture")
    finally:
        watching.send_signal(signal.SIGINT)
        code = watching.wait(LIMIT_S)
        shows(b"")
        os.close(terminal)
        fenceless.good("resource", "clear", "d1")
    assert code == 130
    assert b"Traceback" not in seen


def test_an_agent_is_run_by_hand_only_while_the_cluster_leaves_its_resource_alone(fenceless: Node) -> None:
    code, _, errors = fenceless.crm("maintenance", "action", "d1", "stop")
    assert code == 1
    assert "before: crm maintenance on d1" in errors
    assert fenceless.good("maintenance", "action", "d1", "monitor").startswith("monitor of d1 on solo: ok (0)")
    fenceless.good("--wait", "maintenance", "on", "d1")
    assert fenceless.good("maintenance", "action", "d1", "stop") == "stop of d1 on solo: ok (0)\n"
    assert fenceless.good("maintenance", "action", "d1", "monitor").startswith("monitor of d1 on solo: not running (7)")
    assert fenceless.good("maintenance", "action", "d1", "start") == "start of d1 on solo: ok (0)\n"
    assert "'jump' is not an action; expected one of start, " in fenceless.crm("maintenance", "action", "d1", "jump")[2]
    fenceless.good("--wait", "maintenance", "off", "d1")
    assert fenceless.good("resource", "locate", "d1") == "d1: solo\n"


def test_known_operations_of_a_resource_are_printed(fenceless: Node) -> None:
    lines = fenceless.good("resource", "operations", "d1", "solo").splitlines()
    assert any(": d1_monitor_10000 (node=solo, " in line and line.endswith(": complete") for line in lines)
    assert "there is no node 'nx'" in fenceless.crm("resource", "operations", "d1", "nx")[2]
    assert "there is no resource 'dx'" in fenceless.crm("resource", "operations", "dx")[2]


@pytest.mark.parametrize("command", ["-C", "-R"])
def test_clearing_histories_on_a_node_that_does_not_exist_is_an_error(fenceless: Node, command: str) -> None:
    tool = [str(Path(sys.executable).parent / "crm_resource"), command, "-r", "d1", "-N", "nx"]
    done = subprocess.run(tool, env=fenceless.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (105, "")
    assert "Node 'nx' not found" in done.stderr


@pytest.mark.parametrize("words", [("crm_resource", "--restart", "-r"), ("crm", "resource", "restart")])
def test_a_restart_that_is_ended_leaves_nothing_stopped(fenceless: Node, words: tuple[str, ...]) -> None:
    """By `timeout`, or by closing the terminal; Ctrl-C is the same to it."""
    name = f"slow-{words[0].replace('_', '-')}"
    fenceless.good("--wait", "configure", "primitive", name, "ocf:vigil:Dummy", "params", "op_sleep=1")
    command = [str(Path(sys.executable).parent / words[0]), *words[1:], name]

    def target_role() -> str:
        return fenceless.crm("resource", "meta", name, "show", "target-role")[1]

    with subprocess.Popen(
        command, env=fenceless.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as restart:
        until(lambda: "Stopped" in target_role(), "it is being stopped")
        restart.send_signal(signal.SIGTERM)
        restart.communicate(timeout=LIMIT_S)
    assert "Stopped" not in target_role()
    fenceless.good("cluster", "wait")
    assert fenceless.good("resource", "locate", name) == f"{name}: solo\n"
