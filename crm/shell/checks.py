"""What is wrong with an edited configuration, all of it at once, before it is committed.

Theory of operation. `crm.cib.verify` judges the configuration itself: grammar, references, values of options. This module adds what it cannot know:
resources against the metadata of their agents (an unknown agent or parameter, a required one that is missing, a value that is not of its type).
Agents are looked up on this node, through a `Catalogue`; classes that cannot be listed here are not judged.

What was wrong before the edit is not held against it: `new_items` leaves out what the base has too.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator
from typing import Final

from lxml import etree

from agents import metadata
from agents.metadata import AgentMetadata
from agents.paths import SHIPPED_ALERTS
from agents.types import AgentId
from crm.cib import verify, xml
from crm.cib.report import ReportItem, Severity
from crm.shell.catalogue import Catalogue, UnknownAgentError, agent_of
from crm.shell.configuration import Configuration

_DURATION_ATTRIBUTE: Final = "timeout"


def check(configuration: Configuration, catalogue: Catalogue | None = None) -> list[ReportItem]:
    """Every problem of the configuration as it is now."""
    items = verify.verify(configuration.root)
    if catalogue is not None:
        items.extend(check_agents(configuration.root, catalogue))
    return items


def new_items(configuration: Configuration, catalogue: Catalogue | None = None) -> list[ReportItem]:
    """The problems that the edit brought in; notices are left out. Only agents of objects that it changed are looked at."""
    found = [item for item in verify.verify(configuration.root) if item.severity is not Severity.NOTICE]
    if found:
        known = {_identity(item) for item in verify.verify(configuration.base)}
        found = [item for item in found if _identity(item) not in known]
    if catalogue is not None:
        found.extend(check_agents(configuration.root, catalogue, configuration.changed_ids()))
    return found


def _identity(item: ReportItem) -> tuple[str, str, str]:
    return item.code, item.element, item.message


# Agents


def check_agents(
    root: etree._Element, catalogue: Catalogue, only: Collection[str] | None = None
) -> Iterator[ReportItem]:
    """Primitives and templates against their agents' metadata, and whether alerts have their programs; with `only`, those with these ids."""
    yield from _alerts(root, only)
    resources = xml.section(root, "resources")
    if resources is None:
        return
    templates = {element.get("id", ""): element for element in resources.iterchildren("template")}
    for element in resources.iter("primitive", "template"):
        if only is not None and element.get("id") not in only:
            continue
        source = templates.get(element.get("template", ""), element)
        agent = agent_of(source.get("class", ""), source.get("provider", ""), source.get("type", ""))
        if agent is None:
            continue
        try:
            found = catalogue.describe(agent)
        except UnknownAgentError as error:
            yield _item(element, "error", "unknown-agent", f"{error}{_similar(catalogue, agent)}", "type")
            continue
        yield from _parameters(element, source, found)
        yield from _operations(element, found)


def _alerts(root: etree._Element, only: Collection[str] | None) -> Iterator[ReportItem]:
    """An alert whose program is not on this node: a warning, since the other nodes may have it."""
    shipped = sorted(path.name for path in SHIPPED_ALERTS.iterdir())
    for alert in xml.elements(xml.section(root, "alerts"), "alert"):
        path = alert.get("path", "")
        if (only is not None and alert.get("id") not in only) or path in shipped:
            continue
        if "/" not in path:
            text = f"{path!r} is no agent that we ship ({', '.join(shipped)}); any other needs its whole path"
            yield _item(alert, "warning", "unknown-alert-agent", text, "path")
        elif not os.access(path, os.X_OK):
            yield _item(alert, "warning", "unknown-alert-agent", f"{path} is not a program on this node", "path")


def _item(element: etree._Element, severity: str, code: str, message: str, attribute: str = "") -> ReportItem:
    return ReportItem(Severity(severity), code, xml.describe(element), message, attribute)


def _similar(catalogue: Catalogue, agent: AgentId) -> str:
    names = catalogue.types(agent.standard, agent.provider)
    if agent.type in names:
        return ""
    close = difflib.get_close_matches(agent.type, names, 3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    if agent.standard == "ocf":
        for provider in catalogue.providers():
            if agent.type in catalogue.types("ocf", provider):
                return f"; did you mean ocf:{provider}:{agent.type}?"
    return ""


def _parameters(element: etree._Element, source: etree._Element, found: AgentMetadata) -> Iterator[ReportItem]:
    """A template may leave out what its primitives add, and what is referred to elsewhere is not seen here."""
    given: dict[str, str] = {}
    for holder in dict.fromkeys((source, element)):
        for pair in holder.iterfind("instance_attributes/nvpair"):
            if pair.get("name") is not None:
                given[pair.get("name", "")] = pair.get("value", "")
    partial = element.tag == "template" or any(
        part.get("id-ref") for part in element.iter("instance_attributes", "nvpair")
    )
    for problem in metadata.check_parameters(found, given):
        if partial and problem.code == "missing-parameter":
            continue
        yield _item(element, problem.severity, problem.code, problem.message, problem.name)


def _operations(element: etree._Element, found: AgentMetadata) -> Iterator[ReportItem]:
    for operation in element.iterfind("operations/op"):
        timeout = metadata.duration_ms(operation.get(_DURATION_ATTRIBUTE))
        role = operation.get("role", "")
        for problem in metadata.check_operation(found, operation.get("name", ""), timeout, role):
            yield _item(element, problem.severity, problem.code, problem.message, problem.name)
