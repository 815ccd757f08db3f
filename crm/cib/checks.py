"""What a grammar of elements cannot say: one function for each kind that has more to it.

Each gets an element and the findings to add to. Nothing here looks beyond its element and what is inside it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Final, Protocol

from lxml import etree

from crm.cib import options
from crm.cib.editor import IdIndex
from crm.cib.options import Option, known
from crm.cib.values import COUNT, INTEGER, SCORE

_CLONE_LIKE: Final = options.RESOURCE_META | options.CLONE_META
_GROUP_LIKE: Final = options.RESOURCE_META | options.GROUP_META
_DEFAULTS: Final = options.RESOURCE_META | options.CLONE_META | options.GROUP_META
_META_OF: Final[dict[str, dict[str, Option]]] = {
    "primitive": options.RESOURCE_META,
    "template": options.RESOURCE_META,
    "group": _GROUP_LIKE,
    "clone": _CLONE_LIKE,
    "master": _CLONE_LIKE,
    "bundle": _CLONE_LIKE,
    "rsc_defaults": _DEFAULTS,
    "op_defaults": options.OPERATION_META,
    "op": options.OPERATION_META,
    "alert": options.ALERT_META,
    "recipient": options.ALERT_META,
}


class Findings(Protocol):
    """Where problems go; `crm.cib.verify.Findings`."""

    @property
    def ids(self) -> IdIndex: ...

    def error(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None: ...

    def warning(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None: ...

    def notice(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None: ...


_LEADING_NUMBER = re.compile(r"\s*[+-]?[0-9]+")

Check = Callable[[etree._Element, Findings], None]


def _agent(element: etree._Element, findings: Findings) -> None:
    """Class, provider and type of a primitive or template."""
    standard, provider, kind = element.get("class"), element.get("provider"), element.get("type")
    if element.get("template") is not None:
        given = [name for name in ("class", "provider") if element.get(name) is not None]
        if given:
            text = f"with template, {' and '.join(given)} come from there and cannot be given"
            findings.error("conflicting-attributes", element, text, given[0])
        return
    if kind is not None and standard is None:
        text = "the attribute class is missing; expected ocf, lsb, systemd, service or stonith"
        findings.error("missing-attribute", element, text, "class")
    if standard == "ocf" and provider is None:
        findings.error("missing-attribute", element, "an ocf agent needs a provider, such as heartbeat", "provider")
    if standard not in (None, "ocf") and provider is not None:
        findings.error("conflicting-attributes", element, f"agents of class {standard} have no provider", "provider")
    if standard in ("nagios", "upstart"):
        findings.warning(
            "unsupported-class", element, f"agents of class {standard} are not supported any more", "class"
        )


def _nvset(element: etree._Element, findings: Findings) -> None:
    """Names are there, once each (the first counts), and values of known options are of their type."""
    seen: set[str] = set()
    parent = element.getparent()
    table = None
    if element.tag == "cluster_property_set":
        table = options.CLUSTER_PROPERTIES
    elif element.tag == "meta_attributes" and parent is not None:
        table = _META_OF.get(str(parent.tag))
    for nvpair in element.iterchildren("nvpair"):
        name = nvpair.get("name")
        if name is None:
            if nvpair.get("id-ref") is None:
                findings.error("missing-attribute", nvpair, "the attribute name is missing", "name")
            continue
        if name in seen:
            findings.warning(
                "repeated-name", nvpair, f"{name} is set earlier in the same set; only the first counts", "name"
            )
        seen.add(name)
        if table is not None:
            _option(nvpair, name, table, findings)


def _option(nvpair: etree._Element, name: str, table: dict[str, Option], findings: Findings) -> None:
    option = known(table, name)
    if option is None:
        close = difflib.get_close_matches(name, list(table), 1)
        if close:
            findings.warning("unknown-option", nvpair, f"{name} is not known; did you mean {close[0]}?", "name")
        return
    value = nvpair.get("value")
    if value is None or value.lower() in ("#default", "default"):
        return
    if option.type.accepts(value):
        return
    number = _LEADING_NUMBER.match(value)
    if number is not None and option.type in (SCORE, INTEGER, COUNT):
        text = f"{name}: expected {option.type.expected}, got {value!r}; it is read as {number[0].strip()}"
        findings.warning("wrong-value", nvpair, text, "value")
    else:
        findings.error("wrong-value", nvpair, f"{name}: expected {option.type.expected}, got {value!r}", "value")


def _utilization(element: etree._Element, findings: Findings) -> None:
    _nvset(element, findings)
    for nvpair in element.iterchildren("nvpair"):
        value = nvpair.get("value")
        if value is not None and not value.lstrip("+-").isdigit():
            text = f"{nvpair.get('name')}: expected an integer, got {value!r}"
            findings.error("wrong-value", nvpair, text, "value")


def _operations(element: etree._Element, findings: Findings) -> None:
    """Operations are told apart by name and interval."""
    seen: dict[tuple[str, str], etree._Element] = {}
    for op in element.iterchildren("op"):
        key = (op.get("name", ""), _plain_interval(op.get("interval", "0")))
        first = seen.setdefault(key, op)
        if first is not op:
            text = f"{key[0]} with interval {op.get('interval')} exists already ({first.get('id')}); expected another interval"
            findings.warning("repeated-operation", op, text, "interval")


def _plain_interval(text: str) -> str:
    """Good enough to see that 10 and 10s are the same."""
    stripped = text.strip().lower()
    for unit in ("seconds", "second", "sec", "s"):
        if stripped.endswith(unit) and stripped[: -len(unit)].strip().isdigit():
            return stripped[: -len(unit)].strip()
    return stripped


def _location(element: etree._Element, findings: Findings) -> None:
    if element.get("node") is not None and element.get("score") is None:
        findings.error("missing-attribute", element, "a node needs a score; expected an integer or INFINITY", "score")
    if element.get("role") is not None and element.find("resource_set") is not None:
        findings.error("conflicting-attributes", element, "role belongs in the resource_set", "role")


def _location_rule(element: etree._Element, findings: Findings) -> None:
    _rule(element, findings)
    if element.get("score") is not None and element.get("score-attribute") is not None:
        findings.error("conflicting-attributes", element, "expected score or score-attribute, both are given", "score")
    parent = element.getparent()
    if (
        parent is not None
        and parent.tag == "rsc_location"
        and not {"score", "score-attribute", "id-ref"} & set(element.attrib)
    ):
        text = "a rule of a location constraint needs a score; expected an integer or INFINITY"
        findings.error("missing-attribute", element, text, "score")


def _rule(element: etree._Element, findings: Findings) -> None:
    if element.get("id-ref") is None and next(element.iterchildren("*"), None) is None:
        findings.error("missing-element", element, "expected at least one condition, such as <expression>")


def _expression(element: etree._Element, findings: Findings) -> None:
    operation = element.get("operation", "").lower()
    unary = operation in ("defined", "not_defined")
    if unary and element.get("value") is not None:
        findings.error("conflicting-attributes", element, f"{operation} takes no value", "value")
    if not unary and operation and element.get("value") is None:
        text = f"{operation} needs a value to compare with; without it the condition is never true"
        findings.warning("missing-attribute", element, text, "value")


def _date_expression(element: etree._Element, findings: Findings) -> None:
    operation = element.get("operation", "in_range").lower()
    start, end = element.get("start"), element.get("end")
    needs = {"gt": start, "lt": end}
    if operation in needs and needs[operation] is None:
        name = "start" if operation == "gt" else "end"
        findings.error("missing-attribute", element, f"{operation} needs {name}", name)
    if operation == "in_range" and start is None and end is None:
        findings.error("missing-attribute", element, "in_range needs start or end", "start")
    if operation == "date_spec" and element.find("date_spec") is None:
        findings.error("missing-element", element, "expected a <date_spec>")


def _order(element: etree._Element, findings: Findings) -> None:
    if element.get("kind") is not None and element.get("score") is not None:
        findings.error("conflicting-attributes", element, "expected kind or score, both are given", "kind")


def _fencing_level(element: etree._Element, findings: Findings) -> None:
    if (element.get("target-attribute") is None) != (element.get("target-value") is None):
        text = "target-attribute and target-value belong together"
        findings.error("missing-attribute", element, text, "target-value")
    devices = [name.strip() for name in element.get("devices", "").split(",") if name.strip()]
    for name in devices:
        holder = findings.ids.get(name)
        if holder is None:
            findings.warning("missing-reference", element, f"devices: there is no resource {name!r}", "devices")
        elif holder.get("class") not in ("stonith", None):
            findings.warning("not-a-device", element, f"devices: {name} is not a fencing device", "devices")


def _network(element: etree._Element, findings: Findings) -> None:
    ports = element.find("port-mapping") is not None
    if ports and element.get("ip-range-start") is None and element.get("control-port") is None:
        findings.warning("ignored", element, "port mappings need ip-range-start or control-port")


def _nodes(element: etree._Element, findings: Findings) -> None:
    """Ids and names of nodes are their own: a remote node's is also that of its connection resource."""
    for key in ("id", "uname"):
        seen: set[str] = set()
        for node in element.iterchildren("node"):
            value = node.get(key, "").lower()
            if value in seen:
                findings.error("duplicate-node", node, f"another node has the same {key}, {node.get(key)}", key)
            seen.add(value)


