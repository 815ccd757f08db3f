"""Pacemaker Remote nodes (15): what is done on one waits for, or holds up, the connection that reaches it."""

from __future__ import annotations

from enum import StrEnum

from crm.policy.actions.model import BLOCK, FIRSTREQ, GUESTOK, OPTIONAL, ORD, PSEUDO, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Node, Primitive, Resource, Role


class RemoteState(StrEnum):
    UNKNOWN = "unknown"
    ALIVE = "alive"
    RESTING = "resting"
    FAILED = "failed"
    STOPPED = "stopped"


def remote_state(plan: Plan, node: Node) -> RemoteState:
    """The state of a (non-guest) remote node, from its connection (15.1)."""
    connection = node.connection
    if connection is None:
        return RemoteState.UNKNOWN
    c = connection.index
    current = plan.current_node(connection)
    if plan.next_role[c] is Role.STOPPED or plan.node[c] is None:
        if current is not None and plan.unclean[current.index]:
            return RemoteState.FAILED
        if not plan.failed[c]:
            return RemoteState.STOPPED
        reconnects = isinstance(connection, Primitive) and connection.reconnect_interval_ms > 0
        if (
            reconnects
            and plan.next_role[c] is Role.STOPPED
            and node.remote_fenced
            and node.attributes.get("shutdown", "0") == "0"
        ):
            return RemoteState.UNKNOWN
        return RemoteState.FAILED
    if current is None:
        return RemoteState.UNKNOWN
    if not plan.clean(current):
        return RemoteState.RESTING
    source, target = plan.partial.get(connection, (None, None))
    if len(connection.active_nodes) > 1 and source is not None and target is not None:
        return RemoteState.RESTING
    return RemoteState.ALIVE


def order_remote(plan: Plan) -> None:
    """Stage 11: tie every action on a Remote node to its connection (15.2)."""
    if not any(node.is_remote for node in plan.state.nodes):
        return
    for action in reversed(list(plan.actions)):
        rsc = action.rsc
        if rsc is None or action.task == "cancel":
            continue
        if action.task == "clear_failcount" and isinstance(rsc, Primitive) and rsc.is_connection:
            plan.declare_after(action, rsc, "start", ORD)
            continue
        node = action.node
        if action.flags & PSEUDO or node is None or not node.is_remote or node.connection is None:
            continue
        if action.task == "start":
            for stop in plan.by_task(rsc, "stop"):
                if stop.node is not None and stop.node is not node:
                    plan.declare_before(node.connection, "start", stop, ORD)
        if node.is_guest:
            _on_guest(plan, action, node, node.connection)
        else:
            _on_remote(plan, action, node, node.connection)


def _start_then(plan: Plan, rsc: Resource, action: Action, extra: int = 0) -> None:
    plan.declare_before(rsc, "start", action, GUESTOK | BLOCK | extra)


def _then_stop(plan: Plan, action: Action, rsc: Resource, extra: int = 0) -> None:
    plan.declare_after(action, rsc, "stop", GUESTOK | extra)


def _is_recurring(action: Action) -> bool:
    return action.get_meta("interval") not in (None, "0")


def _is_left_behind(plan: Plan, action: Action, node: Node) -> bool:
    """A recurring action of something that leaves this node: the connection's start must not resume it."""
    rsc = action.rsc
    return (
        rsc is not None
        and bool(action.flags & OPTIONAL)
        and _is_recurring(action)
        and plan.node[rsc.index] is not node
        and action.get_meta("op_target_rc") != "7"
    )


def _on_remote(plan: Plan, action: Action, node: Node, connection: Resource) -> None:
    state = remote_state(plan, node)
    if action.task in ("start", "promote"):
        _start_then(plan, connection, action, THENREQ if state is RemoteState.FAILED else 0)
    elif action.task in ("stop", "migrate_to", "migrate_from"):
        if state is RemoteState.ALIVE:
            _then_stop(plan, action, connection, FIRSTREQ)
        elif state is RemoteState.FAILED:
            plan.fence_node(node, "resources are active but connection is unrecoverable")
        elif plan.next_role[connection.index] is Role.STOPPED:
            _then_stop(plan, action, connection, FIRSTREQ)
        else:
            _start_then(plan, connection, action)
    elif action.task == "demote":
        if state in (RemoteState.RESTING, RemoteState.UNKNOWN):
            _start_then(plan, connection, action)
    elif _is_recurring(action):
        _start_then(plan, connection, action, 0 if _is_left_behind(plan, action, node) else THENREQ)
    else:
        if action.task == "monitor" and state is RemoteState.FAILED:
            plan.fence_node(node, "resources are in unknown state and connection is unrecoverable")
        if connection.active_nodes and state is RemoteState.STOPPED:
            _then_stop(plan, action, connection, BLOCK)
        else:
            _start_then(plan, connection, action)


def _on_guest(plan: Plan, action: Action, node: Node, connection: Resource) -> None:
    container = plan.container_of(node)
    if container is None:
        return
    failed = plan.failed[container.index]
    if failed:
        plan.fence_node(node, "container failed")
    if action.task in ("start", "promote"):
        _start_then(plan, container, action, THENREQ)
        _start_then(plan, connection, action)
    elif action.task in ("stop", "migrate_to", "migrate_from", "demote"):
        if not failed:
            _then_stop(plan, action, connection)
    elif _is_recurring(action):
        resumed = action.task == "monitor" and not _is_left_behind(plan, action, node)
        _start_then(plan, connection, action, THENREQ if resumed else 0)
    else:
        _start_then(plan, connection, action)


def router(plan: Plan, action: Action) -> Node | None:
    """The cluster node that carries an action to a Remote node (15.3)."""
    node = action.node
    if node is None or not node.is_remote or action.task == "stonith" or node.connection is None:
        return None
    connection = node.connection
    began, ends = plan.current_node(connection), plan.node[connection.index]
    if began is None or ends is None or began is ends:
        return began if began is not None else ends
    task = (action.get_meta("notify_operation") or "") if action.task == "notify" else action.task
    target = plan.partial.get(connection, (None, None))[1]
    if task in ("cancel", "stop", "demote", "migrate_to", "migrate_from") and (node.is_guest or target is None):
        return began
    return ends
