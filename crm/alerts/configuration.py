"""The `<alerts>` section: which agents are to be told of what, and for whom.

Theory of operation. An alert names an agent (the path of a program, or the bare name of one that we ship) and has recipients; without any it is called
once, for nobody in particular. Attributes of a recipient go before those of its alert. `select` limits an alert to kinds of happenings; without it
an alert is told of nodes, fencing and resources. Values may hang on rules (`enabled` outside office hours), so they are
worked out for the moment of each happening, by the policy engine's own reading of such sets.

Source: Pacemaker Explained, chapter "Alerts". A value that is none (a timeout of "soon") counts as not given; verification tells of it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from lxml import etree

from crm.cib import xml

if TYPE_CHECKING:
    from crm.policy.nvpairs import Resolver

DEFAULT_TIMEOUT_MS: Final = 30_000
DEFAULT_TIMESTAMP: Final = "%H:%M:%S.%06N"
_BOOLEANS: Final = {"true": True, "on": True, "yes": True, "y": True, "1": True}


class Kind(StrEnum):
    NODE = "node"
    FENCING = "fencing"
    RESOURCE = "resource"
    ATTRIBUTE = "attribute"


BY_DEFAULT: Final = frozenset((Kind.NODE, Kind.FENCING, Kind.RESOURCE))
_SELECTIONS: Final = {
    "select_nodes": Kind.NODE,
    "select_fencing": Kind.FENCING,
    "select_resources": Kind.RESOURCE,
    "select_attributes": Kind.ATTRIBUTE,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One recipient of one alert, as configured at a moment. `key` names its queue: calls of one key happen one after the other."""

    key: tuple[str, str]
    alert: str
    path: str
    recipient: str
    kinds: frozenset[Kind]
    attributes: frozenset[str]
    """Names of node attributes to tell of; empty: all."""
    timeout_ms: int
    timestamp_format: str
    environment: tuple[tuple[str, str], ...]

    def wants(self, kind: Kind, attribute: str = "") -> bool:
        if kind not in self.kinds:
            return False
        return kind is not Kind.ATTRIBUTE or not self.attributes or attribute in self.attributes


class Configuration:
    """The alerts of one version of the CIB."""

    def __init__(self, document: etree._Element) -> None:
        found = xml.section(document, "alerts")
        # A copy: the document goes on changing.
        self._section = etree.Element("alerts") if found is None else copy.deepcopy(found)
        self._conditional = next(self._section.iter("rule"), None) is not None
        self._calls: list[Call] | None = None

    def calls(self, epoch_s: int) -> list[Call]:
        """Everybody who may be told, as of now."""
        if self._calls is None or self._conditional:
            self._calls = [call for alert in self._section.iterchildren("alert") for call in self._of(alert, epoch_s)]
        return self._calls

    def _of(self, alert: etree._Element, epoch_s: int) -> list[Call]:
        identity = alert.get("id", "")
        meta, own = self._values(alert, "meta_attributes", epoch_s), self._values(alert, "instance_attributes", epoch_s)
        if not _true(meta.get("enabled", "true")):
            return []
        kinds, names = _selection(alert)
        found = []
        recipients: list[etree._Element | None] = list(alert.iterchildren("recipient"))
        for recipient in recipients or [None]:
            theirs, parameters = meta, own
            if recipient is not None:
                theirs = {**meta, **self._values(recipient, "meta_attributes", epoch_s)}
                parameters = {**own, **self._values(recipient, "instance_attributes", epoch_s)}
                if not _true(theirs.get("enabled", "true")):
                    continue
            found.append(
                Call(
                    key=(identity, "" if recipient is None else recipient.get("id", "")),
                    alert=identity,
                    path=alert.get("path", ""),
                    recipient="" if recipient is None else recipient.get("value", ""),
                    kinds=kinds,
                    attributes=names,
                    timeout_ms=_interval_ms(theirs.get("timeout")) or DEFAULT_TIMEOUT_MS,
                    timestamp_format=theirs.get("timestamp-format") or DEFAULT_TIMESTAMP,
                    environment=tuple(parameters.items()),
                )
            )
        return found

    def _values(self, owner: etree._Element, tag: str, epoch_s: int) -> dict[str, str]:
        if owner.find(tag) is None:
            return {}
        # Few clusters have alerts, and fewer nodes are short of a moment when one is sent: loaded when it is needed.
        from crm.policy.nvpairs import apply_sets, read_sets
        from crm.policy.rules import Context

        table: dict[str, str] = {}
        apply_sets(read_sets(owner, tag, self._resolver()), Context(now=epoch_s), table)
        return table

    def _resolver(self) -> Resolver:
        section = self._section

        def resolve(tag: str, wanted: str) -> etree._Element | None:
            found = [each for each in section.iter(tag) if each.get("id") == wanted]
            return found[0] if len(found) == 1 else None

        return resolve


def _selection(alert: etree._Element) -> tuple[frozenset[Kind], frozenset[str]]:
    select = alert.find("select")
    if select is None or not any(child.tag in _SELECTIONS for child in select):
        return BY_DEFAULT, frozenset()
    kinds = frozenset(_SELECTIONS[str(child.tag)] for child in select if child.tag in _SELECTIONS)
    return kinds, frozenset(name.get("name", "") for name in select.iterfind("select_attributes/attribute"))


def _true(text: str) -> bool:
    return _BOOLEANS.get(text.lower(), False)


def _interval_ms(text: str | None) -> int:
    if text is None:
        return 0
    from crm.policy.dates import parse_interval_ms

    return max(0, parse_interval_ms(text) or 0)
