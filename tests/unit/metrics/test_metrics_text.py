"""The text for Prometheus: valid whatever the names are, and what ha_cluster_exporter tells under the same names."""

from __future__ import annotations

import math

import pytest
from exposition_check import read, value
from lxml import etree

from crm.metrics import exposition, pacemaker
from crm.metrics.counts import MAX_SERIES, Counts
from crm.metrics.exposition import Family, Kind, counter, gauge

CIB = """
<cib cib-last-written="Sat Nov 21 15:40:32 2026" have-quorum="1" dc-uuid="1"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="true"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"><instance_attributes id="s"><nvpair id="s1" name="standby" value="on"/></instance_attributes></node></nodes>
<resources>
  <primitive id="power" class="stonith" type="fence_x"/>
  <group id="site"><primitive id="ip" class="ocf" provider="vigil" type="IPaddr"/>
  <primitive id="web" class="ocf" provider="vigil" type="WebServer">
    <meta_attributes id="m"><nvpair id="m1" name="migration-threshold" value="3"/><nvpair id="m2" name="is-managed" value="false"/></meta_attributes>
  </primitive></group>
  <clone id="all"><primitive id="each" class="ocf" provider="vigil" type="Dummy"/></clone>
</resources>
<constraints><rsc_location id="here" rsc="site" node="n1" score="INFINITY"/><rsc_location id="not" rsc="site" node="n2" score="-50"/>
<rsc_location id="rule" rsc="ip"><rule id="r" score="5"><expression id="e" attribute="#uname" operation="eq" value="n1"/></rule></rsc_location></constraints>
</configuration><status>
<node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member">
  <transient_attributes id="1"><instance_attributes id="t"><nvpair id="t1" name="fail-count-web#monitor_2000" value="2"/>
    <nvpair id="t3" name="fail-count-ip#start_0" value="INFINITY"/></instance_attributes></transient_attributes>
  <lrm id="1"><lrm_resources>
    <lrm_resource id="ip" class="ocf" provider="vigil" type="IPaddr">
      <lrm_rsc_op id="ip_last_0" operation_key="ip_start_0" operation="start" transition-key="1:1:0:u" transition-magic="0:0;1:1:0:u" call-id="1" rc-code="0" op-status="0" interval="0"/></lrm_resource>
    <lrm_resource id="web" class="ocf" provider="vigil" type="WebServer">
      <lrm_rsc_op id="web_last_0" operation_key="web_start_0" operation="start" transition-key="2:1:0:u" transition-magic="0:0;2:1:0:u" call-id="2" rc-code="0" op-status="0" interval="0"/></lrm_resource>
    <lrm_resource id="each" class="ocf" provider="vigil" type="Dummy">
      <lrm_rsc_op id="each_last_0" operation_key="each_start_0" operation="start" transition-key="3:1:0:u" transition-magic="0:0;3:1:0:u" call-id="3" rc-code="0" op-status="0" interval="0"/></lrm_resource>
  </lrm_resources></lrm></node_state>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"""


def samples() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return read(exposition.render(pacemaker.families(etree.fromstring(CIB), 1_795_275_700)))


def test_nodes_have_a_sample_for_each_status_that_holds() -> None:
    found = samples()
    of = {
        (dict(labels)["node"], dict(labels)["status"]): dict(labels)["type"]
        for name, labels in found
        if name == "ha_cluster_pacemaker_nodes"
    }
    assert {("n1", "online"), ("n1", "dc"), ("n2", "online"), ("n2", "standby")} <= of.keys()
    assert ("n1", "standby") not in of and set(of.values()) == {"member"}


def test_resources_tell_where_they_are_in_which_group_or_clone_and_how() -> None:
    found = samples()
    name = "ha_cluster_pacemaker_resources"
    assert value(found, name, resource="web", node="n1", role="started", group="site", status="active", managed="false")
    assert value(found, name, resource="ip", agent="ocf:vigil:IPaddr", clone="", managed="true", status="active")
    assert value(found, name, resource="each", clone="all", node="n1", status="active")
    assert value(found, name, resource="power", node="", role="stopped", status="")


