"""What ha_cluster_exporter tells of Pacemaker, under the same names, from the state that the policy engine reads in a CIB.

As there, a status is a sample of 1, or there is none; INFINITY is `+Inf`. What differs: a resource that has no status (it is stopped, and well) has one sample
with an empty `status`, so that it can be seen; roles have their present names; fail counts and thresholds are told for the nodes where a resource is active or has failed.
"""

from __future__ import annotations

import calendar
import contextlib
import math
import time
from collections.abc import Iterator
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.metrics.exposition import Family, gauge
from crm.policy.model import INFINITY, Bundle, Clone, ClusterState, Group, Node, NodeKind, Primitive, Role
from crm.policy.state import unpack

_ROLES: Final = {
    Role.STARTED: "started",
    Role.STOPPED: "stopped",
    Role.PROMOTED: "promoted",
    Role.UNPROMOTED: "unpromoted",
    Role.UNKNOWN: "stopped",
}
_PENDING: Final = {
    "start": "starting",
    "stop": "stopping",
    "migrate_to": "migrating",
    "migrate_from": "migrating",
    "promote": "promoting",
    "demote": "demoting",
}
_WRITTEN: Final = "%a %b %d %H:%M:%S %Y"


def families(document: etree._Element, epoch_s: int) -> list[Family]:
    """Of the cluster as this CIB says it is."""
    state = unpack(document, epoch_s)
    enabled = float(state.options.fencing_enabled)
    return [
        _nodes(state),
        *_resources(state),
        _locations(document),
        gauge("ha_cluster_pacemaker_stonith_enabled", "Whether fencing is enabled", [(enabled, {})]),
        _last_change(document),
    ]


def _nodes(state: ClusterState) -> Family:
    family = gauge(
        "ha_cluster_pacemaker_nodes", "The status of each node; 1 for each status that it has, absent otherwise"
    )
    for node in state.nodes:
        kind = "member" if node.kind is NodeKind.CLUSTER else "remote"
        statuses = {
            "online": node.online,
            "standby": node.standby,
            "standby_onfail": node.standby_on_fail,
            "maintenance": node.maintenance,
            "pending": node.pending,
            "unclean": node.unclean,
            "shutdown": node.shutdown,
            "expected_up": node.expected_up,
            "dc": node.is_dc,
        }
        for status, holds in statuses.items():
            if holds:
                family.add(1, node=node.name, type=kind, status=status)
    return family


def _resources(state: ClusterState) -> list[Family]:
    resources = gauge("ha_cluster_pacemaker_resources", "Where each resource is and its status; empty when it has none")
    failures = gauge("ha_cluster_pacemaker_fail_count", "How often a resource has failed on a node")
    thresholds = gauge("ha_cluster_pacemaker_migration_threshold", "Failures after which a resource leaves a node")
    for rsc in state.all_resources:
        if not isinstance(rsc, Primitive) or rsc.is_internal:
            continue
        name = rsc.id if rsc.unique else rsc.config_id or rsc.id
        for node, role in _places(rsc):
            for status in _statuses(rsc) or [""]:
                resources.add(
                    1,
                    agent=rsc.agent,
                    clone=_above(rsc, Clone, Bundle),
                    group=_above(rsc, Group),
                    managed=str(rsc.managed).lower(),
                    node=node,
                    resource=name,
                    role=role,
                    status=status,
                )
        for found in dict.fromkeys([*rsc.active_nodes, *rsc.fail_counts]):
            failures.add(_finite(rsc.fail_counts.get(found, 0)), node=found.name, resource=name)
            thresholds.add(_finite(rsc.migration_threshold), node=found.name, resource=name)
    return [resources, failures, thresholds]


def _places(rsc: Primitive) -> Iterator[tuple[str, str]]:
    """Nodes and roles; no node when it runs nowhere."""
    role = _PENDING.get(rsc.pending_operation or "") or _ROLES.get(rsc.role, "stopped")
    nodes: list[Node] = list(rsc.active_nodes)
    if not nodes and rsc.pending_operation in _PENDING and rsc.pending_node is not None:
        nodes = [rsc.pending_node]
    if not nodes:
        yield "", role
    for node in nodes:
        yield node.name, role


def _statuses(rsc: Primitive) -> list[str]:
    statuses = {
        "active": bool(rsc.active_nodes),
        "orphaned": rsc.removed,
        "blocked": rsc.blocked,
        "failed": rsc.failed,
        "failure_ignored": rsc.failure_ignored,
    }
    return [status for status, holds in statuses.items() if holds]


def _above(rsc: Primitive, *kinds: type[Clone] | type[Bundle] | type[Group]) -> str:
    """The id of the group or clone that it is in."""
    above = rsc.parent
    while above is not None:
        if isinstance(above, kinds):
            return above.id.partition(":")[0]
        above = above.parent
    return ""


def _locations(document: etree._Element) -> Family:
    family = gauge("ha_cluster_pacemaker_location_constraints", "Scores of location constraints for a node")
    for location in xml.elements(xml.section(document, "constraints"), "rsc_location"):
        node, score = location.get("node"), location.get("score")
        value = _score(score)
        if node is None or value is None:
            continue
        family.add(
            value,
            constraint=location.get("id", ""),
            node=node,
            resource=location.get("rsc", location.get("rsc-pattern", "")),
            role=(location.get("role") or "").lower(),
        )
    return family


def _last_change(document: etree._Element) -> Family:
    family = gauge(
        "ha_cluster_pacemaker_config_last_change", "When the configuration was last changed, seconds since 1970"
    )
    written = " ".join((document.get("cib-last-written") or "").split())
    # It may never have been changed, or by another program in words of its own.
    with contextlib.suppress(ValueError):
        family.add(calendar.timegm(time.strptime(written, _WRITTEN)))
    return family


def _score(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return _finite(int(text.replace("INFINITY", str(INFINITY))))
    except ValueError:
        return None


def _finite(count: int) -> float:
    return math.copysign(math.inf, count) if abs(count) >= INFINITY else float(count)