def _node(element: etree._Element, findings: Findings) -> None:
    if element.get("type") == "normal":
        findings.notice("old-syntax", element, "the type normal is called member now", "type")


_UNQUOTED = re.compile(r"@[\w.-]+\s*!?=\s*([A-Za-z_][\w.-]*)(?![\w.(:/@-])")


def _permission(element: etree._Element, findings: Findings) -> None:
    """An XPath that selects nothing leaves open what it was to close, so it is not accepted."""
    expression = element.get("xpath")
    if expression is None:
        return
    try:
        etree.XPath(expression)
    except etree.XPathError as error:
        findings.error("wrong-value", element, f"xpath: expected an XPath, got {expression!r}: {error}", "xpath")
        return
    bare = _UNQUOTED.search(expression)
    if bare is not None:
        text = f"xpath: expected a text in quotes, '{bare[1]}', in {expression}: without them it is the name of an element, and nothing is selected"
        findings.error("wrong-value", element, text, "xpath")


CHECKS: Final[dict[str, Check]] = {
    "primitive": _agent,
    "template": _agent,
    "cluster_property_set": _nvset,
    "instance_attributes": _nvset,
    "meta_attributes": _nvset,
    "default_attributes": _nvset,
    "utilization": _utilization,
    "operations": _operations,
    "rsc_location": _location,
    "location_rule": _location_rule,
    "rule": _rule,
    "expression": _expression,
    "date_expression": _date_expression,
    "rsc_order": _order,
    "fencing-level": _fencing_level,
    "network": _network,
    "acl_permission": _permission,
    "acl_old": _permission,
    "nodes": _nodes,
    "node": _node,
}
"""By the kind of `crm.cib.model`."""
