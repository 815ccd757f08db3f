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
from crm.policy.model import Cause, ClusterState, Discovery, Node, Primitive, ReportItem, Resource, Role, Scores
from crm.policy.options import health_colours
from crm.policy.rules import Context, passes
from crm.policy.values import parse_score

if TYPE_CHECKING:
    from lxml.etree import _Element

Parameters = Callable[[Primitive, Node], Mapping[str, str]]

_DISCOVERY = {"always": Discovery.ALWAYS, "never": Discovery.NEVER, "exclusive": Discovery.EXCLUSIVE}
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
            expression = re.compile(pattern[1:] if inverted else pattern)
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
            self._add(xml, target, target.role_text, discovery, {node: score})

    def _read_rule(self, xml: _Element, rule: _Element, target: _Target, discovery: Discovery) -> None:
        role_text = rule.get("role")
        by_attribute = rule.get("score-attribute")
        score = self._score(rule.get("score"))
        if by_attribute is None and score is None and rule.get("score"):
            self.report(rule, "invalid-score", "score", f"'{rule.get('score')}' is not a score; 0 is used")
        rsc = target.resource
        scores: Scores = {}
        context = Context(
            now=self.state.now,
            changes=self.result.recheck,
            meta=rsc.meta,
            submatches=target.submatches,
        )
        needs_parameters = any(each.get("value-source") == "param" for each in rule.iter("expression"))
        for node in self.state.nodes:
            context.attributes = node.attributes
            if needs_parameters and isinstance(rsc, Primitive):
                context.parameters = self.parameters_of(rsc, node)
            if passes(rule, context):
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
