"""What runs where, read by the policy engine's eyes: lists, locations, histories, and why not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crm.cib import xml
from crm.policy.model import Clone, ClusterState, Primitive, Resource, Role
from crm.policy.render.status import status_lines
from crm.policy.state import effective_now, unpack
from crm.tools import exits
from crm.tools.command import Failure
from crm.tools.resources.values import base_name, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

_STATUS_WORDS = {-1: "pending", 0: "complete", 1: "Cancelled", 2: "Timed Out", 3: "NOT SUPPORTED", 4: "Error"}


def state_of(cluster: Cluster) -> ClusterState:
    document = xml.parse(cluster.call("cib.query")["xml"], comments=False)
    return unpack(document, effective_now(document, None, int(time.time()))[0])


def find(state: ClusterState, identity: str) -> Resource:
    """The resource of that id, or the clone of what history calls so. Failure when there is none."""
    for rsc in state.all_resources:
        if rsc.id == identity:
            return rsc
    for rsc in state.all_resources:
        if isinstance(rsc, Primitive) and identity in (rsc.config_id, rsc.history_name):
            return rsc.top if isinstance(rsc.top, Clone) else rsc
    raise not_found(identity)


def show_list(cluster: Cluster, given: Given) -> int:
    lines = status_lines(state_of(cluster))
    start = lines.index("  * Full List of Resources:")
    print("Full List of Resources:")
    print("\n".join(line[2:] for line in lines[start + 1 :]))
    return exits.OK


def show_ids(cluster: Cluster, given: Given) -> int:
    for rsc in state_of(cluster).all_resources:
        if isinstance(rsc, Primitive) and not rsc.is_internal:
            print(rsc.id)
    return exits.OK


def places(rsc: Resource) -> Iterator[tuple[str, bool]]:
    """(node, promoted there) of everything that is active."""
    for leaf in rsc.leaves():
        for node in leaf.active_nodes:
            yield node.name, leaf.role is Role.PROMOTED


def locate(cluster: Cluster, given: Given) -> int:
    wanted = given.text("resource")
    found = list(dict.fromkeys(places(find(state_of(cluster), wanted))))
    if not found:
        raise Failure(f"resource {wanted} is NOT running", exits.OK)
    for node, promoted in found:
        role = " Promoted" if promoted else ""
        print(node if given.has("quiet") else f"resource {wanted} is running on: {node}{role}")
    return exits.OK


def show_xml(cluster: Cluster, given: Given) -> int:
    """The configuration of a resource; `-q` after its template is expanded."""
    state = state_of(cluster)
    rsc = find(state, given.text("resource"))
    element = rsc.xml if given.has("query-xml") else _configured(state, base_name(rsc.id))
    if not given.has("quiet"):
        if isinstance(rsc, Primitive):
            nodes = " ".join(node.name for node in rsc.active_nodes)
            word = "Started" if rsc.active_nodes else "Stopped"
            role = {Role.PROMOTED: "Promoted", Role.UNPROMOTED: "Unpromoted"}.get(rsc.role, word)
            print(f"{rsc.id}\t({rsc.agent}):\t {role} {nodes}".rstrip())
        print("Resource XML:")
    print(xml.to_text(element), end="")
    return exits.OK


def _configured(state: ClusterState, identity: str) -> _Element:
    section = xml.section(state.cib, "resources")
    for element in section.iter("*") if section is not None else ():
        if element.get("id") == identity:
            return element
    raise not_found(identity)


def show_operations(cluster: Cluster, given: Given) -> int:
    """The histories, by node, of one resource and node when given."""
    for line in operation_lines(state_of(cluster), given.text("resource"), given.text("node")):
        print(line)
    return exits.OK


def operation_lines(state: ClusterState, resource: str, node: str) -> Iterator[str]:
    """One line for each operation that is known; of one resource, on one node, when named."""
    wanted = base_name(resource) if resource else ""
    for history in state.cib.iterfind("status/node_state/lrm/lrm_resources/lrm_resource"):
        holder = next(history.iterancestors("node_state"))
        if node not in ("", holder.get("uname"), holder.get("id")):
            continue
        if wanted not in ("", base_name(history.get("id", ""))):
            continue
        for entry in history.iterchildren("lrm_rsc_op"):
            yield _operation(state, history, entry, holder.get("uname", ""))


def _operation(state: ClusterState, history: _Element, entry: _Element, node: str) -> str:
    agent = ":".join(filter(None, (history.get("class"), history.get("provider"), history.get("type"))))
    name = history.get("id", "")
    rsc = next((r for r in state.all_resources if isinstance(r, Primitive) and name in (r.id, r.history_name)), None)
    role = "Stopped" if rsc is None else "FAILED" if rsc.failed else rsc.role.name.capitalize()
    changed = entry.get("last-rc-change")
    when = f", last-rc-change='{_moment(int(changed))}'" if changed and changed.isdigit() else ""
    took = f", exec={entry.get('exec-time', '0')}ms"
    status = entry.get("op-status", "")
    word = _STATUS_WORDS.get(int(status), status) if status.lstrip("-").isdigit() else status
    return (
        f"{name}\t({agent}):\t {role}: {entry.get('operation_key')} "
        f"(node={node}, call={entry.get('call-id')}, rc={entry.get('rc-code')}{when}{took}): {word}"
    )


def _moment(epoch_s: int) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(epoch_s))


def why(cluster: Cluster, given: Given) -> int:
    """In sentences: one resource, or all that do not run."""
    from crm.policy.explain import explain_text

    document = xml.parse(cluster.call("cib.query")["xml"], comments=False)
    now = effective_now(document, None, int(time.time()))[0]
    state = unpack(document, now)
    node = given.get("node")
    if given.has("resource"):
        wanted = [find(state, given.text("resource")).id]
    else:
        wanted = [rsc.id for rsc in state.resources if not any(places(rsc)) and not rsc.removed]
    for identity in wanted:
        print(explain_text(document, identity, node, now).rstrip("\n"))
    return exits.OK
