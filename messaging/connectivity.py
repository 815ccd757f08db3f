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
    return _Search(candidates, graph, vertices).best()


def component(node_id: int, graph: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """The nodes connected to this one by any path, itself included."""
    found, fringe = {node_id}, [node_id]
    while fringe:
        fresh = graph[fringe.pop()] - found
        found |= fresh
        fringe.extend(fresh)
    return frozenset(found)


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
    graph = edges(vertices)
    remaining = component(node_id, graph)  # what others do among themselves changes nothing here
    while True:
        part = best_clique(remaining, graph, vertices)
        if node_id in part:
            return part
        remaining -= part


class _Search:
    """Maximal cliques by Bron and Kerbosch (1973) with a pivot, bounded by votes. Sets of nodes are bits of a number."""

    def __init__(
        self, candidates: frozenset[int], graph: Mapping[int, frozenset[int]], vertices: Mapping[int, Vertex]
    ) -> None:
        self._ids = sorted(candidates)
        self._vertices = vertices
        bit = {node_id: 1 << place for place, node_id in enumerate(self._ids)}
        self._near = [sum(bit[other] for other in graph[node_id] if other in bit) for node_id in self._ids]
        self._votes = [vertices[node_id].votes for node_id in self._ids]
        self._steps = 0
        self._best_rank: Rank | None = None
        self._best: frozenset[int] = frozenset()

    def best(self) -> frozenset[int]:
        everybody = (1 << len(self._ids)) - 1
        self._extend(0, everybody, 0, 0, sum(self._votes))
        return self._best

    def _extend(self, chosen: int, open_: int, closed: int, votes: int, open_votes: int) -> None:
        """`chosen` is a clique with `votes`; `open_` (with `open_votes`) may still be added, `closed` was tried."""
        self._steps += 1
        if not open_ and not closed:
            members = frozenset(self._ids[place] for place in _places(chosen))
            found = rank(members, self._vertices)
            if self._best_rank is None or found > self._best_rank:
                self._best_rank, self._best = found, members
            return
        if self._best_rank is not None and (self._steps > MAX_STEPS or votes + open_votes < self._best_rank[0]):
            return
        near = self._near
        pivot = max(_places(open_ | closed), key=lambda place: (near[place] & open_).bit_count())
        for place in _places(open_ & ~near[pivot]):
            left = open_ & near[place]
            left_votes = sum(self._votes[each] for each in _places(left))
            self._extend(chosen | 1 << place, left, closed & near[place], votes + self._votes[place], left_votes)
            open_ &= ~(1 << place)
            closed |= 1 << place


def _places(bits: int) -> list[int]:
    """Which bits are set, lowest first."""
    places = []
    while bits:
        low = bits & -bits
        places.append(low.bit_length() - 1)
        bits ^= low
    return places
