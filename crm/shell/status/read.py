"""From a CIB, and what the daemon reports, to a `ClusterStatus`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxml import etree

from crm.cib import xml
from crm.policy.model import (
    INFINITY,
    ClusterState,
    Node,
    NodeKind,
    Primitive,
)
from crm.policy.options import health_colours
from crm.policy.state import unpack
from crm.policy.values import parse_score, show_score
from crm.shell.status import notices
from crm.shell.status.bans import read_bans
from crm.shell.status.model import (
    ClusterStatus,
    Daemon,
    FailCount,
    Failure,
    Fencing,
    NodeStatus,
)
from crm.shell.status.resources import Resources, is_internal, outcome


def read(cib: etree._Element, overview: Mapping[str, Any] | None, now: int) -> ClusterStatus:
    """`overview` is the answer of the API's `status`, None for a CIB file. `now` in seconds since 1970."""
    state = unpack(cib, now)
    live = overview is not None
    about: Mapping[str, Any] = overview or {}
    quorum = about.get("quorum") or {}
    # A file that was only ever configured says nothing of quorum, which is no reason for alarm.
    quorate = bool(quorum.get("quorate")) if live else state.quorate or cib.get("have-quorum") is None
    dc = about.get("dc") if live else (state.dc_node.name if state.dc_node is not None else "")
    return ClusterStatus(
        name=state.options.cluster_name or str(about.get("cluster") or ""),
        here=str(about.get("node") or ""),
        live=live,
        dc=str(dc or ""),
        quorate=quorate,
        quorum_reason=str(quorum.get("reason") or ""),
        activity=_activity(about),
        version=str(xml.version(cib)),
        written=" ".join(filter(None, (cib.get("cib-last-written"), _by(cib)))),
        now=now,
        notices=notices.read(state, about, quorate=quorate, live=live),
        nodes=tuple(_node(state, node, about) for node in state.nodes),
        resources=tuple(Resources(state).read()),
        bans=tuple(read_bans(cib, now)),
        failures=tuple(_failures(state)),
        fail_counts=tuple(_fail_counts(state)),
        fencing=tuple(_fencing(about)),
        daemons=tuple(_daemons(about)),
    )


def _by(cib: etree._Element) -> str:
    """Who, with what, where; as far as it is recorded."""
    user, client, origin = (cib.get(f"update-{name}") for name in ("user", "client", "origin"))
    who = f"by {user} ({client})" if user and client else f"by {user or client}" if user or client else ""
    return " ".join(filter(None, (who, f"on {origin}" if origin else "")))


def _activity(about: Mapping[str, Any]) -> str:
    transition = about.get("transition")
    if isinstance(transition, Mapping):
        flying = [str(item) for item in transition.get("in_flight") or ()]
        head = f"transition {transition.get('number')}"
        if flying:
            more = f" and {len(flying) - 3} more" if len(flying) > 3 else ""
            return f"{head}: {', '.join(flying[:3])}{more}"
        return head
    if about.get("busy"):
        state = (about.get("controller") or {}).get("state", "")
        return {"S_ELECTION": "electing a DC", "S_INTEGRATION": "nodes are joining", "S_PENDING": "joining"}.get(
            str(state), "working"
        )
    return ""


# --- nodes ------------------------------------------------------------------------------------------------------------


def _node(state: ClusterState, node: Node, about: Mapping[str, Any]) -> NodeStatus:
    reported: Mapping[str, Any] = next((item for item in about.get("nodes") or () if item.get("name") == node.name), {})
    notes: list[str] = []
    if node.unclean:
        word = "UNCLEAN"
        notes.append("fencing is pending" if node.online else "lost, and not known to be off")
    elif node.pending or reported.get("state") == "pending":
        word = "pending"
    elif node.standby or (node.standby_on_fail and node.online):
        word = "standby" if node.online else "offline"
        notes.append("after a failure" if node.standby_on_fail and not node.standby else "")
        if not node.online:
            notes.append("standby")
        elif node.running:
            notes.append("still has resources")
    elif node.maintenance:
        word = "maintenance" if node.online else "offline"
    else:
        word = "online" if node.online else "offline"
    notes += _ill(state, node)
    if node.shutdown and node.online:
        notes.append("shutting down")
    if reported.get("member") and not reported.get("crm"):
        notes.append("its crm does not answer")
    kind = "" if node.kind is NodeKind.CLUSTER else node.kind.value
    running = len([rsc for rsc in node.running if not is_internal(rsc)])
    return NodeStatus(
        name=node.name,
        id=node.id,
        kind=kind,
        state=word,
        dc=node.name == (about.get("dc") or (state.dc_node.name if state.dc_node is not None else "")),
        here=node.name == about.get("node"),
        running=running,
        notes=tuple(filter(None, notes)),
    )


def _ill(state: ClusterState, node: Node) -> list[str]:
    """Health attributes that are not good, where they count."""
    if state.options.health_strategy == "none":
        return []
    words = health_colours(state.options)
    values = ((name, text) for name, text in node.attributes.items() if name.startswith("#health"))
    return [
        f"{name}={text}" for name, text in values if text.lower() == "yellow" or (parse_score(text, words) or 0) < 0
    ]


# --- failures and fencing ---------------------------------------------------------------------------------------------


def _failures(state: ClusterState) -> list[Failure]:
    found = [
        Failure(
            failed.resource.config_id or failed.resource.id,
            failed.node.name,
            failed.entry.operation,
            failed.entry.interval_ms,
            failed.entry.rc,
            outcome(failed.entry.rc, failed.entry.status),
            failed.entry.xml.get("exit-reason") or "",
            max(0, failed.entry.last_rc_change),
            failed.ignored,
        )
        for failed in state.failed_ops
    ]
    return sorted(found, key=lambda item: item.when)


def _fail_counts(state: ClusterState) -> list[FailCount]:
    found: dict[tuple[str, str], FailCount] = {}
    for rsc in state.all_resources:
        if not isinstance(rsc, Primitive):
            continue
        for node, count in rsc.fail_counts.items():
            name = rsc.config_id or rsc.id
            banned = count >= rsc.migration_threshold
            threshold = "" if rsc.migration_threshold >= INFINITY else str(rsc.migration_threshold)
            found.setdefault((name, node.name), FailCount(name, node.name, show_score(count), threshold, banned))
    return list(found.values())


def _fencing(about: Mapping[str, Any]) -> list[Fencing]:
    history = (about.get("fencing") or {}).get("history") or ()
    return [
        Fencing(
            str(item.get("target", "")),
            str(item.get("action", "")),
            str(item.get("outcome", "")),
            str(item.get("reason", "")),
            str(item.get("device", "")),
            str(item.get("text", "")),
            int(item.get("began") or 0),
            int(item.get("ended") or 0),
        )
        for item in history
        if isinstance(item, Mapping)
    ]


def _daemons(about: Mapping[str, Any]) -> list[Daemon]:
    if not about:
        return []
    view = about.get("view")
    worker = about.get("policy_worker")
    return [
        Daemon("messaging", view is not None, f"view {view['id']}" if isinstance(view, Mapping) else "no view"),
        Daemon("crm", True, str((about.get("controller") or {}).get("state", ""))),
        Daemon("policy worker", worker is not None, f"pid {worker}" if worker else "not started yet"),
    ]
