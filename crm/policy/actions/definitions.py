"""What changed in the configuration since an operation was run (stages 5 and 7; P1 24.1).

For every operation that history shows to be in effect on a node, today's definition is compared with the one it was run with. A difference
restarts the resource, reloads it, schedules a recurring action anew or cancels it; a resource that is no longer there, or is another agent
now, has its history cleaned up.
"""

from __future__ import annotations

from crm.policy.actions import recurring, unfencing
from crm.policy.actions.model import CANCEL, ORD, RESCHEDULE
from crm.policy.actions.plan import Plan
from crm.policy.actions.requested import clear_failcount
from crm.policy.digests import Change, DigestStore
from crm.policy.model import CheckDefinition, Clone, HistoryEntry, LrmResource, Node, Primitive, Resource

_CHECKED = frozenset(("monitor", "start", "promote", "migrate_from"))


class DefinitionCheck:
    """Both stages; the second one handles connections whose address is only known once their container has a node."""

    def __init__(self, plan: Plan, digests: DigestStore) -> None:
        self.plan = plan
        self.digests = digests
        self.deferred: list[tuple[Primitive, Node, HistoryEntry, bool]] = [
            (request.resource, request.node, request.entry, True)
            for request in plan.state.requests
            if isinstance(request, CheckDefinition)
        ]

    def run(self) -> None:
        by_name: dict[str, list[Primitive]] = {}
        for rsc in self.plan.state.all_resources:
            if isinstance(rsc, Primitive):
                by_name.setdefault(rsc.id, []).append(rsc)
                if rsc.history_name is not None and rsc.history_name != rsc.id:
                    by_name.setdefault(rsc.history_name, []).append(rsc)
        looked_at = {node for node in self.plan.state.nodes if _is_looked_at(node)}
        nobody: list[Primitive] = []
        for lrm in self.plan.state.lrm:
            node = lrm.node
            if node in looked_at:
                for rsc in by_name.get(lrm.id, nobody):
                    if node in rsc.active_nodes or rsc.removed or _is_replaced(rsc, lrm):
                        self._check_resource(rsc, lrm)

    def run_deferred(self) -> None:
        """Stage 7."""
        for rsc, node, entry, is_failure in self.deferred:
            host = self._host(rsc)
            if not is_failure:
                self._check_active(rsc, node, entry)
            elif self.digests.compare(rsc, node, entry, host) not in (Change.NONE, Change.UNKNOWN):
                clear_failcount(self.plan, rsc, node, "resource parameters have changed")

    def _host(self, rsc: Primitive) -> Node | None:
        if rsc.launcher is None:
            return None
        return self.plan.node[rsc.launcher.index] or self.plan.current_node(rsc.launcher)

    # --- one resource on one node -------------------------------------------------------------------------------------

    def _check_resource(self, rsc: Primitive, lrm: LrmResource) -> None:
        plan, node = self.plan, lrm.node
        if rsc.removed:
            if not _is_extra_instance(rsc):
                _clean_up(plan, rsc, node)
            return
        replaced = _is_replaced(rsc, lrm)
        if node not in rsc.active_nodes:
            if replaced:
                _clean_up(plan, rsc, node)
            return
        if replaced:
            plan.request(rsc, "stop", node, optional=False)
            plan.start_pending.add(rsc)
            unfencing.device_changed(plan, rsc, node, "Device definition changed")
            _clean_up(plan, rsc, node)
        if lrm.start_index < lrm.stop_index:
            return
        for entry in lrm.entries[max(lrm.start_index, 0) :]:
            if entry.interval_ms and (rsc.maintenance or node.maintenance):
                self._cancel(rsc, node, entry, "maintenance mode")
            elif entry.interval_ms or entry.operation in _CHECKED:
                if rsc.is_connection and plan.state.operations.parameters(rsc, None).get("addr") == "#uname":
                    self.deferred.append((rsc, node, entry, False))
                else:
                    self._check_active(rsc, node, entry)

    def _check_active(self, rsc: Primitive, node: Node, entry: HistoryEntry) -> None:
        if self._check_entry(rsc, node, entry) and rsc.fail_counts.get(node):
            clear_failcount(self.plan, rsc, node, "action definition changed")

    def _check_entry(self, rsc: Primitive, node: Node, entry: HistoryEntry) -> bool:
        """True if the definition changed."""
        plan = self.plan
        operations = plan.state.operations
        if entry.interval_ms and operations.find(rsc, entry.operation, entry.interval_ms, enabled_only=True) is None:
            if plan.options.cancel_removed_actions:
                self._cancel(rsc, node, entry, "definition removed")
            return plan.options.cancel_removed_actions
        change = self.digests.compare(rsc, node, entry, self._host(rsc))
        if change in (Change.NONE, Change.PRIVATE):
            return False
        if change is Change.RESTART:
            self._restart(rsc, node, entry)
        elif entry.interval_ms:
            action = plan.request(rsc, entry.operation, node, True, interval_ms=entry.interval_ms)
            action.flags |= RESCHEDULE
            unfencing.device_changed(plan, rsc, node, "Device parameters changed (reschedule)")
        elif entry.xml.get("op-restart-digest") is not None:
            self._reload(rsc, node)
            unfencing.device_changed(plan, rsc, node, "Device parameters changed (reload)")
        else:
            self._restart(rsc, node, entry)
        return True

    def _restart(self, rsc: Primitive, node: Node, entry: HistoryEntry) -> None:
        task = entry.operation
        if task in ("monitor", "migrate_from", "promote") and not entry.interval_ms:
            task = "start"
        action = self.plan.request(rsc, task, None, optional=False, interval_ms=entry.interval_ms)
        self.plan.give_reason(action, "resource definition change", overwrite=True)
        unfencing.device_changed(self.plan, rsc, node, "Device parameters changed")

    def _reload(self, rsc: Primitive, node: Node) -> None:
        plan = self.plan
        if not plan.managed[rsc.index] or plan.failed[rsc.index]:
            return
        if rsc in plan.start_pending:
            plan.request(rsc, "stop", node, optional=False)
            return
        plan.reload.add(rsc)
        action = plan.request(rsc, "reload-agent", node, optional=False)
        plan.give_reason(action, "resource definition change")
        # a required stop or demote makes the reload pointless
        plan.declare_after(action, rsc, "stop", ORD | CANCEL)
        plan.declare_after(action, rsc, "demote", ORD | CANCEL)

    def _cancel(self, rsc: Primitive, node: Node, entry: HistoryEntry, reason: str) -> None:
        action = recurring.cancel(self.plan, rsc, entry.operation, entry.interval_ms, node)
        self.plan.give_reason(action, reason)
        action.set_meta("call-id", str(entry.call_id))
        self.plan.declare_before(rsc, "stop", action, ORD)


