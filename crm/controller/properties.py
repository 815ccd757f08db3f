"""The few cluster options that the controller itself obeys.

The policy engine evaluates options with rules and sets; the controller needs only plain values, before and beside any
decision: it takes the first `nvpair` of the name in document order.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from crm.cib import xml
from crm.controller.durations import duration_ms

DC_DEADTIME_MS: Final = 20_000
RECHECK_INTERVAL_MS: Final = 15 * 60_000
SHUTDOWN_ESCALATION_MS: Final = 20 * 60_000
FENCING_MAX_ATTEMPTS: Final = 10
LOAD_THRESHOLD_PERCENT: Final = 80
INPUT_SERIES: Final = {
    "error": ("pe-error-series-max", -1),
    "warn": ("pe-warn-series-max", 5000),
    "input": ("pe-input-series-max", 4000),
}
"""Of each series of inputs: the option that limits it, and its default."""
STOP_ALLOWANCE_MS: Final = 1_000
CRM_RESTART_GRACE_MS: Final = 5_000
"""How long the crm of a member may be absent (it is being restarted) before the node counts as without one."""
FALSE: Final = frozenset(("false", "off", "no", "n", "0"))


def option(document: etree._Element, name: str) -> str | None:
    for properties in xml.elements(xml.section(document, "crm_config"), "cluster_property_set"):
        for nvpair in properties.iter("nvpair"):
            if nvpair.get("name") == name:
                return nvpair.get("value")
    return None


def dc_deadtime_ms(document: etree._Element) -> int:
    return duration_ms(option(document, "dc-deadtime"), DC_DEADTIME_MS)


def recheck_interval_ms(document: etree._Element) -> int:
    return duration_ms(option(document, "cluster-recheck-interval"), RECHECK_INTERVAL_MS)


def shutdown_escalation_ms(document: etree._Element) -> int:
    return duration_ms(option(document, "shutdown-escalation"), SHUTDOWN_ESCALATION_MS)


def crm_restart_grace_ms(document: etree._Element) -> int:
    return duration_ms(option(document, "crm-restart-grace"), CRM_RESTART_GRACE_MS)


def watchdog_timeout_ms(document: etree._Element) -> int:
    """`fencing-watchdog-timeout`: 0 for never, negative for the time that is derived."""
    text = option(document, "fencing-watchdog-timeout") or option(document, "stonith-watchdog-timeout") or "0"
    if text.startswith("-"):
        return -1
    return duration_ms(text, 0)


def fencing_enabled(document: etree._Element) -> bool:
    text = option(document, "fencing-enabled") or option(document, "stonith-enabled") or "true"
    return text.lower() not in FALSE


def cut_off_grace_ms(document: etree._Element, deadtime_ms: int) -> int:
    """Without fencing: how long after the loss of a node nothing is recovered, so that it can stop what it runs if it is merely cut off.

    Both sides of a cut notice it after `deadtime`, at most one keepalive apart, and `deadtime` is at least three of those: within
    another `deadtime` the other side has certainly noticed, agreed and decided to stop. The rest is for the stops themselves.
    """
    return duration_ms(option(document, "cut-off-grace"), deadtime_ms + STOP_ALLOWANCE_MS)


def start_failure_is_fatal(document: etree._Element) -> bool:
    return (option(document, "start-failure-is-fatal") or "true").lower() not in FALSE


def input_series_max(document: etree._Element, series: str) -> int:
    """How many inputs of decisions are kept of a series (`error`, `warn`, `input`); negative: all."""
    name, default = INPUT_SERIES[series]
    text = option(document, name) or ""
    return int(text) if text.lstrip("-").isdigit() else default


def node_action_limit(document: etree._Element) -> int:
    """Operations that a node is given at a time; 0: what the node itself says."""
    text = option(document, "node-action-limit") or ""
    return int(text) if text.isdigit() else 0


def load_threshold_percent(document: etree._Element) -> int:
    """Above this use of its cores a node is given half as much at a time; 0: never."""
    text = (option(document, "load-threshold") or "").strip().removesuffix("%")
    return int(text) if text.isdigit() else LOAD_THRESHOLD_PERCENT


def fencing_max_attempts(document: etree._Element) -> int:
    text = option(document, "fencing-max-attempts") or option(document, "stonith-max-attempts") or ""
    return int(text) if text.isdigit() and int(text) > 0 else FENCING_MAX_ATTEMPTS
