"""Controllers on a perfect network: what is fenced, what a confirmation is worth, and what waits for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controller_world import NOTHING, World, crm_event, fence_then_start, graph, idle, rsc_op, status_of, two
from lxml import etree

from crm.controller import status
from crm.controller.types import OperationReport, Settings


def test_a_confirmation_does_not_count_for_a_life_of_the_node_that_began_after_the_device_had_acted() -> None:
    world = two(fence_then_start)
    world.install(1)
    controller = world.nodes[1].controller
    (fence,) = world.nodes[1].fences
    controller.on_fencing_acts("n2")
    world.nodes[2].incarnation = 2
    world.install(1, 2)
    world.install(1)
    world.perform(world.nodes[1], controller.on_fenced(fence.token, True, "off and on", world.now_ms))
    assert world.nodes[1].orders == []
    world.pass_time(2000)
    assert len(world.nodes[1].fences) == 2  # the second life must be fenced for itself


def test_a_node_that_is_back_before_the_device_acts_is_fenced_once() -> None:
    world = two(fence_then_start)
    world.install(1)
    controller = world.nodes[1].controller
    (fence,) = world.nodes[1].fences
    world.nodes[2].incarnation = 2
    world.install(1, 2)
    controller.on_fencing_acts("n2")
    world.install(1)
    world.perform(world.nodes[1], controller.on_fenced(fence.token, True, "off and on", world.now_ms))
    world.pass_time(2000)
    assert len(world.nodes[1].fences) == 1
    assert status_of(world.nodes[1], "n2")["expected"] == "down"


def start_many(document: etree._Element) -> str:
    done = {entry.getparent().get("id") for entry in document.iter("lrm_rsc_op") if entry.get("rc-code") == "0"}  # type: ignore[union-attr]
    return graph(*((rsc_op(n, "start", f"r{n}", 1), ()) for n in range(1, 9) if f"r{n}" not in done))


@pytest.mark.parametrize(
    ("options", "load_percent", "at_a_time"),
    [
        ({}, 0, 4),
        ({}, 300, 2),
        ({"load-threshold": "400%"}, 300, 4),
        ({"load-threshold": "0"}, 300, 4),
        ({"node-action-limit": "3"}, 0, 3),
    ],
    ids=["what the node says", "half of it when busy", "a higher threshold", "never", "the option"],
)
def test_a_node_is_given_what_it_can_take_and_less_when_it_is_busy(
    options: dict[str, str], load_percent: int, at_a_time: int
) -> None:
    pairs = "".join(f'<nvpair id="o-{name}" name="{name}" value="{value}"/>' for name, value in options.items())
    cib = (
        '<cib admin_epoch="0" epoch="1" num_updates="0"><configuration><crm_config><cluster_property_set id="o">'
        f"{pairs}</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"
    )
    world = World(start_many)
    world.add(1, cib, Settings(action_limit=4))
    world.install(1)
    node = world.nodes[1]
    first = node.orders.pop(0)
    assert first.action.resource is not None
    report = OperationReport(
        "start", first.action.resource, 0, 0, 0, 0, first.transition_key, load_percent=load_percent
    )
    world.perform(node, node.controller.on_operation(report, world.epoch_s, world.now_ms))
    while len(node.orders) > at_a_time:
        order = node.orders.pop(0)
        world.perform(
            node,
            node.controller.on_operation(
                replace(report, transition_key=order.transition_key), world.epoch_s, world.now_ms
            ),
        )
    assert len(node.orders) == at_a_time


def probe_on_2(document: etree._Element) -> str:
    member = status.node_state_by_name(document, "n2")
    known = member is not None and list(member.iter("lrm_rsc_op"))
    return NOTHING if known else graph((rsc_op(1, "monitor", "web", 2, op_target_rc=7), ()))


def test_a_dc_remembers_no_order_whose_end_may_be_told_to_others() -> None:
    world = two(probe_on_2)
    memory = world.nodes[1].controller._memory
    assert list(memory.ordered) == [("n2", "web_monitor_0")]
    world.nodes[1].controller.on_disconnected(world.now_ms)  # its messaging is restarted; it lives on
    assert not memory.ordered


def fence_and_start_elsewhere(document: etree._Element) -> str:
    return graph((crm_event(1, "stonith", 2, stonith_action="reboot"), ()), (rsc_op(2, "start", "db", 1), ()))


def test_a_failed_fencing_that_waits_for_an_operation_to_end_wakes_nobody_up_before() -> None:
    world = two(fence_and_start_elsewhere)
    world.install(1)
    controller = world.nodes[1].controller
    (fence,) = world.nodes[1].fences
    world.perform(world.nodes[1], controller.on_fenced(fence.token, False, "no answer", world.now_ms))
    world.pass_time(3000)
    wake = controller.next_wake_ms()
    assert wake is not None and wake > world.now_ms  # once it lay in the past, and the daemon's loop spun


def test_recovery_waits_until_fencing_is_confirmed_and_written_down() -> None:
    world = two(fence_then_start)
    world.perform(world.nodes[2], world.nodes[2].controller.set_attributes("2", "n2", {"standby": "on"}, "test"))
    world.install(1)
    node = world.nodes[1]
    assert [(fence.target, fence.action) for fence in node.fences] == [("n2", "reboot")]
    assert node.orders == []
    world.fenced(node)
    state = status_of(node, "n2")
    assert (state["in_ccm"], state["crmd"], state["join"], state["expected"]) == ("false", "offline", "down", "down")
    assert status.transient_attributes(node.replica.document, "2") == {}
    assert [order.action.key for order in node.orders] == ["web_start_0"]


def test_failed_fencing_is_tried_again_and_nothing_starts_meanwhile() -> None:
    world = two(fence_then_start)
    world.install(1)
    node = world.nodes[1]
    for attempt in range(3):
        world.fenced(node, ok=False)
        assert node.orders == [] and node.fences == []
        world.pass_time(500 * (attempt + 1) + 1)
        assert len(node.fences) == 1
    world.fenced(node)
    assert [order.action.key for order in node.orders] == ["web_start_0"]


def test_fencing_that_always_fails_is_given_up_until_something_changes() -> None:
    world = two(fence_then_start)
    world.install(1)
    node = world.nodes[1]
    for _ in range(10):
        world.fenced(node, ok=False)
        world.pass_time(10_000)
    assert node.fences == [] and node.controller.state == "S_IDLE"
    assert any(record.name == "fencing_given_up" for record in node.records)
    world.perform(node, node.controller.on_configuration_changed("a device was added", world.now_ms))
    assert len(node.fences) == 1


def test_fencing_under_way_is_not_asked_for_twice_when_the_view_changes() -> None:
    world = World(fence_then_start)
    for number in (1, 2, 3):
        world.add(number)
    world.install(1, 2, 3)
    world.install(1, 3)
    assert len(world.nodes[1].fences) == 1
    world.install(1)
    assert len(world.nodes[1].fences) == 1
    world.fenced(world.nodes[1])
    assert [order.action.key for order in world.nodes[1].orders] == ["web_start_0"]


def test_a_node_that_came_back_meanwhile_keeps_its_new_state() -> None:
    world = two(fence_then_start)
    world.install(1)
    world.add(2, life=2)
    world.install(1, 2)
    world.fenced(world.nodes[1])
    assert status_of(world.nodes[1], "n2")["crmd"] == "online"
    assert world.equal()


def test_a_node_that_was_never_seen_is_known_to_be_off_once_it_was_fenced() -> None:
    cib = (
        '<cib epoch="5"><configuration><nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes></configuration>'
        "<status/></cib>"
    )

    def policy(document: etree._Element) -> str:
        if status.node_state(document, "2") is None:
            return graph((crm_event(1, "stonith", 2, stonith_action="reboot"), ()))
        return NOTHING

    world = World(policy)
    world.add(1, cib)
    world.install(1)
    world.pass_time(20_001)
    world.fenced(world.nodes[1])
    assert status_of(world.nodes[1], "n2")["expected"] == "down"
    assert world.nodes[1].fences == [] and world.dc().controller.state == "S_IDLE"


def test_the_operators_word_counts_as_fencing() -> None:
    world = two(idle)
    world.install(1)
    world.perform(world.nodes[1], world.nodes[1].controller.confirmed_off("n2", "off"))
    assert status_of(world.nodes[1], "n2")["expected"] == "down"
