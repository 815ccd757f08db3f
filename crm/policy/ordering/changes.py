"""What propagation changes about actions, and the bookkeeping that tells who has to look again.

Every action carries the time (`Plan.clock`) of its last change, every collective that of the last change below it.
"""

from __future__ import annotations

from crm.policy.actions.model import OPTIONAL, RUNNABLE, Action
from crm.policy.actions.plan import Plan


class Changes:
    """Flags taken away, with reasons, and times of change."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.family = [0] * len(plan.state.all_resources)  # clock of the last change below a collective
        plan.clock = max(plan.clock, 1)

    def touch(self, action: Action) -> None:
        plan = self.plan
        plan.clock += 1
        action.version = plan.clock
        rsc = action.rsc
        if rsc is not None:
            parent = rsc.parent
            while parent is not None:
                self.family[parent.index] = plan.clock
                parent = parent.parent

    def clear(self, action: Action, flag: int, cause: Action) -> None:
        """Take a flag away because of another action, which becomes the reason unless there is one (13.3)."""
        if not action.flags & flag:
            return
        action.flags &= ~flag
        if action.reason is None and (cause.rsc is None or cause.rsc is not action.rsc):
            word = "required" if flag == OPTIONAL else "unrunnable" if flag == RUNNABLE else "unmigrateable"
            action.reason = f"{word} {cause.rsc.id} {cause.task}" if cause.rsc is not None else f"{word} {cause.task}"
            action.cause = cause
