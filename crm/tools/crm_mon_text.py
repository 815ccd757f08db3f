"""The status as `crm_mon` prints it: sections, each of which can be left out.

Theory of operation. The listing of nodes and resources is `crm.policy.render.status`'s, which `crm_simulate` prints, too; here are the frame and
the sections that only `crm_mon` has. Nothing is decided here: a `ClusterState` is read. What the CIB does not hold, the fencing
history, comes beside it. An empty section has no title.

Source: what Pacemaker's `crm_mon` prints, over the same CIBs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.types import ExecStatus, OcfCode
from crm.cib import xml
from crm.policy.model import ClusterState, HistoryEntry, LrmResource, Node, Primitive, Resource
from crm.policy.render.status import (
    NODE_WORD,
    Detail,
    Listing,
    instance_counts,
    is_active,
    node_health,
    node_lines,
    node_status,
)
from crm.policy.values import show_score
from crm.tools.crm_mon_words import (
    bans,
    connectivity,
    duration,
    last_failure_s,
    moment,
    rc_text,
    shown_attributes,
)
from crm.tools.stonith_admin import sentence

SUMMARY: Final = ("stack", "dc", "times", "counts", "options")
SECTIONS: Final = (
    *SUMMARY,
    "maint-mode",
    "nodes",
    "resources",
    "attributes",
    "failcounts",
    "operations",
    "fencing-failed",
    "fencing-pending",
    "fencing-succeeded",
    "failures",
    "tickets",
    "bans",
)
DEFAULT: Final = (
    frozenset(SECTIONS)
    - {"options", "attributes", "failcounts", "operations", "tickets", "bans"}
    - {"fencing-succeeded"}
)
_NO_QUORUM: Final = {
    "freeze": "Freeze resources",
    "stop": "Stop ALL resources",
    "demote": "Demote promotable resources and stop all other resources",
    "ignore": "Ignore",
    "suicide": "Suicide",
    "fence": "Suicide",
}
_DISABLED: Final = (
    "              *** Resource management is DISABLED ***",
    "  The cluster will not attempt to start, stop or recover services",
)
_STOPPED: Final = ("    *** Resource management is DISABLED ***", "  The cluster will keep all resources stopped")
_ALWAYS: Final = ("Migration Summary", "Operations")


ACTIVE: Final = Detail(inactive=False)


@dataclass(frozen=True, slots=True)
class View:
    """What is shown. `sections` are names of `SECTIONS`; `nodes` and `resources`: only these, None for all. `bans`: only constraints
    whose id begins so. `software`: name and version of what runs the cluster, where the configuration does not say so.
    """

    sections: frozenset[str] = DEFAULT
    detail: Detail = ACTIVE
    by_node: bool = False
    timing: bool = False
    quiet: bool = False
    bans: str = ""
    nodes: frozenset[str] | None = None
    resources: frozenset[str] | None = None
    software: tuple[str, str] = ("unknown", "unknown")


def report(state: ClusterState, view: View, fencing: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """The lines. `fencing`: requests as the daemon's status has them, newest first."""
    return _Report(state, view, list(fencing)).lines()


