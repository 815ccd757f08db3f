"""Moves and bans: the location constraints that `crm resource move` and `ban` leave in the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from crm.cib import xml
from crm.policy.dates import parse_date
from crm.shell.status.model import Ban

PREFER = "cli-prefer-"
BAN = "cli-ban-"


def read_bans(cib: etree._Element, now: int) -> Iterator[Ban]:
    """All of them, in document order."""
    for constraint in xml.elements(xml.section(cib, "constraints"), "rsc_location"):
        identity = constraint.get("id", "")
        if not identity.startswith((PREFER, BAN)):
            continue
        until = next((date.get("end", "") for date in constraint.iter("date_expression") if date.get("end")), "")
        end = parse_date(until, now) if until else None
        yield Ban(
            identity,
            constraint.get("rsc") or constraint.get("rsc-pattern") or "",
            _node_of(constraint),
            _prefers(constraint),
            until,
            end is not None and end <= now,
            constraint.get("role") or "",
        )


def _node_of(constraint: etree._Element) -> str:
    node = constraint.get("node")
    if node is not None:
        return node
    names = (item.get("value", "") for item in constraint.iter("expression") if item.get("attribute") == "#uname")
    return next(names, "")


def _prefers(constraint: etree._Element) -> bool:
    rule = constraint.find("rule")
    score = constraint.get("score") or (rule.get("score") if rule is not None else None) or ""
    return not score.startswith("-")
