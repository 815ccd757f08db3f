"""The resource tree of a status: what runs where, in what state, and why not."""

from __future__ import annotations

from typing import Final

from crm.policy.history.activity import current_node
from crm.policy.model import (
    Bundle,
    Clone,
    ClusterState,
    Group,
    NodeKind,
    Primitive,
    Resource,
    Role,
)
from crm.policy.resources.meta import is_promotable
from crm.policy.values import name_key, parse_role
from crm.shell.status.model import ResourceStatus, State

_PENDING: Final = {
    "start": State.STARTING,
    "stop": State.STOPPING,
    "migrate_to": State.MIGRATING,
    "migrate_from": State.MIGRATING,
    "promote": State.PROMOTING,
    "demote": State.DEMOTING,
}
_ROLES: Final = {
    Role.STARTED: State.STARTED,
    Role.PROMOTED: State.PROMOTED,
    Role.UNPROMOTED: State.UNPROMOTED,
    Role.STOPPED: State.STOPPED,
    Role.UNKNOWN: State.STOPPED,
}
_EXIT: Final = {
    0: "ok",
    1: "error",
    2: "invalid parameter",
    3: "unimplemented feature",
    4: "insufficient privileges",
    5: "not installed",
    6: "not configured",
    7: "not running",
    8: "promoted",
    9: "promoted and failed",
    190: "degraded",
    191: "promoted and degraded",
    193: "unknown",
}
"""The words of the OCF exit codes."""
_OUTCOMES: Final = {
    2: "timed out",
    4: "execution error",
    7: "agent not installed",
    10: "no secrets",
    12: "not connected",
}
"""Of `op-status`; others are told by the exit code."""


def outcome(rc: int, status: int) -> str:
    return _OUTCOMES.get(status) or _EXIT.get(rc, f"exit code {rc}")


def is_internal(rsc: Resource) -> bool:
    return isinstance(rsc, Primitive) and rsc.is_internal


