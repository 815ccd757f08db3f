"""Restarts that would achieve nothing, and would be repeated for ever.

Theory of operation. A mandatory ordering after a clone restarts what follows whenever any of the clone's instances is to be started. If the
instance in question cannot be started, and nothing else of the clone changes, the restart changes nothing either: the next
transition would find the same situation and do it again. The field's engine does exactly that. Here such a demand is found once
everything is known about the plan, and the plan is made again without it. The same goes for what contradictory orderings keep from
happening (`ordering.executable`).
"""

from __future__ import annotations

from crm.policy.actions.model import ELEMENTARY, OPTIONAL, PSEUDO, RUNNABLE, THENREQ, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Kind, Resource


def pointless_restarts(plan: Plan) -> list[tuple[str, str]]:
    """Pairs of keys: the first action demands the second, a start of something active, but cannot happen itself."""
    found = []
    unreachable = {entry.action for entry in plan.unreachable}
    for action in plan.actions:
        if action.flags & OPTIONAL or action.task not in ("start", "promote"):
            continue
        rsc = action.rsc
        if rsc is None or not rsc.active_nodes:
            continue
        for relation in action.inputs:
            first = relation.first
            # A relation may have been dropped since (an ordering between a guest and what is inside), but has had its effect.
            contradictory = relation.declared & THENREQ and first in unreachable
            if contradictory or (relation.bits & THENREQ and _is_empty_demand(plan, first)):
                found.append((first.key, action.key))
    return found


def _is_empty_demand(plan: Plan, first: Action) -> bool:
    rsc = first.rsc
    if rsc is None or rsc.kind < Kind.CLONE or first.flags & OPTIONAL or not first.flags & RUNNABLE:
        return False
    task = (first.get_meta("notify_operation") or "") if first.task == "notified" else first.task
    return ELEMENTARY.get(task, task) in ("start", "promote") and not _changes(plan, rsc)


def _changes(plan: Plan, rsc: Resource) -> bool:
    """Will anything below this resource start, stop or change its role?"""
    return any(
        action.task in ("start", "stop", "promote", "demote")
        and not action.flags & OPTIONAL
        and action.flags & (RUNNABLE | PSEUDO)
        for leaf in rsc.leaves()
        for action in plan.by_rsc[leaf.index]
    )
