"""Which constraints are in conflict when a resource fits nowhere.

Theory of operation. Constraints are taken away one at a time and the cluster is assigned anew; a constraint without which the resource
still fits nowhere does not matter and stays away. What is left is minimal: with any one of them gone, the resource would find
a place. Only constraints that can bear on the resource are tried: its own, and those of whatever it is colocated with.

This costs one assignment for each constraint tried. Nothing else is scheduled, and only those who ask pay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crm.policy.assign import assign
from crm.policy.model import INFINITY, Assignment, Bundle, Clone, ClusterState, Node, Resource
from crm.policy.render.reasons import describe, listed, node_state
from crm.policy.values import show_score

if TYPE_CHECKING:
    from crm.policy.constraints.model import Colocation, Location, Locations


_SHOWN = 4  # relations of one constraint that are spelled out


@dataclass(slots=True, frozen=True)
class Conflict:
    """Constraints that together leave a resource no node; without any one of them it would have one."""

    resource: str
    constraints: tuple[str, ...]
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.sentences)


@dataclass(slots=True)
class _Problem:
    """One cluster, and the resource that should fit."""

    state: ClusterState
    locations: Locations
    colocations: list[Colocation]
    resource: Resource

    def assign(self, kept: set[str], explain: bool = False) -> Assignment:
        """The assignment with these constraints and no others. Health and the like are not constraints, and stay."""
        records = [r for r in self.locations.records if r.cause.kind != "location" or r.cause.id in kept]
        exclusive = [item for item in self.locations.exclusive if item[0] in kept]
        locations = replace(self.locations, records=records, exclusive=exclusive)
        return assign(self.state, locations, [c for c in self.colocations if c.id in kept], explain=explain)

    def fits(self, kept: set[str]) -> bool:
        return is_placed(self.assign(kept), self.resource)


def is_placed(assignment: Assignment, rsc: Resource) -> bool:
    """Whether a resource has a node: all of a group's members, some instance of a clone or bundle."""
    if isinstance(rsc, Bundle):
        return any(assignment.node[replica.container.index] is not None for replica in rsc.replicas)
    placed = [assignment.node[leaf.index] is not None for leaf in rsc.leaves()]
    return any(placed) if isinstance(rsc, Clone) else all(placed)


def find_conflict(
    state: ClusterState, locations: Locations, colocations: list[Colocation], rsc: Resource
) -> Conflict | None:
    """A minimal set of constraints in conflict; None when the resource fits, or would not fit without constraints either."""
    problem = _Problem(state, locations, colocations, rsc)
    every = {record.cause.id for record in locations.records} | {c.id for c in colocations}
    if problem.fits(every) or not problem.fits(set()):
        return None
    concerned = _concerning(problem)
    kept = dict.fromkeys(concerned if not problem.fits(set(concerned)) else sorted(every))
    for constraint in list(kept):
        rest = kept.keys() - {constraint}
        if not problem.fits(set(rest)):
            del kept[constraint]
    return Conflict(rsc.id, tuple(kept), tuple(_sentences(problem, list(kept))))


def _concerning(problem: _Problem) -> list[str]:
    """Constraints on the resource and on all that it is colocated with, in document order of locations, then colocations."""
    related: set[Resource] = set(_family(problem.resource))
    colocations: dict[str, None] = {}
    grown = True
    while grown:
        grown = False
        for c in problem.colocations:
            if c.id not in colocations and (c.dependent in related or c.primary in related):
                colocations[c.id] = None
                related.update(_family(c.dependent))
                related.update(_family(c.primary))
                grown = True
    locations = dict.fromkeys(
        record.cause.id
        for record in problem.locations.records
        if record.cause.kind == "location" and record.resource in related
    )
    return [*locations, *colocations]


def _family(rsc: Resource) -> list[Resource]:
    """Everything in the same tree: a group's members share its fate."""
    found, todo = [], [rsc.outermost]
    while todo:
        each = todo.pop()
        found.append(each)
        todo += each.children
    return found


# --- in words -----------------------------------------------------------------------------------------------------------


def _sentences(problem: _Problem, constraints: list[str]) -> list[str]:
    rsc = problem.resource
    noun = "constraint" if len(constraints) == 1 else "constraints"
    verb = "leaves" if len(constraints) == 1 else "together leave"
    names = listed(constraints)
    lines = [f"The {noun} {names} {verb} no node for {rsc.id}; without any one of them it could run:"]
    if len(constraints) == 1:
        lines = [f"The {noun} {names} {verb} no node for {rsc.id}; without it, {rsc.id} could run:"]
    lines += [f"  {line}" for line in (_constraint(problem, each) for each in constraints) if line]
    assignment = problem.assign(set(constraints), explain=True)
    leaf = next((leaf for leaf in rsc.leaves() if assignment.node[leaf.index] is None), None)
    for node in problem.state.nodes if leaf is not None else ():
        reason = _why_not(problem.state, assignment, leaf, node) if leaf is not None else None
        if reason is not None:
            lines.append(f"  {node.name}: {reason}")
    return lines


def _why_not(state: ClusterState, assignment: Assignment, rsc: Resource, node: Node) -> str | None:
    for change in assignment.contributions:
        if change.resource is rsc and change.node is node and change.result <= -INFINITY:
            return describe(change, state, assignment)
    return node_state(node, assignment)


def _constraint(problem: _Problem, name: str) -> str:
    colocations = [c for c in problem.colocations if c.id == name]
    if colocations:
        pairs = [f"{c.dependent.id} with {c.primary.id}" for c in colocations[:_SHOWN]]
        more = f" and {len(colocations) - _SHOWN} more pairs" if len(colocations) > _SHOWN else ""
        return f"{name}: colocation of {', '.join(pairs)}{more}, score {show_score(colocations[0].score)}"
    found = [_location(record) for record in problem.locations.records if record.cause.id == name]
    return f"{name}: " + "; ".join(found) if found else ""


def _location(record: Location) -> str:
    scores = ", ".join(f"{node.name} {show_score(score)}" for node, score in record.scores.items())
    only = f" ({record.discovery.name.lower()} discovery)" if record.discovery.value else ""
    return f"location of {record.resource.id}: {scores or 'no node'}{only}"
