"""Controllers on a perfect network: joining, deciding, acting, failing, leaving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from controller_world import NOTHING, Node, World, crm_event, fence_then_start, graph, idle, rsc_op, status_of, two
from lxml import etree

from crm.cib import xml
from crm.controller import status
from crm.controller.dc import RECHECK_LEAST_MS, RECHECK_MARGIN_MS, SLOW_STOP_MS
from crm.controller.effects import Decide, Forget, KeepAttributes
from crm.controller.graph import ResourceDefinition, parse
from crm.controller.messages import Changes
from crm.controller.properties import CRM_RESTART_GRACE_MS
from crm.controller.types import OperationReport, Settings

LRM_WEB = """<lrm_resource id="web" type="Dummy" class="ocf" provider="vigil"><lrm_rsc_op id="web_last_0" operation_key="web_start_0"
 operation="start" transition-key="1:1:0:a" transition-magic="0:0;1:1:0:a" call-id="5" rc-code="0" op-status="0" interval="0"/></lrm_resource>"""
WEB = ResourceDefinition("web", None, "ocf", "vigil", "Dummy")


def start_web_on(node: int) -> Any:
    """A policy: start `web` on the node unless its history tells that it runs somewhere."""

    def policy(document: etree._Element) -> str:
        for entry in document.iter("lrm_rsc_op"):
            if entry.get("operation") == "start" and entry.get("rc-code") == "0":
                return NOTHING
        return graph((rsc_op(1, "start", "web", node), ()), (rsc_op(2, "monitor", "web", node, interval=10000), (1,)))

    return policy


def entries(node: Node, on: int = 1) -> dict[str, dict[str, str]]:
    lrm = status.history_of(node.replica.document, str(on))
    found = [] if lrm is None else lrm.iter("lrm_rsc_op")
    return {entry.get("id", ""): {str(k): str(v) for k, v in entry.attrib.items()} for entry in found}


# --- joining ----------------------------------------------------------------------------------------------------------


def test_members_of_a_view_agree_on_a_dc_and_on_the_status() -> None:
    world = two()
    assert world.dc().name == "n1"
    assert world.equal()
    for name in ("n1", "n2"):
        state = status_of(world.nodes[2], name)
        assert (state["in_ccm"], state["crmd"], state["join"], state["expected"]) == (
            "true",
            "online",
            "member",
            "member",
        )
    assert world.nodes[1].replica.document.get("have-quorum") == "1"
    assert world.nodes[1].replica.document.get("dc-uuid") == "1"
    assert world.nodes[1].controller.state == "S_IDLE" and world.nodes[2].controller.state == "S_NOT_DC"


def test_a_newcomer_takes_the_cib_of_those_who_are_there_even_if_its_own_has_a_higher_version() -> None:
    world = two()
    world.add(3, '<cib admin_epoch="0" epoch="99" num_updates="0"><configuration/><status/></cib>')
    world.install(1, 2, 3)
    assert world.equal()
    assert world.nodes[3].replica.version.epoch == 0
    assert world.dc().name == "n1"


def test_at_a_cold_start_the_highest_version_wins() -> None:
    world = World(idle)
    world.add(1, '<cib admin_epoch="0" epoch="5" num_updates="7"><configuration/><status/></cib>')
    world.add(
        2, '<cib admin_epoch="0" epoch="6" num_updates="0"><configuration><crm_config/></configuration><status/></cib>'
    )
    world.install(1, 2)
    assert world.equal()
    assert xml.version(world.nodes[1].replica.document).epoch == 6


def test_the_dc_stays_when_a_node_with_a_lower_id_comes() -> None:
    world = World(idle)
    world.add(2)
    world.add(3)
    world.install(2, 3)
    assert world.dc().name == "n2"
    world.add(1)
    world.install(1, 2, 3)
    assert world.dc().name == "n2"


def test_the_quorate_side_of_a_partition_wins_and_each_node_tells_its_own_history() -> None:
    world = World(idle)
    for number in (1, 2, 3):
        world.add(number)
    world.install(1, 2, 3)
    lost = World(idle, nodes={1: world.nodes[1]}, view=world.view)
    lost._sequence = 5
    lost.install(1, quorate=False)
    lrm = '<lrm id="1"><lrm_resources><lrm_resource id="web"/></lrm_resources></lrm>'
    world.nodes[1].executor.lrm = lrm
    for _ in range(5):
        lost.perform(world.nodes[1], world.nodes[1].controller.set_attributes("1", "n1", {"x": str(_)}, "test"))
    world.nodes[2].replica.stands = world.nodes[3].replica.stands = (7, 2, 1, 1)
    world.install(2, 3)
    world._sequence = 9
    world.install(1, 2, 3)
    assert world.equal() and world.dc().name == "n2"
    assert status.lrm_resource(world.nodes[3].replica.document, "1", "web") is not None
    assert status.transient_attributes(world.nodes[3].replica.document, "1") == {"x": "4"}


def test_a_view_that_ends_in_the_middle_of_a_join_leaves_nothing_behind() -> None:
    world = World(idle)
    for number in (1, 2, 3):
        world.add(number)
    for interrupted_after in range(12):
        world.install(1, 2, 3, deliver=False)
        world.deliver(interrupted_after)
        world.install(2, 3)
        assert world.equal() and world.dc().controller.state == "S_IDLE"


def test_a_restarted_crm_tells_what_its_executor_still_knows() -> None:
    world = two()
    lrm = '<lrm id="2"><lrm_resources><lrm_resource id="web" class="ocf" provider="vigil" type="Dummy"/></lrm_resources></lrm>'
    world.install(1, 2, group=[1])
    world.add(2, lrm=lrm, settings=Settings(attributes={"fail-count-web#monitor_10000": "1"}), life=2)
    world.install(1, 2)
    assert world.equal()
    document = world.nodes[1].replica.document
    assert status.lrm_resource(document, "2", "web") is not None
    assert status.transient_attributes(document, "2") == {"fail-count-web#monitor_10000": "1"}


def test_a_node_that_rebooted_loses_its_history_and_its_transient_attributes() -> None:
    world = two()
    world.perform(world.nodes[2], world.nodes[2].controller.set_attributes("2", "n2", {"standby": "on"}, "test"))
    world.install(1)
    world.add(2, life=2)
    world.install(1, 2)
    assert status.transient_attributes(world.nodes[1].replica.document, "2") == {}


# --- absent nodes -----------------------------------------------------------------------------------------------------


def test_a_lost_node_is_out_but_still_expected() -> None:
    world = two()
    world.install(1)
    state = status_of(world.nodes[1], "n2")
    assert (state["in_ccm"], state["crmd"], state["join"], state["expected"]) == ("false", "offline", "down", "member")


def test_an_absent_crm_is_given_its_grace_before_anything_is_decided() -> None:
    world = two()
    decided = len([r for r in world.nodes[1].records if r.name == "view"])
    world.install(1, 2, group=[1])
    assert decided == 1
    assert status_of(world.nodes[1], "n2")["crmd"] == "online"
    assert world.nodes[1].controller.state == "S_INTEGRATION"
    world.pass_time(CRM_RESTART_GRACE_MS - 1)
    assert status_of(world.nodes[1], "n2")["crmd"] == "online"
    world.pass_time(2)
    state = status_of(world.nodes[1], "n2")
    assert (state["in_ccm"], state["crmd"], state["expected"]) == ("true", "offline", "member")
    assert world.nodes[1].controller.state == "S_IDLE"


def test_a_crm_that_comes_back_within_its_grace_was_never_away() -> None:
    world = two()
    world.install(1, 2, group=[1])
    world.pass_time(500)
    world.add(2, life=2)
    world.install(1, 2)
    assert status_of(world.nodes[1], "n2")["crmd"] == "online"
    assert world.nodes[1].controller.state == "S_IDLE"


def start_on_both(document: etree._Element) -> str:
    done = {
        (entry.getparent() is not None and entry.get("on_node"))
        for entry in document.iter("lrm_rsc_op")
        if entry.get("operation") == "start" and entry.get("rc-code") == "0"
    }
    return graph(*((rsc_op(node, "start", f"r{node}", node), ()) for node in (1, 2) if f"n{node}" not in done))


def test_while_a_crm_is_being_restarted_only_what_concerns_its_node_waits() -> None:
    world = two()
    world.policy = start_on_both
    world.install(1, 2, group=[1])
    assert [order.action.key for order in world.nodes[1].orders] == ["r1_start_0"]
    assert world.nodes[2].orders == []
    world.add(2, life=2)
    world.install(1, 2)
    assert [order.action.key for order in world.nodes[2].orders] == ["r2_start_0"]
    assert [order.action.key for order in world.nodes[1].orders] == ["r1_start_0"]  # under way, so not ordered again


def test_without_quorum_nothing_is_decided_while_a_crm_is_being_restarted() -> None:
    world = two()
    world.policy = start_on_both
    world.install(1, 2, group=[1], quorate=False)
    assert world.nodes[1].orders == []


def test_a_node_that_vanishes_without_having_been_silent_is_being_restarted_and_gets_its_grace() -> None:
    world = two(fence_then_start)
    world.install(1, abrupt=True)
    assert world.nodes[1].fences == [] and status_of(world.nodes[1], "n2")["in_ccm"] == "true"
    world.nodes[2].incarnation = 2
    world.install(1, 2, group=[1])
    world.pass_time(300)
    world.install(1, 2)
    assert world.nodes[1].fences == [] and world.dc().controller.state == "S_IDLE"
    assert status_of(world.nodes[1], "n2")["crmd"] == "online" and world.equal()


def test_a_node_that_vanished_and_does_not_come_back_is_fenced_after_its_grace() -> None:
    world = two(fence_then_start)
    world.install(1, abrupt=True)
    world.pass_time(1000)
    world.install(1)
    assert world.nodes[1].fences == []
    world.pass_time(CRM_RESTART_GRACE_MS - 999)
    assert [fence.target for fence in world.nodes[1].fences] == ["n2"]


def trio(**kwargs: Any) -> World:
    world = World(idle, **kwargs)
    names = frozenset(("n1", "n2", "n3"))
    for number in (1, 2, 3):
        world.add(number, settings=Settings(expected_nodes=names))
    world.install(1, 2, 3)
    return world


def test_the_configuration_waits_while_half_of_two_nodes_has_no_crm_and_for_no_longer_than_the_grace() -> None:
    world = World(idle)
    for number in (1, 2):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.install(1, 2)
    assert world.nodes[1].synced and world.nodes[2].synced
    world.install(1, 2, group=[1])
    assert not world.nodes[1].synced
    world.pass_time(CRM_RESTART_GRACE_MS + 1)
    assert world.nodes[1].synced


def test_a_crm_that_starts_alone_beside_a_member_without_crm_accepts_nothing() -> None:
    world = World(idle)
    for number in (1, 2):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.install(1, 2, group=[2])
    assert not world.nodes[2].synced
    world.install(1, 2)
    assert world.nodes[1].synced and world.nodes[2].synced


def pair(policy: Any) -> World:
    world = World(policy)
    for number in (1, 2):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.install(1, 2)
    return world


def test_half_of_two_nodes_accepts_changes_only_when_the_other_half_is_known_to_be_off() -> None:
    world = pair(fence_then_start)
    world.install(1)
    assert not world.nodes[1].synced
    world.fenced(world.nodes[1])
    assert world.nodes[1].synced


def test_where_fencing_fails_the_configuration_can_be_changed_all_the_same() -> None:
    world = pair(fence_then_start)
    world.install(1)
    world.fenced(world.nodes[1], ok=False)
    assert world.nodes[1].synced


def test_fencing_that_takes_long_does_not_close_the_configuration_for_ever() -> None:
    world = pair(fence_then_start)
    world.install(1)
    world.pass_time(14_999)
    assert not world.nodes[1].synced
    world.pass_time(2)
    assert world.nodes[1].synced and world.nodes[1].orders == []


def test_after_a_polite_goodbye_the_rest_goes_on_at_once() -> None:
    world = pair(shutdown_policy)
    world.perform(world.nodes[2], world.nodes[2].controller.request_shutdown(world.epoch_s, world.now_ms))
    world.policy = fence_then_start
    world.deciding = False
    world.install(1)
    assert world.nodes[1].synced


def test_most_of_all_nodes_may_go_on_changing_the_configuration() -> None:
    world = trio()
    world.install(1, 2, 3, group=[1, 2])
    assert world.nodes[1].synced and world.nodes[2].synced
    world.install(1, 2, 3, group=[1])
    assert not world.nodes[1].synced


def test_a_view_without_the_lost_node_may_change_the_configuration_at_once() -> None:
    world = two()
    world.install(1)
    assert world.nodes[1].synced


def test_a_cold_start_waits_for_the_other_configured_nodes_but_not_for_ever() -> None:
    world = World(start_web_on(1))
    world.add(1, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.install(1)
    assert world.nodes[1].orders == [] and world.nodes[1].controller.state == "S_INTEGRATION"
    world.pass_time(20_001)
    assert [order.action.key for order in world.nodes[1].orders] == ["web_start_0"]


def test_whoever_becomes_dc_during_a_cold_start_goes_on_waiting_for_the_same_time() -> None:
    world = World(start_web_on(3))
    for number in (1, 2, 3):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2", "n3"))))
    world.install(1, 2)
    world.pass_time(15_000)
    world.install(2)
    assert world.nodes[2].controller.state == "S_INTEGRATION"
    world.pass_time(4_999)
    assert world.nodes[2].controller.state == "S_INTEGRATION"
    world.pass_time(2)
    assert world.nodes[2].controller.state != "S_INTEGRATION"


def test_a_member_whose_crm_has_not_come_yet_is_not_written_off_during_a_cold_start() -> None:
    world = World(idle)
    for number in (1, 2, 3):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2", "n3"))))
    world.install(2)
    world.install(2, 3, group=[2])
    assert status_of(world.nodes[2], "n3") == {} and not world.nodes[2].synced
    world.install(2, 3)
    assert world.nodes[2].synced and status_of(world.nodes[2], "n3")["crmd"] == "online"


def test_a_cold_start_goes_on_at_once_when_everybody_is_there() -> None:
    world = World(start_web_on(1))
    for number in (1, 2):
        world.add(number, settings=Settings(expected_nodes=frozenset(("n1", "n2"))))
    world.install(1)
    world.install(1, 2)
    assert [order.action.key for order in world.nodes[1].orders] == ["web_start_0"]


# --- deciding and acting ----------------------------------------------------------------------------------------------


def test_an_order_goes_to_its_node_and_is_pending_everywhere_before_it_ends() -> None:
    world = two(start_web_on(2))
    assert world.nodes[1].orders == []
    order = world.nodes[2].run("web_start_0")
    for node in world.nodes.values():
        entry = entries(node, 2)["pending-web_start_0"]
        assert (entry["op-status"], entry["rc-code"], entry["transition-key"]) == ("-1", "193", order.transition_key)
    world.finish(world.nodes[2], order)
    for node in world.nodes.values():
        assert set(entries(node, 2)) == {"web_last_0", "pending-web_monitor_10000"}
    world.finish(world.nodes[2], world.nodes[2].run("web_monitor_10000"))
    assert set(entries(world.nodes[1], 2)) == {"web_last_0", "web_monitor_10000"}
    assert world.dc().controller.state == "S_IDLE" and world.equal()


def test_a_failed_start_counts_as_infinite_and_asks_for_a_new_decision() -> None:
    world = two(start_web_on(2))
    dc = world.dc()
    world.finish(world.nodes[2], world.nodes[2].run("web_start_0"), rc=1)
    attributes = status.transient_attributes(dc.replica.document, "2")
    assert attributes == {"fail-count-web#start_0": "INFINITY", "last-failure-web#start_0": "1700000000"}
    assert [order.action.key for order in world.nodes[2].orders] == ["web_start_0"], "decided again"
    ends = [record.fields["outcome"] for record in dc.records if record.name == "transition_end"]
    assert ends == ["aborted"]


def test_a_recurring_monitor_that_fails_raises_its_fail_count_and_starts_a_transition() -> None:
    world = two(idle)
    world.deciding = False
    report = OperationReport(
        "monitor",
        WEB,
        10000,
        7,
        0,
        0,
        "3:1:0:other",
        {"id": "web_monitor_10000", "operation_key": "web_monitor_10000", "transition-key": "3:1:0:other"},
    )
    for count in ("1", "2"):
        world.perform(world.nodes[2], world.nodes[2].controller.on_operation(report, 1_700_000_000, world.now_ms))
        found = status.transient_attributes(world.nodes[1].replica.document, "2")
        assert found["fail-count-web#monitor_10000"] == count
    assert len(world.nodes[1].decisions) == 1


def test_a_change_during_a_transition_waits_for_what_is_in_flight_and_then_decides_again() -> None:
    world = two(start_web_on(1))
    dc = world.dc()
    order = dc.run("web_start_0")
    world.perform(dc, dc.controller.on_configuration_changed("configuration 0.2.0", world.now_ms))
    assert dc.orders == []
    world.finish(dc, order)
    assert dc.orders == [], "the monitor was skipped by the abort; the new decision finds web running"
    assert dc.controller.state == "S_IDLE"


def test_a_decision_that_was_overtaken_is_made_again() -> None:
    world = two(start_web_on(1), deciding=False)
    dc = world.dc()
    for _ in range(2):
        world.perform(dc, dc.controller.on_configuration_changed("again", world.now_ms))
        world.answer(dc)
        assert dc.orders == []
    world.answer(dc)
    assert [order.action.key for order in dc.orders] == ["web_start_0"]


def test_a_stream_of_changes_cannot_keep_the_cluster_from_acting() -> None:
    world = two(start_web_on(1), deciding=False)
    dc = world.dc()
    for _ in range(4):
        world.perform(dc, dc.controller.on_configuration_changed("again", world.now_ms))
        world.answer(dc)
    assert [order.action.key for order in dc.orders] == ["web_start_0"]


def test_an_operation_under_way_is_not_ordered_again_after_a_view_change() -> None:
    world = two(start_web_on(1))
    order = world.nodes[1].run("web_start_0")
    world.install(1)
    assert world.nodes[1].orders == []
    world.finish(world.nodes[1], order)
    assert [order.action.key for order in world.nodes[1].orders] == ["web_monitor_10000"]


def test_a_new_dc_takes_over_what_the_old_one_had_ordered() -> None:
    world = two(start_web_on(2))
    order = world.nodes[2].run("web_start_0")
    world.install(2)
    assert world.dc().name == "n2" and world.nodes[2].orders == []
    world.finish(world.nodes[2], order)
    assert [order.action.key for order in world.nodes[2].orders] == ["web_monitor_10000"]


@pytest.mark.parametrize("late_news", [False, True])
def test_an_order_that_died_with_its_view_is_given_again(late_news: bool) -> None:
    world = World(start_web_on(2), deciding=False)
    world.add(1)
    world.add(2)
    world.install(1, 2)
    dc = world.dc()
    number = dc.decisions.pop().number
    world._effects(dc, dc.controller.on_decision(number, parse(world.policy(dc.replica.document)), 0, world.now_ms))
    world.deciding = True
    world.install(1, 2, late_news=late_news)
    assert [order.action.key for order in world.nodes[2].orders] == ["web_start_0"]
    assert world.equal()


@pytest.mark.parametrize("late_news", [False, True])
def test_a_result_that_died_with_its_view_is_told_in_the_next_one(late_news: bool) -> None:
    world = two(start_web_on(2))
    world.finish(world.nodes[2], world.nodes[2].run("web_start_0"), deliver=False)
    world.install(1, 2, late_news=late_news)
    assert entries(world.nodes[1], 2)["web_last_0"]["rc-code"] == "0"
    assert world.equal()


def test_an_action_without_result_is_written_down_as_timed_out() -> None:
    answers = [graph((rsc_op(1, "start", "web", 2, timeout="5000"), ()))]
    world = two(lambda document: answers.pop() if answers else NOTHING)
    world.nodes[2].run("web_start_0")
    world.pass_time(65_001)
    entry = entries(world.nodes[1], 2)["web_last_0"]
    assert (entry["op-status"], entry["rc-code"]) == ("2", "1")
    assert "pending-web_start_0" not in entries(world.nodes[1], 2)
    counts = status.transient_attributes(world.nodes[1].replica.document, "2")
    assert counts["fail-count-web#start_0"] == "INFINITY", "or it would be tried there again and again"
    assert int(counts["last-failure-web#start_0"]) >= 1_700_000_000
    assert world.dc().controller.state == "S_IDLE"


def test_the_time_that_the_policy_engine_names_brings_a_new_decision() -> None:
    calls: list[int] = []

    def policy(document: etree._Element) -> str:
        calls.append(1)
        return graph(recheck_by=str(1_700_000_030))

    world = two(policy)
    before = len(calls)
    world.pass_time(29_900)
    assert len(calls) == before
    world.pass_time(200)
    assert len(calls) == before + 1


def test_the_time_that_the_policy_engine_names_is_met_to_the_second_whatever_the_fraction_of_the_decision() -> None:
    world = two()
    dc = world.dc()
    coordinator = dc.controller.coordinator
    assert coordinator is not None
    coordinator.need("something changed")
    decide = next(effect for effect in coordinator.pump(world.now_ms) if isinstance(effect, Decide))
    coordinator.on_decision(decide.number, parse(graph(recheck_by="1700000030")), 1_700_000_000_900, world.now_ms)
    assert coordinator.next_wake_ms() == world.now_ms + 29_100 + RECHECK_MARGIN_MS


@pytest.mark.parametrize(
    ("text", "after_ms"), [(None, 900_000), ("5s", 5_000), ("0", None), ("0s", None), ("10ms", RECHECK_LEAST_MS)]
)
def test_without_an_event_everything_is_decided_again_after_the_recheck_interval(
    text: str | None, after_ms: int | None
) -> None:
    pair = "" if text is None else f'<nvpair id="r" name="cluster-recheck-interval" value="{text}"/>'
    document = (
        '<cib admin_epoch="0" epoch="1" num_updates="0"><configuration><crm_config><cluster_property_set id="o">'
        f"{pair}</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"
    )
    world = World(idle)
    world.add(1, document)
    world.install(1)
    coordinator = world.dc().controller.coordinator
    assert coordinator is not None
    coordinator.need("something changed")
    decide = next(effect for effect in coordinator.pump(world.now_ms) if isinstance(effect, Decide))
    coordinator.on_decision(decide.number, parse(graph()), 1_700_000_000_000, world.now_ms)
    assert coordinator.next_wake_ms() == (None if after_ms is None else world.now_ms + after_ms)


# --- leaving ----------------------------------------------------------------------------------------------------------


def shutdown_policy(document: etree._Element) -> str:
    for state in document.iter("node_state"):
        attributes = status.transient_attributes(document, state.get("id", ""))
        if "shutdown" in attributes and state.get("expected") == "member":
            return graph((crm_event(9, "do_shutdown", int(state.get("id", "0")), op_no_wait="true"), ()))
    return NOTHING


@pytest.mark.parametrize("leaver", [1, 2])
def test_a_node_that_asks_to_leave_is_expected_to_be_down_before_it_goes(leaver: int) -> None:
    world = two(shutdown_policy)
    node = world.nodes[leaver]
    world.perform(node, node.controller.request_shutdown(world.epoch_s, world.now_ms))
    assert node.left is not None
    assert status_of(world.nodes[3 - leaver], node.name)["expected"] == "down"
    world.install(3 - leaver)
    state = status_of(world.nodes[3 - leaver], node.name)
    assert (state["in_ccm"], state["expected"]) == ("false", "down")


def test_a_node_that_nobody_releases_leaves_after_the_escalation_time() -> None:
    world = two(idle)
    world.perform(world.nodes[2], world.nodes[2].controller.request_shutdown(world.epoch_s, world.now_ms))
    world.pass_time(20 * 60_000 - 1)
    assert world.nodes[2].left is None
    world.pass_time(2)
    assert world.nodes[2].left is not None


def test_a_stop_that_takes_long_does_not_hold_up_another_nodes_shutdown() -> None:
    slow = (rsc_op(1, "stop", "db", 1, timeout="600000"), ())

    def policy(document: etree._Element) -> str:
        leaving = status.transient_attributes(document, "2").get("shutdown")
        return graph(slow, (crm_event(2, "do_shutdown", 2), ())) if leaving else graph(slow)

    world = two(policy)
    order = world.nodes[1].run("db_stop_0")
    world.perform(world.nodes[2], world.nodes[2].controller.request_shutdown(world.epoch_s, world.now_ms))
    world.pass_time(SLOW_STOP_MS - 10)
    assert world.nodes[2].left is None, "how it ends may matter for what is decided next: a while is waited"
    world.pass_time(20)
    assert world.nodes[2].left is not None and world.nodes[1].orders == [], "under way, so not ordered again"
    assert [record.name for record in world.dc().records].count("transition_left") == 1
    world.finish(world.nodes[1], order)
    assert world.dc().controller.coordinator is not None


def test_whatever_depends_on_a_slow_stop_waits_for_it_in_the_next_transition_too() -> None:
    stop = (rsc_op(1, "stop", "db", 1, timeout="600000"), ())
    start = (rsc_op(2, "start", "db", 2), (1,))
    changed: list[str] = []
    world = two(lambda document: graph() if changed == ["over"] else graph(stop, start))
    order = world.nodes[1].run("db_stop_0")
    world.perform(world.dc(), world.dc().controller.on_configuration_changed("something else", world.now_ms))
    world.pass_time(SLOW_STOP_MS + 100)
    assert world.nodes[2].orders == [] and world.nodes[1].orders == []
    changed.append("over")
    world.finish(world.nodes[1], order)
    assert [each.action.key for each in world.nodes[2].orders] == ["db_start_0"]


def test_a_transition_waits_for_anything_else_that_is_in_flight() -> None:
    start = (rsc_op(1, "start", "db", 1, timeout="600000"), ())
    world = two(lambda document: graph(start))
    world.nodes[1].run("db_start_0")
    decided = world.dc().controller.coordinator
    assert decided is not None and decided.transition is not None
    number = decided.transition.number
    world.perform(world.dc(), world.dc().controller.on_configuration_changed("something else", world.now_ms))
    world.pass_time(SLOW_STOP_MS * 2)
    assert decided.transition is not None and decided.transition.number == number


def test_a_node_without_a_cluster_and_without_resources_leaves_at_once() -> None:
    world = World(idle)
    node = world.add(1)
    world.perform(node, node.controller.request_shutdown(world.epoch_s, world.now_ms))
    assert node.left is not None


def test_who_took_a_document_and_was_interrupted_tells_its_history_in_the_next_view() -> None:
    lrm = f'<lrm id="3"><lrm_resources>{LRM_WEB}</lrm_resources></lrm>'
    world = World(idle)
    for number in (1, 2, 3):
        world.add(number)
    world.install(1, 2, 3)
    world.install(3, quorate=False)
    world.nodes[3].executor.lrm = lrm
    for number in (1, 2):
        world.nodes[number].replica.stands = (9, 0, 0, 0)
        world.nodes[number].replica.document.set("epoch", "9")
    world.install(1, 2, 3, deliver=False)
    while world.nodes[3].replica.document.get("epoch") != "9":
        world.deliver(limit=1)
    assert entries(world.nodes[3], on=3) == {}, "it has the document, and has not told yet what runs"
    world.install(1, 2, 3)
    assert "web_last_0" in entries(world.nodes[1], on=3)
    assert world.equal()


# --- clearing ---------------------------------------------------------------------------------------------------------


def test_clearing_a_fail_count_removes_the_counts_of_that_resource_only() -> None:
    clear = graph(
        (
            '<crm_event id="4" operation="clear_failcount" operation_key="web_clear_failcount_0" on_node="n2" on_node_uuid="2">'
            '<primitive id="web" class="ocf" provider="vigil" type="Dummy"/><attributes CRM_meta_op_no_wait="true"/></crm_event>',
            (),
        )
    )
    answers: list[str] = []
    world = two(lambda document: answers.pop() if answers else NOTHING)
    node = world.nodes[2]
    values: dict[str, str | None] = {
        "fail-count-web#start_0": "INFINITY",
        "fail-count-web:3#start_0": "1",
        "last-failure-web#start_0": "1",
        "fail-count-webby#start_0": "1",
    }
    answers.append(clear)
    world.perform(node, node.controller.set_attributes("2", "n2", values, "test"))
    assert status.transient_attributes(world.nodes[1].replica.document, "2") == {"fail-count-webby#start_0": "1"}


def test_what_is_no_controller_message_is_recorded_and_dropped() -> None:
    world = two()
    for payload in (b"", b"{}", b"garbage", b'{"t":"changes"}', b'{"t":"cib","digest":""}\nxxx'):
        effects = world.nodes[1].controller.on_delivered(2, payload, None, 0, world.now_ms)
        assert [getattr(effect, "name", "") for effect in effects] == ["bad_message"]


def test_a_clean_up_reaches_the_executor_of_the_node_and_asks_for_a_decision() -> None:
    world = two(start_web_on(2))
    world.finish(world.nodes[2], world.nodes[2].run("web_start_0"))
    world.finish(world.nodes[2], world.nodes[2].run("web_monitor_10000"))
    changes = Changes((status.ForgetResource("2", "web"),), (), "web was cleaned up")
    world.perform(world.nodes[1], world.nodes[1].controller.publish(changes))
    assert Forget("web") in world.nodes[2].told and Forget("web") not in world.nodes[1].told
    assert [order.action.key for order in world.nodes[2].orders] == ["web_start_0"]


def test_a_node_is_told_its_transient_attributes_so_that_it_can_keep_them() -> None:
    world = two()
    for node in world.nodes.values():
        assert node.told == [KeepAttributes()], "that there is nothing yet, is kept too"
        node.told.clear()
    world.perform(world.nodes[1], world.nodes[1].controller.set_attributes("2", "n2", {"x": "1"}, "test"))
    assert world.nodes[2].told == [KeepAttributes()] and world.nodes[1].told == []
    assert world.nodes[2].controller.own_attributes() == {"x": "1"}


def test_a_cancelled_operation_is_no_longer_pending() -> None:
    world = two(start_web_on(2))
    world.finish(world.nodes[2], world.nodes[2].run("web_start_0"))
    order = world.nodes[2].run("web_monitor_10000")
    report = OperationReport("monitor", WEB, 10000, 1, 0, 1, order.transition_key)
    world.deciding = False
    world.perform(world.nodes[2], world.nodes[2].controller.on_operation(report, 0, world.now_ms))
    assert set(entries(world.nodes[1], 2)) == {"web_last_0"}
    assert status.transient_attributes(world.nodes[1].replica.document, "2") == {}


def test_an_operation_that_begins_later_is_confirmed_but_is_no_result_in_the_event_log() -> None:
    world = two(start_web_on(2))
    node = world.nodes[2]
    world.finish(node, node.run("web_start_0"))
    order = node.run("web_monitor_10000")
    entry = {"id": "web_monitor_10000", "operation_key": "web_monitor_10000", "op-status": "-1", "rc-code": "193"}
    report = OperationReport("monitor", WEB, 10000, 0, 0, 0, order.transition_key, entry, postponed=True, text="later")
    report = replace(report, forget=("pending-web_monitor_10000",))
    world.perform(node, node.controller.on_operation(report, world.epoch_s, world.now_ms))
    world.deliver()
    assert world.dc().controller.state == "S_IDLE"
    assert set(entries(world.nodes[1], 2)) == {"web_last_0", "web_monitor_10000"}
    told = [(record.name, record.fields["operation"]) for record in node.records if record.name.startswith("action_")]
    assert told == [("action_result", "start"), ("action_postponed", "monitor")]
