"""What the cluster would do if a CIB were the live one: the policy engine is asked, and nothing else happens.

The lines are those of `crm_simulate`'s summary; recurring monitors that begin or end are counted below them.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.policy.actions.model import PSEUDO
from crm.policy.schedule import Transition, schedule

_ALSO: Final = {
    "monitor": ("begin", "recurring monitor"),
    "cancel": ("end", "recurring monitor"),
    "probe": ("run", "probe"),
}


def of(cib: etree._Element) -> list[str]:
    """One line for each resource that something happens to, and each node that is fenced; a last line with what else there is."""
    transition = schedule(cib, int(time.time()))
    return [*transition.summary.lines(), *_also(transition)]


def _also(transition: Transition) -> list[str]:
    counted: Counter[str] = Counter()
    for action in transition.synapses:
        if action.flags & PSEUDO:
            continue
        recurring = (action.get_meta("interval") or "0") != "0"
        kind = "probe" if action.task == "monitor" and not recurring else action.task
        counted[kind] += 1
    parts = [
        f"{verb} {counted[kind]} {noun}{'' if counted[kind] == 1 else 's'}"
        for kind, (verb, noun) in _ALSO.items()
        if counted[kind]
    ]
    return [f"  also {', '.join(parts)}"] if parts else []


def report(cib: etree._Element) -> list[str]:
    """The lines, with a heading."""
    lines = of(cib)
    return ["The cluster would:", *lines] if lines else ["The cluster would do nothing."]


def with_configuration(cib: etree._Element, root: etree._Element) -> etree._Element:
    """The CIB with the configuration of another one; a copy."""
    copy = xml.parse(xml.to_bytes(cib))
    new, old = xml.section(xml.parse(xml.to_bytes(root)), xml.CONFIGURATION), xml.section(copy, xml.CONFIGURATION)
    if new is not None and old is not None:
        copy.replace(old, new)
    return copy
