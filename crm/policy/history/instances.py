"""Which resource an `lrm_resource` belongs to.

Theory of operation. A history name is a resource's id, the base name of an anonymous clone's instance, or the name of something
that is no longer configured. Instances of an anonymous clone are interchangeable: the number in a history name says nothing, and the instance
that is already active on the node, or else the first inactive one, takes the record. What cannot be mapped becomes a removed resource.

Sources: scheduler specification, part 1, section 12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

from crm.policy.history.activity import needs_fencing
from crm.policy.history.bans import ban_everywhere
from crm.policy.model import Bundle, Cause, Clone, Kind, Node, NodeKind, Primitive, Resource
from crm.policy.nodes import add_node, find_node
from crm.policy.resources.clone import extra_instance, mark_removed
from crm.policy.values import base_name

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.history.reader import Reader


def find_resource(reader: Reader, node: Node, name: str) -> Primitive | None:
    """The primitive that this node's history `name` is about (12.1)."""
    rsc = reader.own_names.get(name)
    if rsc is not None:
        return rsc
    found = reader.find(name)
    rsc = found if isinstance(found, Primitive) else None
    if rsc is None:
        zeroth = reader.state.by_id.get(f"{base_name(name)}:0")
        if isinstance(zeroth, Primitive) and not zeroth.unique:
            rsc = zeroth
    if rsc is None:
        return None
    top = rsc.top
    if isinstance(top, Clone) and not top.unique:
        if isinstance(top.parent, Bundle):
            rsc = next((replica.inner for replica in top.parent.replicas if replica.node is node), None)
        else:
            rsc = _choose_instance(reader, top, node, base_name(name))
    elif name == rsc.id:
        reader.own_names[name] = rsc
    if rsc is not None and name not in (rsc.id, rsc.history_name):
        reader.set_history_name(rsc, name)
    return rsc


def _choose_instance(reader: Reader, clone: Clone, node: Node, name: str) -> Primitive | None:
    """The instance of an anonymous clone that takes a record of this node (12.2)."""
    by_id = reader.state.by_id
    chosen: Resource | None = None
    inactive: Resource | None = None
    skip_inactive = False
    for number, instance in enumerate(clone.children):
        location = _location(instance)
        if location is node:
            candidate = by_id.get(f"{name}:{number}")
            if candidate is None:
                continue
            if candidate.active_nodes:
                skip_inactive = True
                continue
            chosen = candidate
            break
        if location is None and inactive is None and not skip_inactive and not instance.blocked:
            candidate = by_id.get(f"{name}:{number}")
            if isinstance(candidate, Primitive) and candidate.pending_node in (None, node):
                inactive = candidate
    if chosen is None and not skip_inactive:
        chosen = inactive
    if (
        chosen is not None
        and not needs_fencing(chosen)
        and (not node.online or node.unclean)
        and not node.is_guest
        and clone.clone_max != len(reader.state.nodes)
    ):
        chosen = None  # the number stays free for live nodes
    if chosen is None:
        instance_made = extra_instance(reader.builder, clone)
        chosen = by_id.get(f"{name}:{len(clone.children) - 1}") if instance_made is not None else None
    return chosen if isinstance(chosen, Primitive) else None


def _location(instance: Resource) -> Node | None:
    """The first node on which an instance, or any member of it, is active or about to be."""
    for leaf in instance.leaves():
        if leaf.active_nodes:
            return leaf.active_nodes[0]
        if leaf.pending_node is not None:
            return leaf.pending_node
    return None


# --- removed resources ------------------------------------------------------------------------------------------------


def add_removed(reader: Reader, element: _Element) -> Primitive | None:
    """A primitive made up from a history that no configured resource owns (12.4)."""
    state = reader.state
    xml = etree.Element("primitive")
    for name in ("id", "class", "provider", "type"):
        value = element.get(name)
        if value is not None:
            xml.set(name, value)
    rsc = reader.builder.add_top_level(xml)
    if not isinstance(rsc, Primitive):
        return None
    mark_removed(rsc)
    if state.options.stop_removed_resources:
        ban_everywhere(state, rsc, Cause("removed", rsc.id, "it is no longer configured"))
    else:
        rsc.managed = False
    if rsc.is_connection:
        _add_removed_node(reader, rsc)
    container = element.get("container")
    if container is not None:
        rsc.leftover_container = container
        reader.leftovers.append(rsc)
    return rsc


def _add_removed_node(reader: Reader, rsc: Primitive) -> None:
    state = reader.state
    node = find_node(state, rsc.id)
    if node is None:
        node = add_node(state, rsc.id, rsc.id, NodeKind.REMOTE)
    if node.kind is NodeKind.CLUSTER:
        return
    if node.connection is None:
        node.connection = rsc
        rsc.remote_node = node
        node.unclean = state.options.startup_fencing
    node.shutdown = True


def attach_leftovers(reader: Reader) -> None:
    """Removed connections find the container that history says launched them."""
    for rsc in reader.leftovers:
        launcher = reader.state.by_id.get(rsc.leftover_container or "")
        if launcher is not None and launcher.kind is Kind.PRIMITIVE and isinstance(launcher, Primitive):
            rsc.launcher = launcher
            launcher.launched.append(rsc)
            if rsc.remote_node is not None:
                rsc.remote_node.kind = NodeKind.GUEST
    reader.leftovers.clear()
