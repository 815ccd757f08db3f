"""Probes (9): ask every node about every resource whose state there is not known.

Nodes are the outer loop, resources the inner one: that is the order in which the actions are born. What a resource looks like for the
question (a plain leaf, a group, a kind of clone, a bundle) decides which leaves are asked about; `_probe_leaf` decides whether.
"""

from __future__ import annotations

from crm.policy.actions import unfencing
from crm.policy.actions.model import BLOCK, NESTPROBE, OPTIONAL, ORD, RUNNABLE, SAMENODE
from crm.policy.actions.plan import Plan
from crm.policy.actions.remote import RemoteState, remote_state
from crm.policy.model import Bundle, Clone, Discovery, Group, Node, NodeKind, Primitive, Resource, Role
from crm.policy.ordering.internal import instance_number

_TARGET_7 = {"op_target_rc": "7"}
_TARGET_8 = {"op_target_rc": "8"}


def create_probes(plan: Plan) -> None:
    if not plan.options.enable_startup_probes:
        return
    sorted_yet = False
    for node in plan.state.nodes:
        if not plan.online[node.index]:
            if node.kind is NodeKind.REMOTE and remote_state(plan, node) is RemoteState.FAILED:
                plan.fence_node(node, "the connection is unrecoverable")
            continue
        if plan.unclean[node.index] or not node.probes_allowed:
            continue
        if not sorted_yet:
            sorted_yet = True
            for rsc in plan.resource_order:
                if isinstance(rsc, Clone):
                    plan.children[rsc.index].sort(key=instance_number)
        for rsc in plan.resource_order:
            probe(plan, rsc, node)


def probe(plan: Plan, rsc: Resource, node: Node) -> bool:
    if isinstance(rsc, Primitive):
        return _probe_leaf(plan, rsc, node)
    if isinstance(rsc, Group):
        made = False
        for member in plan.children[rsc.index]:
            made = probe(plan, member, node) or made
        return made
    if isinstance(rsc, Clone):
        return _probe_clone(plan, rsc, node)
    return isinstance(rsc, Bundle) and _probe_bundle(plan, rsc, node)


def _probe_clone(plan: Plan, clone: Clone, node: Node) -> bool:
    if plan.exclusive[clone.index] and plan.discovery[clone.index].get(node) is not Discovery.EXCLUSIVE:
        plan.tables[clone.index] = {n: s for n, s in plan.tables[clone.index].items() if n is not node}
        return False
    instances = plan.children[clone.index]
    if clone.unique:
        made = False
        for instance in instances:
            made = probe(plan, instance, node) or made
        return made
    return bool(instances) and probe(plan, _instance_for(plan, instances, node), node)


def _instance_for(plan: Plan, instances: list[Resource], node: Node) -> Resource:
    """Which instance of an anonymous clone a node is asked about."""
    for instance in instances:
        if any(node in leaf.known_on for leaf in instance.leaves()):
            return instance
    for instance in instances:
        if any(plan.node[leaf.index] is node for leaf in instance.leaves()):
            return instance
    return instances[0]


def _probe_bundle(plan: Plan, bundle: Bundle, node: Node) -> bool:
    made = False
    for replica in bundle.replicas:
        if replica.ip is not None and _probe_leaf(plan, replica.ip, node):
            made = True
        if replica.inner is not None and replica.node is node and _probe_leaf(plan, replica.inner, node):
            made = True
        container = replica.container
        if _probe_leaf(plan, container, node):
            made = True
            if bundle.replicas_per_host == 1:
                _before_other_containers(plan, bundle, container, node)
        connection = replica.connection
        if connection is not None and _probe_leaf(plan, connection, node):
            made = True
            probes = plan.find_exact(connection, "monitor", node, 0)
            if probes:
                # the connection can be asked about only once its container runs, if it runs in a guest
                plan.declare_before(container, "start", probes[0], NESTPROBE)
    return made


def _before_other_containers(plan: Plan, bundle: Bundle, container: Primitive, node: Node) -> None:
    """With one container a host, each node's probe comes before any other container may start there."""
    for other in bundle.replicas:
        if other.container is not container:
            plan.declare(container, "monitor", other.container, "start", ORD | SAMENODE)


def _probe_leaf(plan: Plan, rsc: Primitive, node: Node) -> bool:
    i = rsc.index
    if node.is_remote and _unfit_for_remote(rsc, node):
        return False
    if rsc.launcher is not None and rsc.launcher is not rsc and not rsc.is_connection:
        return False
    if rsc.removed or node in rsc.known_on:
        return False
    top = rsc.top
    if (plan.exclusive[i] or plan.exclusive[top.index]) and (
        node not in plan.tables[i] or plan.discovery[i].get(node) is not Discovery.EXCLUSIVE
    ):
        return False
    discovery = plan.discovery[i].get(node)
    if discovery is None and node not in plan.tables[i]:
        discovery = node.base_discovery
    if discovery is Discovery.NEVER:
        return False
    if node.is_guest and _guest_not_ready(plan, rsc, node, top):
        return False
    action = plan.request(rsc, "monitor", node, optional=False)
    action.flags &= ~OPTIONAL  # also of an unmanaged resource
    unfencing.order_probe(plan, rsc, node, action)
    if node not in rsc.active_nodes:
        action.own_meta = _TARGET_7
    elif plan.role[i] is Role.PROMOTED:
        action.own_meta = _TARGET_8
    target: Resource = top if isinstance(top, Clone) else rsc
    bits = ORD
    if not action.flags & RUNNABLE and not target.active_nodes:
        bits |= BLOCK
    plan.declare_after_probe(action, target, "start", bits)
    if target in plan.reload:
        plan.declare_after_probe(action, target, "reload-agent", ORD)
    return True


def _unfit_for_remote(rsc: Primitive, node: Node) -> bool:
    if rsc.standard.lower() == "stonith" or rsc.is_connection:
        return True
    return node.is_guest and any(isinstance(r, Primitive) and r.is_connection for r in rsc.launched)


def _guest_not_ready(plan: Plan, rsc: Primitive, node: Node, top: Resource) -> bool:
    """A guest that is not there to be asked: order what will make it so instead."""
    container = plan.container_of(node)
    if container is None:
        return False
    c = container.index
    if plan.role_of(container) is Role.STOPPED:
        host = plan.node[c]
        if host is not None and host not in container.known_on:
            plan.declare(container, "monitor", top, "start", ORD)
        return True
    current, assigned = plan.current_node(container), plan.node[c]
    if (
        plan.reset[node.index]
        or plan.unclean[node.index]
        or plan.failed[c]
        or plan.next_role[c] is Role.STOPPED
        or (current is not None and assigned is not None and current is not assigned)
    ):
        plan.declare(container, "stop", top, "start", ORD)
        return True
    return False
