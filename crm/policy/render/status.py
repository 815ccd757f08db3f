"""The status listing: nodes, and what runs where, as `crm_simulate -S` and `crm_mon` show it.

Theory of operation. A listing is a tree of items, two blanks deeper for every level. Nodes with something special about them get a line of their own, the others
are gathered by kind and availability. A primitive is one line of words; an anonymous clone gathers its unremarkable instances by
role and prints the others in full. Nothing here decides anything: it reads a `ClusterState`.

Sources: scheduler specification, part 3, sections 22 and 24.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from crm.policy.history.activity import current_node
from crm.policy.model import (
    Bundle,
    Clone,
    ClusterState,
    FailedOp,
    Group,
    Kind,
    Node,
    NodeKind,
    Primitive,
    Replica,
    Resource,
    Role,
)
from crm.policy.options import health_colours
from crm.policy.resources.meta import is_promotable
from crm.policy.values import ROLE_NAMES, name_key, parse_role, parse_score

PENDING_WORD: Final = {
    "start": "Starting",
    "stop": "Stopping",
    "migrate_to": "Migrating",
    "migrate_from": "Migrating",
    "promote": "Promoting",
    "demote": "Demoting",
}
NODE_WORD: Final = {
    NodeKind.CLUSTER: "Node",
    NodeKind.REMOTE: "RemoteNode",
    NodeKind.GUEST: "GuestNode",
    NodeKind.BUNDLE: "GuestNode",
}
EXIT_TEXT: Final = {
    0: "OK",
    1: "Error occurred",
    2: "Invalid parameter",
    3: "Unimplemented",
    4: "Insufficient privileges",
    5: "Not installed",
    6: "Not configured",
    7: "Not running",
    8: "Promoted",
    9: "Failed in promoted role",
}


def header_lines(state: ClusterState) -> list[str]:
    """What stands before the current status: management switched off, resources disabled or blocked."""
    state = state.before_tickets or state
    lines: list[str] = []
    if state.options.maintenance_mode:
        lines += [
            "",
            "              *** Resource management is DISABLED ***",
            "  The cluster will not attempt to start, stop or recover services",
        ]
    total, disabled, blocked = instance_counts(state)
    if disabled or blocked:
        if lines:
            lines.append("")
        lines.append(
            f"{disabled} of {total} resource instances DISABLED and {blocked} BLOCKED "
            "from further action due to failure"
        )
    return [*lines, ""] if lines else lines


def instance_counts(state: ClusterState) -> tuple[int, int, int]:
    """How many primitives there are, and how many of them are disabled, and blocked."""
    disabled = blocked = total = 0
    for rsc in state.all_resources:
        if rsc.kind is Kind.PRIMITIVE and (not rsc.removed or rsc.role is not Role.STOPPED):
            total += 1
            disabled += _is_disabled(rsc)
            blocked += rsc.blocked
    return total, disabled, blocked


def status_lines(state: ClusterState, pending: bool = True) -> list[str]:
    """Node list and full list of resources. `pending`: show actions that are under way."""
    state = state.before_tickets or state
    lines: list[str] = []
    if state.nodes:
        lines.append("  * Node List:")
        lines += [f"    * {line}" for line in node_lines(state, state.nodes)]
    lines += ["", "  * Full List of Resources:"]
    listing = Listing(state, Detail(pending=pending))
    for rsc in state.resources:
        if not (rsc.removed and not is_active(rsc)):
            listing.add(rsc, 2)
    if not listing.lines:
        listing.lines.append("    * No resources")
    return lines + listing.lines


# --- nodes ------------------------------------------------------------------------------------------------------------


def node_lines(state: ClusterState, nodes: Iterable[Node]) -> Iterable[str]:
    """A line for each node that is not simply online or offline, then the others."""
    gathered: dict[str, list[str]] = {}
    for node in nodes:
        health = node_health(state, node)
        special = (
            node.unclean
            or node.pending
            or node.standby
            or (node.standby_on_fail and node.online)
            or node.maintenance
            or health
        )
        if special:
            yield f"{NODE_WORD[node.kind]} {node.name}: {node_status(node)}{health}"
            continue
        title = "Online" if node.online else "OFFLINE"
        if node.kind is NodeKind.REMOTE:
            title = "Remote" + title
        elif node.is_guest:
            if not node.online:
                continue
            title = "Guest" + title
        gathered.setdefault(title, []).append(node.name)
    for title in ("Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline"):
        if title in gathered:
            yield f"{title}: {_bracketed(gathered[title])}"


def node_status(node: Node) -> str:
    if node.unclean:
        return f"UNCLEAN ({'online' if node.online else 'pending' if node.pending else 'offline'})"
    if node.pending:
        return "pending"
    if node.standby_on_fail and node.online:
        return "standby (on-fail)"
    if node.standby:
        if not node.online:
            return "OFFLINE (standby)"
        return "standby (with active resources)" if node.running else "standby"
    if node.maintenance:
        return "maintenance" if node.online else "OFFLINE (maintenance)"
    return "online" if node.online else "OFFLINE"


def node_health(state: ClusterState, node: Node) -> str:
    """What the node list says about bad health; empty when there is nothing to say."""
    if state.options.health_strategy == "none":
        return ""
    colours = health_colours(state.options)
    worst = ""
    for name, text in node.attributes.items():
        if not name.startswith("#health"):
            continue
        word = text.lower()
        score = None if word in colours else parse_score(text)
        if word == "red" or (score is not None and score <= colours["red"]):
            return " (health is RED)"
        yellow = score is not None and score <= colours["yellow"] and colours["yellow"] != colours["green"]
        if word == "yellow" or yellow:
            worst = " (health is YELLOW)"
    return worst


def _bracketed(names: Iterable[str]) -> str:
    return "[ " + " ".join(names) + " ]"


# --- resources --------------------------------------------------------------------------------------------------------


def is_active(rsc: Resource) -> bool:
    """Is any part of it active, as far as that counts for listings?"""
    return any(_leaf_active(leaf) for leaf in rsc.leaves())


def _leaf_active(leaf: Primitive) -> bool:
    return any(node.online or node.unclean or not leaf.managed for node in leaf.active_nodes)


def _active_node(rsc: Primitive) -> Node | None:
    return current_node(rsc) if _leaf_active(rsc) else None


def _is_disabled(rsc: Resource) -> bool:
    role = parse_role(rsc.meta.get("target-role"))
    return role is Role.STOPPED or (role is Role.UNPROMOTED and is_promotable(rsc))


def _is_stopped_by_target(rsc: Resource) -> bool:
    return parse_role(rsc.meta.get("target-role")) is Role.STOPPED


def _target_of_instances(clone: Clone) -> Role:
    """The clone's target-role, or else that of what is cloned."""
    text = clone.meta.get("target-role")
    if text is None and clone.children:
        text = clone.children[0].meta.get("target-role")
    return parse_role(text)


