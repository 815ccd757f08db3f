"""The operation history of one resource on this node: what the policy engine reads as `lrm_rsc_op` elements.

Theory of operation. Few entries are kept, each the last of its kind, under ids that Pacemaker's tools know: `R_last_0` the last one-shot
operation, `R_monitor_10000` a recurring one, `R_last_failure_0` the last that did not end as expected, and migrations
under their own keys because they matter for other nodes too. A failed recurring monitor leaves its last good entry in
place and becomes `last_failure`; a failed one-shot operation is both.

An entry carries digests of the parameters it ran with, so that a changed definition can be told from an unchanged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lxml import etree

from agents.types import AgentId, ExecStatus, OcfCode, OperationResult
from crm.cib.digest import digested_parameters, only, operation_digest, without
from crm.cib.xml import FEATURE_SET
from crm.executor.types import RELOAD, Order

ORIGIN: Final = "vigil"
MIGRATIONS: Final = frozenset(("migrate_to", "migrate_from"))
_FOUND: Final = frozenset(
    (OcfCode.OK, OcfCode.NOT_RUNNING, OcfCode.RUNNING_PROMOTED, OcfCode.DEGRADED, OcfCode.DEGRADED_PROMOTED)
)
_AS_GOOD_AS: Final = {OcfCode.DEGRADED: OcfCode.OK, OcfCode.DEGRADED_PROMOTED: OcfCode.RUNNING_PROMOTED}

Entry = Mapping[str, str]


def failed(order: Order, rc: int, status: ExecStatus) -> bool:
    """Whether this is a failure. A probe that finds the resource in another state than expected is none."""
    if status in (ExecStatus.CANCELLED, ExecStatus.PENDING):
        return False
    if status is not ExecStatus.DONE:
        return True
    if order.action == "monitor" and order.interval_ms == 0:
        return rc not in _FOUND
    return _AS_GOOD_AS.get(OcfCode(rc), rc) != order.target_rc if rc in _AS_GOOD_AS else rc != order.target_rc


def entry_ids(order: Order, failure: bool) -> tuple[str | None, str | None]:
    """Under which ids a result is kept: (as what it is, as a failure)."""
    last_failure = f"{order.resource}_last_failure_0" if failure else None
    if order.action in MIGRATIONS:
        return order.key, last_failure
    if order.interval_ms:
        return (None if failure else order.key), last_failure
    return f"{order.resource}_last_0", last_failure


def entries(
    order: Order, result: OperationResult, call_id: int, node: str, changed_epoch: int, *, promoted: bool = False
) -> tuple[Entry | None, Entry | None]:
    """What to record for a result: the entry, and the entry of the failure. `promoted`: the resource's role while it runs."""
    own, failure = entry_ids(order, failed(order, result.rc, result.status))
    common = {
        "operation_key": order.key,
        "operation": _recorded_as(order, result, promoted),
        "crm-debug-origin": ORIGIN,
        "crm_feature_set": FEATURE_SET,
        "transition-key": order.transition_key,
        "transition-magic": f"{int(result.status)}:{int(result.rc)};{order.transition_key}",
        "exit-reason": result.exit_reason,
        "on_node": node,
        "call-id": str(call_id),
        "rc-code": str(int(result.rc)),
        "op-status": str(int(result.status)),
        "interval": str(order.interval_ms),
        "last-rc-change": str(changed_epoch),
        "exec-time": str(result.run_ms),
        "queue-time": str(result.queued_ms),
        **_migration(order),
        **digests(order),
    }
    return (
        None if own is None else {"id": own, **common},
        None if failure is None else {"id": failure, **common},
    )


def pending_id(order: Order) -> str:
    """Under which id an operation is recorded between its order and its result."""
    return f"pending-{order.key}"


def pending_entry(order: Order, node: str) -> Entry:
    """An operation that has been ordered and has not ended, in the form in which it is recorded when it is ordered."""
    status, rc = int(ExecStatus.PENDING), int(OcfCode.UNKNOWN)
    return {
        "id": pending_id(order),
        "operation_key": order.key,
        "operation": order.action,
        "crm-debug-origin": ORIGIN,
        "transition-key": order.transition_key,
        "transition-magic": f"{status}:{rc};{order.transition_key}",
        "on_node": node,
        "call-id": "-1",
        "rc-code": str(rc),
        "op-status": str(status),
        "interval": str(order.interval_ms),
        "op-digest": operation_digest(digested_parameters(order.parameters, order.interval_ms)),
        **_migration(order),
    }


def postponed_entry(order: Order, call_id: int, node: str) -> Entry:
    """A recurring operation that will begin later: pending, but in its own place, marked and with digests, so that it counts as there."""
    own = {"id": order.key, "call-id": str(call_id), "start-delay": str(order.start_delay_ms)}
    return {**pending_entry(order, node), **own, "crm_feature_set": FEATURE_SET, **digests(order)}


def pending(entry: Entry) -> bool:
    return entry.get("op-status") == str(int(ExecStatus.PENDING))


def digests(order: Order) -> dict[str, str]:
    """The digest attributes of an entry."""
    params = digested_parameters(order.parameters, order.interval_ms)
    found = {"op-digest": operation_digest(params)}
    traits = order.traits
    if traits.restart is not None and not order.interval_ms:
        found["op-force-restart"] = _names(traits.restart)
        found["op-restart-digest"] = operation_digest(only(params, traits.restart))
    if traits.private:
        found["op-secure-params"] = _names(traits.private)
        found["op-secure-digest"] = operation_digest(without(params, traits.private))
    return found


def lrm_resource(resource: str, agent: AgentId, kept: list[Entry]) -> etree._Element:
    """The `<lrm_resource>` element with these entries."""
    element = etree.Element("lrm_resource", {"id": resource, "type": agent.type, "class": agent.standard})
    if agent.provider:
        element.set("provider", agent.provider)
    for entry in kept:
        etree.SubElement(element, "lrm_rsc_op", dict(entry))
    return element


def _recorded_as(order: Order, result: OperationResult, promoted: bool) -> str:
    """A reload leaves the resource as if it had been started with the new parameters, or, when it failed, as a monitor would find it.

    Recorded under its own name it would be the last operation, but not one whose parameters are compared with the configuration's: the next change would go unnoticed.
    """
    if order.action != RELOAD:
        return order.action
    if not result.ok:
        return "monitor"
    return "promote" if promoted else "start"


def _names(names: tuple[str, ...]) -> str:
    return f" {' '.join(names)} "


def _migration(order: Order) -> dict[str, str]:
    values = {name: order.meta(name) for name in ("migrate_source", "migrate_target")}
    return {name: value for name, value in values.items() if value is not None}