class Resources:
    """Reads the resource tree; knows why something does not run."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state

    def read(self) -> list[ResourceStatus]:
        shown = [
            rsc for rsc in self._state.resources if not (rsc.removed and not _active(rsc)) and not is_internal(rsc)
        ]
        return [self._one(rsc) for rsc in shown]

    def _one(self, rsc: Resource) -> ResourceStatus:
        if isinstance(rsc, Primitive):
            return self._primitive(rsc)
        if isinstance(rsc, Clone):
            return self._clone(rsc)
        if isinstance(rsc, Bundle):
            return self._bundle(rsc)
        members = tuple(self._one(child) for child in rsc.children)
        kind = "group" if isinstance(rsc, Group) else "resource"
        return ResourceStatus(rsc.id, kind, "", State.MIXED, _common(members), self._flags(rsc), "", members)

    def _primitive(self, rsc: Primitive, name: str = "") -> ResourceStatus:
        nodes = [node.name for node in rsc.active_nodes]
        if not nodes and rsc.pending_operation in _PENDING and rsc.pending_node is not None:
            nodes = [rsc.pending_node.name]
        shown = self._state_of(rsc)
        reason = self._reason(rsc) if shown is State.STOPPED else ""
        return ResourceStatus(
            name or (rsc.id if rsc.unique else rsc.config_id),
            "primitive",
            rsc.agent,
            shown,
            tuple(sorted(nodes, key=name_key)),
            self._flags(rsc),
            reason,
        )

    def _state_of(self, rsc: Primitive) -> State:
        if rsc.failed and rsc.active_nodes:
            return State.FAILED
        pending = _PENDING.get(rsc.pending_operation or "")
        if pending is not None:
            return pending
        if rsc.failed:
            return State.FAILED
        if rsc.role is Role.STARTED and is_promotable(rsc):
            return State.UNPROMOTED
        return _ROLES[rsc.role]

    def _clone(self, clone: Clone) -> ResourceStatus:
        """Instances that are alike are gathered by state; what is special about one keeps its own line."""
        gathered: dict[State, list[str]] = {}
        children: list[ResourceStatus] = []
        stopped = 0
        reason = ""
        for instance in clone.children:
            if instance.removed and not _active(instance):
                continue
            read = self._one(instance)
            shown = _state_of_tree(read)
            if clone.unique:
                children.append(read)
            elif isinstance(instance, Primitive) and not read.flags and shown is not State.FAILED:
                if read.nodes:
                    gathered.setdefault(shown, []).extend(read.nodes)
                else:
                    stopped += 1
                    reason = reason or read.reason
            elif read.nodes or shown is State.FAILED:
                children.append(read)
            else:
                stopped += 1
                reason = reason or next((child.reason for child in read.children if child.reason), read.reason)
        rows = [
            ResourceStatus(clone.child_name, "instances", "", shown, tuple(sorted(names, key=name_key)))
            for shown, names in gathered.items()
        ]
        rows.sort(key=lambda row: row.state is not State.PROMOTED)
        rows.extend(children)
        if stopped and not clone.unique:
            free = self._free_nodes(clone, rows)
            if free or not rows:
                why = "" if rows else reason
                rows.append(ResourceStatus(clone.child_name, "instances", "", State.STOPPED, free, (), why))
        kinds = tuple(word for word, on in (("promotable", clone.promotable), ("unique", clone.unique)) if on)
        agent = next((leaf.agent for leaf in clone.leaves()), "") if not _has_group(clone) else ""
        return ResourceStatus(clone.id, "clone", agent, State.MIXED, (), kinds + self._flags(clone), "", tuple(rows))

    def _free_nodes(self, clone: Clone, shown: list[ResourceStatus]) -> tuple[str, ...]:
        """The nodes without an instance, as far as the clone has instances for them."""
        used = {node for row in shown for node in _nodes_of(row)}
        wanted = clone.clone_max - len(used)
        names = [node.name for node in self._state.nodes if node.name not in used and node.kind is NodeKind.CLUSTER]
        return tuple(sorted(names, key=name_key)[: max(0, wanted)])

    def _bundle(self, bundle: Bundle) -> ResourceStatus:
        children: list[ResourceStatus] = []
        for replica in bundle.replicas:
            main = replica.inner or replica.container
            read = self._primitive(main, f"{bundle.id}-{replica.number}")
            host = current_node(replica.container)
            nodes = (host.name,) if host is not None else ()
            detail = (replica.ip_address,) if replica.ip_address else ()
            children.append(
                ResourceStatus(read.id, "replica", read.agent, read.state, nodes, detail + read.flags, read.reason)
            )
        return ResourceStatus(
            bundle.id, "bundle", bundle.image, State.MIXED, (), self._flags(bundle), "", tuple(children)
        )

    def _flags(self, rsc: Resource) -> tuple[str, ...]:
        flags: list[str] = []
        if rsc.removed:
            flags.append("removed from the configuration")
        target = parse_role(rsc.meta.get("target-role"))
        inherited = rsc.parent is not None and rsc.parent.meta.get("target-role") == rsc.meta.get("target-role")
        if not inherited:
            if target is Role.STOPPED:
                flags.append("disabled")
            elif target is Role.UNPROMOTED and is_promotable(rsc):
                flags.append("not to be promoted")
        above = rsc.parent
        if rsc.blocked and isinstance(rsc, Primitive):
            flags.append("blocked")
        elif rsc.maintenance and not (above is not None and above.maintenance):
            flags.append("maintenance")
        elif not rsc.managed and not (above is not None and not above.managed) and not rsc.maintenance:
            flags.append("unmanaged")
        if rsc.failure_ignored:
            flags.append("failure ignored")
        if isinstance(rsc, Primitive):
            if len(rsc.active_nodes) > 1 and rsc.pending_operation is None:
                flags.append("active on several nodes")
            if rsc.lock_node is not None:
                flags.append(f"locked to {rsc.lock_node.name}")
            if any(not node.online and node.unclean for node in rsc.active_nodes):
                flags.append("on a lost node")
        return tuple(flags)

    def _reason(self, rsc: Primitive) -> str:
        """Why it does not run, as far as the state alone tells; `crm why` knows the rest."""
        options = self._state.options
        if options.stop_all_resources or parse_role(rsc.meta.get("target-role")) is Role.STOPPED or rsc.removed:
            return ""
        usable = [
            node
            for node in self._state.nodes
            if node.online
            and not (node.unclean or node.standby or node.standby_on_fail or node.maintenance or node.shutdown)
        ]
        if not usable:
            return "no node may run resources"
        failing = {node: count for node, count in rsc.fail_counts.items() if count >= rsc.migration_threshold}
        if failing and all(node in failing for node in usable):
            where = ", ".join(sorted(node.name for node in failing))
            return f"failed too often on {where}; crm resource cleanup {rsc.config_id or rsc.id} allows it again"
        broken = [failed for failed in self._state.failed_ops if failed.resource is rsc and not failed.ignored]
        if broken:
            last = broken[-1]
            words = outcome(last.entry.rc, last.entry.status)
            return f"{last.entry.operation} failed on {last.node.name}: {words}"
        return ""


def _active(rsc: Resource) -> bool:
    return any(leaf.active_nodes for leaf in rsc.leaves())


def _has_group(clone: Clone) -> bool:
    return any(isinstance(child, Group) for child in clone.children)


def _state_of_tree(read: ResourceStatus) -> State:
    if not read.children:
        return read.state
    states = {_state_of_tree(child) for child in read.children}
    return states.pop() if len(states) == 1 else State.FAILED if State.FAILED in states else State.MIXED


def _nodes_of(read: ResourceStatus) -> set[str]:
    return set(read.nodes).union(*(_nodes_of(child) for child in read.children))


def _common(members: tuple[ResourceStatus, ...]) -> tuple[str, ...]:
    """The node of a group, when all members that run are on one."""
    found = {node for member in members for node in member.nodes}
    return tuple(found) if len(found) == 1 else ()
