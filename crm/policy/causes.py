"""Why each action is required, cannot run, or was left out.

Theory of operation. What propagation found is recorded with the action (`Action.reason`, `Action.cause`): those are the reasons that the summary prints.
Most actions need none of that to be understood; for them the reason is what the plan wants of their resource: it is to run there, it is to
run nowhere, its state there is not known. It is put into words here, when somebody asks; nothing is recorded for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from crm.policy.actions.model import ALWAYS, OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.model import Primitive, Role

if TYPE_CHECKING:
    from crm.policy.actions.plan import Plan


class Fate(StrEnum):
    REQUIRED = "required"
    BLOCKED = "blocked"  # wanted, but it cannot run
    DROPPED = "dropped"  # it would have waited for ever, and was left out


@dataclass(slots=True, frozen=True)
class Reason:
    """What becomes of an action and why: a text for people, and the action that caused it."""

    action: str  # operation key
    task: str
    resource: str | None
    node: str | None
    fate: Fate
    text: str
    cause: str | None = None  # operation key


def reasons_of(plan: Plan) -> list[Reason]:
    """Every action that must happen, or would if it could, in the order in which they were planned."""
    dropped = {entry.action for entry in plan.unreachable}
    found = []
    for action in plan.actions:
        if action in dropped:
            fate = Fate.DROPPED
        elif not action.flags & RUNNABLE and _is_wanted(plan, action):
            fate = Fate.BLOCKED
        elif (action.flags & (OPTIONAL | ALWAYS)) != OPTIONAL and action.flags & RUNNABLE:
            fate = Fate.REQUIRED
        else:
            continue
        found.append(
            Reason(
                action.key,
                action.task,
                action.rsc.id if action.rsc is not None else None,
                action.node.name if action.node is not None else None,
                fate,
                action.reason or _plain(plan, action),
                action.cause.key if action.cause is not None else None,
            )
        )
    return found


def _is_wanted(plan: Plan, action: Action) -> bool:
    """A start that cannot run is optional once it cannot: what counts is that the resource has a node and is not there."""
    if not action.flags & OPTIONAL:
        return True
    rsc = action.rsc
    return (
        action.task == "start"
        and isinstance(rsc, Primitive)
        and not rsc.active_nodes
        and plan.node[rsc.index] is not None
        and plan.node[rsc.index] is action.node
    )


def _plain(plan: Plan, action: Action) -> str:
    """What the plan wants of the resource."""
    rsc, node = action.rsc, action.node
    where = f" on {node.name}" if node is not None else ""
    if action.task == "do_shutdown":
        return f"a shutdown{where} was requested"
    if rsc is None:
        return f"{action.task}{where}"
    if action.flags & PSEUDO or not isinstance(rsc, Primitive):
        return f"{rsc.id}: orders what belongs to it"
    assigned = plan.node[rsc.index]
    if action.task == "monitor":
        known = "is watched" if action.interval_ms else "is not known and must be asked for"
        return f"the state of {rsc.id}{where} {known}"
    if action.task == "start":
        return f"{rsc.id} is to run{where}"
    if action.task == "stop":
        if assigned is None or plan.next_role[rsc.index] is Role.STOPPED:
            return f"{rsc.id} is to run nowhere"
        return f"{rsc.id} is to be started anew" if assigned is node else f"{rsc.id} is to run on {assigned.name}"
    if action.task in ("promote", "demote"):
        wanted = plan.next_role[rsc.index] is Role.PROMOTED and assigned is node
        return f"{rsc.id} is {'' if wanted else 'not '}to be promoted{where}"
    if action.task in ("migrate_to", "migrate_from") and assigned is not None:
        return f"{rsc.id} is to run on {assigned.name} and can move there live"
    if action.task == "notify":
        return f"{rsc.id} is told of what happens to other instances"
    return f"{action.task} of {rsc.id}{where}"
