"""Causal ids through the controllers: everything that is done because of one happening carries its id, on every node."""

from __future__ import annotations

from typing import Any

import pytest
from controller_world import NOTHING, Node, World, crm_event, graph, rsc_op
from lxml import etree

from crm.controller.effects import Record
from crm.controller.graph import parse
from crm.controller.messages import Changes, Order, Orders, decode, encode
from crm.controller.plan import plan
from crm.controller.status import Attributes
from crm.events.causes import MAX_CAUSES


def recover_web(document: etree._Element) -> str:
    """Fence n2 when it is lost and not known to be off; start web on n1 once it is."""
    for state in document.iter("node_state"):
        if state.get("uname") == "n2" and state.get("in_ccm") == "false" and state.get("expected") == "member":
            return graph(
                (crm_event(1, "stonith", 2, "stonith-n2-off", stonith_action="off"), ()),
                (rsc_op(2, "start", "web", 1), (1,)),
            )
    return NOTHING


def idle(document: etree._Element) -> str:
    return NOTHING


def start_once(document: etree._Element) -> str:
    started = any(entry.get("operation") == "start" for entry in document.iter("lrm_rsc_op"))
    return NOTHING if started else graph((rsc_op(1, "start", "web", 2), ()))


def world_of(policy: Any, *, members: int = 3) -> World:
    world = World(policy)
    for number in range(1, members + 1):
        world.add(number)
    world.install(*range(1, members + 1))
    return world


def of(node: Node, name: str) -> list[Record]:
    return [record for record in node.records if record.name == name]


def test_a_lost_node_its_fencing_and_the_start_elsewhere_share_the_views_id() -> None:
    world = world_of(recover_web)
    view = world.install(1, 3)
    cause = f"view-{view.view_id}"
    first, third = world.nodes[1], world.nodes[3]
    world.fenced(first)
    world.finish(first, first.run("web_start_0"))
    for name in ("view", "transition", "fence_requested", "fenced", "action", "action_result", "transition_end"):
        assert [record.cause for record in of(first, name)][-1] == cause, name
    assert [record.cause for record in of(third, "view")][-1] == cause
    (transition,) = of(first, "transition")
    assert transition.fields["plan"] == ["fence n2", "start web on n1"]


def test_the_id_travels_with_the_orders_to_the_node_that_carries_them_out() -> None:
    world = world_of(idle)
    world.policy = start_once
    dc, worker = world.nodes[1], world.nodes[2]
    world.perform(dc, dc.controller.on_configuration_changed("resources changed", world.now_ms, "cib-0.7.0"))
    order = worker.run("web_start_0")
    assert order.cause == "cib-0.7.0" and of(worker, "action")[-1].cause == "cib-0.7.0"
    world.finish(worker, order)
    assert of(worker, "action_result")[-1].cause == "cib-0.7.0"
    assert of(dc, "transition_end")[-1].cause == "cib-0.7.0"


def test_a_monitor_that_finds_a_failure_begins_a_story_of_its_own_which_the_dc_goes_on_with() -> None:
    world = world_of(start_once)
    worker, dc = world.nodes[2], world.nodes[1]
    order = worker.run("web_start_0")
    world.finish(worker, order)
    before = len(dc.records)
    world.finish(worker, order, rc=7)  # nobody waits for this one
    cause = of(worker, "action_result")[-1].cause
    assert cause.startswith("op-n2.")
    attributes = [record for record in dc.records[before:] if record.name == "attributes"]
    assert [record.cause for record in attributes] == [cause], "the fail count belongs to the same story"


def test_every_happening_has_an_id_of_its_own() -> None:
    world = world_of(idle)
    node = world.nodes[2]
    world.perform(node, node.controller.set_attributes("2", "n2", {"pingd": "1"}, "pingd of n2 was set"))
    world.perform(node, node.controller.set_attributes("2", "n2", {"pingd": "2"}, "pingd of n2 was set"))
    ids = [record.cause for record in of(node, "change")]
    assert len(set(ids)) == 2 and all(each.startswith("change-n2.") for each in ids)
    assert [record.cause for record in of(world.nodes[1], "attributes")] == ids


