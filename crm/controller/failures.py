"""Fail counts: what a failed operation adds to them, and what a clean-up removes.

Theory of operation. A fail count is a transient attribute `fail-count-RSC#OPERATION_INTERVAL` of the node, `last-failure-...` the time of
the last failure (epoch seconds). The node that ran the operation computes the new count and publishes it together with the
result, so that a count is never lost with a DC. As documented for Pacemaker: a failed start counts as INFINITY while
`start-failure-is-fatal`, a failed stop always does, other failures add one; probes and cancelled operations never count.
"""

from __future__ import annotations

from collections.abc import Mapping

from crm.controller.graph import INFINITY

COUNTED = frozenset(
    ("start", "stop", "monitor", "promote", "demote", "migrate_to", "migrate_from", "reload", "reload-agent")
)


def counts_as_failure(task: str, interval_ms: int, op_status: int, rc: int, target_rc: int) -> bool:
    """Whether this result raises the fail count."""
    if task not in COUNTED or op_status in (-1, 1):
        return False
    if task == "monitor" and interval_ms == 0:
        return False
    if op_status != 0:
        return True
    degraded = {190: 0, 191: 8}
    return degraded.get(rc, rc) != target_rc


def failure_attributes(
    attributes: Mapping[str, str], resource_id: str, task: str, interval_ms: int, *, start_is_fatal: bool, epoch_s: int
) -> dict[str, str | None]:
    """The transient attributes to set for one more failure."""
    suffix = f"{resource_id}#{task}_{interval_ms}"
    name = f"fail-count-{suffix}"
    if task == "stop" or (task == "start" and start_is_fatal):
        value = "INFINITY"
    else:
        value = increment(attributes.get(name))
    return {name: value, f"last-failure-{suffix}": str(epoch_s)}


def increment(value: str | None) -> str:
    """`value++` as the attribute manager understands it."""
    if value == "INFINITY":
        return value
    number = int(value) if value is not None and value.lstrip("+-").isdigit() else 0
    return "INFINITY" if number + 1 >= INFINITY else str(number + 1)


def cleared_attributes(
    attributes: Mapping[str, str], resource_id: str, task: str | None = None, interval_ms: int | None = None
) -> dict[str, str | None]:
    """The deletions that clear a resource's fail counts (of one operation, when given)."""
    wanted: dict[str, str | None] = {}
    for name in attributes:
        for prefix in ("fail-count-", "last-failure-"):
            if not name.startswith(prefix):
                continue
            resource, _, operation = name[len(prefix) :].rpartition("#")
            if _base(resource) != _base(resource_id):
                continue
            if task is not None and operation != f"{task}_{interval_ms or 0}":
                continue
            wanted[name] = None
    return wanted


def _base(resource_id: str) -> str:
    head, colon, tail = resource_id.rpartition(":")
    return head if colon and tail.isdigit() else resource_id
