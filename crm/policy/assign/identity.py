"""Instances of an anonymous clone are interchangeable: one that runs keeps its place.

Theory of operation. Placing the instances one after the other can end with an instance stopped on the very node where another one is to
start, above all when a group is cloned or a colocation keeps instances from the nodes they were offered first. Both have the same
name to everybody but us, so the result would be a restart, repeated by every transition. Here the two exchange their places.
"""

from __future__ import annotations

from crm.policy.model import Assignment, Clone, ClusterState, Kind, Node, Primitive, Resource


def keep_running_instances(state: ClusterState, assignment: Assignment) -> None:
    """Exchange the places of an instance that runs but has none and of one that does not run but has that place."""
    for rsc in state.all_resources:
        if isinstance(rsc, Clone) and not rsc.unique and not _inside_bundle(rsc):
            _keep(rsc, assignment)


def _inside_bundle(rsc: Resource) -> bool:
    return rsc.outermost.kind is Kind.BUNDLE


def _keep(clone: Clone, assignment: Assignment) -> None:
    coming: dict[Node, list[Primitive]] = {}
    for instance in assignment.children[clone.index]:
        leaves = instance.leaves()
        node = assignment.node[leaves[0].index]
        if node is not None and not any(leaf.active_nodes for leaf in leaves):
            coming.setdefault(node, leaves)
    if not coming:
        return
    for instance in assignment.children[clone.index]:
        leaves = instance.leaves()
        where = leaves[0].active_nodes
        if len(where) != 1 or any(assignment.node[leaf.index] is not None for leaf in leaves):
            continue
        others = coming.get(where[0])
        if others is None or len(others) != len(leaves) or not all(assignment.managed[leaf.index] for leaf in leaves):
            continue
        del coming[where[0]]
        for leaf, other in zip(leaves, others, strict=True):
            for values in (assignment.node, assignment.next_role, assignment.assigned_score):
                _swap(values, leaf.index, other.index)


def _swap(values: list, one: int, other: int) -> None:  # type: ignore[type-arg]
    values[one], values[other] = values[other], values[one]
