"""The Transition Summary (21): one line for each fenced node and each resource that changes.

Theory of operation. A leaf's line is chosen from its roles and nodes before and after, and from what became of its stop, start,
promote and demote; the first matching row of the specification's tables wins. Column widths grow line by line, and the text is the
second pass over the same lines: every line is set with the final widths.
"""

from __future__ import annotations

from dataclasses import dataclass

from crm.policy.actions.model import OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Bundle, Node, Primitive, Resource, Role
from crm.policy.values import ROLE_NAMES


@dataclass(slots=True, frozen=True)
class Change:
    """One line about a resource: what happens, to whom, from where to where, and why."""

    change: str
    resource: Primitive
    details: str
    reason: str  # "due to ... (blocked)", or ""


@dataclass(slots=True, frozen=True)
class Summary:
    fencing: list[str]
    changes: list[Change]

    def lines(self) -> list[str]:
        id_width = detail_width = 5
        for change in self.changes:
            if len(change.resource.id) > id_width:
                id_width = len(change.resource.id) + 2
            detail_width = max(detail_width, len(change.details))
        out = [f"  * {line}" for line in self.fencing]
        for change in self.changes:
            reason = f"  {change.reason}" if change.reason else ""
            out.append(
                f"  * {change.change:<8}   {change.resource.id:<{id_width}}   ( {change.details:>{detail_width}} ){reason}"
            )
        return out


def summarize(plan: Plan) -> Summary:
    """The summary, and the side effect that everything later sees: a leaf that is active somewhere although its role
    is Stopped counts as Started from here on (1)."""
    fencing = [line for action in reversed(plan.actions) if (line := _fencing_line(plan, action)) is not None]
    changes: list[Change] = []
    for rsc in plan.resource_order:
        _add_changes(plan, rsc, changes)
    return Summary(fencing, changes)


def _fencing_line(plan: Plan, action: Action) -> str | None:
    if action.rsc is not None or action.task != "stonith" or action.flags & OPTIONAL or action.reason is None:
        return None
    node = action.node
    assert node is not None
    where = node.name
    if node.is_guest:
        container = plan.container_of(node)
        where = f"{node.name} (resource: {container.id if container is not None else ''})"
    return f"Fence ({action.get_meta('stonith_action')}) {where} '{action.reason}'"


def _add_changes(plan: Plan, rsc: Resource, changes: list[Change]) -> None:
    if isinstance(rsc, Primitive):
        if not (rsc.removed and plan.role[rsc.index] is Role.STOPPED and not rsc.active_nodes):
            _add_leaf(plan, rsc, changes)
        return
    if isinstance(rsc, Bundle):
        for replica in rsc.replicas:
            for part in (replica.ip, replica.container, replica.connection, replica.inner):
                if part is not None:
                    _add_changes(plan, part, changes)
        return
    for child in plan.children[rsc.index]:
        _add_changes(plan, child, changes)


class _Leaf:
    """A leaf's situation, and the actions that its line is chosen by."""

    def __init__(self, plan: Plan, rsc: Primitive, current: Node | None, following: Node | None) -> None:
        self.plan = plan
        self.rsc = rsc
        self.current = current
        self.next = following
        i = rsc.index
        self.start = plan.oldest(rsc, "start", following)
        self.stop: Action | None
        if self.start is not None and self.start.flags & RUNNABLE:
            self.stop = plan.oldest(rsc, "stop", current)
            if self.stop is None and rsc in plan.stop_unexpected:
                self.stop = plan.oldest(rsc, "stop")
        else:
            self.stop = plan.oldest(rsc, "stop")
        self.promote = plan.oldest(rsc, "promote", following)
        self.demote = plan.oldest(rsc, "demote", following)
        self.moving = current is not None and following is not None and current is not following
        self.failed = plan.failed[i]
        self.role = plan.role[i]
        self.next_role = plan.next_role[i]

    def line(
        self, change: str, origin: Node | None, destination: Node | None, action: Action | None, source: Action | None
    ) -> Change:
        source = source if source is not None else action
        reason = ""
        if action is not None and source is not None:
            blocked = not action.flags & RUNNABLE
            if source.reason is not None:
                reason = f"due to {source.reason}{' (blocked)' if blocked else ''}"
            elif blocked:
                reason = "blocked"
        return Change(change, self.rsc, self._details(origin, destination), reason)

    def _details(self, origin: Node | None, destination: Node | None) -> str:
        role, following = ROLE_NAMES[self.role], ROLE_NAMES[self.next_role]
        show = self.role > Role.STARTED or self.next_role is Role.PROMOTED
        if origin is None:
            name = destination.name if destination is not None else ""
            return f"{role} -> {following} {name}" if show else name
        if destination is None:
            return f"{role} {origin.name}" if show else origin.name
        if self.role is self.next_role:
            if origin is destination:
                return f"{role} {origin.name}" if show else origin.name
            return f"{origin.name} -> {destination.name}{f' {role}' if show else ''}"
        if origin is destination:
            return f"{role} -> {following} {origin.name}"
        return f"{role} {origin.name} -> {following} {destination.name}"


