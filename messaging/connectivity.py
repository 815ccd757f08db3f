"""Who should be together: from the matrix of who hears whom to a partition of the nodes into views.

Every node publishes a row (whom it hears), rows of others are passed on, and so all nodes that are connected by any
path work on the same matrix. From it each of them computes, alone, the *same* partition, and thereby the same leader
(the lowest id of each part). Agreement then only has to confirm what everybody expects, also where connectivity is
asymmetric (A hears B but not the reverse) or incomplete (A reaches B and C, which do not reach each other).

The rule: two nodes belong together when each hears the other's present incarnation. Take the best set in which
everybody hears everybody (a clique), then the best of what remains, and so on. Best is, in this order:

1. the most votes, then the most nodes: keep as much of the cluster together as possible;
2. the most nodes that share one view already: do not swap members for nothing;
3. the lowest ids.

The exact search is exponential in the worst case, which needs dozens of missing connections in a peculiar pattern.
It is cut off after `MAX_STEPS` and then goes on with the best set found; being deterministic, all nodes still agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from messaging.messages import NO_VIEW
from messaging.types import ViewId

MAX_STEPS = 4000


@dataclass(frozen=True, slots=True)
class Vertex:
    """What the choice needs to know of one node. `hears` holds the ids it hears, present incarnations only."""

    node_id: int
    votes: int
    view_id: ViewId
    hears: frozenset[int]


Rank = tuple[int, int, int, tuple[int, ...]]


def edges(vertices: Mapping[int, Vertex]) -> dict[int, frozenset[int]]:
    """For each node the nodes with which it hears each other."""
    return {
        node_id: frozenset(
            other
            for other in vertex.hears
            if other != node_id and other in vertices and node_id in vertices[other].hears
        )
        for node_id, vertex in vertices.items()
    }


def rank(members: Iterable[int], vertices: Mapping[int, Vertex]) -> Rank:
    """The order of preference among candidate sets: the greatest is the best."""
    ids = sorted(members)
    shared: dict[ViewId, int] = {}
    for node_id in ids:
        view_id = vertices[node_id].view_id
        if view_id != NO_VIEW:
            shared[view_id] = shared.get(view_id, 0) + 1
    return (
        sum(vertices[node_id].votes for node_id in ids),
        len(ids),
        max(shared.values(), default=0),
        tuple(-node_id for node_id in ids),
    )


def best_clique(
    candidates: frozenset[int], graph: Mapping[int, frozenset[int]], vertices: Mapping[int, Vertex]
) -> frozenset[int]:
    """The best set in which everybody hears everybody, among the candidates. See the module's text for 'best'."""
    search = _Search(graph, vertices)
    search.extend(frozenset(), candidates, frozenset())
    return search.best


def partition(vertices: Mapping[int, Vertex]) -> list[frozenset[int]]:
    """The views the nodes should form, best first. Every node is in exactly one."""
    graph = edges(vertices)
    remaining = frozenset(vertices)
    parts: list[frozenset[int]] = []
    while remaining:
        part = best_clique(remaining, graph, vertices)
        parts.append(part)
        remaining -= part
    return parts


def part_of(node_id: int, vertices: Mapping[int, Vertex]) -> frozenset[int]:
    """The view that one node should be in."""
    everyone = frozenset(vertices)
    if all(vertex.hears | {other} >= everyone for other, vertex in vertices.items()):
        return everyone  # the usual case: the matrix is full
    for part in partition(vertices):
        if node_id in part:
            return part
    raise AssertionError(f"node {node_id} is not in the matrix")


class _Search:
    """Maximal cliques by Bron and Kerbosch (1973) with a pivot, keeping the best."""

    def __init__(self, graph: Mapping[int, frozenset[int]], vertices: Mapping[int, Vertex]) -> None:
        self._graph = graph
        self._vertices = vertices
        self._steps = 0
        self._best_rank: Rank | None = None
        self.best: frozenset[int] = frozenset()

    def extend(self, chosen: frozenset[int], open_: frozenset[int], closed: frozenset[int]) -> None:
        self._steps += 1
        if not open_ and not closed:
            found = rank(chosen, self._vertices)
            if self._best_rank is None or found > self._best_rank:
                self._best_rank, self.best = found, chosen
            return
        if self._steps > MAX_STEPS and self.best:
            return
        pivot = max(sorted(open_ | closed), key=lambda node_id: len(self._graph[node_id] & open_))
        for node_id in sorted(open_ - self._graph[pivot]):
            near = self._graph[node_id]
            self.extend(chosen | {node_id}, open_ & near, closed & near)
            open_ -= {node_id}
            closed |= {node_id}
