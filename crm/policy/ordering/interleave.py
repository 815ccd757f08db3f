"""Which instance of one collective goes with which instance of another (13.4): the one on the same node."""

from __future__ import annotations

from crm.policy.actions.plan import Plan
from crm.policy.model import Bundle, Kind, Node, Resource


def instances_of(plan: Plan, rsc: Resource) -> list[Resource]:
    """Instances of a clone, containers of a bundle, members of a group."""
    if isinstance(rsc, Bundle):
        return [replica.container for replica in rsc.replicas]
    return plan.children[rsc.index]


def single_node(plan: Plan, rsc: Resource, current: bool) -> Node | None:
    """The one node of all leaves of a resource: where they are assigned, or where they are active now."""
    if not current:
        return plan.location(rsc)
    found: Node | None = None
    for leaf in rsc.leaves():
        for node in leaf.active_nodes:
            if found is not None and found is not node:
                return None
            found = node
    return found


def partner(plan: Plan, match: Resource, collective: Resource, current: bool) -> Resource | None:
    """The instance of `collective` that `match` is paired with."""
    index = plan.partners.get((collective.index, current))
    if index is None:
        index = {}
        for instance in instances_of(plan, collective):
            node = single_node(plan, instance, current)
            if node is not None and not any(plan.blocked[leaf.index] for leaf in instance.leaves()):
                index.setdefault(node, instance)
        plan.partners[collective.index, current] = index
    node = single_node(plan, match, current)
    if node is not None:
        return index.get(node)
    if not index:
        return None
    for candidate in plan.nodes_by_preference(match):
        found = index.get(candidate)
        if found is not None:
            return found
    return None


def is_compatible(plan: Plan, leaf: Resource, child: Resource) -> bool:
    collective = child.parent
    return collective is not None and partner(plan, leaf, collective, current=False) is child


def interleaves(plan: Plan, first: Resource, then: Resource, then_key: str) -> bool:
    if first is then or first.kind < Kind.CLONE or then.kind < Kind.CLONE:
        return False
    decider = first if then_key.endswith(("_stop_0", "_demote_0")) else then
    return bool(getattr(decider, "interleave", False))
