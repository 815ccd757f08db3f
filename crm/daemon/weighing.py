"""What this node runs, as a number: where the tie-breaker prefers the side that runs more (`prefer = "resources"`), messaging is told.

The number is the sum of the priorities of the resources that are active here, as `priority-fencing-delay` counts them: a resource's own
`priority`, else that of the group, clone or bundle it is in, else that of `rsc_defaults`. It is told when it changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lxml import etree

from crm.cib import xml
from messaging.client import MessagingClient, QueryFailed

_log = logging.getLogger("vigil")


def weight(document: etree._Element, active: Iterable[str]) -> int:
    """The sum for these resources; instances (`web:0`) count like their resource."""
    resources = xml.section(document, "resources")
    names = [each.partition(":")[0] for each in active]
    if resources is None or not names:
        return 0
    by_id = {primitive.get("id", ""): primitive for primitive in resources.iter("primitive")}
    default = _priority(xml.section(document, "rsc_defaults"))
    return sum(_effective(by_id[name], resources, default or 0) for name in names if name in by_id)


def _effective(primitive: etree._Element, resources: etree._Element, default: int) -> int:
    element: etree._Element | None = primitive
    while element is not None and element is not resources:
        found = _priority(element)
        if found is not None:
            return max(0, found)
        element = element.getparent()
    return max(0, default)


def _priority(element: etree._Element | None) -> int | None:
    if element is None:
        return None
    for holder in element.iterchildren("meta_attributes"):
        for pair in holder.iterchildren("nvpair"):
            text = pair.get("value", "")
            if pair.get("name") == "priority" and text.lstrip("+-").isdigit():
                return int(text)
    return None


class Weighing:
    """Tells messaging, once for each change and each connection."""

    def __init__(self) -> None:
        self._told: tuple[MessagingClient, int] | None = None

    async def tell(self, client: MessagingClient | None, now: int) -> None:
        if client is None or not client.weighs or self._told == (client, now):
            return
        self._told = (client, now)
        try:
            await client.query("weight.set", weight=now)
        except (QueryFailed, OSError, TimeoutError) as error:
            self._told = None
            _log.warning("messaging does not take what this node runs: %s", error)