class _Report:
    def __init__(self, state: ClusterState, view: View, fencing: list[Mapping[str, Any]]) -> None:
        self.state = state.before_tickets or state
        self.view = view
        self.fenced = fencing
        self.nodes = [node for node in state.nodes if view.nodes is None or node.name in view.nodes]

    def lines(self) -> list[str]:
        titled = [
            ("Cluster Summary", list(self.summary())),
            ("", self.management()),
            ("Node List", list(self.node_list())),
            self.resource_list(),
            ("Node Attributes", list(self.attributes())),
            self.histories(),
            ("Failed Fencing Actions", list(self.fencing("fencing-failed", "failed"))),
            ("Failed Resource Actions", list(self.failures())),
            ("Tickets", list(self.tickets())),
            ("Negative Location Constraints", list(self.bans())),
            ("Fencing History", list(self.fencing("fencing-succeeded", "done"))),
            ("Pending Fencing Actions", list(self.fencing("fencing-pending", "pending"))),
        ]
        lines: list[str] = []
        for title, section in titled:
            if section or title in _ALWAYS:
                lines += [*([""] if lines else []), *([f"{title}:"] if title else []), *section]
        return lines

    def has(self, *sections: str) -> bool:
        return any(section in self.view.sections for section in sections)

    # --- the cluster

    def summary(self) -> Iterator[str]:
        state, cib = self.state, self.state.cib
        if self.has("stack"):
            yield f"  * Stack: {_property(state, 'cluster-infrastructure') or self.view.software[0]}"
        if self.has("dc") or state.dc_node is None:
            yield f"  * Current DC: {self.dc()}"
        if self.has("times") and not self.view.quiet:
            yield f"  * Last updated: {moment(int(time.time()))}"
            words = (("by", "update-user"), ("via", "update-client"), ("on", "update-origin"))
            said = "".join(f" {word} {cib.get(key)}" for word, key in words if cib.get(key))
            yield f"  * Last change:  {cib.get('cib-last-written', '')}{said}"
        if self.has("counts"):
            count = len(state.nodes)
            yield f"  * {count} node{'' if count == 1 else 's'} configured"
            total, disabled, blocked = instance_counts(state)
            special = [f"{disabled} DISABLED"] if disabled else []
            special += [f"{blocked} BLOCKED from further action due to failure"] if blocked else []
            more = f" ({', '.join(special)})" if special else ""
            yield f"  * {total} resource instance{'' if total == 1 else 's'} configured{more}"
        if self.has("options"):
            yield from self.options()

    def dc(self) -> str:
        node = self.state.dc_node
        if node is None:
            return "NONE"
        versions = {
            each.attributes.get("#feature-set") for each in self.state.nodes if each.online and not each.is_remote
        }
        mixed = "MIXED-VERSION " if len(versions) > 1 else ""
        quorum = "with" if self.state.quorate else "WITHOUT"
        version = _property(self.state, "dc-version") or self.view.software[1]
        return f"{self.named(node)} (version {version}) - {mixed}partition {quorum} quorum"

    def options(self) -> Iterator[str]:
        options = self.state.options
        yield f"  * STONITH of failed nodes {'enabled' if options.fencing_enabled else 'disabled'}"
        yield f"  * Cluster is {'symmetric' if options.symmetric else 'asymmetric'}"
        yield f"  * No quorum policy: {_NO_QUORUM[options.no_quorum_policy]}"

    def management(self) -> list[str]:
        if not self.has("maint-mode"):
            return []
        if self.state.options.maintenance_mode:
            return list(_DISABLED)
        return list(_STOPPED) if self.state.options.stop_all_resources else []

    # --- nodes and resources

    def named(self, node: Node) -> str:
        """With its id, where that says more."""
        if not self.view.detail.instances:
            return node.name
        if node.is_guest:
            hosts = node.connection.active_nodes if node.connection is not None else []
            return f"{node.name}@{hosts[0].name if hosts else ''}"
        return f"{node.name} ({node.id})" if node.id != node.name else node.name

    def node_list(self) -> Iterator[str]:
        if not self.has("nodes"):
            return
        if not self.view.by_node and not self.view.detail.instances:
            yield from (f"  * {line}" for line in node_lines(self.state, self.nodes))
            return
        for node in self.nodes:
            text = f"  * {NODE_WORD[node.kind]} {self.named(node)}: {node_status(node)}{node_health(self.state, node)}"
            if self.view.detail.instances and node.online and not node.is_remote:
                text += f", feature set {node.attributes.get('#feature-set') or '<3.15.1'}"
            if not self.view.by_node:
                yield text
                continue
            running = list(self.running_on(node)) if self.has("resources") else []
            if running or not self.view.detail.brief:
                yield from (f"{text}:", *(["    * Resources:"] if self.has("resources") else []), *running)

    def running_on(self, node: Node) -> Iterator[str]:
        listing = Listing(self.state, self.view.detail)
        running = [rsc for rsc in node.running if isinstance(rsc, Primitive) and self.wants(rsc)]
        if self.view.detail.brief:
            counted: dict[str, int] = {}
            for rsc in running:
                counted[rsc.agent] = counted.get(rsc.agent, 0) + 1
            for agent, count in sorted(counted.items()):
                yield f"      * {count}\t({agent}):\tActive "
            return
        for rsc in running:
            if rsc.is_connection and rsc.is_internal and not self.view.detail.instances:
                continue
            name = rsc.id if rsc.unique else rsc.config_id
            yield f"      * {listing.primitive_line(rsc, name, None)}"

    def wants(self, rsc: Resource) -> bool:
        """Whether the resource, what it is part of, or a part of it is asked for."""
        wanted = self.view.resources
        return wanted is None or any(
            name in wanted
            for each in (*_line(rsc), *rsc.leaves())
            for name in (each.id, getattr(each, "config_id", ""))
        )

    def resource_list(self) -> tuple[str, list[str]]:
        """Title and lines."""
        inactive = self.view.detail.inactive
        if not self.has("resources") or (self.view.by_node and not inactive):
            return "", []
        kind = "inactive " if self.view.by_node else "" if inactive else "active "
        title = f"{kind.capitalize()}Resources" if kind else "Full List of Resources"
        listing = Listing(self.state, self.view.detail)
        chosen = [rsc for rsc in self.state.resources if self.is_listed(rsc)]
        if self.view.detail.brief and not self.view.by_node:
            plain = [rsc for rsc in chosen if isinstance(rsc, Primitive)]
            listing.add_brief(plain, 1, totals=inactive)
            chosen = [rsc for rsc in chosen if not isinstance(rsc, Primitive)]
        for rsc in chosen:
            listing.add(rsc, 1)
        return title, listing.lines or [f"  * No {kind}resources"]

    def is_listed(self, rsc: Resource) -> bool:
        if not self.wants(rsc):
            return False
        active = is_active(rsc)
        if active and self.view.nodes is not None and not any(node in self.nodes for node in rsc.active_nodes):
            return False
        if self.view.by_node:
            return not rsc.removed and not all(is_active(leaf) for leaf in rsc.leaves())
        return active or (self.view.detail.inactive and not rsc.removed)

    # --- what the nodes know

    def attributes(self) -> Iterator[str]:
        for node in self.nodes if self.has("attributes") else ():
            shown = shown_attributes(node)
            if shown and node.online:
                yield f"  * Node: {self.named(node)}:"
                expected = dict(connectivity(rsc) for rsc in node.running if isinstance(rsc, Primitive))
                for name, value in sorted(shown.items()):
                    yield f"    * {name:32}\t: {value:10}{_degraded(value, expected.get(name, 0))}"

    def histories(self) -> tuple[str, list[str]]:
        """Title and lines."""
        operations = self.has("operations")
        if not operations and not self.has("failcounts"):
            return "", []
        lines: list[str] = []
        for node in self.nodes:
            if not node.online:
                continue
            found: list[str] = []
            for history in self.state.lrm:
                if history.node is node:
                    found += self.history(history, node)
            if found:
                lines += [f"  * Node: {self.named(node)}:", *found]
        return "Operations" if operations else "Migration Summary", lines

    def history(self, history: LrmResource, node: Node) -> list[str]:
        rsc = history.resource
        if self.view.resources is not None and (rsc is None or not self.wants(rsc)):
            return []
        count = rsc.fail_counts.get(node, 0) if rsc is not None else 0
        operations = self.has("operations")
        entries = [
            entry
            for entry in history.entries
            if entry.operation != "notify" and (not entry.is_probe or entry.rc != OcfCode.NOT_RUNNING)
        ]
        if not (entries if operations else count):
            return []
        name = history.id if rsc is None or rsc.unique else rsc.config_id
        text = f"    * {name}: "
        text += f"migration-threshold={rsc.migration_threshold}" if rsc is not None else "orphan"
        if count:
            text += f" fail-count={show_score(count)}"
            since = last_failure_s(history.id, node)
            text += f" last-failure='{moment(since)}'" if since else ""
        if not operations:
            return [text]
        return [f"{text}:", *(f"      * {self.operation(entry)}" for entry in entries)]

    def operation(self, entry: HistoryEntry) -> str:
        text = f"({entry.call_id}) {'probe' if entry.is_probe else entry.operation}:"
        said = f' interval="{entry.interval_ms}ms"' if entry.interval_ms else ""
        if self.view.timing:
            if entry.last_rc_change > 0:
                said += f' last-rc-change="{moment(entry.last_rc_change)}"'
            said += f' exec-time="{entry.xml.get("exec-time", "")}ms" queue-time="{entry.xml.get("queue-time", "")}ms"'
            said += f" rc={entry.rc} ({rc_text(entry.rc)})"
        return text + said if said else text.removesuffix(":")

    def failures(self) -> Iterator[str]:
        for failed in self.state.failed_ops if self.has("failures") else ():
            if failed.node in self.nodes and self.wants(failed.resource):
                say = _failure_in_full if self.view.detail.instances else _failure
                yield f"  * {say(failed.entry, failed.node)}"

    # --- the rest

    def tickets(self) -> Iterator[str]:
        for ticket in self.state.tickets.values() if self.has("tickets") else ():
            text = f"  * {ticket.id}: {'granted' if ticket.granted else 'revoked'}"
            text += " [standby]" if ticket.standby else ""
            given = ticket.last_granted
            yield text + (f' last-granted="{moment(int(given))}"' if given and given.isdigit() else "")

    def bans(self) -> Iterator[str]:
        for ban in bans(self.state) if self.has("bans") else ():
            asked = self.view.resources is None or ban.resource in self.view.resources
            if asked and ban.id.startswith(self.view.bans):
                role = " in Promoted role" if ban.promoted else ""
                yield f"  * {ban.id}\tprevents {ban.resource} from running{role} on {self.named(ban.node)}"

    def fencing(self, section: str, outcome: str) -> Iterator[str]:
        for each in self.fenced if self.has(section) else ():
            if each["outcome"] == outcome:
                yield f"  * {sentence(each)}"


