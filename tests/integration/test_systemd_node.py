"""A node with a real systemd: vigild is a service of it, and units are resources."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from systemd_machine import SystemdMachine, why_not

from crm.api.client import Client
from crm.api.errors import ApiError

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(why_not()), reason=why_not())]

BIN = Path(sys.executable).parent
UNIT = Path(__file__).resolve().parents[2] / "crm" / "daemon" / "vigild.service"
CONFIG = """\
[cluster]
name = "one"
key_file = "/etc/vigil/keys"

[node]
name = "n1"

[[nodes]]
name = "n1"
id = 1
addresses = ["127.0.0.1:5405"]

[[links]]
mode = "unicast"
port = 5405

[timers]
deadtime_ms = 1000
initdead_ms = 1000
"""
COUNTER = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh -c 'exec sleep 1000'
"""


class Node(SystemdMachine):
    """The machine with vigild in it."""

    def install(self) -> None:
        self.write("/etc/vigil/vigil.toml", CONFIG)
        self.write("/etc/vigil/keys", f"1 {secrets.token_hex(32)}\n", 0o600)
        self.write("/run/systemd/system/counter.service", COUNTER)
        unit = UNIT.read_text().replace("ExecStart=/usr/bin/vigild", f"ExecStart={BIN}/vigild")
        self.write("/run/systemd/system/vigild.service", unit)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", "vigild")
        self.wait(self.online, "the node is not online")

    def online(self) -> bool:
        try:
            with Client(str(self.path("/run/vigil")), timeout_s=5) as client:
                nodes = client.call("status")["nodes"]
        except ApiError:
            return False
        return [node["state"] for node in nodes] == ["online"]

    def tool(self, *words: str, check: bool = True) -> str:
        return self.run(str(BIN / words[0]), *words[1:], check=check).stdout

    def configure(self, text: str) -> None:
        self.run(str(BIN / "crm"), "configure", "load", "update", "-", input=text)

    def unit(self, name: str) -> dict[str, str]:
        shown = self.run("systemctl", "show", "-p", "ActiveState,MainPID,NRestarts", name).stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def runs(self, resource: str) -> bool:
        return self.tool("crm_resource", "-Q", "-W", "-r", resource) == "n1\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("systemd")) as machine:
        machine.install()
        yield machine


def test_a_unit_is_started_watched_and_stopped(node: Node) -> None:
    node.configure(
        "property stonith-enabled=false\nprimitive counter systemd:counter op monitor interval=1s timeout=10s\n"
    )
    node.wait(lambda: node.unit("counter")["ActiveState"] == "active", "the unit was not started")
    node.tool("crm_resource", "--wait")
    assert node.runs("counter")
    first = node.unit("counter")["MainPID"]
    node.run("kill", "-9", first)
    node.wait(lambda: node.unit("counter")["MainPID"] not in ("0", first), "the unit was not started again")
    node.tool("crm_resource", "--wait")
    assert node.tool("crm_attribute", "-N", "n1", "-l", "reboot", "-P", "^fail-count-counter#", "-Gq") == "1\n"
    node.tool("crm_resource", "-r", "counter", "-m", "-p", "target-role", "-v", "Stopped")
    node.tool("crm_resource", "--wait")
    assert node.unit("counter")["ActiveState"] == "inactive"
    node.tool("crm_resource", "-r", "counter", "-m", "-p", "target-role", "-v", "Started")
    node.tool("crm_resource", "--wait")
    assert node.unit("counter")["ActiveState"] == "active"


def test_a_unit_that_is_not_installed_or_cannot_start_says_so(node: Node) -> None:
    node.write(
        "/run/systemd/system/broken.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/false\nType=oneshot\n",
    )
    node.run("systemctl", "daemon-reload")
    node.configure("primitive nobody systemd:no-such-unit\nprimitive broken systemd:broken op start timeout=10s\n")
    node.tool("crm_resource", "--wait")
    shown = node.tool("crm_mon", "-1rR")
    assert "nobody\t(systemd:no-such-unit):\t Stopped (Not installed)" in shown
    assert "broken_start_0 on n1 'error' (1): " in shown

    def warned() -> str:
        return node.run("journalctl", "-u", "vigild", "-p", "warning", "-o", "cat", "--no-pager").stdout

    node.wait(lambda: "crm: start of broken failed" in warned(), "the journal does not know how bad the line is")
    warnings = warned()
    assert "<4>" not in warnings
    assert "started crm" not in warnings and "crm started" not in warnings
    node.configure("property stop-orphan-resources=true\n")
    for resource in ("nobody", "broken"):
        node.tool("cibadmin", "-D", "-X", f'<primitive id="{resource}"/>')
    node.tool("crm_resource", "--wait")


def test_vigild_killed_is_started_again_and_what_it_runs_goes_on(node: Node) -> None:
    unit, vigild = node.unit("counter")["MainPID"], node.unit("vigild")["MainPID"]
    node.run("kill", "-9", vigild)
    node.wait(lambda: node.unit("vigild")["MainPID"] not in ("0", vigild), "vigild was not started again")
    node.wait(node.online, "the node is not back")
    node.tool("crm_resource", "--wait")
    assert node.unit("counter")["MainPID"] == unit
    assert node.runs("counter")


def test_stopping_vigild_stops_what_it_runs_and_starting_it_starts_that_again(node: Node) -> None:
    node.run("systemctl", "stop", "vigild")
    assert node.unit("vigild")["ActiveState"] == "inactive"
    assert node.unit("counter")["ActiveState"] == "inactive"
    node.run("systemctl", "start", "vigild")
    node.wait(lambda: node.unit("counter")["ActiveState"] == "active", "the unit was not started again")


def test_what_somebody_started_by_hand_meanwhile_is_found_and_kept(node: Node) -> None:
    node.tool("crm_resource", "--wait")
    node.run("systemctl", "stop", "vigild")
    node.run("systemctl", "start", "counter")
    by_hand = node.unit("counter")["MainPID"]
    node.run("systemctl", "start", "vigild")
    node.wait(lambda: node.online() and node.runs("counter"), "the unit was not found")
    node.tool("crm_resource", "--wait")
    assert node.unit("counter")["MainPID"] == by_hand
