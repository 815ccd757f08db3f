"""Ordering constraints (part 3, section 11), and the orderings that colocations imply (12.5).

Theory of operation. A constraint is read into bits (what kind of ordering, and its inverse when symmetric) and declared between the tasks
of its resources; nothing is created here except the pseudo-actions that stand for "enough of these". Sets relate their members to
one another and to the set before them. Tags and templates make a side a set.

Lenient as the field is: what names nothing known or cannot be inverted does nothing (or only half), and is reported.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from crm.policy.actions.model import ANTI, ASYM, BLOCK, FIRSTREQ, MIN, ORD, SERIAL, TGRAPH, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.constraints.model import Colocation
from crm.policy.constraints.sets import References
from crm.policy.model import INFINITY, Clone, ReportItem, Resource, Role
from crm.policy.values import parse_boolean, parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element

_INVERSE = {
    "start": "stop",
    "stop": "start",
    "promote": "demote",
    "demote": "promote",
    "running": "stopped",
    "stopped": "running",
    "promoted": "demoted",
    "demoted": "promoted",
}
_RAISING = frozenset(("start", "promote", "migrate_from"))


class OrderKind(StrEnum):
    OPTIONAL = "optional"
    MANDATORY = "mandatory"
    SERIALIZE = "serialize"


@dataclass(slots=True)
class OrderSet:
    """A `resource_set` of an ordering constraint, or one side of a constraint that names a tag."""

    id: str
    resources: list[Resource]
    action: str
    sequential: bool = True
    single: bool = False  # explicitly sequential: its first or last stands for it towards other sets
    require_all: bool = True
    kind: OrderKind = OrderKind.MANDATORY
    symmetric: bool = True
    known: bool = True  # every reference names a resource


def declare_constraints(
    plan: Plan,
    constraints: list[_Element],
    references: References,
    colocations: list[Colocation],
    problems: list[ReportItem],
) -> None:
    """Stage 2: what ordering and colocation constraints declare, in document order."""
    apart: dict[int, list[Colocation]] = {}
    for colocation in colocations:
        if colocation.score <= -INFINITY:
            apart.setdefault(colocation.position, []).append(colocation)
    for position, xml in enumerate(constraints):
        if xml.tag == "rsc_order":
            _Reader(plan, xml, references, problems).read()
        for colocation in apart.get(position, ()):
            _keep_apart(plan, colocation)


def _keep_apart(plan: Plan, colocation: Colocation) -> None:
    """12.5: one side must lose its role before the other gains its own on the same node."""
    sides = (
        (colocation.dependent, colocation.dependent_role),
        (colocation.primary, colocation.primary_role),
    )
    for (loser, lost), (gainer, gained) in ((sides[0], sides[1]), (sides[1], sides[0])):
        for first in {Role.PROMOTED: ("demote",), Role.UNPROMOTED: ("stop", "promote")}.get(lost, ("stop",)):
            for then in {Role.PROMOTED: ("promote",), Role.UNPROMOTED: ("start", "demote")}.get(gained, ("start",)):
                plan.declare(loser, first, gainer, then, ANTI)


def _bits(kind: OrderKind, action: str, symmetric: bool) -> int:
    if kind is OrderKind.OPTIONAL:
        return ORD
    if kind is OrderKind.SERIALIZE:
        return SERIAL
    if not symmetric:
        return ORD | ASYM
    return ORD | THENREQ | (BLOCK if action in _RAISING else 0)


def _inverse_bits(kind: OrderKind) -> int:
    return {OrderKind.OPTIONAL: ORD, OrderKind.MANDATORY: ORD | FIRSTREQ}.get(kind, 0)


class _Reader:
    """Reads one `rsc_order`."""

    def __init__(self, plan: Plan, xml: _Element, references: References, problems: list[ReportItem]) -> None:
        self.plan = plan
        self.xml = xml
        self.references = references
        self.problems = problems
        self.id = xml.get("id", "")
        self.kind = self._kind(xml)
        self.symmetric = self._symmetric(xml.get("symmetrical"), self.kind)

    def report(self, severity: str, code: str, attribute: str, message: str) -> None:
        self.problems.append(ReportItem(severity, code, "rsc_order", self.id, attribute, message))

    def _kind(self, xml: _Element, default: OrderKind = OrderKind.MANDATORY) -> OrderKind:
        text = xml.get("kind")
        if text is None:
            score = xml.get("score")
            if score is None:
                return default
            return OrderKind.OPTIONAL if parse_score(score) == 0 else OrderKind.MANDATORY
        try:
            return OrderKind(text.lower())
        except ValueError:
            self.report("error", "invalid-kind", "kind", f"'{text}' is not Optional, Mandatory or Serialize")
            return OrderKind.MANDATORY

    def _symmetric(self, text: str | None, kind: OrderKind) -> bool:
        given = parse_boolean(text)
        if text is not None and given is None:
            self.report("error", "invalid-boolean", "symmetrical", f"'{text}' is not a boolean")
        if given and kind is OrderKind.SERIALIZE:
            self.report("warning", "no-effect", "symmetrical", "ignored for an ordering of kind Serialize")
        if kind is OrderKind.SERIALIZE:
            return False
        return True if given is None else given

    def read(self) -> None:
        if not self.id:
            self.report("error", "missing", "id", "an ordering constraint needs an id")
            return
        sets = self._sets()
        if sets is None:
            sets = self._sides()
        if sets is not None:
            self._declare_sets(sets)

    # --- two resources (11.1, 11.2) -----------------------------------------------------------------------------------

    def _sides(self) -> list[OrderSet] | None:
        """Declare a constraint between two resources; or, if a tag is named, the sets that it amounts to."""
        first_action = self.xml.get("first-action") or "start"
        then_action = self.xml.get("then-action") or first_action
        sides: list[OrderSet] = []
        listed = False
        for name, action in (("first", first_action), ("then", then_action)):
            wanted = self.xml.get(name)
            if not wanted:
                self.report("error", "missing", name, f"neither '{name}' nor resource sets are given")
                return None
            rsc = self.references.resource(wanted)
            members = self.references.members(wanted) if rsc is None else None
            if rsc is None and members is None:
                self.report("error", "unknown-resource", name, f"there is no resource, template or tag '{wanted}'")
                return None
            listed = listed or rsc is None
            found = [rsc] if rsc is not None else [self.references.resource(member) for member in members or ()]
            resources = [each for each in found if each is not None]
            side = OrderSet(wanted, resources, action, sequential=False, kind=self.kind, symmetric=self.symmetric)
            side.known = len(resources) == len(found)
            sides.append(side)
        if listed:
            for side, attribute in zip(sides, ("first-action", "then-action"), strict=True):
                # an action that the constraint does not give does not move to the set
                side.action = self.xml.get(attribute) or "start"
            return sides
        if sides[0].resources[0] is sides[1].resources[0] and first_action == then_action:
            self.report("warning", "no-effect", "then", "a resource cannot wait for itself")
            return None
        self._declare_pair(sides[0].resources[0], first_action, sides[1].resources[0], then_action)
        return None

    def _declare_pair(self, first: Resource, first_action: str, then: Resource, then_action: str) -> None:
        bits = _bits(self.kind, first_action, self.symmetric)
        minimum = 0
        if isinstance(first, Clone):
            minimum = first.clone_min
            if not minimum and parse_boolean(self.xml.get("require-all")) is False:
                minimum = 1
        if minimum and isinstance(first, Clone):
            enough = self._enough(f"clone-one-or-more:{self.id}", minimum)
            for instance in self.plan.children[first.index]:
                self.plan.declare_before(instance, first_action, enough, MIN | TGRAPH)
            self.plan.declare_after(enough, then, then_action, bits | BLOCK)
        else:
            self.plan.declare_for_user(first, first_action, then, then_action, bits)
        if not self.symmetric:
            return
        undo_first, undo_then = _INVERSE.get(then_action), _INVERSE.get(first_action)
        if undo_first is None or undo_then is None:
            self.report("warning", "no-inverse", "first-action", "the actions of this ordering cannot be inverted")
            return
        self.plan.declare_for_user(then, undo_first, first, undo_then, _inverse_bits(self.kind))

    def _enough(self, name: str, minimum: int) -> Action:
        action = self.plan.loose_pseudo(name, optional=True)
        action.minimum = minimum
        return action

    # --- sets (11.3) --------------------------------------------------------------------------------------------------

    def _sets(self) -> list[OrderSet] | None:
        elements = [_resolve(child) for child in self.xml.iterchildren("resource_set")]
        if not elements:
            return None
        known = [element for element in elements if element is not None]
        expand = all(self._is_known(wanted) for element in known for wanted in _refs(element))
        return [self._read_set(element, expand) for element in known]

    def _is_known(self, wanted: str) -> bool:
        return self.references.resource(wanted) is not None or self.references.members(wanted) is not None

    def _read_set(self, element: _Element, expand: bool) -> OrderSet:
        kind = self._kind(element) if element.get("kind") is not None else self.kind
        symmetrical = element.get("symmetrical") or self.xml.get("symmetrical")
        sequential = parse_boolean(element.get("sequential"))
        result = OrderSet(
            element.get("id", ""),
            [],
            element.get("action") or "start",
            sequential=sequential is not False,
            single=sequential is True,
            require_all=parse_boolean(element.get("require-all")) is not False,
            kind=kind,
            symmetric=self._symmetric(symmetrical, kind),
        )
        for wanted in _refs(element):
            rsc = self.references.resource(wanted)
            members = self.references.members(wanted) if rsc is None and expand else None
            found = [rsc] if rsc is not None else [self.references.resource(member) for member in members or ()]
            result.resources += [each for each in found if each is not None]
            if not found or None in found:
                result.known = False
                message = f"resource set '{result.id}' names '{wanted}', which is no resource, template or tag"
                self.report("error", "unknown-resource", "resource_ref", message)
        return result

    def _declare_sets(self, sets: list[OrderSet]) -> None:
        previous: OrderSet | None = None
        for each in sets:
            if not each.known or not each.resources:
                return
            self._declare_members(each)
            if previous is not None:
                self._declare_between(previous, each)
            previous = each

    def _declare_members(self, members: OrderSet) -> None:
        plan, resources, action = self.plan, members.resources, members.action
        if len(resources) < 2:
            return
        if members.kind is OrderKind.SERIALIZE:
            for number, rsc in enumerate(resources):
                for later in resources[number + 1 :]:
                    plan.declare_for_user(rsc, action, later, action, SERIAL)
            return
        if not members.sequential:
            return
        bits = _bits(members.kind, action, members.symmetric)
        for earlier, later in itertools.pairwise(resources):
            plan.declare_for_user(earlier, action, later, action, bits)
        undo = _INVERSE.get(action)
        if members.symmetric and undo is not None:
            for earlier, later in itertools.pairwise(resources):
                plan.declare_for_user(later, undo, earlier, undo, _inverse_bits(members.kind))

    def _declare_between(self, before: OrderSet, after: OrderSet) -> None:
        bits = _bits(self.kind, before.action, self.symmetric)
        require_all = before.require_all or before.action in ("stop", "demote")
        if not require_all:
            enough = self._enough(f"one-or-more:{before.id}", 1)
            for rsc in before.resources:
                self.plan.declare_before(rsc, before.action, enough, MIN | TGRAPH)
            for rsc in after.resources:
                self.plan.declare_after(enough, rsc, after.action, bits | BLOCK)
        else:
            firsts = before.resources[-1:] if before.single else before.resources
            thens = after.resources[:1] if after.single else after.resources
            for first in firsts:
                for then in thens:
                    self.plan.declare_for_user(first, before.action, then, after.action, bits)
        if not self.symmetric:
            return
        undo_first, undo_then = _INVERSE.get(after.action), _INVERSE.get(before.action)
        if undo_first is None or undo_then is None:
            self.report("warning", "no-inverse", "action", "the actions of these sets cannot be inverted")
            return
        for first in after.resources[:1] if after.single else after.resources:
            for then in before.resources[-1:] if before.single else before.resources:
                self.plan.declare_for_user(first, undo_first, then, undo_then, _inverse_bits(self.kind))


def _refs(element: _Element) -> list[str]:
    return [ref.get("id", "") for ref in element.iterchildren("resource_ref")]


def _resolve(element: _Element) -> _Element | None:
    """A set itself, or the one that its `id-ref` names anywhere in the CIB."""
    wanted = element.get("id-ref")
    if wanted is None:
        return element
    found = [each for each in element.getroottree().iter("resource_set") if each.get("id") == wanted]
    return found[0] if len(found) == 1 else None
