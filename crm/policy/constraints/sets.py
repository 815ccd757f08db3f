"""Resource sets, tags and templates in constraints (part 1, section 8; part 2, section 5.3).

Theory of operation. A constraint refers to a resource by its id, by the name under which history knows an instance, or to several
by a template or a tag. `References` answers both; `read_sets` reads the `resource_set`s of a constraint with what they list put in place.
Location, colocation and ticket constraints read their sets with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crm.policy.model import ReportItem, Resource, Role
from crm.policy.values import parse_boolean, parse_role, parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element


class References(Protocol):
    """What an id in a constraint means."""

    def resource(self, wanted: str) -> Resource | None:
        """The resource of that id; an instance stands for its clone."""

    def members(self, wanted: str) -> list[str] | None:
        """The ids that a template or tag stands for."""


@dataclass(slots=True)
class ResourceSet:
    """A `resource_set`, or what a tag or template stands for (`listed`). `role` UNKNOWN: any."""

    id: str
    resources: list[Resource]
    role: Role = Role.UNKNOWN
    role_text: str | None = None
    score: int | None = None  # None: the constraint's
    sequential: bool = True
    with_previous: bool = True  # the deprecated `ordering` other than `group` turns this round
    listed: bool = False


def read_role(text: str | None) -> Role | None:
    """The role a constraint filters by: UNKNOWN for any, None for text that is no role."""
    if not text:
        return Role.UNKNOWN
    role = parse_role(text)
    if role is Role.UNKNOWN:
        return None
    return Role.UNKNOWN if role is Role.STARTED else role


def read_sets(xml: _Element, references: References, problems: list[ReportItem]) -> list[ResourceSet]:
    """The sets of a constraint, in document order; those with an invalid role are left out."""
    elements = [_resolve(child) for child in xml.iterchildren("resource_set")]
    known = [element for element in elements if element is not None]
    expand = all(
        references.resource(wanted) is not None or references.members(wanted) is not None
        for element in known
        for wanted in _refs(element)
    )
    found = []
    for element in known:
        role = read_role(element.get("role"))
        name = element.get("id", "")
        if role is None:
            message = f"'{element.get('role')}' is not a role"
            problems.append(ReportItem("error", "invalid-role", "resource_set", name, "role", message))
            continue
        sequential = parse_boolean(element.get("sequential"))
        found.append(
            ResourceSet(
                name,
                _resources(element, references, expand, problems),
                role,
                element.get("role"),
                _score(element, problems),
                True if sequential is None else sequential,
                element.get("ordering", "group") == "group",
            )
        )
    return found


def _score(element: _Element, problems: list[ReportItem]) -> int | None:
    text = element.get("score")
    if text is None:
        return None
    score = parse_score(text)
    if score is None:
        message = f"'{text}' is not a score; 0 is used"
        problems.append(ReportItem("error", "invalid-score", "resource_set", element.get("id", ""), "score", message))
    return score or 0


def _resources(element: _Element, references: References, expand: bool, problems: list[ReportItem]) -> list[Resource]:
    found: list[Resource] = []
    for wanted in _refs(element):
        rsc = references.resource(wanted)
        members = references.members(wanted) if rsc is None and expand else None
        listed = [rsc] if rsc is not None else [references.resource(member) for member in members or ()]
        if not listed:
            message = f"there is no resource, template or tag '{wanted}'"
            item = ReportItem(
                "error", "unknown-resource", "resource_set", element.get("id", ""), "resource_ref", message
            )
            problems.append(item)
        found += [each for each in listed if each is not None]
    return found


def _refs(element: _Element) -> list[str]:
    return [ref.get("id", "") for ref in element.iterchildren("resource_ref")]


def _resolve(element: _Element) -> _Element | None:
    """A set itself, or the one that its `id-ref` names anywhere in the CIB."""
    wanted = element.get("id-ref")
    if wanted is None:
        return element
    found = [each for each in element.getroottree().iter("resource_set") if each.get("id") == wanted]
    return found[0] if len(found) == 1 else None
