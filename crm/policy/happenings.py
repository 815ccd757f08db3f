"""What a transition does to a resource, in sentences with their reasons.

Theory of operation. `Happenings` keeps the starts, stops, promotions and so on that a transition requires, and the starts that it cannot
do. `sentences` says what they come to (`web moves from n1 to n2`), not the single actions; the reason is the one that the engine recorded, in
people's words, followed to where it began: web waits for db, which waits for the quorum. An ordering names its constraint.

`runs_after` tells what assigning does not: whether a resource that has a node will really run there. Without quorum it has a node, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from crm.policy.actions.model import ELEMENTARY, OPTIONAL, RUNNABLE, Action
from crm.policy.model import Group, Primitive, Resource
from crm.policy.render.reasons import listed

if TYPE_CHECKING:
    from crm.policy.constraints.read import Constraints
    from crm.policy.schedule import Transition

_TASKS: Final = frozenset(("start", "stop", "promote", "demote", "migrate_to", "migrate_from", "reload-agent"))
_CHAIN: Final = 5  # causes of causes that are followed
_PLAIN: Final = {
    "resource definition change": "the parameters of {rsc} or its operations have changed since it was started",
    "being multiply active": "{rsc} is active on several nodes at once",
    "no quorum": "this part of the cluster has no quorum (no-quorum-policy={policy})",
    "quorum freeze": "this part of the cluster has no quorum (no-quorum-policy={policy}): nothing new is started",
}
_NO_PARTNER: Final = "no instance that it would have to follow is to run on the same node (interleave)"
_SAYS_NOTHING: Final = frozenset(("node availability",))  # the score, or the node's state, says more
_VERBS: Final = {
    "start": ("starts", "start"),
    "stop": ("stops", "stop"),
    "promote": ("is promoted", "be promoted"),
    "demote": ("is demoted", "be demoted"),
}


@dataclass(slots=True, frozen=True)
class PlannedAction:
    """What the transition does to a resource, or would if it could, as far as an explanation needs it."""

    task: str  # start, stop, promote, demote, migrate_to, ...
    node: str
    required: bool
    runnable: bool
    reason: str | None
    cause: Action | None

    @classmethod
    def of(cls, action: Action) -> PlannedAction:
        node = action.node.name if action.node is not None else ""
        reason = action.reason
        if reason is None and action.task == "start" and not action.runnable:
            reason = _unanswered_probe(action)
        return cls(action.task, node, not action.optional, action.runnable, reason, action.cause)


class Happenings:
    """The planned actions of every resource of one transition."""

    def __init__(self, transition: Transition, constraints: Constraints) -> None:
        self.state = transition.state
        self._constraints = constraints
        self._online = {node.name: transition.plan.online[node.index] for node in self.state.nodes}
        self._fenced = {  # nodes that will be fenced, and why
            action.node.name: action.reason
            for action in transition.plan.actions
            if action.task == "stonith" and action.node is not None and not action.flags & OPTIONAL and action.runnable
            if action.get_meta("stonith_action") != "on"
        }
        self._all: dict[Resource, list[PlannedAction]] = {}
        for action in transition.plan.actions:
            if action.rsc is not None and action.node is not None and action.task in _TASKS:
                planned = PlannedAction.of(action)
                if planned.task == "start" and not planned.runnable and planned.reason is None:
                    index = action.rsc.index
                    if transition.assignment.node[index] is not None and transition.plan.node[index] is None:
                        planned = replace(planned, reason=_NO_PARTNER)
                if planned.required or (planned.task == "start" and not planned.runnable):
                    self._all.setdefault(action.rsc, []).append(planned)

    def of(self, leaf: Resource) -> list[PlannedAction]:
        """What must be done, in the order in which it was planned."""
        return [action for action in self._all.get(leaf, ()) if action.required]

    def _first(self, leaf: Primitive, task: str) -> PlannedAction | None:
        return next((action for action in self._all.get(leaf, ()) if action.task == task), None)

    def runs_after(self, leaf: Primitive) -> bool:
        """Whether it will be active when the transition has been carried out."""
        start, stop = self._first(leaf, "start"), self._first(leaf, "stop")
        if start is not None and start.required and start.runnable:
            return True
        return bool(leaf.active_nodes) and stop is None

    # --- in words -----------------------------------------------------------------------------------------------------

    def sentences(self, leaf: Primitive) -> list[str]:
        """What happens to a leaf."""
        found = []
        start, stop = self._first(leaf, "start"), self._first(leaf, "stop")
        move = self._first(leaf, "migrate_to")
        if stop is not None and not stop.runnable:
            found.append(
                f"{leaf.id} is to stop on {stop.node}, which is not possible now{self._why_not_stopped(stop)}."
            )
            if start is not None:
                found.append(f"{leaf.id} cannot start on {start.node} before that.")
        elif start is not None and not start.runnable:
            if stop is not None:
                how = self._by_fencing(stop)
                found.append(f"{leaf.id} {'counts as stopped' if how else 'stops'} on {stop.node}{how}.")
            found.append(f"{leaf.id} cannot start on {start.node} now{self._because(leaf, start)}.")
        elif move is not None and start is not None and move.runnable:
            found.append(f"{leaf.id} moves from {move.node} to {start.node} by live migration.")
        elif start is not None and stop is not None:
            where = (
                f"restarts on {start.node}" if start.node == stop.node else f"moves from {stop.node} to {start.node}"
            )
            found.append(f"{leaf.id} {where}{self._by_fencing(stop)}{self._because(leaf, start, stop)}.")
        elif start is not None or stop is not None:
            action = start or stop
            assert action is not None
            how = self._by_fencing(action) if action is stop else ""
            verb = "counts as stopped" if how else _VERBS[action.task][0]
            found.append(f"{leaf.id} {verb} on {action.node}{how}{self._because(leaf, action)}.")
        found += self._other(leaf, "demote", hidden=stop is not None)
        found += self._other(leaf, "promote", hidden=False)
        reload = self._first(leaf, "reload-agent")
        if reload is not None:
            found.append(f"{leaf.id} reloads its parameters on {reload.node}: they have changed since it was started.")
        return found

    def _by_fencing(self, stop: PlannedAction) -> str:
        """What a fenced node ran has stopped when that is confirmed; nobody is asked to stop it there."""
        if stop.node not in self._fenced:
            return ""
        reason = self._fenced[stop.node]
        return f" as soon as {stop.node} has been fenced{f' ({reason})' if reason else ''}"

    def _why_not_stopped(self, stop: PlannedAction) -> str:
        if not self._online.get(stop.node, True):
            return f": {stop.node} is not online, and not known to be off"
        text = stop.reason
        return f": {text}" if text is not None and text not in _SAYS_NOTHING and text not in _PLAIN else ""

    def _other(self, leaf: Primitive, task: str, hidden: bool) -> list[str]:
        action = self._first(leaf, task)
        if action is None or hidden:
            return []
        done, infinitive = _VERBS[task]
        verb = done if action.runnable else f"cannot {infinitive}"
        return [f"{leaf.id} {verb} on {action.node}{self._because(leaf, action)}."]

    def _because(self, leaf: Primitive, *actions: PlannedAction) -> str:
        """The reason of the first that has one, or else what befell the resource itself."""
        for action in actions:
            reason = self._reason(leaf, action)
            if reason is not None:
                return f": {reason}"
        failed = [
            f"{each.entry.operation} failed on {each.node.name} (rc={each.entry.rc})"
            for each in self.state.failed_ops
            if each.resource is leaf and not each.ignored and leaf.failed
        ]
        if failed:
            return f": its {failed[-1]}"
        places = [node.name for node in leaf.active_nodes]
        return f": it is active on {listed(places)} at once" if len(places) > 1 else ""

    def why_not_started(self, leaf: Primitive) -> str | None:
        """What keeps a leaf with a node from starting there."""
        start = self._first(leaf, "start")
        return self._reason(leaf, start) if start is not None and not start.runnable else None

    def _reason(self, rsc: Resource, action: PlannedAction, depth: int = 0) -> str | None:
        text, cause = action.reason, action.cause
        if text is None or text in _SAYS_NOTHING:
            return None
        if text in _PLAIN:
            return _PLAIN[text].format(policy=self.state.options.no_quorum_policy, rsc=rsc.id)
        word = text.split(" ", 1)[0]
        if cause is not None and cause.rsc is not None and word == "colocation":
            behind = self._reason(cause.rsc, PlannedAction.of(cause), depth + 1) if depth < _CHAIN else None
            why = f", because {behind}" if behind is not None else f" (see `crm why {cause.rsc.id}`)"
            return f"it must be with {cause.rsc.id}, which cannot {_VERBS[cause.task][1]} now{why}"
        if cause is not None and cause.task == "stonith" and cause.node is not None:
            done = "unfenced" if cause.get_meta("stonith_action") == "on" else "fenced"
            return f"{cause.node.name} must be {done} first"
        if (
            cause is None
            or cause.rsc is None
            or word not in ("required", "unrunnable", "contradictory", "unmigrateable")
        ):
            return text
        verb = self._verb(cause.rsc, cause.task)
        relation = self._relation(cause.rsc, rsc, reverse=cause.task in ("stop", "demote"))
        if word == "unmigrateable":
            return f"it cannot migrate live, because {cause.rsc.id} {verb}{relation}"
        if word == "contradictory":
            return f"it would have to wait for {cause.rsc.id}{relation}, and orderings contradict each other"
        said = f"{cause.rsc.id} {verb}{relation}"
        behind = self._reason(cause.rsc, PlannedAction.of(cause), depth + 1) if depth < _CHAIN else None
        if word == "required" and verb in ("starts", "restarts") and not cause.flags & RUNNABLE:
            said = f"{cause.rsc.id} stops{relation}"
            return f"{said}, because {behind}" if behind is not None else f"{said}; see `crm why {cause.rsc.id}`"
        if word == "unrunnable":
            said = f"it must wait until {said}, which is not possible now"
            if behind is None:
                said += f" (see `crm why {cause.rsc.id}`)"
        return f"{said}, because {behind}" if behind is not None else said

    def _verb(self, rsc: Resource, task: str) -> str:
        task = ELEMENTARY.get(task, task)
        if task in ("start", "stop"):
            required = {action.task for action in self.of(rsc) if action.runnable}
            if {"start", "stop"} <= required:
                return "restarts"
        return _VERBS[task][0] if task in _VERBS else f"does {task}"

    def _relation(self, first: Resource, then: Resource, reverse: bool = False) -> str:
        """` (ordering constraint o1)`: what makes one wait for the other, as far as one thing does; `reverse`: as stops do."""
        before, after = (_names(then), _names(first)) if reverse else (_names(first), _names(then))
        found: str | None = None
        for element in self._constraints.elements:
            if element.tag != "rsc_order":
                continue
            named = [value for name in ("first", "then") if (value := element.get(name))]
            named += [value for each in element.iter("resource_ref") if (value := each.get("id"))]
            if before & after & set(named):
                continue
            firsts = [place for place, name in enumerate(named) if self._covers({name}, before)]
            thens = [place for place, name in enumerate(named) if self._covers({name}, after)]
            if firsts and thens:
                if min(firsts) < max(thens):
                    return f" (ordering constraint {element.get('id')})"
                found = found or element.get("id")
        if found is not None:
            return f" (ordering constraint {found})"
        shared = [rsc for rsc in _line(first) if isinstance(rsc, Group) and rsc in _line(then)]
        return f" (group {shared[0].id})" if shared and first is not then else ""

    def _covers(self, named: set[str], names: set[str]) -> bool:
        """Whether a constraint that names these resources, tags or templates is about one of those."""
        if named & names:
            return True
        members = self.state.tags, self.state.templates
        return any(names.intersection(table.get(name, ())) for name in named for table in members)


def _unanswered_probe(start: Action) -> str | None:
    """A start waits for probes of the resource everywhere; a node may not be ready to answer."""
    for relation in start.inputs:
        probe = relation.first
        if probe.task == "monitor" and not probe.interval_ms and not probe.runnable and probe.node is not None:
            return f"whether it is active on {probe.node.name} is not known, and cannot be found out now"
    return None


def _line(rsc: Resource) -> list[Resource]:
    found = [rsc]
    while (parent := found[-1].parent) is not None:
        found.append(parent)
    return found


def _names(rsc: Resource) -> set[str]:
    """The ids by which constraints can mean it."""
    names = {each.id for each in _line(rsc)}
    if isinstance(rsc, Primitive):
        names.add(rsc.config_id)
    return names
