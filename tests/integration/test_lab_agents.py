"""Agents of the field, unmodified, on real nodes: address and web server, promotable clones, clones, init scripts; and parameters that change while they run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LabCluster

from crm.lab import cluster

pytestmark = [pytest.mark.usefixtures("machines"), pytest.mark.integration]
MakeLab = Callable[..., LabCluster]
BIN = Path(sys.executable).parent

NGINX = """
worker_processes 1;
pid {run}/nginx.pid;
error_log {log}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  server {{
    listen 80;
    location / {{ add_header X-Vigil-Node $hostname always; return 200 "$hostname\\n"; }}
  }}
}}
"""


def fencing(made: LabCluster) -> str:
    lab = made.lab
    return (
        "property stonith-enabled=true stonith-action=off\n"
        f"primitive power stonith:fence_vigil_lab params ip={lab.power_address} ipport={lab.power_port()} "
        f'pcmk_host_list="{" ".join(lab.nodes)}" op monitor interval=60s\n'
    )


def tool(made: LabCluster, node: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One of the cluster's commands, on a node."""
    command = [str(BIN / words[0]), *words[1:]]
    result = cluster.run(made.lab, node, command, text=True, capture_output=True)
    if check:
        assert result.returncode == 0, (
            f"{' '.join(words)} on {node}: {result.returncode} {result.stdout}{result.stderr}"
        )
    return result


def located(made: LabCluster, node: str, resource: str) -> set[str]:
    """Where the resource runs, as `node` says: `n1`, or `n1 Promoted`."""
    lines = tool(made, node, "crm_resource", "--locate", "-r", resource).stdout.splitlines()
    return {line.partition("on: ")[2] for line in lines}


def test_debians_address_and_nginx_serve_from_the_other_node_after_a_crash(make_lab: MakeLab, tmp_path: Path) -> None:
    made = make_lab()
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(run="/run", log="/var/log/nginx"))
    made.configure(
        fencing(made)
        + f"primitive ip ocf:heartbeat:IPaddr2 params ip={made.lab.service_address} cidr_netmask=24 op monitor interval=5s\n"
        + f"primitive web ocf:heartbeat:nginx params configfile={configuration} op monitor interval=5s timeout=30s\n"
        + "group service ip web\n"
    )
    made.watch()
    made.first_answer(0.0)
    made.wait_idle("n1")
    victim = made.server()
    survivor = made.other(victim)
    assert located(made, survivor, "service") == {victim}
    at = made.ask("crash", node=victim)["at"]
    made.first_answer(at, by=survivor)
    assert victim in made.fenced_since(at)


@pytest.mark.parametrize("agent", ["ocf:vigil:Stateful", "ocf:pacemaker:Stateful"])
def test_of_a_promotable_clone_one_is_promoted_and_after_its_crash_the_other(make_lab: MakeLab, agent: str) -> None:
    made = make_lab()
    made.configure(
        fencing(made)
        + f"primitive st {agent} op monitor interval=10s role=Promoted op monitor interval=11s role=Unpromoted\n"
        + "clone st-clone st meta promotable=true\n"
    )

    def promoted(seen_by: str) -> list[str]:
        there = located(made, seen_by, "st-clone")
        return [node for node in made.lab.nodes if f"{node} Promoted" in there]

    made.wait(lambda: len(promoted("n1")) == 1, "none was promoted")
    made.wait_idle("n1")
    assert len(located(made, "n1", "st-clone")) == 2
    (victim,) = promoted("n1")
    survivor = made.other(victim)

    def score(seen_by: str, *words: str) -> str:
        return tool(made, seen_by, "crm_attribute", *words, "-Gq", check=False).stdout.strip()

    asked = ("-N", victim, "-l", "reboot", "-n", "master-st")
    made.wait(lambda: score(survivor, *asked) == "10", "the agent sets its score through crm_attribute")
    made.wait(lambda: score(victim, "--promotion=st") == "10", "the node knows its own score")
    at = made.ask("crash", node=victim)["at"]
    made.wait(lambda: promoted(survivor) == [survivor], f"{survivor} was not promoted")
    assert victim in made.fenced_since(at)


