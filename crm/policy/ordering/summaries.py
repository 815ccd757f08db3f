"""How the own action of a group, clone or bundle stands, judged by what its children do (8.3).

Judging has lasting effect: a collective's action becomes required once some child's action is. Summaries are kept until something below
the collective changes.
"""

from __future__ import annotations

from crm.policy.actions.model import ELEMENTARY, OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.model import Bundle, Kind, Node, Resource
from crm.policy.ordering.changes import Changes
from crm.policy.ordering.interleave import instances_of


class Summaries:
    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.plan = changes.plan
        self.family = changes.family
        self._on_node: dict[tuple[Action, Node], tuple[int, int]] = {}

    def ordering_flags(self, action: Action, node: Node | None) -> int:
        """Flags of an action as an end of a relation: a collective is judged by its children."""
        rsc = action.rsc
        if rsc is None or rsc.kind is Kind.PRIMITIVE:
            return action.flags
        flags = self.of(action)
        if node is None or rsc.kind is not Kind.CLONE:
            return flags
        return self._summary_on(action, node) | (flags & RUNNABLE)

    def of(self, action: Action) -> int:
        rsc = action.rsc
        if rsc is None or rsc.kind is Kind.PRIMITIVE:
            return action.flags
        if action.summary_at >= self.family[rsc.index] and action.summary_at >= action.version:
            return action.summary
        before = action.flags
        if rsc.kind is Kind.GROUP:
            flags = self._group_summary(action, rsc, None)
        else:
            flags = self._collective_summary(action, rsc, None)
        if action.flags != before:
            self.changes.touch(action)
        action.summary = flags
        action.summary_at = self.plan.clock
        return flags

    def _summary_on(self, action: Action, node: Node) -> int:
        rsc = action.rsc
        assert rsc is not None
        known = self._on_node.get((action, node))
        if known is not None and known[1] >= self.family[rsc.index] and known[1] >= action.version:
            return known[0]
        before = action.flags
        flags = self._collective_summary(action, rsc, node)
        if action.flags != before:
            self.changes.touch(action)
        self._on_node[action, node] = (flags, self.plan.clock)
        return flags

    def _collective_summary(self, action: Action, rsc: Resource, node: Node | None) -> int:
        flags = OPTIONAL | RUNNABLE | PSEUDO
        any_runnable = False
        instances = self._judged_by(action, rsc)
        task = self.elementary(action, instances)
        for instance in instances:
            child = self.plan.newest(instance, task, node if instance.kind is Kind.PRIMITIVE else None)
            if child is None:
                continue
            if instance.kind is Kind.GROUP:
                child_flags = self._group_summary(child, instance, node) if node is not None else self.of(child)
            else:
                child_flags = self.of(child)
            if not child_flags & OPTIONAL:
                flags &= ~OPTIONAL
                action.flags &= ~OPTIONAL
            any_runnable = any_runnable or bool(child_flags & RUNNABLE)
        if not any_runnable:
            flags &= ~RUNNABLE
            if node is None:
                action.flags &= ~RUNNABLE
        return flags

    def _judged_by(self, action: Action, rsc: Resource) -> list[Resource]:
        if isinstance(rsc, Bundle) and rsc.inner_clone is not None:
            task = ELEMENTARY.get(action.task, action.task)
            if task not in ("start", "stop"):
                return self.plan.children[rsc.inner_clone.index]
        return instances_of(self.plan, rsc)

    @staticmethod
    def elementary(action: Action, instances: list[Resource]) -> str:
        task = action.task
        if "_notify_" in action.key:
            task = action.key.rpartition("_notify_")[2].rpartition("_")[0]
        if instances and instances[0].kind is not Kind.PRIMITIVE:
            return task
        return ELEMENTARY.get(task, task)

    def _group_summary(self, action: Action, group: Resource, node: Node | None) -> int:
        flags = OPTIONAL | RUNNABLE | PSEUDO
        task = ELEMENTARY.get(action.task, action.task)
        completed = task != action.task
        for member in self.plan.children[group.index]:
            child = self.plan.newest(member, task, node)
            if child is None:
                if task not in ("stop", "demote"):
                    flags &= ~RUNNABLE
                continue
            if not child.flags & OPTIONAL:
                flags &= ~OPTIONAL
                action.flags &= ~OPTIONAL
            if completed and not child.flags & RUNNABLE:
                flags &= ~RUNNABLE
                action.flags &= ~RUNNABLE
        return flags
