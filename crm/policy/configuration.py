"""What every part of unpacking reads from and nobody changes: the document, the time, the defaults.

Theory of operation. A `Configuration` wraps one CIB for one scheduling run. Its configuration section is in current syntax: older ones are
upgraded, on a copy, first. It finds elements under the "exactly one" rule (0.3: two
matches are as good as none), holds the default sets for resources and operations, and collects what has no better place:
the times at which a rule's result will change, and problems of the input that were treated leniently.

Sources: scheduler specification, part 1, sections 0.3, 2.2, 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.cib.report import Severity
from crm.cib.schema import upgrade
from crm.cib.xml import CURRENT_SCHEMA
from crm.policy.dates import parse_date
from crm.policy.model import ReportItem
from crm.policy.nvpairs import NvSet, apply_sets, conditional, read_sets
from crm.policy.rules import Context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml.etree import _Element


class Configuration:
    """One CIB at one point in time."""

    __slots__ = (
        "_referenced",
        "_root",
        "changes",
        "cib",
        "now",
        "op_defaults",
        "problems",
        "rsc_defaults",
        "static_defaults",
    )

    def __init__(self, cib: _Element, now: int) -> None:
        self.cib = cib
        self.now = now
        self.changes: list[int] = []  # when rules will come out differently (4.6)
        self.problems: list[ReportItem] = []
        self._root = self._current_syntax()
        self._referenced: dict[tuple[str, str], _Element | None] = {}
        self.rsc_defaults = self._defaults("rsc_defaults", "meta_attributes")
        self.op_defaults = self._defaults("op_defaults", "meta_attributes")
        self.static_defaults: dict[str, str] | None = None  # of resources, when no rule decides about them
        if not conditional(self.rsc_defaults):
            self.static_defaults = {}
            apply_sets(self.rsc_defaults, self.context(), self.static_defaults)

    def _current_syntax(self) -> _Element | None:
        """The configuration section, upgraded if the CIB declares an older schema than the current one."""
        found = self.cib.findall("configuration")
        if len(found) != 1:
            return None
        if self.cib.get("validate-with", "none") in ("none", CURRENT_SCHEMA):
            return found[0]
        try:
            upgraded = upgrade(self.cib)
        except ValueError as refused:
            self.report("error", "schema", self.cib, str(refused), attribute="validate-with")
            return found[0]
        for note in upgraded.notes:
            if note.severity is not Severity.NOTICE:
                self.problems.append(ReportItem("warning", note.code, note.element, "", "", note.message))
        return upgraded.configuration

    def check_dates(self) -> None:
        """A date that is none makes its condition one that never holds; nobody would notice."""
        for element in () if self._root is None else self._root.iter("date_expression"):
            for name in ("start", "end"):
                text = element.get(name)
                if text is not None and parse_date(text, self.now) is None:
                    self.report("error", "invalid-date", element, f"'{text}' is not a date and time", attribute=name)

    def section(self, name: str) -> _Element | None:
        """A section of the configuration, if there is exactly one."""
        found = [] if self._root is None else self._root.findall(name)
        return found[0] if len(found) == 1 else None

    def status(self) -> _Element | None:
        found = self.cib.findall("status")
        return found[0] if len(found) == 1 else None

    def resolve(self, tag: str, wanted: str) -> _Element | None:
        """The one element of that tag and id in the whole CIB."""
        key = (tag, wanted)
        if key not in self._referenced:
            places = [place for place in (self._root, self.status()) if place is not None]
            found = [element for place in places for element in place.iter(tag) if element.get("id") == wanted]
            self._referenced[key] = found[0] if len(found) == 1 else None
        return self._referenced[key]

    def context(self) -> Context:
        """A rule context that knows the time and nothing else."""
        return Context(self.now, self.changes)

    def sets(self, parent: _Element, tag: str, first: str | None = None) -> list[NvSet]:
        """Sets outside resources: references may point anywhere."""
        return read_sets(parent, tag, self.resolve, first=first)

    def _defaults(self, section: str, tag: str) -> list[NvSet]:
        element = self.section(section)
        return [] if element is None else self.sets(element, tag)

    def report(
        self, severity: str, code: str, element: _Element | None, message: str, *, attribute: str = "", id: str = ""
    ) -> None:
        """Note a problem that got lenient treatment."""
        tag = str(element.tag) if element is not None else ""
        name = id or (element.get("id", "") if element is not None else "")
        self.problems.append(ReportItem(severity, code, tag, name, attribute, message))


def only(found: Iterable[_Element]) -> _Element | None:
    """The single element of an iterable, or None when there is none or more than one."""
    result: _Element | None = None
    for element in found:
        if result is not None:
            return None
        result = element
    return result