LSB = """#!/bin/sh
state=/run/counter.state
case "$1" in
start) date +%s%N > $state ;;
stop) rm -f $state ;;
status) test -e $state || exit 3 ;;
*) exit 2 ;;
esac
"""


def test_a_clone_of_pacemakers_dummy_runs_on_both_nodes_and_an_init_script_on_one(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    made = make_lab()
    script = tmp_path / "counter"
    script.write_text(LSB)
    script.chmod(0o755)
    for node in made.lab.nodes:
        mounted = cluster.run(made.lab, node, ["mount", "--bind", str(tmp_path), "/etc/init.d"])
        assert mounted.returncode == 0
    made.configure(
        fencing(made)
        + "primitive d ocf:pacemaker:Dummy op monitor interval=10s\n"
        + "clone d-clone d\n"
        + "primitive counter lsb:counter op monitor interval=1s\n"
    )
    made.wait(lambda: located(made, "n1", "d-clone") == {"n1", "n2"}, "the clone does not run on both nodes")
    made.wait(lambda: len(located(made, "n1", "counter")) == 1, "the init script was not started")
    (node,) = located(made, "n1", "counter")
    assert has_state(made, node) and not has_state(made, made.other(node))
    cluster.run(made.lab, node, ["rm", "/run/counter.state"])
    made.wait(lambda: has_state(made, node), "what the init script runs was not restarted after it died")
    made.wait_idle("n1")
    counted = ("crm_attribute", "-N", node, "-l", "reboot", "-P", "^fail-count-counter#")
    assert tool(made, "n1", *counted, "-Gq").stdout == "1\n"
    tool(made, "n1", "crm_resource", "--cleanup", "-r", "counter")
    made.wait(lambda: tool(made, "n1", *counted, "-G", check=False).returncode == 105, "the failure is not forgotten")
    tool(made, "n1", "crm_resource", "--move", "-r", "counter", "-N", made.other(node))
    tool(made, "n1", "crm_resource", "--wait")
    assert located(made, "n1", "counter") == {made.other(node)}
    assert has_state(made, made.other(node)) and not has_state(made, node)


def has_state(made: LabCluster, node: str) -> bool:
    return cluster.run(made.lab, node, ["test", "-e", "/run/counter.state"]).returncode == 0


def test_a_changed_parameter_reloads_or_restarts_as_the_agent_says(make_lab: MakeLab) -> None:
    """Of the OCF standard 1.1 (reload-agent, reloadable) and 1.0 (reload, unique)."""
    agents = {"a": "ocf:pacemaker:Dummy", "b": "ocf:heartbeat:Dummy", "c": "ocf:vigil:Dummy"}
    made = make_lab()
    made.configure(
        "property stonith-enabled=false\n"
        + "".join(f"primitive {rsc} {agent} params fake=1 op monitor interval=10s\n" for rsc, agent in agents.items())
    )
    made.wait(lambda: all(located(made, "n1", rsc) for rsc in agents), "the resources were not started")
    made.wait_idle("n1")
    before = {rsc: located(made, "n1", rsc) for rsc in agents}
    begun = time.time()
    # The second change counts as much as the first.
    for name, value in (("fake", "2"), ("fake", "3"), ("state", "/run/{}.state"), ("fake", "4")):
        for rsc in agents:
            tool(made, "n1", "crm_resource", "-r", rsc, "-p", name, "-v", value.format(rsc))
        tool(made, "n1", "crm_resource", "--wait")
    for rsc in agents:
        (node,) = before[rsc]
        assert operations(made, node, rsc, begun) == ["reload-agent", "reload-agent", "stop", "start", "reload-agent"]
        assert located(made, "n1", rsc) == {node}


def operations(made: LabCluster, node: str, resource: str, since: float) -> list[str]:
    """What the node has done with the resource since then, looking after it left out."""
    with cluster.api(made.lab, node) as client:
        events = client.call("events.recent", since_ms=int(since * 1000))["events"]
    done = [event for event in events if event["event"] == "action_result" and event["resource"] == resource]
    return [event["operation"] for event in done if event["operation"] != "monitor"]
