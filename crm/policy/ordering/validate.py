"""The relations that do not count after all (13.6), and the filter that decides which are written as inputs (19.3)."""

from __future__ import annotations

from crm.policy.actions.model import (
    ALWAYS,
    ANTI,
    FGRAPH,
    GUESTOK,
    IFUNMIG,
    LOAD,
    MIGBLOCK,
    MIGRATABLE,
    MIN,
    OPTIONAL,
    ORD,
    RUNNABLE,
    TGRAPH,
    Action,
    Relation,
)
from crm.policy.actions.plan import Plan
from crm.policy.model import Clone

_WEAK = ORD | TGRAPH | FGRAPH


def drop_invalid(plan: Plan) -> None:
    """13.6, newest action first, inputs newest first."""
    for action in reversed(plan.actions):
        for relation in reversed(action.inputs):
            if not relation.bits:
                continue
            first = relation.first
            if (not relation.bits & GUESTOK and _orders_guest_against_itself(plan, first, action)) or (
                relation.bits == LOAD and action.task == "migrate_to" and _reaches(plan, first, action)
            ):
                relation.bits = 0


def _orders_guest_against_itself(plan: Plan, first: Action, then: Action) -> bool:
    """A user ordering between something inside a guest and the guest itself."""
    if first.rsc is None or then.rsc is None or first.node is None or not first.node.is_guest:
        return False
    return plan.container_of(first.node) is then.rsc


def _reaches(plan: Plan, action: Action, target: Action) -> bool:
    """Is `target` among what `action` waits for?"""
    visited: set[Action] = set()
    stack = [action]
    while stack:
        current = stack.pop()
        if current is target:
            return True
        if current in visited:
            continue
        visited.add(current)
        for relation in merged_inputs(current):
            if counts(plan, relation[0], current, relation[1]):
                stack.append(relation[0])
    return False


def merged_inputs(action: Action) -> list[tuple[Action, int]]:
    """What an action waits for, by ascending id, several relations from one action merged."""
    inputs = action.inputs
    if len(inputs) == 1:
        relation = inputs[0]
        return [(relation.first, relation.bits)]
    merged: dict[Action, int] = {}
    for relation in inputs:
        merged[relation.first] = merged.get(relation.first, 0) | relation.bits
    return sorted(merged.items(), key=_by_id)


def _by_id(item: tuple[Action, int]) -> int:
    return item[0].id


def counts(plan: Plan, first: Action, then: Action, bits: int) -> bool:
    """19.3, except for its row 9: is this input written?"""
    if not bits:
        return False
    flags = first.flags
    if not flags & RUNNABLE and (not bits & ~_WEAK or bits & (MIN | MIGBLOCK)):
        return False
    if flags & MIGRATABLE and (bits & IFUNMIG or (bits == ORD and first.key.endswith("_stop_0"))):
        return False
    if bits == LOAD:
        return _load_counts(plan, first, then)
    if bits == ANTI:
        if first.node is not None and then.node is not None and first.node is not then.node:
            return False
        return not flags & OPTIONAL
    rsc = first.rsc
    if (
        rsc is not None
        and rsc is not then.rsc
        and plan.failed[rsc.index]
        and not plan.managed[rsc.index]
        and first.key.endswith("_stop_0")
        and isinstance(then.rsc, Clone)
    ):
        return False
    return not (flags & OPTIONAL and not flags & ALWAYS and first.synapse < 0)


def _load_counts(plan: Plan, first: Action, then: Action) -> bool:
    """10.1, LOAD: only on the same node, and only if something is really stopped there."""
    if then.task == "migrate_to":
        return then.rsc is not None and first.node is plan.node[then.rsc.index]
    return first.node is not None and first.node is then.node and not first.flags & OPTIONAL


def inputs_in_graph(plan: Plan, action: Action) -> list[Action]:
    return [first for first, bits in merged_inputs(action) if counts(plan, first, action, bits)]


__all__ = ["Relation", "counts", "drop_invalid", "inputs_in_graph", "merged_inputs"]
