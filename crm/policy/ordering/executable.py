"""What is written can be executed: no action waits for itself, or for something that never comes.

Theory of operation. Orderings may contradict each other: A after B, B after A, by any number of steps. The actions concerned would wait
for ever, and the transition with them. So the chosen synapses are executed once on paper, in time linear in their number. If
all of them fire, nothing is changed; that is nearly always so, and it is so for every consistent configuration.

Otherwise each loop loses its weakest link, as long as one of its links is only a preference: an optional or serializing
ordering, one that keeps resources apart while they change places, one that waits for free capacity, or one that lets a
probe of another resource go first. Links that hold data together are never dropped: fencing before recovery, stop before start,
what a resource's own structure demands, mandatory orderings. A loop made of these alone is contradictory: its actions, and whatever
must follow them or follow something that cannot happen, are left out, as they would never have been reached. Both are named in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from crm.policy.actions.model import ANTI, IFUNMIG, LOAD, ORD, RUNNABLE, SAMENODE, SERIAL, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Kind, Primitive, Resource

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
            missing = next((first for first, _ in inputs[action] if first not in inputs), None)
            if missing is not None:
                _leave_out(plan, action, missing, inputs, in_loop=False)
        stuck = _stuck(inputs)
    return True


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


_KINDS = {0: "capacity", 1: "anti-colocation", 2: "serializing", 3: "optional", 4: "probe", None: ""}


def _rank(plan: Plan, first: Action, then: Action, bits: int) -> int | None:
    """How much a link matters, if it is only a preference; None if it must stay."""
    if bits == LOAD:
        return 0
    if bits & ~_PREFERENCES or first.rsc is None or then.rsc is None:
        return None
    if _belong_together(first.rsc, then.rsc):
        return None
    if bits == ANTI:
        return 1
    if bits & SERIAL:
        return 2
    is_probe = first.task == "monitor" and not first.interval_ms
    if is_probe and then.task in ("start", "promote") and then.rsc.outermost is first.rsc.outermost:
        return None
    return 4 if is_probe else 3


def _belong_together(first: Resource, then: Resource) -> bool:
    """One below the other's top, or one inside the other (connections, containers, guests): their orderings hold them together."""
    if first.outermost is then.outermost:
        return True
    return any(
        isinstance(rsc, Primitive) and (rsc.is_connection or rsc.launcher is not None or rsc.launched)
        for rsc in (first, then)
        if rsc.kind is Kind.PRIMITIVE
    )