def test_fail_counts_thresholds_and_constraints_are_numbers_also_infinite_ones() -> None:
    found = samples()
    assert value(found, "ha_cluster_pacemaker_fail_count", resource="web", node="n1") == 2
    assert value(found, "ha_cluster_pacemaker_fail_count", resource="ip", node="n1") == math.inf
    assert value(found, "ha_cluster_pacemaker_migration_threshold", resource="web", node="n1") == 3
    assert value(found, "ha_cluster_pacemaker_migration_threshold", resource="ip", node="n1") == math.inf
    assert value(found, "ha_cluster_pacemaker_location_constraints", constraint="here", node="n1") == math.inf
    assert value(found, "ha_cluster_pacemaker_location_constraints", constraint="not", resource="site") == -50
    assert not [labels for name, labels in found if ("constraint", "rule") in labels]


def test_fencing_and_the_last_change() -> None:
    found = samples()
    assert value(found, "ha_cluster_pacemaker_stonith_enabled") == 1
    assert value(found, "ha_cluster_pacemaker_config_last_change") == 1_795_275_632


@pytest.mark.parametrize("written", ["", "yesterday"])
def test_a_configuration_without_a_date_has_no_sample_of_it(written: str) -> None:
    document = etree.fromstring(CIB)
    document.set("cib-last-written", written)
    text = exposition.render(pacemaker.families(document, 1))
    assert "config_last_change" not in text


def test_names_that_people_choose_cannot_break_the_format() -> None:
    family = gauge("vigil_test", "Help with \\ and\na new line")
    for nasty in ('a"b', "a\\b", "a\nb", "a}b", "ä{,}=", ""):
        family.add(1, resource=nasty)
    found = read(exposition.render([family]))
    assert {dict(labels)["resource"] for _, labels in found} == {'a"b', "a\\b", "a\nb", "a}b", "ä{,}=", ""}


def test_numbers_are_written_so_that_nothing_is_lost() -> None:
    shown = [exposition.number(each) for each in (0, 1.0, -2, 0.25, 1e-9, math.inf, -math.inf, 2**40)]
    assert shown == ["0", "1", "-2", "0.25", "1e-09", "+Inf", "-Inf", "1099511627776"]


def test_a_family_without_samples_is_left_out_and_the_same_sample_twice_counts_once() -> None:
    assert exposition.render([gauge("vigil_none", "Nothing")]) == ""
    family = counter("vigil_test_total", "Twice")
    family.add(1, peer="n2")
    family.add(2, peer="n2")
    assert value(read(exposition.render([family])), "vigil_test_total", peer="n2") == 2


@pytest.mark.parametrize(("name", "kind"), [("1x", Kind.GAUGE), ("x", Kind.COUNTER), ("x_total", Kind.GAUGE)])
def test_a_wrong_name_is_our_own_fault(name: str, kind: Kind) -> None:
    with pytest.raises(AssertionError):
        Family(name, kind, "wrong")


def test_counters_are_made_from_records() -> None:
    counts = Counts()
    operation = {"event": "action_result", "operation": "start", "exec_ms": 250, "status": 0, "ok": True}
    for record in (
        operation,
        {**operation, "ok": False, "exec_ms": 50},
        {**operation, "ok": False, "status": 2, "operation": "monitor"},
        {"event": "view"},
        {"event": "peer_late", "peer": "n2"},
        {"event": "peer_lost", "peer": "n2"},
        {"event": "fenced", "target": "n2", "action": "off"},
        {"event": "transition_end", "outcome": "complete"},
        {"event": "cib_changed"},
        {"event": "decision_failed"},
    ):
        counts.on_record(record)
    found = read(exposition.render(counts.families()))
    assert value(found, "vigil_operations_total", operation="start", result="ok") == 1
    assert value(found, "vigil_operations_total", operation="monitor", result="timeout") == 1
    assert value(found, "vigil_operation_seconds_sum", operation="start") == 0.3
    assert value(found, "vigil_operation_seconds_count", operation="start") == 2
    assert value(found, "vigil_fencing_total", target="n2", action="off", result="ok") == 1
    assert value(found, "vigil_peer_late_total", peer="n2") == value(found, "vigil_peer_lost_total", peer="n2") == 1
    assert value(found, "vigil_transitions_total", outcome="complete") == 1
    assert value(found, "vigil_event_records_total") == 10


def test_names_without_number_do_not_fill_the_memory() -> None:
    counts = Counts()
    for number in range(2 * MAX_SERIES):
        counts.on_record({"event": "fenced", "target": f"n{number}", "action": "off"})
    found = read(exposition.render(counts.families()))
    assert len([name for name, _ in found if name == "vigil_fencing_total"]) == MAX_SERIES + 1
    assert value(found, "vigil_fencing_total", target="other") == MAX_SERIES
