"""Relations between actions: adding them, what their bits do, and breaking loops."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.policy.actions.model import (
    BLOCK,
    FIRSTREQ,
    LOAD,
    MIGBLOCK,
    MIGRATABLE,
    OPTIONAL,
    ORD,
    PROMREQ,
    PSEUDO,
    REAL,
    RESTART,
    RUNNABLE,
    SERIAL,
    THENREQ,
    Action,
)
from crm.policy.actions.plan import Plan
from crm.policy.assign import assign
from crm.policy.constraints.model import Locations
from crm.policy.model import Role
from crm.policy.ordering.changes import Changes
from crm.policy.ordering.effects import EFFECTS
from crm.policy.ordering.executable import Inputs, make_executable
from crm.policy.state import unpack

OPT, R, M = OPTIONAL, RUNNABLE, MIGRATABLE
CIB = (
    '<cib validate-with="pacemaker-4.0"><configuration><crm_config/><nodes><node id="1" uname="n1"/></nodes><resources>'
    '<primitive id="A" class="ocf" provider="p" type="t"/><primitive id="B" class="ocf" provider="p" type="t"/>'
    "</resources><constraints/></configuration><status/></cib>"
)


@pytest.fixture
def plan() -> Plan:
    state = unpack(etree.fromstring(CIB), 1)
    return Plan(state, assign(state, Locations(), []))


def action(plan: Plan, rsc: str, task: str, flags: int) -> Action:
    return plan.add(f"{rsc}_{task}_0", task, plan.state.by_id[rsc], None, flags, 0)


@pytest.mark.parametrize(
    ("bit", "first", "then", "first_after", "then_after"),
    [
        (THENREQ, R, OPT | R, R, R),  # a required first demands the other
        (THENREQ, OPT | R, OPT | R, OPT | R, OPT | R),
        (THENREQ, R | M, OPT | R, R | M, OPT | R),  # a migratable one does not
        (FIRSTREQ, OPT | R, R, OPT | R, R),  # the first is not made required by the other alone
        (FIRSTREQ, R | M, R, R, R),  # but it can no longer be a migration
        (BLOCK, OPT, OPT | R | M, OPT, OPT),  # what cannot run blocks, and ends a migration
        (BLOCK, OPT | R, OPT | R, OPT | R, OPT | R),
        (MIGBLOCK, OPT | R, OPT | R, OPT, OPT | R),  # the other has lost its migration
        (MIGBLOCK, OPT | R, R | M, R, R | M),
        (REAL, OPT, R | M | PSEUDO, OPT, R),  # the pseudo start becomes a real one
        (RESTART, OPT | R, R | M, R, R | M),  # a required start needs the stop
    ],
)
def test_what_each_bit_does(plan: Plan, bit: int, first: int, then: int, first_after: int, then_after: int) -> None:
    one, other = action(plan, "A", "stop", first), action(plan, "B", "start", then)
    EFFECTS[bit](Changes(plan), one, other, one.flags)
    assert (one.flags, other.flags) == (first_after, then_after)


def test_a_promoted_resource_that_must_stop_must_be_demoted(plan: Plan) -> None:
    demote, stop = action(plan, "A", "demote", OPT | R), action(plan, "A", "stop", R)
    EFFECTS[PROMREQ](Changes(plan), demote, stop, demote.flags)
    assert demote.flags & OPT
    plan.role[plan.state.by_id["A"].index] = Role.PROMOTED
    EFFECTS[PROMREQ](Changes(plan), demote, stop, demote.flags)
    assert not demote.flags & OPT


def test_the_first_cause_from_another_resource_becomes_the_reason(plan: Plan) -> None:
    changes = Changes(plan)
    a, b = action(plan, "A", "start", 0), action(plan, "B", "start", OPT | R)
    own = action(plan, "B", "stop", R)
    changes.clear(b, OPTIONAL, own)
    assert b.reason is None
    changes.clear(b, RUNNABLE, a)
    assert (b.reason, b.cause) == ("unrunnable A start", a)


def test_a_relation_that_shares_a_bit_with_one_that_exists_is_not_added(plan: Plan) -> None:
    a, b = action(plan, "A", "start", R), action(plan, "B", "start", R)
    assert plan.relate(a, b, ORD)
    assert not plan.relate(a, b, ORD | BLOCK)
    assert plan.relate(a, b, THENREQ)
    assert not plan.relate(a, a, ORD) and not plan.relate(a, b, 0)
    assert [relation.bits for relation in b.inputs] == [ORD, THENREQ]


def test_a_search_for_a_node_gives_it_to_actions_that_have_none(plan: Plan) -> None:
    rsc, node = plan.state.by_id["A"], plan.state.nodes[0]
    loose = plan.request(rsc, "start", None, optional=False)
    assert loose.node is None and not loose.runnable
    again = plan.request(rsc, "start", node, optional=True)
    assert again is loose and again.node is node and not again.optional


# --- loops ------------------------------------------------------------------------------------------------------------


def loop(plan: Plan, *bits: int) -> tuple[Inputs, list[Action]]:
    """A ring of starts: each waits for the one before it, the first for the last."""
    names = ("A", "B")
    actions = [action(plan, names[i % 2], f"start{i}", R) for i in range(len(bits))]
    return {then: [(actions[i - 1], bits[i])] for i, then in enumerate(actions)}, actions


def test_what_can_be_executed_is_left_alone(plan: Plan) -> None:
    a, b = action(plan, "A", "start", R), action(plan, "B", "start", R)
    inputs: Inputs = {a: [], b: [(a, ORD | THENREQ)]}
    assert not make_executable(plan, inputs)
    assert inputs[b] == [(a, ORD | THENREQ)] and not plan.dropped


@pytest.mark.parametrize(("weak", "kind"), [(ORD, "optional"), (SERIAL, "serializing"), (LOAD, "capacity")])
def test_a_loop_loses_its_weakest_link(plan: Plan, weak: int, kind: str) -> None:
    inputs, (a, b) = loop(plan, ORD | THENREQ | BLOCK, weak)
    assert make_executable(plan, inputs)
    assert inputs == {a: [(b, ORD | THENREQ | BLOCK)], b: []}
    assert [(dropped.first, dropped.then, dropped.kind) for dropped in plan.dropped] == [(a, b, kind)]


def test_a_loop_of_mandatory_orderings_is_left_out_with_what_follows(plan: Plan) -> None:
    inputs, (a, b) = loop(plan, ORD | THENREQ | BLOCK, ORD | THENREQ | BLOCK)
    after, aside = action(plan, "A", "monitor", R), action(plan, "B", "monitor", R)
    inputs |= {after: [(a, THENREQ | BLOCK)], aside: []}
    assert make_executable(plan, inputs)
    assert list(inputs) == [aside]
    assert not (a.flags | b.flags | after.flags) & RUNNABLE
    assert [unreachable.in_loop for unreachable in plan.unreachable] == [True, True, False]


def test_nobody_waits_for_what_need_not_happen(plan: Plan) -> None:
    never, other = action(plan, "A", "stop", OPT), action(plan, "B", "stop", R)
    inputs: Inputs = {other: [(never, ORD | FIRSTREQ)]}
    assert make_executable(plan, inputs)
    assert inputs == {other: []}
