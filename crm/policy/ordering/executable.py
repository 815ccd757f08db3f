"""What is written can be executed: no action waits for itself, or for something that never comes.

Theory of operation. Orderings may contradict each other: A after B, B after A, by any number of steps. The actions concerned would wait
for ever, and the transition with them. So the chosen synapses are executed once on paper, in time linear in their number. If
all of them fire, nothing is changed; that is nearly always so, and it is so for every consistent configuration.

Otherwise each loop loses its weakest link, as long as one of its links is only a preference: an optional or serializing
ordering, one that keeps resources apart while they change places, one that waits for free capacity, one that lets a
probe of another resource go first; or, last, a mandatory ordering that only holds up a stop (a failed guest whose host must stop after
something inside it would otherwise never be recovered). Links that hold data together are never dropped: fencing before recovery, stop before
start, what a resource's own structure demands, mandatory orderings of starts. A loop made of these alone is contradictory: its actions,
and whatever must follow them or follow something that cannot happen, are left out, as they would never have been reached. All of this is
named in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from crm.policy.actions.model import ANTI, FIRSTREQ, IFUNMIG, LOAD, OPTIONAL, ORD, RUNNABLE, SAMENODE, SERIAL, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Clone, Primitive, Resource

_PREFERENCES = ORD | SERIAL | ANTI | LOAD | IFUNMIG | SAMENODE


@dataclass(slots=True, frozen=True)
class Dropped:
    """An ordering that contradicted others and was given up."""

    first: Action
    then: Action
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} ordering of {self.first.key} before {self.then.key} contradicts others and was dropped"


@dataclass(slots=True, frozen=True)
class Unreachable:
    """An action that is left out because it could never have been reached."""

    action: Action
    waits_for: Action
    in_loop: bool  # mandatory orderings contradict each other

    def __str__(self) -> str:
        why = "orderings contradict each other" if self.in_loop else "that cannot happen"
        return f"{self.action.key} would wait for {self.waits_for.key}: {why}"


Inputs = dict[Action, list[tuple[Action, int]]]  # what each written action waits for, with the bits of the relation


def make_executable(plan: Plan, inputs: Inputs) -> bool:
    """Break loops and leave out what can never be reached; false if everything could be executed as it was."""
    stuck = _stuck(inputs)
    if not stuck:
        return False
    while stuck:
        loop = _find_loop(stuck, inputs)
        if loop is None:
            break
        link = _weakest_link(plan, loop, inputs)
        if link is not None:
            first, then, bits = link
            inputs[then] = [entry for entry in inputs[then] if entry[0] is not first]
            plan.dropped.append(Dropped(first, then, _KINDS[_rank(plan, first, then, bits)]))
        else:
            for position, action in enumerate(loop):
                _leave_out(plan, action, loop[position - 1], inputs, in_loop=True)
        stuck = _stuck(inputs)
    while stuck:
        for action in stuck:
            _settle_missing(plan, action, inputs)
        stuck = _stuck(inputs)
        if not stuck:
            _drop_pointless_notifications(plan, inputs)
            stuck = _stuck(inputs)
    return True


def _drop_pointless_notifications(plan: Plan, inputs: Inputs) -> None:
    """Nobody is told of what was left out."""
    affected: dict[tuple[Resource, str], None] = {}
    for unreachable in plan.unreachable:
        rsc, task = unreachable.action.rsc, unreachable.action.task
        if isinstance(rsc, Primitive) and isinstance(rsc.top, Clone) and rsc.top.notify:
            affected[rsc.top, task] = None
    for clone, task in affected:
        leaves = clone.leaves()
        if any(action in inputs and action.task == task for leaf in leaves for action in plan.by_rsc[leaf.index]):
            continue
        for rsc in (*leaves, clone):
            for action in plan.by_rsc[rsc.index]:
                if action in inputs and action.get_meta("notify_operation") == task and action.get_meta("notify_type"):
                    _leave_out(plan, action, action, inputs, in_loop=False)


def _settle_missing(plan: Plan, action: Action, inputs: Inputs) -> None:
    """What an action waits for is not in the graph: it need not wait for what need not happen, else it cannot happen either."""
    for first, bits in inputs[action]:
        if first in inputs:
            continue
        if first.flags & OPTIONAL or _rank(plan, first, action, bits) is not None:
            inputs[action] = [entry for entry in inputs[action] if entry[0] is not first]
        else:
            _leave_out(plan, action, first, inputs, in_loop=False)
            return


def _leave_out(plan: Plan, action: Action, waits_for: Action, inputs: Inputs, in_loop: bool) -> None:
    del inputs[action]
    action.flags &= ~RUNNABLE
    plan.give_reason(action, f"{'contradictory' if in_loop else 'unrunnable'} {_name(waits_for)}", waits_for)
    plan.unreachable.append(Unreachable(action, waits_for, in_loop))


def _name(action: Action) -> str:
    return f"{action.rsc.id} {action.task}" if action.rsc is not None else action.task


def _stuck(inputs: Inputs) -> list[Action]:
    """Execute on paper; what never fires, in the order of the graph."""
    waiting = {action: len(firsts) for action, firsts in inputs.items()}
    followers: dict[Action, list[Action]] = {}
    for action, firsts in inputs.items():
        for first, _ in firsts:
            followers.setdefault(first, []).append(action)
    ready = [action for action, count in waiting.items() if not count]
    fired = 0
    while ready:
        action = ready.pop()
        fired += 1
        for follower in followers.get(action, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if fired == len(inputs):
        return []
    return [action for action, count in waiting.items() if count]


def _find_loop(stuck: list[Action], inputs: Inputs) -> list[Action] | None:
    """A loop among the stuck actions, each before the one that waits for it."""
    remaining = set(stuck)
    finished: set[Action] = set()
    for start in stuck:
        if start in finished:
            continue
        path: list[Action] = [start]
        on_path = {start: 0}
        branches = [iter(inputs[start])]
        while path:
            entry = next(branches[-1], None)
            if entry is None:
                finished.add(path[-1])
                del on_path[path.pop()]
                branches.pop()
                continue
            first = entry[0]
            if first in on_path:
                return list(reversed(path[on_path[first] :]))
            if first in remaining and first not in finished:
                on_path[first] = len(path)
                path.append(first)
                branches.append(iter(inputs[first]))
    return None


def _weakest_link(plan: Plan, loop: list[Action], inputs: Inputs) -> tuple[Action, Action, int] | None:
    best: tuple[int, int, int] | None = None
    link: tuple[Action, Action, int] | None = None
    for position, then in enumerate(loop):
        first = loop[position - 1]
        bits = next(bits for other, bits in inputs[then] if other is first)
        rank = _rank(plan, first, then, bits)
        if rank is None:
            continue
        key = (rank, -then.id, -first.id)
        if best is None or key < best:
            best, link = key, (first, then, bits)
    return link


_KINDS = {0: "capacity", 1: "anti-colocation", 2: "serializing", 3: "optional", 4: "probe", 5: "mandatory", None: ""}


def _rank(plan: Plan, first: Action, then: Action, bits: int) -> int | None:
    """How much a link matters, if it can be given up; None if it must stay."""
    if bits == LOAD:
        return 0
    if first.rsc is None or then.rsc is None or _belong_together(first, then):
        return None
    if bits & ~_PREFERENCES:
        return 5 if not bits & ~(_PREFERENCES | FIRSTREQ) and then.task in ("stop", "demote") else None
    if bits == ANTI:
        return 1
    if bits & SERIAL:
        return 2
    return 4 if first.task == "monitor" and not first.interval_ms else 3


def _belong_together(first: Action, then: Action) -> bool:
    """Ends of one structure, or a connection and what it carries: their orderings are not anybody's preference."""
    before, after = first.rsc, then.rsc
    assert before is not None and after is not None
    if before.outermost is after.outermost:
        return True
    for one, other in ((before, after), (after, before)):
        if isinstance(one, Primitive) and one.launcher is other:
            return True
    return isinstance(before, Primitive) and before.is_connection and first.task == "start"