def _add_leaf(plan: Plan, rsc: Primitive, changes: list[Change]) -> None:
    i = rsc.index
    current = plan.current_node(rsc)
    following = plan.node[i]
    if current is not None and plan.role[i] is Role.STOPPED:
        plan.role[i] = Role.STARTED
    if not plan.managed[i] or (current is None and following is None):
        return
    leaf = _Leaf(plan, rsc, current, following)
    if leaf.role is leaf.next_role:
        line = _same_role(leaf)
        if line is not None:
            changes.append(line)
    else:
        changes.extend(_other_role(leaf))


def _required(action: Action | None) -> bool:
    return action is not None and not action.flags & OPTIONAL


def _same_role(leaf: _Leaf) -> Change | None:
    plan, rsc, start = leaf.plan, leaf.rsc, leaf.start
    current, following = leaf.current, leaf.next
    migrate = plan.oldest(rsc, "migrate_from", following)
    if migrate is not None and migrate.flags & RUNNABLE and current is not None:
        return leaf.line("Migrate", current, following, start, None)
    if rsc in plan.reload:
        return leaf.line("Reload", current, following, start, None)
    if start is None or start.flags & OPTIONAL:
        if _required(leaf.demote) and _required(leaf.promote):
            return leaf.line("Re-promote", current, following, leaf.promote, leaf.demote)
        return None
    if not start.flags & RUNNABLE:
        has_reason = leaf.stop is not None and leaf.stop.reason is not None
        return leaf.line("Stop", current, None, leaf.stop, leaf.stop if has_reason else start)
    if leaf.moving:
        return leaf.line("Recover" if leaf.failed else "Move", current, following, leaf.stop, None)
    if leaf.failed:
        return leaf.line("Recover", current, None, leaf.stop, None)
    return leaf.line("Restart", current, following, start, None)


def _other_role(leaf: _Leaf) -> list[Change]:
    plan, rsc, start, stop = leaf.plan, leaf.rsc, leaf.start, leaf.stop
    current, following = leaf.current, leaf.next
    unrunnable = start is not None and not start.flags & RUNNABLE
    if stop is not None and (leaf.next_role is Role.STOPPED or unrunnable):
        lines = []
        for node in rsc.active_nodes:
            found = plan.find(rsc, "stop", node)
            on_node = found[0] if found else None
            source = on_node if on_node is not None and on_node.reason is not None else start
            lines.append(leaf.line("Stop", node, None, on_node, source))
        return lines
    if stop is not None and leaf.failed and plan.stop_required[rsc.index]:
        return [leaf.line("Recover", current, following, stop, start)]
    if leaf.moving:
        return [leaf.line("Move", current, following, stop, None)]
    if rsc in plan.reload:
        return [leaf.line("Reload", current, following, start, None)]
    if _required(stop):
        return [leaf.line("Restart", current, following, start, None)]
    if leaf.role is Role.PROMOTED:
        return [leaf.line("Demote", current, following, leaf.demote, None)]
    if leaf.next_role is Role.PROMOTED:
        return [leaf.line("Promote", current, following, leaf.promote, None)]
    if leaf.role is Role.STOPPED and leaf.next_role > Role.STOPPED:
        return [leaf.line("Start", current, following, start, None)]
    return []


__all__ = ["PSEUDO", "Change", "Summary", "summarize"]
