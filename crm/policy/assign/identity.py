"""Instances of an anonymous clone are interchangeable: one that runs keeps its place.

Theory of operation. Placing the instances one after the other can end with an instance stopped on, or moved from, the very node where another
one is to start, above all when a group is cloned or a colocation keeps instances from the nodes they were offered first. Both have
the same name to everybody but us, so the result would be a restart, repeated by every transition. Here the two exchange their places, with
the roles they were to have there. That never adds a move and takes away at least one.
"""

from __future__ import annotations

from typing import TypeVar

from crm.policy.model import Assignment, Clone, ClusterState, Kind, Node, Primitive

T = TypeVar("T")


def keep_running_instances(state: ClusterState, assignment: Assignment) -> None:
    """Exchange the places of an instance that runs on a node where another one is to run, and of that other one."""
    for rsc in state.all_resources:
        if isinstance(rsc, Clone) and not rsc.unique and rsc.outermost.kind is not Kind.BUNDLE:
            _keep(rsc, assignment)


def _keep(clone: Clone, assignment: Assignment) -> None:
    coming: dict[Node, list[Primitive]] = {}  # by node, the instance that is to run there but does not
    leaving: list[tuple[Node, list[Primitive]]] = []
    for instance in assignment.children[clone.index]:
        leaves = instance.leaves()
        if not all(assignment.managed[leaf.index] for leaf in leaves):
            continue
        first = leaves[0]
        node = assignment.node[first.index]
        if node is not None and node not in first.active_nodes:
            coming.setdefault(node, leaves)
        failed = any(leaf.failed for leaf in leaves)  # it stops anyway
        if len(first.active_nodes) == 1 and node is not first.active_nodes[0] and not failed:
            leaving.append((first.active_nodes[0], leaves))
    for node, leaves in leaving:
        others = coming.pop(node, None)
        if others is None or len(others) != len(leaves):
            continue
        place = assignment.node[leaves[0].index]
        for leaf, other in zip(leaves, others, strict=True):
            _swap(assignment.node, leaf, other)
            _swap(assignment.next_role, leaf, other)
            _swap(assignment.assigned_score, leaf, other)
        if place is not None and coming.get(place) is leaves:
            coming[place] = others


def _swap(values: list[T], one: Primitive, other: Primitive) -> None:
    values[one.index], values[other.index] = values[other.index], values[one.index]
