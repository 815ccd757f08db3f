"""Two real nodes: they form a cluster, keep a resource alive through every death, and lose no acknowledged change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import DEADTIME_MS, Cluster, TestNode, wait_for

pytestmark = pytest.mark.integration

POWER = """\
<primitive id="power" class="stonith" type="fence_test"><instance_attributes id="power-params">
<nvpair id="power-hosts" name="pcmk_host_list" value="n1 n2"/></instance_attributes></primitive>"""
WEB = """\
<primitive id="web" class="ocf" provider="vigil" type="Dummy"><meta_attributes id="web-meta">
<nvpair id="web-stickiness" name="resource-stickiness" value="100"/></meta_attributes>
<operations><op id="web-monitor" name="monitor" interval="1s"/></operations></primitive>"""

PATIENT_MS = 15_000
RESTART_GRACE = """\
<cluster_property_set id="cib-bootstrap-options"><nvpair id="o1" name="crm-restart-grace" value="60s"/></cluster_property_set>"""
"""A daemon that was killed should be back before its node counts as dead or lost, also on a busy machine."""


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes; `patient` ones where the test says so."""
    patient = request.node.get_closest_marker("patient") is not None
    with Cluster(tmp_path / "cluster", deadtime_ms=PATIENT_MS if patient else DEADTIME_MS) as made:
        made.start()
        made.wait_online()
        yield made


def serve(cluster: Cluster) -> str:
    """Configure fencing and a resource; the node on which it has started."""
    cluster.apply("n1", POWER, scope="resources")
    cluster.apply("n1", WEB, scope="resources")
    wait_for(lambda: len(cluster.running("web")) == 1, "web to be started")
    cluster.wait_idle("n1")
    return cluster.running("web")[0]


def other(name: str) -> str:
    return "n2" if name == "n1" else "n1"


def states(cluster: Cluster, seen_by: str) -> dict[str, str]:
    answer = cluster.status(seen_by)
    return {} if answer is None else {each["name"]: each["state"] for each in answer["nodes"]}


def test_a_resource_is_started_on_one_node_and_both_members_tell_the_same_of_it(cluster: Cluster) -> None:
    where = serve(cluster)
    texts = {name: cluster.call(name, "cib.query")["xml"] for name in cluster.nodes}
    assert texts["n1"] == texts["n2"]
    path = f"//node_state[@uname='{where}']//lrm_rsc_op[@operation_key='web_monitor_1000']"
    assert cluster.cib("n1", path).get("rc-code") == "0"


def test_after_a_power_cut_the_node_is_fenced_first_and_then_the_resource_is_back(cluster: Cluster) -> None:
    victim = serve(cluster)
    survivor = other(victim)
    since_ms = int(time.time() * 1000)
    cluster.crash(victim)
    wait_for(lambda: cluster.running("web") == [survivor], "web to be back")
    cluster.wait_idle(survivor)
    assert cluster.fenced() == [victim]
    events = [event for event in cluster.events(survivor) if event["time_ms"] >= since_ms]
    started = [event for event in events if _is_start(event, "web")]
    order = [event["event"] for event in events if event["event"] in ("peer_lost", "fence_requested", "fenced")]
    assert order == ["peer_lost", "fence_requested", "fenced"]
    fenced = next(event for event in events if event["event"] == "fenced")
    assert fenced["mono_ms"] <= started[0]["mono_ms"]
    cluster.start(victim)
    cluster.wait_online()
    cluster.wait_idle(survivor)
    assert cluster.running("web") == [survivor], "nothing moves needlessly when the node is back"
    assert cluster.fenced() == [victim]


def _is_start(event: dict[str, Any], resource: str) -> bool:
    return event["event"] == "action_result" and event["operation"] == "start" and event["resource"] == resource


@pytest.mark.patient
@pytest.mark.parametrize("part", ["crm", "messaging", "vigild", "policy"])
def test_one_process_killed_ten_times_in_a_row_costs_no_service_and_no_acknowledged_change(
    cluster: Cluster, part: str
) -> None:
    where = serve(cluster)
    cluster.apply("n1", RESTART_GRACE, "modify", scope="crm_config", allow_create=True)
    for number in range(10):
        cluster.apply(
            "n1", f'<primitive id="spare{number}" class="ocf" provider="vigil" type="Dummy"/>', scope="resources"
        )
        victim = where if number % 2 == 0 else other(where)
        node = cluster.nodes[victim]
        before = cluster.view(other(victim))
        killed = cluster.kill(victim, part)
        # The members are not of one mind just now; what an agent or a person asks for is done as soon as they are.
        cluster.call(other(victim), "attribute.update", name="round", value=str(number))
        if part == "vigild":
            cluster.start(victim)
        wait_for(lambda node=node, killed=killed: _replaced(node, part, killed), f"{part} to be started again")
        # The next one is killed when all have noticed this one's death and are together again.
        cluster.wait_settled(after=before if part in ("crm", "messaging") else "")
        assert cluster.running("web") == [where]
    cluster.wait_idle("n1")
    assert cluster.running("web") == [where]
    assert cluster.fenced() == []
    for name in cluster.nodes:
        spares = {f"spare{number}" for number in range(10)}
        assert spares <= {each.get("id") for each in cluster.cib(name, "//resources").iter("primitive")}
    for number in range(10):
        assert len(cluster.running(f"spare{number}")) == 1


def _replaced(node: TestNode, part: str, killed: int) -> bool:
    if part == "policy":
        return True  # a new one is started with the next decision
    pid = node.pid_of(part)
    return pid is not None and pid != killed


def test_a_crm_that_does_not_come_back_is_fenced_and_its_resource_moves(cluster: Cluster) -> None:
    where = serve(cluster)
    cluster.kill(where, "vigild")
    cluster.kill(where, "crm")
    survivor = other(where)
    wait_for(lambda: cluster.running("web") == [survivor], "web to be moved")
    assert cluster.fenced() == [where]


def test_a_node_that_is_stopped_hands_its_resources_over_and_is_not_fenced(cluster: Cluster) -> None:
    where = serve(cluster)
    survivor = other(where)
    assert cluster.stop(where) == 0
    wait_for(lambda: cluster.running("web") == [survivor], "web to be moved")
    wait_for(lambda: states(cluster, survivor)[where] == "offline", f"{where} to be offline")
    cluster.wait_gone(where)
    assert cluster.stop(survivor) == 0
    assert cluster.fenced() == [] and cluster.running("web") == []


def test_everything_configured_is_there_after_all_nodes_lost_power_at_once(cluster: Cluster) -> None:
    serve(cluster)
    version = cluster.apply("n2", '<primitive id="late" class="ocf" provider="vigil" type="Dummy"/>', scope="resources")
    for name in cluster.nodes:
        cluster.crash(name)
    cluster.start()
    cluster.wait_online()
    wait_for(lambda: len(cluster.running("web")) == 1 and len(cluster.running("late")) == 1, "both to be started")
    ids = {each.get("id") for each in cluster.cib("n1", "//resources").iter("primitive")}
    assert ids == {"power", "web", "late"}, version
