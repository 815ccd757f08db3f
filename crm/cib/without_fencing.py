"""Fencing that is disabled where quorum relies on it: what to say, and how to see it.

Under some tie-breakers (ping, `messaging.quorum`) both halves of a cluster may go on after a split; then only fencing keeps a
resource from being active twice. Which tie-breaker there is stands in vigil.toml, whether fencing is enabled in the CIB: so this is looked at where both
are known, when the CIB is changed, by `crm cluster check` and in the status.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from crm.cib.operations import Operation

_NAMES: Final = ("fencing-enabled", "stonith-enabled")
_FALSE: Final = ("false", "no", "off", "0", "n")


def danger(tie_breaker: str) -> str:
    return (
        f"fencing must not be disabled with the tie-breaker {tie_breaker}: both halves of the cluster may go on after a split, and "
        "only fencing keeps a resource from being active twice. To accept that, set accept_without_fencing = true in "
        "[quorum.tie_breaker] of vigil.toml on all nodes"
    )


def is_disabled(document: etree._Element) -> bool:
    """Whether a CIB disables fencing."""
    path = "configuration/crm_config/cluster_property_set/nvpair"
    values = {pair.get("name"): (pair.get("value") or "").lower() for pair in document.iterfind(path)}
    return next((values[name] for name in _NAMES if name in values), "true") in _FALSE


def is_disabled_by(operation: Operation) -> bool:
    """Whether a change brings such an option."""
    if any(map(is_disabled_by, operation.steps)):
        return True
    if not any(name in operation.xml for name in _NAMES):
        return False
    try:
        change = etree.fromstring(operation.xml.encode())
    except etree.XMLSyntaxError:
        return False  # refused for that
    return any(
        pair.get("name") in _NAMES and (pair.get("value") or "").lower() in _FALSE for pair in change.iter("nvpair")
    )
