"""Declared orderings become relations between actions (13.1), and probes get what follows from that (9.1)."""

from __future__ import annotations

from crm.policy.actions.model import (
    ABORT,
    ANTI,
    BLOCK,
    IFUNMIG,
    LOAD,
    ORD,
    PSEUDO,
    RUNNABLE,
    SAMENODE,
    THENREQ,
    Action,
    Relation,
)
from crm.policy.actions.plan import Plan
from crm.policy.actions.store import Ordering, declared_bits
from crm.policy.model import Clone, Primitive, Resource, Role
from crm.policy.ordering.interleave import is_compatible


def apply_orderings(plan: Plan) -> None:
    """Every declaration, in the order of declaration; a missing first action may be created on the way."""
    for ordering in plan.orderings:
        if ordering.first_rsc is not None:
            _apply(plan, ordering, ordering.first_rsc)
        else:
            assert ordering.first is not None
            for then in _then_actions(plan, ordering):
                plan.relate(ordering.first, then, ordering.bits)


def _then_actions(plan: Plan, ordering: Ordering) -> list[Action]:
    if ordering.then is not None:
        return [ordering.then]
    if ordering.then_rsc is None:
        return []
    return plan.find(ordering.then_rsc, ordering.then_task)


def _apply(plan: Plan, ordering: Ordering, rsc: Resource) -> None:
    firsts = [ordering.first] if ordering.first is not None else plan.find(rsc, ordering.first_task)
    if not firsts:
        if rsc is ordering.then_rsc:
            return
        role = plan.role_of(rsc)
        if ordering.first_task == "stop" and role is Role.STOPPED:
            return
        if ordering.first_task == "demote" and role is Role.UNPROMOTED:
            return
        firsts = [plan.request(rsc, ordering.first_task, None, optional=True)]
    thens = _then_actions(plan, ordering)
    if not thens:
        return
    bits = ordering.bits
    for first in firsts:
        effective = bits
        if first.flags & ABORT and rsc is ordering.then_rsc:
            effective &= ~THENREQ
        for then in thens:
            if not plan.relate(first, then, effective) and ordering.from_user:
                # An optional ordering must not make a mandatory one between the same two void, as it does elsewhere.
                plan.relate(first, then, effective & ~declared_bits(first, then))


# --- probes (9.1) -----------------------------------------------------------------------------------------------------


def order_probes(plan: Plan) -> None:
    probed = _probed_leaves(plan)
    for leaf, probes in probed:
        _guard_restarts(plan, leaf, probes)
    if probed:
        _before_what_follows_stops(plan, dict(probed))


def _probed_leaves(plan: Plan) -> list[tuple[Primitive, list[Action]]]:
    found: list[tuple[Primitive, list[Action]]] = []

    def walk(rsc: Resource) -> None:
        if isinstance(rsc, Primitive):
            probes = plan.find(rsc, "monitor")
            if probes:
                found.append((rsc, probes))
        else:
            for child in plan.children[rsc.index]:
                walk(child)

    for rsc in plan.resource_order:
        walk(rsc)
    return found


def _guard_restarts(plan: Plan, leaf: Primitive, probes: list[Action]) -> None:
    """(a): nothing that depends on this leaf is stopped for a restart before the leaf has been probed."""
    top = leaf.top
    walks: dict[Action, list[Action]] = {}
    for probe in probes:
        for relation in reversed(probe.outputs):
            then = relation.then
            if (
                not probe.flags & RUNNABLE
                and not relation.declared & BLOCK
                and then.task == "start"
                and then.rsc is top
                and isinstance(top, Clone)
            ):
                _block_starts_below(plan, probe, then, top)
            stops = walks.get(then)
            if stops is None:
                stops = walks[then] = _restart_targets(plan, leaf, then)
            for stop in stops:
                plan.relate(probe, stop, ORD)


def _block_starts_below(plan: Plan, probe: Action, start: Action, clone: Clone) -> None:
    for relation in reversed(start.outputs):
        then = relation.then
        if then.rsc is None or then.task != "start" or then.rsc.active_nodes or then.rsc.top is not clone:
            continue
        plan.relate(probe, then, ORD | BLOCK)


def _restart_targets(plan: Plan, leaf: Primitive, start: Action) -> list[Action]:
    """Stops (demotes) of what would be restarted because of `start`, in the order of a depth-first walk."""
    found: list[Action] = []
    visited: set[Action] = set()
    stack: list[Action] = [start]
    parent = leaf.parent
    while stack:
        action = stack.pop()
        if action in visited:
            continue
        visited.add(action)
        rsc = action.rsc
        crosses = False
        compatible: Resource | None = None
        if rsc is not None:
            if isinstance(rsc, Primitive):
                if rsc is not leaf:
                    undo = {"start": "stop", "promote": "demote"}.get(action.task)
                    if undo is not None:
                        found.extend(other for other in plan.find(rsc, undo) if not other.flags & PSEUDO)
            elif rsc is not parent:
                crosses = True
        following: list[Action] = []
        for relation in reversed(action.outputs):
            if relation.declared & THENREQ or (crosses and _leads_into(plan, relation, rsc, leaf, compatible)):
                following.append(relation.then)
        stack.extend(reversed(following))
    return found


def _leads_into(
    plan: Plan, relation: Relation, rsc: Resource | None, leaf: Primitive, compatible: Resource | None
) -> bool:
    """Does the relation go from a collective to a direct child of it (of an interleaved clone: the matching one)?"""
    child = relation.then.rsc
    if child is None or rsc is None or child.parent is not rsc:
        return False
    if isinstance(rsc, Clone) and rsc.interleave:
        return is_compatible(plan, leaf, child)
    return True


def _before_what_follows_stops(plan: Plan, probed: dict[Primitive, list[Action]]) -> None:
    """(b): what waits for a stop also waits for the probes that may discover the need for that stop."""
    for ordering in list(plan.orderings):
        rsc = ordering.first_rsc
        if not isinstance(rsc, Primitive) or ordering.first_task != "stop" or ordering.then_rsc is rsc:
            continue
        probes = probed.get(rsc)
        if not probes:
            continue
        if ordering.then_rsc is not None and rsc.launcher is ordering.then_rsc and ordering.then_task == "stop":
            continue
        if ordering.bits in (ANTI, LOAD):
            bits = ordering.bits
        else:
            bits = ORD | (ordering.bits & (IFUNMIG | SAMENODE))
        thens = _then_actions(plan, ordering)
        for probe in probes:
            for then in thens:
                if then.task == "stonith" and then.get_meta("stonith_action") == "on" and then.node is probe.node:
                    continue
                if then.task == "do_shutdown" and then.node is not probe.node:
                    continue
                plan.relate(probe, then, bits)
