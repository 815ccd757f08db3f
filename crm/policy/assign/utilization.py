"""Capacities: what a resource and all that must run with it need, and which nodes still have it (section 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.constraints.model import Colocation
from crm.policy.model import (
    INFINITY,
    Bundle,
    Cause,
    Clone,
    Group,
    Node,
    Primitive,
    Resource,
    Role,
)

if TYPE_CHECKING:
    from crm.policy.assign.run import Run

Needs = dict[str, int]


def compare_capacity(run: Run, a: Node, b: Node) -> int:
    """Negative when `a` has more left, counting attributes (16.2). Not transitive."""
    left, right = run.capacity[a.index], run.capacity[b.index]
    result = 0
    for name in left.keys() | right.keys():
        here, there = left.get(name, 0), right.get(name, 0)
        result += (there > here) - (here > there)
    return result


def take(run: Run, rsc: Primitive, node: Node, sign: int = 1) -> None:
    """Subtract what a leaf needs from a node's capacity, or give it back with `sign` -1."""
    capacity = run.capacity[node.index]
    for name, amount in rsc.utilization.items():
        capacity[name] = capacity.get(name, 0) - sign * amount


def fits(run: Run, node: Node, needs: Needs) -> bool:
    capacity = run.capacity[node.index]
    return all(amount <= capacity.get(name, 0) for name, amount in needs.items())


def limit(run: Run, rsc: Primitive, prefer: Node | None) -> Node | None:
    """Ban the nodes that are too small, after the scores were shown; the preference, or the most capable node (16.1)."""
    table = run.tables[rsc.index]
    usable = [node for node in run.in_table_order(table) if table[node] >= 0 and run.available[node.index]]
    together = _needs_together(run, rsc)
    if any(fits(run, node, together) for node in usable):
        too_small = [node for node in usable if not fits(run, node, together)]
    else:
        most: Node | None = None
        for node in usable:
            if most is None or compare_capacity(run, node, most) < 0:
                most = node
        too_small = [node for node in usable if not fits(run, node, rsc.utilization)]
        prefer = prefer or most
    for node in too_small:
        lacking = _lacking(run, node, rsc, together) if run.explaining else ""
        run.ban(rsc, [node], Cause("utilization", rsc.id, lacking))
    return prefer


def _lacking(run: Run, node: Node, rsc: Primitive, together: Needs) -> str:
    """`cpu: 4 needed, 2 left`: what the node has too little of."""
    capacity = run.capacity[node.index]
    needs, whose = (
        (rsc.utilization, "") if not fits(run, node, rsc.utilization) else (together, " with what must be there, too")
    )
    short = {name: amount for name, amount in needs.items() if amount > capacity.get(name, 0)}
    return ", ".join(f"{name}: {amount} needed{whose}, {capacity.get(name, 0)} left" for name, amount in short.items())


def _needs_together(run: Run, rsc: Primitive) -> Needs:
    """What `rsc` and everything that must be with it still need."""
    if not (run.effective.of_dependent(rsc) or run.effective.of_primary(rsc)):
        return rsc.utilization
    found: dict[Resource, None] = {}
    _collect(run, rsc, rsc, found)
    needs: Needs = {}
    for member in found:
        if not run.settled[member.index]:
            _add_needs(run, member, found, needs)
    return needs


def _collect(run: Run, rsc: Resource, origin: Resource, found: dict[Resource, None]) -> None:
    """The set K of 16.1: mandatory colocations in both directions, transitively."""
    if rsc in found:
        return
    found[rsc] = None
    for colocation in run.effective.of_dependent(rsc):
        primary = colocation.primary
        if primary is not origin and colocation.score >= INFINITY and _affects_location(run, colocation):
            _collect(run, primary, origin, found)
    for colocation in run.effective.of_primary(rsc):
        dependent = colocation.dependent
        if dependent is origin or colocation.score < INFINITY:
            continue
        if isinstance(rsc, Clone) and not isinstance(dependent, Clone):
            continue
        if _affects_location(run, colocation):
            _collect(run, dependent, origin, found)
    if isinstance(rsc, Group) and (rsc.colocated or rsc.parent is not None):
        for member in rsc.children:
            _collect(run, member, origin, found)


def _affects_location(run: Run, colocation: Colocation) -> bool:
    """Whether the colocation would move its dependent, if both sides were placed as planned (9.1 without tests 1 and 3)."""
    dependent = run.inner_of.get(colocation.dependent, colocation.dependent)
    primary = run.inner_of.get(colocation.primary, colocation.primary)
    parent = dependent.parent
    if (
        colocation.dependent_role >= Role.UNPROMOTED
        and parent is not None
        and is_promotable(parent)
        and run.settled[dependent.index]
    ):
        return False
    if colocation.dependent_role is not Role.UNKNOWN and colocation.dependent_role is not run.next_role_of(dependent):
        return False
    return colocation.primary_role is Role.UNKNOWN or colocation.primary_role is run.next_role_of(primary)


def is_promotable(rsc: Resource) -> bool:
    """A promotable clone, or a group that is an instance of one."""
    clone = rsc.parent if isinstance(rsc, Group) else rsc
    return isinstance(clone, Clone) and clone.promotable


def _add_needs(run: Run, rsc: Resource, found: dict[Resource, None], needs: Needs) -> None:
    if isinstance(rsc, Primitive):
        for name, amount in rsc.utilization.items():
            needs[name] = needs.get(name, 0) + amount
    elif isinstance(rsc, Group):
        for member in rsc.children:
            if not run.settled[member.index] and member not in found:
                _add_needs(run, member, found, needs)
    elif isinstance(rsc, Clone):
        _add_clone_needs(run, rsc, found, needs)
    elif isinstance(rsc, Bundle) and rsc.replicas and not run.settled[rsc.replicas[0].container.index]:
        _add_needs(run, rsc.replicas[0].container, found, needs)


def _add_clone_needs(run: Run, clone: Clone, found: dict[Resource, None], needs: Needs) -> None:
    instances = run.children[clone.index]
    partly = [i for i in instances if i in found or any(child in found for child in i.children)]
    if not partly:
        if instances and not run.settled[instances[0].index]:
            _add_needs(run, instances[0], found, needs)
        return
    for instance in partly:
        if instance not in found:
            _add_needs(run, instance, found, needs)