def test_changes_that_go_together_keep_all_their_causes() -> None:
    world = world_of(idle)
    node, dc = world.nodes[2], world.nodes[1]
    for value in range(20):  # more than may be on the wire at once: the rest is sent together
        world._effects(node, node.controller.set_attributes("2", "n2", {"load": str(value)}, "load of n2 was set"))
    dc.decisions.clear()
    world.deciding = False
    world.deliver()
    assert len(dc.decisions[0].causes) == 1, "the first change asks at once"
    world.answer(dc)  # it was overtaken by the others
    causes = dc.decisions[0].causes
    assert len(set(causes)) == MAX_CAUSES and causes[0] == of(node, "change")[0].cause


def test_an_interrupted_transition_hands_its_cause_to_the_next_one() -> None:
    world = world_of(idle)
    dc, worker = world.nodes[1], world.nodes[2]
    world.policy = lambda document: graph((rsc_op(1, "start", "web", 2), ()), (rsc_op(2, "start", "db", 2), (1,)))
    world.perform(dc, dc.controller.on_configuration_changed("resources changed", world.now_ms, "cib-0.7.0"))
    world.perform(dc, dc.controller.on_configuration_changed("constraints changed", world.now_ms, "cib-0.8.0"))
    world.policy = lambda document: graph((rsc_op(1, "start", "db", 2), ()))
    world.finish(worker, worker.run("web_start_0"))
    last = of(dc, "transition")[-1]
    assert (last.cause, last.fields["after"]) == ("cib-0.7.0", ["cib-0.8.0"])
    assert worker.run("db_start_0").cause == "cib-0.7.0"


def test_a_failed_action_and_the_decision_after_it_are_one_story() -> None:
    world = world_of(idle)
    dc, worker = world.nodes[1], world.nodes[2]
    world.policy = lambda document: graph((rsc_op(1, "start", "web", 2), ()))
    world.perform(dc, dc.controller.on_configuration_changed("resources changed", world.now_ms, "cib-0.7.0"))
    world.policy = lambda document: graph((rsc_op(1, "stop", "web", 2), ()))
    world.finish(worker, worker.run("web_start_0"), rc=1)
    assert worker.run("web_stop_0").cause == "cib-0.7.0"


def test_the_time_of_a_rule_is_a_cause() -> None:
    world = world_of(idle)
    world.policy = start_once
    world.pass_time(15 * 60 * 1000)
    assert world.nodes[2].run("web_start_0").cause.startswith("time-n1.")


def test_causes_survive_the_wire() -> None:
    changes = Changes((Attributes("1", "n1", {"a": "1"}),), (), "why", causes=("op-n1.ab.1", "cib-0.7.0"))
    assert decode(encode(changes)) == changes
    (synapse,) = parse(graph((rsc_op(1, "start", "web", 2), ()))).synapses
    orders = decode(encode(Orders(4, (Order("1:4:0:u", synapse.action, "view-7.1"),), (), "view-7.1")))
    assert isinstance(orders, Orders) and (orders.cause, orders.orders[0].cause) == ("view-7.1", "view-7.1")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], []),
        ([rsc_op(1, "start", "web", 1)], ["start web on n1"]),
        ([rsc_op(1, "start", "web", 1), rsc_op(2, "stop", "web", 2)], ["move web from n2 to n1"]),
        ([rsc_op(1, "start", "web", 1), rsc_op(2, "stop", "web", 1)], ["restart web on n1"]),
        (
            [rsc_op(1, "migrate_to", "vm", 1), rsc_op(2, "migrate_from", "vm", 2), rsc_op(3, "stop", "vm", 1)],
            ["migrate vm from n1 to n2"],
        ),
        ([rsc_op(1, "demote", "db", 1), rsc_op(2, "promote", "db", 2)], ["demote db on n1", "promote db on n2"]),
        ([rsc_op(n, "start", "all", n) for n in (1, 2, 3)], ["start all on n1, n2, n3"]),
        ([rsc_op(n, "start", "all", n) for n in range(1, 33)], ["start all on 32 nodes"]),
        ([rsc_op(1, "monitor", "web", 1), rsc_op(2, "monitor", "web", 2)], ["2 probes"]),
        ([rsc_op(1, "monitor", "web", 1, interval=5000), rsc_op(2, "notify", "web", 1)], []),
        ([rsc_op(1, "stop", "web", 2), crm_event(2, "stonith", 2)], ["fence n2", "stop web on n2"]),
        ([rsc_op(n, "start", f"r{n}", 1) for n in range(12)], [*(f"start r{n} on n1" for n in range(8)), "4 more"]),
    ],
)
def test_a_plan_reads_as_a_person_would_say_it(steps: list[str], expected: list[str]) -> None:
    assert plan(parse(graph(*((step, ()) for step in steps)))) == expected