def _role(rsc: Resource) -> Role:
    return max((leaf.role for leaf in rsc.leaves()), default=Role.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Detail:
    """How much a listing says. `pending`: actions that are under way. `inactive`: also what does not run. `instances`: every instance of a clone
    in full. `brief`: numbers instead of primitives. `nodes`: the lines of clones name only these.
    """

    pending: bool = True
    inactive: bool = True
    instances: bool = False
    brief: bool = False
    nodes: frozenset[str] | None = None

    def names(self, node: Node) -> bool:
        return self.nodes is None or node.name in self.nodes


class Listing:
    """The resource part, as it grows."""

    def __init__(self, state: ClusterState, detail: Detail) -> None:
        self.state = state
        self.detail = detail
        self.pending = detail.pending
        self.lines: list[str] = []
        self.failed_probes: dict[str, list[FailedOp]] = {}  # by the resource's name in the operation key
        for failed in state.failed_ops:
            entry = failed.entry
            if entry.is_probe and (entry.rc in (2, 5) or entry.status == 7):
                self.failed_probes.setdefault(entry.key.rsplit("_", 2)[0], []).append(failed)

    def item(self, level: int, text: str) -> None:
        self.lines.append(f"{'  ' * level}* {text}")

    def add(self, rsc: Resource, level: int) -> None:
        if isinstance(rsc, Primitive):
            if not rsc.is_internal:
                self.item(level, self.primitive(rsc))
        elif isinstance(rsc, Group):
            self._group(rsc, level)
        elif isinstance(rsc, Clone):
            self._clone(rsc, level)
        elif isinstance(rsc, Bundle):
            self._bundle(rsc, level)

    def _group(self, group: Group, level: int) -> None:
        members = group.children if self.detail.inactive else [each for each in group.children if is_active(each)]
        if not members:
            return
        hidden = len(group.children) - len(members)
        more = [f"{hidden} member{'' if hidden == 1 else 's'} inactive"] if hidden else []
        self.item(level, f"Resource Group: {group.id}{self._collective_flags(group, *more)}:")
        if self.detail.brief:
            self.add_brief(group.children, level + 1, totals=True)
            return
        for member in members:
            self.add(member, level + 1)

    def add_brief(self, resources: Sequence[Resource], level: int, *, totals: bool) -> None:
        """How many primitives of each agent are active where; with `totals`, of how many."""
        primitives = [leaf for rsc in resources for leaf in rsc.leaves()]
        counted: Counter[str] = Counter(each.agent for each in primitives)
        for agent, total in sorted(counted.items()):
            shown = f"/{total}" if totals else ""
            active = Counter(
                node.name for each in primitives if each.agent == agent and (node := _active_node(each)) is not None
            )
            for name, count in sorted(active.items()):
                self.item(level, f"{count}{shown}\t({agent}):\tActive {name}")
            if not active and totals:
                self.item(level, f"0{shown}\t({agent}):\tActive")

    def _collective_flags(self, rsc: Resource, *first: str) -> str:
        flags = list(first)
        if _is_stopped_by_target(rsc):
            flags.append("disabled")
        if rsc.maintenance:
            flags.append("maintenance")
        elif not rsc.managed:
            flags.append("unmanaged")
        return f" ({', '.join(flags)})" if flags else ""

    # --- primitives ---------------------------------------------------------------------------------------------------

    def primitive(self, rsc: Primitive) -> str:
        node = current_node(rsc)
        if not rsc.active_nodes:
            node = rsc.pending_node or rsc.lock_node
        name = rsc.id if rsc.unique else rsc.config_id
        return self.primitive_line(rsc, name, node)

    def primitive_line(self, rsc: Primitive, name: str, node: Node | None) -> str:
        if len(rsc.active_nodes) > 1:
            node = None
        words = [f"{name}\t({rsc.agent}):\t"]
        if rsc.removed:
            words.append("ORPHANED")
        words.append(self._state_word(rsc))
        if node is not None:
            words.append(node.name)
        text = " ".join(words)
        exit_text = self._probe_text(rsc, node) if rsc.role <= Role.STOPPED else None
        if exit_text is not None:
            text += f" ({exit_text}) "
        flags = self._flags(rsc, node)
        if flags:
            text += f" ({', '.join(flags)})"
        if len(rsc.active_nodes) > 1:
            description = rsc.xml.get("description")
            if description:
                text += f" ({description})"
            text += f" {_bracketed(active.name for active in rsc.active_nodes)}"
        return text

    def _state_word(self, rsc: Primitive) -> str:
        if rsc.failed:
            return "FAILED Promoted" if rsc.role is Role.PROMOTED else "FAILED"
        if self.pending and rsc.pending_operation in PENDING_WORD:
            return PENDING_WORD[rsc.pending_operation]
        if rsc.role is Role.STARTED and is_promotable(rsc):
            return "Unpromoted"
        return ROLE_NAMES[rsc.role if rsc.role is not Role.UNKNOWN else Role.STOPPED]

    def _probe_text(self, rsc: Resource, node: Node | None) -> str | None:
        """Why a probe there could not be made; instances of a clone have it in common."""
        top = rsc.top
        for failed in self.failed_probes.get(top.child_name if isinstance(top, Clone) else rsc.id, ()):
            if node is None or failed.node is node:
                return EXIT_TEXT.get(failed.entry.rc, "Unknown exit status")
        return None

    def _flags(self, rsc: Primitive, node: Node | None) -> list[str]:
        flags: list[str] = []
        if node is not None and not node.online and node.unclean:
            flags.append("UNCLEAN")
        if rsc.lock_node is not None and node is rsc.lock_node:
            flags.append("LOCKED")
        if self.pending and rsc.pending_operation == "monitor":
            flags.append("Monitoring")
        role = parse_role(rsc.meta.get("target-role"))
        if role is Role.STOPPED:
            flags.append("disabled")
        elif role is Role.UNPROMOTED and is_promotable(rsc):
            flags.append(f"target-role:{rsc.meta['target-role']}")
        if rsc.blocked:
            flags.append("blocked")
        elif rsc.maintenance:
            flags.append("maintenance")
        elif not rsc.managed:
            flags.append("unmanaged")
        if rsc.failure_ignored:
            flags.append("failure ignored")
        return flags

    # --- clones -------------------------------------------------------------------------------------------------------

    def _clone(self, clone: Clone, level: int) -> None:
        promoted: list[str] = []
        started: list[str] = []
        in_full: list[Resource] = []
        for instance in clone.children:
            if clone.unique or self.detail.instances:
                if is_active(instance) or not clone.removed:
                    in_full.append(instance)
                continue
            node = self._gathered_on(instance)
            if node is not None and not self.detail.names(node):
                continue
            if node is not None:
                (promoted if _role(instance) > Role.UNPROMOTED else started).append(node.name)
            elif self._in_full(instance):
                in_full.append(instance)
        kinds = [word for word, on in (("promotable", clone.promotable), ("unique", clone.unique)) if on]
        flags = self._collective_flags(clone, *kinds)
        self.item(level, f"Clone Set: {clone.id} [{clone.child_name}]{flags}:")
        for instance in in_full:
            self.add(instance, level + 1)
        if promoted:
            self.item(level + 1, f"Promoted: {_bracketed(sorted(promoted, key=name_key))}")
        if started:
            word = "Started"
            if clone.promotable:
                limited = _target_of_instances(clone) is Role.UNPROMOTED
                word = "Unpromoted (target-role)" if limited else "Unpromoted"
            self.item(level + 1, f"{word}: {_bracketed(sorted(started, key=name_key))}")
        if not self.detail.inactive or self.detail.instances:
            return
        if not clone.unique and clone.clone_max > len(promoted) + len(started):
            for text, names in self._stopped(clone):
                self.item(level + 1, f"{text}: {_bracketed(names)}")

    def _is_pending(self, rsc: Resource) -> bool:
        return self.pending and any(leaf.pending_operation is not None for leaf in rsc.leaves())

    def _gathered_on(self, instance: Resource) -> Node | None:
        """The node of an instance about which nothing else is to be said."""
        leaves = instance.leaves()
        if self._is_pending(instance) or not all(map(_leaf_active, leaves)):
            return None
        if any(leaf.removed or not leaf.managed or leaf.failed for leaf in leaves):
            return None
        nodes = {current_node(leaf) for leaf in leaves}
        if len(nodes) != 1 or any(len(leaf.active_nodes) > 1 for leaf in leaves):
            return None
        node = next(iter(nodes))
        return None if node is None or (not node.online and node.unclean) else node

    def _in_full(self, instance: Resource) -> bool:
        return self._is_pending(instance) or is_active(instance)

    def _stopped(self, clone: Clone) -> list[tuple[str, list[str]]]:
        nodes = list(clone.table)
        if not nodes and not self.state.options.symmetric:
            nodes = [node for node in self.state.nodes if node in clone.known_on]
        active = set(clone.active_nodes)
        base = "Stopped (disabled)" if _target_of_instances(clone) is Role.STOPPED else "Stopped"
        texts: dict[str, list[str]] = {}
        for node in sorted(
            (node for node in nodes if node not in active and self.detail.names(node)),
            key=lambda each: name_key(each.name),
        ):
            exit_text = self._probe_text(clone, node)
            texts.setdefault(f"Stopped ({exit_text})" if exit_text else base, []).append(node.name)
        return sorted(texts.items())

    # --- bundles ------------------------------------------------------------------------------------------------------

    def _bundle(self, bundle: Bundle, level: int) -> None:
        word = "Container bundle set" if bundle.replicas_configured > 1 else "Container bundle"
        flags = " (unique)" if bundle.unique else ""
        if bundle.maintenance:
            flags += " (maintenance)"
        elif not bundle.managed:
            flags += " (unmanaged)"
        self.item(level, f"{word}: {bundle.id} [{bundle.image}]{flags}:")
        for replica in bundle.replicas:
            if self.detail.instances:
                several = bundle.replicas_configured > 1
                if several:
                    self.item(level + 1, f"Replica[{replica.number}]")
                for part in (replica.ip, replica.inner, replica.container, replica.connection):
                    if part is not None:
                        self.item(level + 1 + several, self.primitive(part))
            else:
                self.item(level + 1, self._replica(replica))

    def _replica(self, replica: Replica) -> str:
        name = (replica.connection or replica.container).id
        if replica.ip_address is not None:
            name += f" ({replica.ip_address})"
        return self.primitive_line(replica.inner or replica.container, name, current_node(replica.container))
