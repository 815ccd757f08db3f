"""Recurring operations that begin later (`start-delay`, `interval-origin`): nobody waits for their first run."""

from __future__ import annotations

import pytest
from lxml import etree
from test_executor_core import World

from agents.types import ExecStatus, OcfCode, OperationResult
from crm.cib import xml
from crm.controller.graph import parse
from crm.executor.types import Report
from crm.policy.schedule import schedule

FAILED = OperationResult(OcfCode.NOT_RUNNING)
DAY_MS = "86400000"


@pytest.fixture
def world() -> World:
    world = World()
    world.order("start")
    world.done()
    world.order("monitor", interval_ms=10_000, CRM_meta_start_delay=DAY_MS, CRM_meta_timeout="20000")
    return world


def told(world: World) -> Report:
    return world.reports[-1]


def test_it_is_accepted_at_once_and_recorded_as_pending_in_its_own_place(world: World) -> None:
    report = told(world)
    assert (report.transition_key, report.rc, report.status) == ("2:1:0:uuid", 0, ExecStatus.DONE)
    assert report.entry is not None
    assert (report.entry["id"], report.entry["op-status"], report.entry["rc-code"]) == (
        "web_monitor_10000",
        "-1",
        "193",
    )
    assert "op-digest" in report.entry, "without it the policy engine would order it again at every decision"
    assert report.forget == ("pending-web_monitor_10000",)
    assert report.postponed, "nobody is to be told that it has run"
    assert set(world.entries()) == {"web_last_0", "web_monitor_10000"}
    assert world.actions() == []
    assert world.executor.idle


def test_it_runs_when_its_time_has_come_and_tells_its_result(world: World) -> None:
    assert world.timers["web|monitor|10000"] == world.now + int(DAY_MS)
    world.fire("web|monitor|10000")
    assert world.actions() == ["monitor"]
    assert set(world.entries()) == {"web_last_0", "web_monitor_10000"}, "nothing new is pending"
    world.done()
    assert told(world).entry is not None
    assert world.entries()["web_monitor_10000"]["op-status"] == "0"
    assert world.timers["web|monitor|10000"] == world.now + 10_000


def test_when_it_fails_the_first_time_it_is_not_pending_any_more(world: World) -> None:
    world.fire("web|monitor|10000")
    world.done(FAILED)
    assert told(world).failure_entry is not None
    assert told(world).forget == ("web_monitor_10000",)
    assert set(world.entries()) == {"web_last_0", "web_last_failure_0"}


def test_a_stop_before_its_time_ends_it_and_takes_its_entry_along(world: World) -> None:
    count = len(world.reports)
    world.order("stop")
    assert "web|monitor|10000" not in world.timers
    world.done()
    assert len(world.reports) == count + 1, "its order was answered already"
    assert told(world).forget == ("web_monitor_10000",)
    assert set(world.entries()) == {"web_last_0"}


def test_cancelling_it_before_its_time_takes_its_entry_along(world: World) -> None:
    count = len(world.reports)
    world.order("cancel", CRM_meta_operation="monitor", CRM_meta_interval="10000")
    assert len(world.reports) == count + 1
    assert "web_monitor_10000" in told(world).forget
    assert set(world.entries()) == {"web_last_0"}


def test_ordered_anew_it_takes_the_place_of_the_former_one(world: World) -> None:
    world.order("monitor", interval_ms=10_000, CRM_meta_start_delay="5000", other="1")
    assert world.timers["web|monitor|10000"] == world.now + 5_000
    world.order("monitor", interval_ms=20_000)
    world.done()
    assert told(world).forget == (), "the entry is that of the new order"
    assert world.entries()["web_monitor_10000"]["op-status"] == "-1"


def test_a_restarted_executor_knows_nothing_of_it_so_that_it_is_ordered_again(world: World) -> None:
    successor = world.restarted()
    assert set(successor.entries()) == {"web_last_0"}
    assert "web|monitor|10000" not in successor.timers


def document(entry: dict[str, str] | None, last: dict[str, str]) -> etree._Element:
    ops = "".join(
        etree.tostring(etree.Element("lrm_rsc_op", each), encoding="unicode") for each in (last, entry) if each
    )
    op = '<operations><op id="o" name="monitor" interval="10s" start-delay="24h"/></operations>'
    return xml.parse(
        f"""<cib validate-with="pacemaker-3.9" have-quorum="1" crm_feature_set="3.20.5"><configuration>
        <crm_config><cluster_property_set id="p"><nvpair id="a" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
        <nodes><node id="1" uname="n1"/></nodes>
        <resources><primitive id="web" class="ocf" provider="vigil" type="Dummy">{op}</primitive></resources>
        <constraints/></configuration>
        <status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member">
        <lrm id="1"><lrm_resources><lrm_resource id="web" class="ocf" provider="vigil" type="Dummy">{ops}</lrm_resource></lrm_resources></lrm>
        </node_state></status></cib>"""
    )


def test_the_policy_engine_takes_the_pending_entry_for_what_it_wants(world: World) -> None:
    entries = world.entries()
    without = parse(schedule(document(None, entries["web_last_0"]), 1_000).to_xml())
    assert [synapse.action.key for synapse in without.synapses] == ["web_monitor_10000"]
    with_it = parse(schedule(document(entries["web_monitor_10000"], entries["web_last_0"]), 1_000).to_xml())
    assert with_it.synapses == ()
