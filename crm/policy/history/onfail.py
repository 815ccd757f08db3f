"""What a failure of an operation leads to: the effect of `on-fail`, and the role that remains possible afterwards.

Sources: scheduler specification, part 1, section 15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.model import HistoryEntry, NodeKind, OnFail, Role

if TYPE_CHECKING:
    from crm.policy.model import ClusterState, Primitive

_VALUES: Final = {
    "block": OnFail.BLOCK,
    "fence": OnFail.FENCE,
    "standby": OnFail.STANDBY,
    "ignore": OnFail.IGNORE,
    "nothing": OnFail.IGNORE,
    "migrate": OnFail.BAN,
    "stop": OnFail.STOP,
    "restart": OnFail.RESTART,
    "restart-container": OnFail.RESTART_CONTAINER,
    "demote": OnFail.DEMOTE,
}


def on_fail(state: ClusterState, rsc: Primitive, entry: HistoryEntry) -> OnFail:
    """The configured reaction if it is valid, else the default one."""
    _, meta = state.operations.meta(rsc, entry.operation, entry.interval_ms)
    text = meta.get("on-fail")
    value = _VALUES.get(text.lower()) if text is not None else None
    if value is OnFail.FENCE and not state.options.fencing_enabled:
        value = OnFail.STOP
    elif value is OnFail.RESTART_CONTAINER and rsc.launcher is None:
        value = None
    connects_remote = rsc.remote_node is not None and rsc.remote_node.kind is NodeKind.REMOTE
    if connects_remote and not entry.is_probe and entry.operation != "start":
        if not rsc.managed:
            return OnFail.STOP
        return OnFail.RESET_REMOTE if value is None else value
    if value is not None:
        return value
    if rsc.launcher is not None:
        return OnFail.RESTART_CONTAINER
    if entry.operation == "stop":
        return OnFail.FENCE if state.options.fencing_enabled else OnFail.BLOCK
    return OnFail.RESTART


def role_after_failure(rsc: Primitive, entry: HistoryEntry, reaction: OnFail) -> Role:
    if reaction is OnFail.STOP:
        return Role.STOPPED
    if reaction is OnFail.RESET_REMOTE and rsc.reconnect_interval_ms:
        return Role.STOPPED
    return Role.UNPROMOTED if entry.operation == "promote" else Role.STARTED
