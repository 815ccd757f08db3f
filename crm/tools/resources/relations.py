"""`--constraints` and `--stack`: where a resource may run, and with whom.

Theory of operation. The constraints are those that the policy engine reads: sets are pairs, rules are evaluated, patterns are resources. Both directions of a colocation
are shown, the other resource with its own locations; `--stack` follows them on, in the direction in which it met them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crm.policy.constraints.model import Colocation, Location
from crm.policy.constraints.read import read_constraints
from crm.policy.model import Clone, ClusterState, Resource
from crm.policy.values import show_score
from crm.tools import exits
from crm.tools.resources.listing import find, state_of

if TYPE_CHECKING:
    from crm.tools.cluster import Cluster
    from crm.tools.command import Given


def show(cluster: Cluster, given: Given) -> int:
    for line in lines(state_of(cluster), given.text("resource"), deep=given.has("stack")):
        print(line)
    return exits.OK


def lines(state: ClusterState, identity: str, *, deep: bool) -> Iterator[str]:
    """Where the resource may run, and with whom. Failure when there is none of this id."""
    rsc = find(state, identity)
    if isinstance(rsc.parent, Clone):
        rsc = rsc.parent
    read = read_constraints(state)
    colocations = [each for each in read.colocations if each.explicit]
    tree = _Relations(read.locations.records, colocations, deep)
    yield from tree.locations(rsc, 0)
    yield from tree.dependents(rsc, 0, {rsc})
    yield from tree.primaries(rsc, 0, {rsc})


@dataclass(slots=True)
class _Relations:
    """Lines of text. `deep`: colocated resources are followed on; a circle ends where it began."""

    records: list[Location]
    colocations: list[Colocation]
    deep: bool

    def locations(self, rsc: Resource, level: int) -> Iterator[str]:
        lines = [
            f"Node {node.name} (score={show_score(score)}, id={record.cause.id}, rsc={rsc.id})"
            for record in reversed(self.records)
            if record.resource is rsc and record.cause.kind == "location"
            for node, score in record.scores.items()
        ]
        return _listed("Locations:", lines, level)

    def dependents(self, rsc: Resource, level: int, seen: set[Resource]) -> Iterator[str]:
        found = sorted((each for each in self.colocations if each.primary is rsc), key=lambda each: each.dependent_key)
        if found:
            yield from _listed(f"Resources colocated with {rsc.id}:", (), level, always=True)
        for each in found:
            yield from self._one(each, each.dependent, level, seen)
            if self.deep and each.dependent not in seen:
                yield from self.dependents(each.dependent, level + 2, {*seen, each.dependent})

    def primaries(self, rsc: Resource, level: int, seen: set[Resource]) -> Iterator[str]:
        found = sorted((each for each in self.colocations if each.dependent is rsc), key=lambda each: each.primary_key)
        if found:
            yield from _listed(f"Resources {rsc.id} is colocated with:", (), level, always=True)
        for each in found:
            yield from self._one(each, each.primary, level, seen)
            if self.deep and each.primary not in seen:
                yield from self.primaries(each.primary, level + 2, {*seen, each.primary})

    def _one(self, colocation: Colocation, other: Resource, level: int, seen: set[Resource]) -> Iterator[str]:
        loop = " - loop" if self.deep and other in seen else ""
        yield f"{'  ' * (level + 1)}* {other.id} (score={show_score(colocation.score)}, id={colocation.id}{loop})"
        if not loop:
            yield from self.locations(other, level + 2)


def _listed(title: str, lines: list[str] | tuple[str, ...], level: int, always: bool = False) -> Iterator[str]:
    if not lines and not always:
        return
    yield f"{'  ' * level}{'* ' if level else ''}{title}"
    for line in lines:
        yield f"{'  ' * (level + 1)}* {line}"