def _is_looked_at(node: Node) -> bool:
    return node.maintenance or (node.online and not (node.unclean or node.standby or node.shutdown))


def _is_replaced(rsc: Primitive, lrm: LrmResource) -> bool:
    """Was it another agent when its history was written?"""
    get = lrm.xml.get
    return (
        rsc.type != (get("type") or "")
        or rsc.standard != (get("class") or "")
        or (rsc.provider or "") != (get("provider") or "")
    )


def _is_extra_instance(rsc: Primitive) -> bool:
    """An instance too many of an anonymous clone: its history belongs to the other instances, too."""
    parent: Resource | None = rsc.parent
    while parent is not None:
        if isinstance(parent, Clone) and not parent.unique:
            return True
        parent = parent.parent
    return False


def _clean_up(plan: Plan, rsc: Primitive, node: Node) -> None:
    """18.1."""
    if plan.failed[rsc.index] or not plan.clean(node):
        return
    plan.request(rsc, "delete", node, optional=False)
    plan.declare(rsc, "stop", rsc, "delete", ORD)
    plan.declare(rsc, "delete", rsc, "start", ORD)


def clear_removed(plan: Plan) -> None:
    """Stage 9: the fail counts of removed resources are forgotten, before they stop."""
    if not plan.options.stop_removed_resources:
        return
    for rsc in plan.resource_order:
        if not isinstance(rsc, Primitive) or not rsc.removed:
            continue
        for node in plan.state.nodes:
            if plan.online[node.index] and rsc.fail_counts.get(node):
                action = clear_failcount(plan, rsc, node, "it is removed")
                plan.declare_after(action, rsc, "stop", ORD)
