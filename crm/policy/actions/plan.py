"""The plan: every action, and what planning itself still changes about the cluster.

Theory of operation. The plan starts as a copy of what the state says (roles, marks, availability of nodes), takes over the
assignment when there is one (`adopt`), and from then on is the only place where these values live; the state and the assignment
stay as their stages returned them. `request` is the single way to ask for an action: it finds or creates it and settles whether it is
required and whether it can run (2.2, 2.3). Fencing can become necessary at any time (`fence_node`), so that belongs here too.

Sections are those of part 3 of the scheduler specification unless another part is named (P1, P2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crm.policy.actions.model import OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.actions.store import ActionStore
from crm.policy.model import (
    INFINITY,
    Assignment,
    ClusterState,
    Kind,
    Needs,
    Node,
    NodeKind,
    Primitive,
    Resource,
    Role,
)

if TYPE_CHECKING:
    from crm.policy.actions.notify import NotifySet
    from crm.policy.ordering.executable import Dropped, Unreachable


class Plan(ActionStore):
    """Actions plus the live view of roles, nodes and marks. Lists are indexed by `Resource.index` or `Node.index`."""

    def __init__(self, state: ClusterState, assignment: Assignment) -> None:
        super().__init__(len(state.all_resources))
        self.state = state
        self.options = state.options
        self.meta_of = state.operations.meta
        everything = state.all_resources
        self.role: list[Role] = [rsc.role for rsc in everything]
        self.next_role: list[Role] = [rsc.next_role for rsc in everything]
        self.node: list[Node | None] = [None] * len(everything)
        self.managed: list[bool] = [rsc.managed for rsc in everything]
        self.blocked: list[bool] = [rsc.blocked for rsc in everything]
        self.failed: list[bool] = [rsc.failed for rsc in everything]
        self.stop_required: list[bool] = [rsc.stop_required for rsc in everything]
        self.priority: list[int] = [rsc.priority for rsc in everything]
        self.children: list[list[Resource]] = [rsc.children for rsc in everything]
        self.tables = list(assignment.tables)
        self.discovery = assignment.discovery
        self.exclusive = assignment.exclusive
        self.locks = assignment.locks
        self.resource_order: list[Resource] = state.resources
        self.online: list[bool] = [node.online for node in state.nodes]
        self.unclean: list[bool] = [node.unclean for node in state.nodes]
        self.shutdown: list[bool] = [node.shutdown for node in state.nodes]
        self.reset: list[bool] = [node.remote_reset for node in state.nodes]
        self.partial: dict[Resource, tuple[Node | None, Node | None]] = {
            rsc: (rsc.partial_migration_source, rsc.partial_migration_target)
            for rsc in everything
            if isinstance(rsc, Primitive) and (rsc.partial_migration_source or rsc.partial_migration_target)
        }
        self.start_pending: set[Resource] = {r for r in everything if isinstance(r, Primitive) and r.start_pending}
        self.reload: set[Resource] = set()
        self.notify_sets: dict[tuple[Resource, str], NotifySet] = {}
        self.stop_unexpected: set[Resource] = set()
        self.restarting: Resource | None = None
        self.partners: dict[tuple[int, bool], dict[Node, Resource]] = {}  # see `ordering.interleave`
        self.problems: list[str] = []
        self.dropped: list[Dropped] = []  # orderings that contradicted others, and actions that nothing could reach:
        self.unreachable: list[Unreachable] = []  # see `ordering.executable`
        self.clock = 0  # propagation's
        self._devices: list[Primitive] | None = None

    def adopt(self, assignment: Assignment) -> None:
        """Take over what assigning resources decided."""
        self.node = list(assignment.node)
        self.next_role = list(assignment.next_role)
        self.managed = list(assignment.managed)
        self.blocked = list(assignment.blocked)
        self.priority = list(assignment.priority)
        self.children = [list(children) for children in assignment.children]
        self.role = list(assignment.role)
        self.resource_order = assignment.resource_order
        self.online = list(assignment.online)
        self.unclean = [now or then for now, then in zip(self.unclean, assignment.unclean, strict=True)]
        for node in self.state.nodes:
            # a connection that will run makes a node clean again that was only never seen (P2 15.2)
            if not assignment.unclean[node.index] and node.unclean:
                self.unclean[node.index] = False
        self.shutdown = list(assignment.shutdown)
        for rsc in self.state.all_resources:
            if rsc.kind is Kind.PRIMITIVE and self.node[rsc.index] is None and self.by_rsc[rsc.index]:
                self._adapt_unassigned(rsc)

    # --- what is where ------------------------------------------------------------------------------------------------

    def needs_fencing(self, rsc: Resource) -> bool:
        return rsc.needs is Needs.FENCING or rsc.needs is Needs.UNFENCING

    def clean(self, node: Node) -> bool:
        return self.online[node.index] and not self.unclean[node.index]

    def current_node(self, rsc: Resource) -> Node | None:
        """The node that counts as the one where a resource is active (P1 19.3)."""
        active = rsc.active_nodes
        if not active:
            return None
        source = self.partial.get(rsc, (None, None))[0]
        if source is not None and source in active:
            return source
        if len(active) == 1 or self.needs_fencing(rsc):
            return active[0]
        return next((node for node in active if self.clean(node)), active[0])

    def role_of(self, rsc: Resource) -> Role:
        """Current role; of a collective the highest among its children."""
        if not self.children[rsc.index]:
            return self.role[rsc.index]
        return max((self.role_of(child) for child in self.children[rsc.index]), default=Role.UNKNOWN)

    def location(self, rsc: Resource) -> Node | None:
        """The single node that the leaves of a resource are assigned to, if there is exactly one."""
        if rsc.kind is Kind.PRIMITIVE:
            return self.node[rsc.index]
        found: Node | None = None
        for leaf in rsc.leaves():
            node = self.node[leaf.index]
            if node is not None:
                if found is not None and found is not node:
                    return None
                found = node
        return found

    def container_of(self, node: Node) -> Primitive | None:
        """The resource that a guest or bundle node lives in."""
        launcher = node.connection.launcher if isinstance(node.connection, Primitive) else None
        return launcher if isinstance(launcher, Primitive) else None

    def host_of(self, node: Node) -> Node | None:
        """Where a guest or bundle node's container is now."""
        container = self.container_of(node)
        return None if container is None else self.current_node(container)

    def nodes_by_preference(self, rsc: Resource) -> list[Node]:
        """The nodes of a resource's table, best first (P2 8.3)."""
        table = self.tables[rsc.index]
        current = self.current_node(rsc)
        minimal = self.options.placement_strategy == "minimal"
        load: dict[Node, int] = {}
        if not minimal:
            for node in self.node:
                if node is not None:
                    load[node] = load.get(node, 0) + 1

        def key(node: Node) -> tuple[int, int, bool, str]:
            usable = self.clean(node) and not (self.shutdown[node.index] or node.standby or node.maintenance)
            score = -table[node] if usable else INFINITY
            return (
                (score, 0, False, node.name) if minimal else (score, load.get(node, 0), node is not current, node.name)
            )

        return sorted(table, key=key)

    # --- requesting actions -------------------------------------------------------------------------------------------

    def request(
        self, rsc: Resource, task: str, node: Node | None, optional: bool, interval_ms: int = 0, key: str | None = None
    ) -> Action:
        """The oldest action with that key (one without a node adopts `node`), or a new one."""
        if key is None:
            key = f"{rsc.id}_{task}_{interval_ms}"
        slot = self._slots[rsc.index].get(key.lower())
        action = slot.oldest(node) if slot is not None else None
        if action is None:
            if slot is not None and slot.actions[0].key == key:
                key = slot.actions[0].key  # one text for the probes of a resource on all nodes
            action = self.create(key, task, rsc, node, optional, interval_ms)
        flags = action.flags
        if node is not None and not flags & PSEUDO and not self.managed[rsc.index] and not action.get_meta("interval"):
            action.flags |= OPTIONAL
        elif not optional:
            action.flags &= ~OPTIONAL
        if not flags & PSEUDO:
            self._settle_runnable(action, rsc)
        return action

    def create(
        self, key: str, task: str, rsc: Resource | None, node: Node | None, optional: bool, interval_ms: int = 0
    ) -> Action:
        action = self.add(key, task, rsc, node, RUNNABLE | OPTIONAL if optional else RUNNABLE, interval_ms)
        if rsc is not None:
            action.op, action.meta = self.meta_of(rsc, "notify" if "_notify_" in key else task, interval_ms)
            if task in ("start", "promote"):
                action.needs = self._needs_of(rsc)
        return action

    def pseudo(self, rsc: Resource, task: str, optional: bool, runnable: bool = True, key: str | None = None) -> Action:
        """A pseudo-action of a resource, found or created."""
        key = key if key is not None else f"{rsc.id}_{task}_0"
        slot = self._slots[rsc.index].get(key.lower())
        action = slot.oldest(None) if slot is not None else None
        if action is None:
            action = self.create(key, task, rsc, None, optional)
        elif not optional:
            action.flags &= ~OPTIONAL
        action.flags |= PSEUDO
        action.flags = action.flags | RUNNABLE if runnable else action.flags & ~RUNNABLE
        return action

    def loose_pseudo(self, name: str, optional: bool, node: Node | None = None) -> Action:
        """A pseudo-action of no resource (`load_stopped_NODE`, `one-or-more:SET`), found or created."""
        slot = self.slot(None, name.lower())
        action = slot.actions[0] if slot is not None else None
        if action is None:
            action = self.create(name, name, None, node, optional)
            action.flags |= PSEUDO
        elif not optional:
            action.flags &= ~OPTIONAL
        return action

    def _needs_of(self, rsc: Resource) -> str:
        if self.needs_fencing(rsc):
            return "fencing"
        return "quorum" if rsc.needs is Needs.QUORUM else ""

    def _settle_runnable(self, action: Action, rsc: Resource) -> None:
        """2.3, first matching row."""
        node = action.node
        if node is None:
            action.flags &= ~RUNNABLE
            return
        index = node.index
        on_dc = action.task == "lrm_delete"
        if not on_dc and not self.online[index] and (not node.is_guest or self.reset[index]):
            action.flags &= ~RUNNABLE
            if action.task == "stop" and self.managed[rsc.index] and not self.unclean[index]:
                self.fence_node(node, "stop is unrunnable")
        elif not on_dc and node.pending:
            action.flags &= ~RUNNABLE
        elif not action.needs:
            action.reason = None
            action.cause = None
            if node.is_guest and not self.fenceable(node):
                action.flags &= ~RUNNABLE
            else:
                action.flags |= RUNNABLE
        else:
            self._settle_quorum(action, rsc)

    def _settle_quorum(self, action: Action, rsc: Resource) -> None:
        index = rsc.index
        policy = "ignore" if self.state.quorate else self.options.no_quorum_policy
        if policy == "demote":
            if self.role[index] in (Role.PROMOTED, Role.UNPROMOTED):
                policy = "ignore"
                if self.next_role[index] > Role.UNPROMOTED:
                    self.next_role[index] = Role.UNPROMOTED
            else:
                policy = "stop"
        if policy == "stop":
            action.flags &= ~RUNNABLE
            action.reason, action.cause = "no quorum", None
        elif policy == "freeze":
            if not rsc.active_nodes or self.next_role[index] > self.role[index]:
                action.flags &= ~RUNNABLE
                action.reason, action.cause = "quorum freeze", None
        else:
            action.flags |= RUNNABLE

    @staticmethod
    def give_reason(action: Action, reason: str, cause: Action | None = None, overwrite: bool = False) -> None:
        if overwrite or action.reason is None:
            action.reason, action.cause = reason, cause

    # --- fencing ------------------------------------------------------------------------------------------------------

    def fenceable(self, node: Node) -> bool:
        """Can this node be fenced now? (P1 11.2)"""
        if node.is_guest:
            container = self.container_of(node)
            hosts: Iterable[Node] = container.active_nodes if container is not None else ()
            return all(self.online[host.index] or self.fenceable(host) for host in hosts)
        options = self.options
        if not options.fencing_enabled or not (self.state.has_fence_device or options.have_watchdog):
            return False
        if self.state.quorate or options.no_quorum_policy == "ignore":
            return True
        if not self.online[node.index]:
            return False
        if not node.is_remote or options.fence_remote_without_quorum or node.connection is None:
            return True
        return all(self.online[other.index] for other in self.tables[node.connection.index])

    def fence_op(self, node: Node, task: str | None, optional: bool, reason: str | None) -> Action:
        """The fencing (or unfencing) operation of a node, found or created. The first reason stays."""
        operation = task or self.options.fencing_action
        key = f"stonith-{node.name}-{operation}"
        slot = self.slot(None, key.lower())
        action = slot.actions[0] if slot is not None else None
        if action is None:
            action = self.create(key, "stonith", None, node, optional=True)
            action.own_meta = {"on_node": node.name, "on_node_uuid": node.id, "stonith_action": operation}
            if self.state.unfencing_in_use:
                self._add_device_digests(action)
        if not optional and self.fenceable(node):
            action.flags &= ~OPTIONAL
        if reason is not None:
            self.give_reason(action, reason)
        return action

    def add_fencing_delay(self, action: Action) -> None:
        """`priority-fencing-delay` (P1 11.4): 0 unless the target is the more valuable half of a split."""
        delay_ms = self.options.priority_fencing_delay_ms
        target = action.node
        if delay_ms <= 0 or target is None:
            return
        members = [node for node in self.state.nodes if node.kind is NodeKind.CLUSTER]
        online = sum(1 for node in members if self.online[node.index])
        highest = max(node.priority for node in members)
        delayed = (
            target.kind is NodeKind.CLUSTER
            and not self.online[target.index]
            and online <= len(members) // 2
            and min(node.priority for node in members) != highest
            and target.priority == highest
        )
        action.set_meta("priority-fencing-delay", str(delay_ms // 1000 if delayed else 0))

    def _add_device_digests(self, action: Action) -> None:
        """The definitions of the devices that unfence a node, and whether the node was unfenced with others (P1 25)."""
        node = action.node
        assert node is not None
        everything: list[str] = []
        secure: list[str] = []
        for device in self._unfencing_devices():
            digests = self.state.digests.of(device, node, "stonith-on", 0)
            everything.insert(0, f"{device.id}:{device.type}:{digests.main},")
            secure.insert(0, f"{device.id}:{device.type}:{digests.secure or digests.main},")
            stored = node.attributes.get("#digests-all"), node.attributes.get("#digests-secure")
            if _differs(stored, everything[0], secure[0]):
                action.flags &= ~OPTIONAL
                self.give_reason(action, f"Unfencing node {node.name} because the definition of {device.id} changed")
        action.set_meta("digests-all", "".join(everything))
        action.set_meta("digests-secure", "".join(secure))

    def _unfencing_devices(self) -> list[Primitive]:
        if self._devices is None:
            self._devices = [
                rsc
                for rsc in self.state.all_resources
                if isinstance(rsc, Primitive)
                and rsc.standard.lower() == "stonith"
                and (rsc.needs is Needs.UNFENCING or (rsc.meta.get("provides") or "").lower() == "unfencing")
            ]
        return self._devices

    def fence_node(self, node: Node, reason: str) -> None:
        """A node must be fenced, found out while planning (P1 11.1)."""
        index = node.index
        if node.is_guest:
            container = self.container_of(node)
            if container is not None and not self.failed[container.index] and self.managed[container.index]:
                self.reset[index] = True
                self.failed[container.index] = self.stop_required[container.index] = True
            return
        if node.kind is NodeKind.REMOTE:
            if node.connection is not None and self.managed[node.connection.index]:
                self.reset[index] = True
        elif self.unclean[index]:
            return
        self.unclean[index] = True
        self.fence_op(node, None, optional=True, reason=reason)  # stage 12 decides

    # --- losing an assignment -----------------------------------------------------------------------------------------

    def unassign(self, rsc: Resource) -> bool:
        """A leaf turns out to run nowhere (5, last paragraph). True if that changed its assignment."""
        index = rsc.index
        had_node = self.node[index] is not None
        self.node[index] = None
        self.next_role[index] = Role.STOPPED
        self._adapt_unassigned(rsc)
        return had_node

    def must_unassign(self, rsc: Resource) -> bool:
        """Would `unassign` change anything?"""
        if self.node[rsc.index] is not None or self.next_role[rsc.index] is not Role.STOPPED:
            return True
        return any(self._unassigned_flags(action) != action.flags for action in self.by_rsc[rsc.index])

    @staticmethod
    def _unassigned_flags(action: Action) -> int:
        flags = action.flags
        if action.task == "stop":
            flags &= ~OPTIONAL
        elif action.task == "start" or (
            action.interval_ms and action.task != "cancel" and action.get_meta("op_target_rc") != "7"
        ):
            flags &= ~RUNNABLE
        return flags

    def _adapt_unassigned(self, rsc: Resource) -> None:
        """What exists of actions when a leaf gets no node: it must stop, and nothing of it can start or recur."""
        for action in self.by_rsc[rsc.index]:
            flags = action.flags
            if action.task == "stop":
                flags &= ~OPTIONAL
            elif action.task == "start" or (
                action.interval_ms and action.task != "cancel" and action.get_meta("op_target_rc") != "7"
            ):
                flags &= ~RUNNABLE
            if flags != action.flags:
                action.flags = flags
                action.version = self.clock


def _differs(stored: tuple[str | None, str | None], everything: str, secure: str) -> bool:
    """Was the node unfenced with another definition of a device? Unknown counts as no."""
    if stored[0] is not None and everything in stored[0]:
        return False
    if stored[1] is not None and secure in stored[1]:
        return False
    return stored[0] is not None
