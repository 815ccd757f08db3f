"""Location constraints: which nodes a resource prefers or avoids (3.1).

Theory of operation. One `rsc_location` names resources (one, those matching a pattern, a tag or template, or sets of them) and either
a node with a score, or a rule that is evaluated for every node. Each named resource gets one record for each rule. An invalid
score, an unknown node or an invalid role makes the record, or its node, disappear; all of it is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crm.policy.constraints.model import Location, Locations
from crm.policy.constraints.sets import References, read_role, read_sets
from crm.policy.model import (
    INFINITY,
    Cause,
    ClusterState,
    Discovery,
    Node,
    Primitive,
    ReportItem,
    Resource,
    Role,
    Scores,
)
from crm.policy.options import health_colours
from crm.policy.rules import Context, passes
from crm.policy.values import parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element

Parameters = Callable[[Resource, Node], Mapping[str, str]]

_DISCOVERY = {"always": Discovery.ALWAYS, "never": Discovery.NEVER, "exclusive": Discovery.EXCLUSIVE}
_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": " \t",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9A-Fa-f",
}
_CLASS = re.compile(r"\[:(\w+):\]")
_SUBMATCH = re.compile(r"%([0-9])")


@dataclass(slots=True)
class _Target:
    """One resource that a constraint names, with what its set or pattern adds."""

    resource: Resource
    role_text: str | None
    score_text: str | None
    submatches: Sequence[str] = ()


@dataclass(slots=True)
class LocationReader:
    """Reads location constraints in document order into `result`, oldest first."""

    state: ClusterState
    references: References
    parameters_of: Parameters
    problems: list[ReportItem]
    result: Locations = field(default_factory=Locations)

    def read(self, xml: _Element) -> None:
        discovery = self._discovery(xml)
        for target in self._targets(xml):
            if discovery is Discovery.EXCLUSIVE:
                self.result.exclusive.append((xml.get("id", ""), target.resource))
            if xml.get("node") is not None and xml.find("rule") is None:
                self._read_node(xml, target, discovery)
            else:
                for rule in xml.iterchildren("rule"):
                    self._read_rule(xml, rule, target, discovery)

    def read_ping_nodes(self) -> None:
        """Nodes that only answer pings, as old configurations list them: nothing runs there, nothing is probed (part 1, 2.1)."""
        section = self.state.config.section("nodes")
        for element in () if section is None else section.iterchildren("node"):
            node = self.state.nodes_by_id.get(element.get("id", "").lower())
            if element.get("type") == "ping" and node is not None:
                cause = Cause("node-type", node.name, f"{node.name} is a ping node")
                self.result.records.extend(
                    Location(rsc, {node: -INFINITY}, cause, discovery=Discovery.NEVER) for rsc in self.state.resources
                )

    def report(self, xml: _Element, code: str, attribute: str, message: str) -> None:
        self.problems.append(ReportItem("error", code, str(xml.tag), xml.get("id", ""), attribute, message))

    # --- which resources -------------------------------------------------------------------------------------------------

    def _targets(self, xml: _Element) -> list[_Target]:
        role, score = xml.get("role"), xml.get("score")
        pattern = xml.get("rsc-pattern")
        if xml.find("resource_set") is not None:
            return [
                _Target(rsc, each.role_text or role, score if each.score is None else str(each.score))
                for each in read_sets(xml, self.references, self.problems)
                for rsc in each.resources
            ]
        wanted = xml.get("rsc")
        if wanted is not None:
            rsc = self.references.resource(wanted)
            if rsc is not None:
                return [_Target(rsc, role, score)]
            members = self.references.members(wanted)
            if members is None:
                self.report(xml, "unknown-resource", "rsc", f"there is no resource, template or tag '{wanted}'")
                return []
            found = [self.references.resource(member) for member in members]
            return [_Target(rsc, role, score) for rsc in found if rsc is not None]
        return self._matching(xml, pattern) if pattern is not None else []

    def _matching(self, xml: _Element, pattern: str) -> list[_Target]:
        """Top-level resources whose id the pattern is found in; `!` turns it round."""
        inverted = pattern.startswith("!")
        try:
            expression = re.compile(_as_python(pattern[1:] if inverted else pattern))
        except re.error as error:
            self.report(xml, "invalid-pattern", "rsc-pattern", f"'{pattern}' is not a regular expression: {error}")
            return []
        found = []
        for rsc in self.state.resources:
            match = expression.search(rsc.id)
            if (match is None) is inverted:
                parts = [match[0], *(part or "" for part in match.groups())] if match is not None else []
                found.append(_Target(rsc, xml.get("role"), xml.get("score"), parts))
        return found

    # --- which nodes -----------------------------------------------------------------------------------------------------

    def _read_node(self, xml: _Element, target: _Target, discovery: Discovery) -> None:
        name = xml.get("node", "")
        node = self.state.nodes_by_name.get(name.lower())
        score = self._score(target.score_text)
        if target.score_text is None:
            self.report(xml, "missing", "score", "a location needs a score or a rule")
        elif score is None:
            self.report(xml, "invalid-score", "score", f"'{target.score_text}' is not a score")
        if node is None:
            self.report(xml, "unknown-node", "node", f"there is no node '{name}'")
        if node is not None and score is not None:
            holds = self._in_its_lifetime(xml, node, self._context(target))
            self._add(xml, target, target.role_text, discovery, {node: score} if holds else {})

    def _context(self, target: _Target) -> Context:
        return Context(
            now=self.state.now,
            changes=self.result.recheck,
            meta=target.resource.meta,
            submatches=target.submatches,
            resolve=self.state.config.resolve,
        )

    @staticmethod
    def _in_its_lifetime(xml: _Element, node: Node, context: Context) -> bool:
        """Before schema 4.0 a constraint could have a `lifetime`: rules of which one must hold as well (part 1, 2.1)."""
        rules = [rule for lifetime in xml.iterchildren("lifetime") for rule in lifetime.iterchildren("rule")]
        context.attributes = node.attributes
        return not rules or any(passes(rule, context) for rule in rules)

    def _read_rule(self, xml: _Element, rule: _Element, target: _Target, discovery: Discovery) -> None:
        reference = rule.get("id-ref")
        if reference is not None:
            found = self.state.config.resolve("rule", reference)
            if found is None:
                self.report(rule, "unknown-reference", "id-ref", f"there is no rule '{reference}'")
                return
            rule = found
        role_text = rule.get("role")
        by_attribute = rule.get("score-attribute")
        score = self._score(rule.get("score"))
        if by_attribute is None and score is None and rule.get("score"):
            self.report(rule, "invalid-score", "score", f"'{rule.get('score')}' is not a score; 0 is used")
        rsc = target.resource
        scores: Scores = {}
        context = self._context(target)
        needs_parameters = any(each.get("value-source") == "param" for each in rule.iter("expression"))
        for node in self.state.nodes:
            context.attributes = node.attributes
            if needs_parameters:
                context.parameters = self.parameters_of(rsc, node)
            if passes(rule, context) and self._in_its_lifetime(xml, node, context):
                value = score or 0 if by_attribute is None else self._attribute_score(rule, by_attribute, target, node)
                if value is not None:
                    scores[node] = value
        self._add(xml, target, role_text, discovery, scores)

    def _attribute_score(self, rule: _Element, name: str, target: _Target, node: Node) -> int | None:
        """`score-attribute`: the value on the node, or on its current host."""
        if target.submatches:
            parts = target.submatches
            name = _SUBMATCH.sub(lambda m: parts[int(m[1])] if int(m[1]) < len(parts) else "", name)
        where: Node | None = node
        if node.is_guest and target.resource.meta.get("container-attribute-target", "").lower() == "host":
            launcher = node.connection.launcher if isinstance(node.connection, Primitive) else None
            where = launcher.active_nodes[0] if launcher is not None and launcher.active_nodes else None
        text = where.attributes.get(name) if where is not None else None
        score = self._score(text)
        if text is not None and score is None:
            message = f"node attribute '{name}' of {node.name} is '{text}', which is not a score"
            self.report(rule, "invalid-score", "score-attribute", message)
        return score

    # --- records ---------------------------------------------------------------------------------------------------------

    def _add(self, xml: _Element, target: _Target, role_text: str | None, discovery: Discovery, scores: Scores) -> None:
        role = read_role(role_text)
        if role is None:
            self.report(xml, "invalid-role", "role", f"'{role_text}' is not a role")
            return
        if role is Role.UNPROMOTED:
            role = Role.UNKNOWN
        cause = Cause("location", xml.get("id", ""))
        self.result.records.append(Location(target.resource, scores, cause, role, discovery))

    def _score(self, text: str | None) -> int | None:
        return parse_score(text, health_colours(self.state.options))

    def _discovery(self, xml: _Element) -> Discovery:
        text = xml.get("resource-discovery", "always")
        found = _DISCOVERY.get(text.lower())
        if found is None:
            self.report(xml, "invalid-value", "resource-discovery", f"'{text}' is not one of {', '.join(_DISCOVERY)}")
        return found or Discovery.ALWAYS


def _as_python(pattern: str) -> str:
    """A POSIX extended regular expression as Python's `re` reads it: the character classes are spelled out."""
    return _CLASS.sub(lambda found: _CLASSES.get(found[1], found[0]), pattern)
