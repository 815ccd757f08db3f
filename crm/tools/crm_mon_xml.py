"""The status as XML, in the form of Pacemaker's `crm_mon --output-as=xml`: agents of databases look for the promoted node in it.

The same state as for the text, element by element: summary, nodes, resources, node attributes, histories, failures, bans. `--as-xml`, the
older form, has another root and no status at its end.
"""

from __future__ import annotations

import time
from typing import Final

from lxml import etree

from agents.types import ExecStatus, OcfCode
from crm.cib import xml
from crm.policy.history.activity import current_node
from crm.policy.model import (
    Bundle,
    Clone,
    ClusterState,
    Group,
    HistoryEntry,
    Node,
    NodeKind,
    Primitive,
    Resource,
    Role,
)
from crm.policy.render.status import PENDING_WORD
from crm.policy.resources.meta import is_promotable
from crm.policy.values import ROLE_NAMES, parse_role, show_score
from crm.tools.crm_mon_words import (
    bans,
    connectivity,
    last_failure_s,
    moment,
    rc_text,
    shown_attributes,
)

API_VERSION: Final = "2.25"
"""Of the documented form that this follows."""
_KINDS: Final = {
    NodeKind.CLUSTER: "member",
    NodeKind.REMOTE: "remote",
    NodeKind.GUEST: "remote",
    NodeKind.BUNDLE: "remote",
}


def document(state: ClusterState, request: str, *, older: bool = False) -> str:
    """The whole answer as text."""
    root = etree.Element("crm_mon", version="2.1.5") if older else etree.Element("pacemaker-result")
    if not older:
        root.set("api-version", API_VERSION)
        root.set("request", request)
    _summary(root, state)
    nodes = etree.SubElement(root, "nodes")
    for node in state.nodes:
        _node(nodes, node)
    resources = etree.SubElement(root, "resources")
    for rsc in state.resources:
        if not rsc.removed or any(leaf.active_nodes for leaf in rsc.leaves()):
            _resource(resources, rsc)
    _attributes(root, state)
    _histories(root, state)
    _failures(root, state)
    _bans(root, state)
    if not older:
        etree.SubElement(root, "status", code="0", message="OK")
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def _word(value: bool) -> str:
    return "true" if value else "false"


def _summary(root: etree._Element, state: ClusterState) -> None:
    summary = etree.SubElement(root, "summary")
    etree.SubElement(summary, "stack", type="vigil")
    dc = state.dc_node
    present = {"present": _word(dc is not None)}
    if dc is not None:
        present |= {"version": "", "name": dc.name, "id": dc.id, "with_quorum": _word(state.quorate)}
        present["mixed_version"] = "false"
    etree.SubElement(summary, "current_dc", present)
    etree.SubElement(summary, "last_update", time=time.strftime("%a %b %e %H:%M:%S %Y"))
    changed = {"time": "cib-last-written", "user": "update-user", "client": "update-client", "origin": "update-origin"}
    etree.SubElement(summary, "last_change", {name: state.cib.get(key, "") for name, key in changed.items()})
    etree.SubElement(summary, "nodes_configured", number=str(len(state.nodes)))
    leaves = [rsc for rsc in state.all_resources if isinstance(rsc, Primitive) and not rsc.removed]
    disabled = sum(1 for leaf in leaves if parse_role(leaf.meta.get("target-role")) is Role.STOPPED)
    counts = {
        "number": str(len(leaves)),
        "disabled": str(disabled),
        "blocked": str(sum(leaf.blocked for leaf in leaves)),
    }
    etree.SubElement(summary, "resources_configured", counts)
    options = state.options
    etree.SubElement(
        summary,
        "cluster_options",
        {
            "stonith-enabled": _word(options.fencing_enabled),
            "symmetric-cluster": _word(options.symmetric),
            "no-quorum-policy": options.no_quorum_policy,
            "maintenance-mode": _word(options.maintenance_mode),
            "stop-all-resources": _word(options.stop_all_resources),
            "priority-fencing-delay-ms": str(options.priority_fencing_delay_ms),
        },
    )