def _line(rsc: Resource) -> Iterator[Resource]:
    """It, and what it is part of."""
    each: Resource | None = rsc
    while each is not None:
        yield each
        each = each.parent


def _property(state: ClusterState, name: str) -> str:
    options = xml.section(state.cib, "crm_config")
    for pair in options.iter("nvpair") if options is not None else ():
        if pair.get("name") == name:
            return pair.get("value", "")
    return ""


def _degraded(value: str, expected: int) -> str:
    """What a number of hosts that do not all answer means."""
    if not expected or not value.lstrip("-").isdigit() or int(value) >= expected:
        return ""
    return "\t: Connectivity is " + ("lost" if int(value) <= 0 else f"degraded (Expected={expected})")


def _failure(entry: HistoryEntry, node: Node) -> str:
    """In a sentence."""
    name = entry.key.removesuffix(f"_{entry.operation}_{entry.interval_ms}")
    task = "probe" if entry.is_probe else entry.operation
    every = f"{duration(entry.interval_ms)}-interval " if entry.interval_ms else ""
    reason = entry.xml.get("exit-reason")
    if entry.status == ExecStatus.DONE:
        how = f"returned '{rc_text(entry.rc)}'" + (f" ({reason})" if reason else "")
    else:
        status = ExecStatus.text_of(entry.status)
        how = f"could not be executed ({status}{f': {reason}' if reason else ''})"
    when = f" at {moment(entry.last_rc_change)}" if entry.last_rc_change >= 0 else ""
    took = entry.xml.get("exec-time", "")
    after = f" after {duration(int(took))}" if took.isdigit() and int(took) else ""
    return f"{name} {every}{task} on {node.name} {how}{when}{after}"


def _failure_in_full(entry: HistoryEntry, node: Node) -> str:
    """In fields."""
    reason = entry.xml.get("exit-reason")
    fields = [f"call={entry.call_id}", f"status='{ExecStatus.text_of(entry.status)}'"]
    fields += [f"exitreason='{reason}'"] if reason else []
    if entry.last_rc_change >= 0:
        fields += [f"last-rc-change='{moment(entry.last_rc_change)}'", f"queued={entry.xml.get('queue-time', '0')}ms"]
        fields.append(f"exec={entry.xml.get('exec-time', '0')}ms")
    return f"{entry.key} on {node.name} '{rc_text(entry.rc)}' ({entry.rc}): {', '.join(fields)}"
