"""Brings a configuration in the syntax of an older schema to the current one.

Theory of operation. Pacemaker's schemas are numbered 1.0 to 4.0; syntax went away at 2.0 (access lists), 3.0 and 4.0. `upgrade` works on a
copy of the configuration and applies, in order, the conversions that lie between the schema that the document declares and the current
one. A conversion looks for old syntax, replaces it by what means the same, and says so in a note; where nothing means the same any more the old
thing is dropped, and the note is a warning. Conversions are idempotent: a document that is new already comes out as it was.

Nothing is written here, and the status section is no matter of a schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.cib import upgrades, xml
from crm.cib.report import ReportItem
from crm.cib.upgrades import Conversion

_DECLARED = re.compile(r"pacemaker-([0-9]+)\.([0-9]+)\Z")
_OLDEST: Final = (1, 0)

CONVERSIONS: Final[tuple[tuple[tuple[int, int], Callable[[Conversion], None]], ...]] = (
    ((2, 0), upgrades.access_lists),
    ((3, 0), upgrades.cluster_properties),
    ((3, 0), upgrades.node_types),
    ((3, 0), upgrades.resource_meta),
    ((3, 0), upgrades.operations),
    ((3, 0), upgrades.colocations),
    ((3, 0), upgrades.fencing_commands),
    ((4, 0), upgrades.renamed_properties),
    ((4, 0), upgrades.masters),
    ((4, 0), upgrades.roles),
    ((4, 0), upgrades.bundles),
    ((4, 0), upgrades.unsupported_resources),
    ((4, 0), upgrades.ping_nodes),
    ((4, 0), upgrades.lifetimes),
    ((4, 0), upgrades.location_rules),
    ((4, 0), upgrades.pairs),
    ((4, 0), upgrades.leftovers),
)
"""Each with the schema that no longer has what it replaces. The order matters: lifetimes become rules before rules are split."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """`configuration` belongs to no document yet. `notes` say what was converted and, as warnings, what was dropped."""

    configuration: etree._Element
    schema: str
    notes: tuple[ReportItem, ...]


def declared(document: etree._Element) -> tuple[int, int]:
    """The schema that the document declares. ValueError when it declares one that does not exist; `none` counts as the oldest."""
    text = document.get("validate-with", "none")
    if text in ("none", "pacemaker-next") or text.startswith("transitional-"):
        return _OLDEST
    match = _DECLARED.match(text)
    if match is None:
        raise ValueError(f"validate-with: expected a schema such as {xml.CURRENT_SCHEMA}, got {text!r}")
    return int(match[1]), int(match[2])


def upgrade(document: etree._Element) -> Upgraded:
    """The configuration of `document` in current syntax. ValueError when it has none, or declares an unknown or newer schema."""
    configuration = document.find(xml.CONFIGURATION)
    if configuration is None:
        raise ValueError("the document has no configuration")
    since = declared(document)
    current = _DECLARED.match(xml.CURRENT_SCHEMA)
    assert current is not None
    if since > (int(current[1]), int(current[2])):
        raise ValueError(
            f"{document.get('validate-with')} is newer than {xml.CURRENT_SCHEMA}, the newest that is known"
        )
    conversion = Conversion(deepcopy(configuration))
    for gone_in, convert in CONVERSIONS:
        if since < gone_in:
            convert(conversion)
    return Upgraded(conversion.root, xml.CURRENT_SCHEMA, tuple(conversion.notes))