def _node(parent: etree._Element, node: Node) -> None:
    fields = {
        "name": node.name,
        "id": node.id,
        "online": _word(node.online),
        "standby": _word(node.standby),
        "standby_onfail": _word(node.standby_on_fail),
        "maintenance": _word(node.maintenance),
        "pending": _word(node.pending),
        "unclean": _word(node.unclean),
        "health": _health(node),
    }
    if node.online and not node.is_remote:
        fields["feature_set"] = xml.FEATURE_SET
    fields |= {
        "shutdown": _word(node.shutdown),
        "expected_up": _word(node.expected_up),
        "is_dc": _word(node.is_dc),
        "resources_running": str(len(node.running)),
        "type": _KINDS[node.kind],
    }
    etree.SubElement(parent, "node", fields)


def _health(node: Node) -> str:
    values = {value.lower() for name, value in node.attributes.items() if name.startswith("#health")}
    return next((colour for colour in ("red", "yellow") if colour in values), "green")


# --- resources --------------------------------------------------------------------------------------------------------


def _resource(parent: etree._Element, rsc: Resource) -> None:
    if isinstance(rsc, Primitive):
        if not rsc.is_internal:
            _primitive(parent, rsc)
        return
    disabled = _word(parse_role(rsc.meta.get("target-role")) is Role.STOPPED)
    fields = {"id": rsc.id}
    if isinstance(rsc, Group):
        fields |= {"number_resources": str(len(rsc.children)), "managed": _word(rsc.managed), "disabled": disabled}
        tag = "group"
    elif isinstance(rsc, Clone):
        fields |= {"multi_state": _word(rsc.promotable), "unique": _word(rsc.unique), "managed": _word(rsc.managed)}
        fields |= {"disabled": disabled, "failed": _word(rsc.failed), "failure_ignored": _word(rsc.failure_ignored)}
        tag = "clone"
    elif isinstance(rsc, Bundle):
        fields |= {"type": rsc.container_type, "image": rsc.image, "unique": _word(rsc.unique)}
        fields |= {"managed": _word(rsc.managed), "failed": _word(rsc.failed)}
        tag = "bundle"
    element = etree.SubElement(parent, tag, fields)
    if isinstance(rsc, Bundle):
        for replica in rsc.replicas:
            one = etree.SubElement(element, "replica", id=str(replica.number))
            for part in (replica.ip, replica.inner, replica.container, replica.connection):
                if part is not None:
                    _primitive(one, part)
        return
    for child in rsc.children:
        _resource(element, child)


def _primitive(parent: etree._Element, rsc: Primitive) -> None:
    fields = {"id": rsc.id if rsc.unique else rsc.config_id, "resource_agent": rsc.agent, "role": _role(rsc)}
    target = rsc.meta.get("target-role")
    if target is not None:
        fields["target_role"] = target
    fields |= {
        "active": _word(any(node.online or node.unclean or not rsc.managed for node in rsc.active_nodes)),
        "orphaned": _word(rsc.removed),
        "blocked": _word(rsc.blocked),
        "managed": _word(rsc.managed),
        "failed": _word(rsc.failed),
        "failure_ignored": _word(rsc.failure_ignored),
        "nodes_running_on": str(len(rsc.active_nodes)),
    }
    if rsc.pending_operation == "monitor":
        fields["pending"] = "Monitoring"
    element = etree.SubElement(parent, "resource", fields)
    for node in rsc.active_nodes:
        cached = _word(node.online)
        etree.SubElement(element, "node", name=node.name, id=node.id, cached=cached)


def _role(rsc: Primitive) -> str:
    if rsc.pending_operation in PENDING_WORD and (rsc.pending_node is None or rsc.pending_node is current_node(rsc)):
        return PENDING_WORD[rsc.pending_operation]
    if rsc.role is Role.STARTED and is_promotable(rsc):
        return "Unpromoted"
    return ROLE_NAMES[rsc.role if rsc.role is not Role.UNKNOWN else Role.STOPPED]


