"""Colocation constraints: which resources go together, or apart (section 5).

Theory of operation. One `rsc_colocation` names two resources, or several sets of them. Tags and templates stand for the resources
they list: as a side of a constraint they make it a set without order. Sets relate their members to one another (with the set's own
score) and to the set before them (with the constraint's). Every relation becomes one `Colocation` record.

Lenient as the field is: a constraint that names nothing known, has an unknown role or no score does nothing, and is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crm.policy.constraints.model import Colocation
from crm.policy.constraints.sets import References, ResourceSet, read_role, read_sets
from crm.policy.model import ClusterState, ReportItem, Resource, Role
from crm.policy.values import parse_boolean, parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element


@dataclass(slots=True)
class _Reader:
    """What all relations of one constraint share."""

    xml: _Element
    position: int
    references: References
    problems: list[ReportItem]
    found: list[Colocation]

    @property
    def id(self) -> str:
        return self.xml.get("id", "")

    def report(self, severity: str, code: str, attribute: str, message: str) -> None:
        self.problems.append(ReportItem(severity, code, "rsc_colocation", self.id, attribute, message))

    def relate(
        self, dependent: Resource, primary: Resource, score: int, roles: tuple[Role, Role], attribute: str = "#uname"
    ) -> None:
        if score == 0:
            return
        influence = parse_boolean(self.xml.get("influence"))
        self.found.append(
            Colocation(
                self.id,
                dependent,
                primary,
                score,
                roles[0],
                roles[1],
                attribute,
                dependent.critical if influence is None else influence,
                position=self.position,
            )
        )


def unpack_colocations(
    state: ClusterState, constraints: list[_Element], references: References, problems: list[ReportItem]
) -> list[Colocation]:
    """The records of all `rsc_colocation` among `constraints`, in document order."""
    found: list[Colocation] = []
    for position, xml in enumerate(constraints):
        if xml.tag == "rsc_colocation":
            _read(_Reader(xml, position, references, problems, found))
    return found


def _read(reader: _Reader) -> None:
    xml = reader.xml
    text = xml.get("score")
    score = parse_score(text)
    if score is None:
        if text:
            reader.report("error", "invalid-score", "score", f"'{text}' is not a score; 0 is used")
        score = 0
    sets = read_sets(xml, reader.references, reader.problems)
    if sets:
        _relate_sets(reader, sets, score)
        return
    sides = [_side(reader, name) for name in ("rsc", "with-rsc")]
    if sides[0] is None or sides[1] is None:
        return
    if sides[0].listed and sides[1].listed:
        reader.report("error", "two-sets", "with-rsc", "a tag or template on both sides is not supported")
    elif sides[0].listed or sides[1].listed:
        _relate_sets(reader, [sides[0], sides[1]], score)
    elif sides[0].resources[0] is sides[1].resources[0]:
        reader.report("warning", "no-effect", "with-rsc", "a resource cannot be placed relative to itself")
    elif score == 0:
        reader.report("warning", "no-effect", "score", "a colocation with score 0 has no effect")
    else:
        reader.relate(
            sides[0].resources[0],
            sides[1].resources[0],
            score,
            (sides[0].role, sides[1].role),
            xml.get("node-attribute") or "#uname",
        )


def _side(reader: _Reader, name: str) -> ResourceSet | None:
    """A side of a constraint without sets: one resource, or those that a tag or template lists."""
    wanted = reader.xml.get(name)
    if not wanted:
        reader.report("error", "missing", name, f"neither '{name}' nor resource sets are given")
        return None
    role_name = f"{name}-role"
    role = read_role(reader.xml.get(role_name))
    if role is None:
        reader.report("error", "invalid-role", role_name, f"'{reader.xml.get(role_name)}' is not a role")
        return None
    rsc = reader.references.resource(wanted)
    if rsc is not None:
        return ResourceSet(wanted, [rsc], role=role)
    members = reader.references.members(wanted)
    if members is None:
        reader.report("error", "unknown-resource", name, f"there is no resource, template or tag '{wanted}'")
        return None
    resources = [found for found in map(reader.references.resource, members) if found is not None]
    return ResourceSet(wanted, resources, role=role, sequential=False, listed=True)


# --- sets (5.3) ---------------------------------------------------------------------------------------------------------


def _relate_sets(reader: _Reader, sets: list[ResourceSet], score: int) -> None:
    previous: ResourceSet | None = None
    for resource_set in sets:
        _relate_members(reader, resource_set, score if resource_set.score is None else resource_set.score)
        if previous is not None and score:
            _relate_neighbours(reader, previous, resource_set, score)
        previous = resource_set


def _relate_members(reader: _Reader, resource_set: ResourceSet, score: int) -> None:
    if not resource_set.sequential:
        return
    roles = (resource_set.role, resource_set.role)
    resources = resource_set.resources
    for number, rsc in enumerate(resources[1:], 1):
        if score < 0:
            for earlier in resources[:number]:
                reader.relate(rsc, earlier, score, roles)
        elif resource_set.with_previous:
            reader.relate(rsc, resources[number - 1], score, roles)
        else:
            reader.relate(resources[number - 1], rsc, score, roles)


def _relate_neighbours(reader: _Reader, dependents: ResourceSet, primaries: ResourceSet, score: int) -> None:
    if not dependents.resources or not primaries.resources:
        return
    roles = (dependents.role, primaries.role)
    for dependent in dependents.resources[:1] if dependents.sequential else dependents.resources:
        for primary in primaries.resources[-1:] if primaries.sequential else primaries.resources:
            reader.relate(dependent, primary, score, roles)