# --- nodes' attributes and histories ----------------------------------------------------------------------------------


def _attributes(root: etree._Element, state: ClusterState) -> None:
    section = etree.SubElement(root, "node_attributes")
    for node in state.nodes:
        shown = shown_attributes(node)
        if shown and node.online:
            element = etree.SubElement(section, "node", name=node.name)
            expected = dict(connectivity(rsc) for rsc in node.running if isinstance(rsc, Primitive))
            for name, value in sorted(shown.items()):
                attribute = etree.SubElement(element, "attribute", name=name, value=value)
                if expected.get(name):
                    attribute.set("expected", str(expected[name]))


def _histories(root: etree._Element, state: ClusterState) -> None:
    section = etree.SubElement(root, "node_history")
    for node in state.nodes:
        known = [
            history for history in state.lrm if history.node is node and node.online and _worth_showing(history.entries)
        ]
        element = etree.SubElement(section, "node", name=node.name) if known else None
        for history in known if element is not None else ():
            rsc = history.resource
            threshold = rsc.migration_threshold if rsc is not None else 1_000_000
            fields = {"id": history.id, "orphan": _word(rsc is None), "migration-threshold": str(threshold)}
            if rsc is not None and rsc.fail_counts.get(node):
                fields["fail-count"] = show_score(rsc.fail_counts[node])
                since = last_failure_s(history.id, node)
                fields |= {"last-failure": moment(since)} if since else {}
            assert element is not None
            shown = etree.SubElement(element, "resource_history", fields)
            for entry in history.entries:
                one = {"call": str(entry.call_id), "task": entry.operation, "rc": str(entry.rc)}
                one["rc_text"] = rc_text(entry.rc)
                if entry.interval_ms:
                    one["interval"] = f"{entry.interval_ms}ms"
                if entry.last_rc_change > 0:
                    one["last-rc-change"] = moment(entry.last_rc_change)
                one["exec-time"] = f"{entry.xml.get('exec-time', '0')}ms"
                one["queue-time"] = f"{entry.xml.get('queue-time', '0')}ms"
                etree.SubElement(shown, "operation_history", one)


def _worth_showing(entries: list[HistoryEntry]) -> bool:
    """A history of nothing but a probe that found nothing is none."""
    return any(not entry.is_probe or entry.rc != OcfCode.NOT_RUNNING for entry in entries)


def _failures(root: etree._Element, state: ClusterState) -> None:
    if not state.failed_ops:
        return
    section = etree.SubElement(root, "failures")
    for failed in state.failed_ops:
        entry = failed.entry
        etree.SubElement(
            section,
            "failure",
            {
                "op_key": entry.key,
                "node": failed.node.name,
                "exitstatus": rc_text(entry.rc),
                "exitreason": entry.xml.get("exit-reason", ""),
                "exitcode": str(entry.rc),
                "call": str(entry.call_id),
                "status": ExecStatus.text_of(entry.status),
                "last-rc-change": _with_zone(max(entry.last_rc_change, 0)),
                "queued": entry.xml.get("queue-time", "0"),
                "exec": entry.xml.get("exec-time", "0"),
                "interval": str(entry.interval_ms),
                "task": entry.operation,
            },
        )


def _with_zone(epoch_s: int) -> str:
    """As people's clocks here show it, and how far these are from UTC."""
    local = time.localtime(epoch_s)
    minutes = local.tm_gmtoff // 60
    offset = f" {'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "Z"
    return time.strftime("%Y-%m-%d %H:%M:%S", local) + offset


def _bans(root: etree._Element, state: ClusterState) -> None:
    found = list(bans(state))
    if not found:
        return
    section = etree.SubElement(root, "bans")
    for ban in found:
        fields = {"id": ban.id, "resource": ban.resource, "node": ban.node.name, "weight": str(ban.score)}
        fields |= {"promoted-only": _word(ban.promoted), "master_only": _word(ban.promoted)}
        etree.SubElement(section, "ban", fields)
