"""Propagation: what one action's state means for those it is related to (13.2 to 13.5).

Theory of operation. `update(T)` evaluates every relation into T; whatever changes because of it is evaluated again at once, together with
what comes after it. The order of this recursion is the specification's, because the first cause found becomes an action's reason.

A relation is a pure function of both ends, so one whose ends have not changed since it was last evaluated is skipped: every action carries
the time (`Plan.clock`) of its last change, every collective that of the last change below it, every relation that of its last evaluation.
Flags only ever move one way (with two exceptions, CANCEL and MIN, for which there is a budget), so this ends.

The recursion is bounded: beyond `_DEPTH` an update is put off until the stack has unwound. That can change which of two causes is found
first, never the flags.
"""

from __future__ import annotations

from bisect import insort_left
from collections.abc import Collection
from operator import attrgetter

from crm.policy.actions.model import (
    ALWAYS,
    ASYM,
    BLOCK,
    CANCEL,
    COMPLETED,
    ELEMENTARY,
    FGRAPH,
    FIRSTREQ,
    MIGBLOCK,
    MIGRATABLE,
    MIN,
    NESTPROBE,
    OPTIONAL,
    ORD,
    PROMREQ,
    REAL,
    RESTART,
    RUNNABLE,
    SAMENODE,
    TGRAPH,
    THENREQ,
    THENREQ1,
    Action,
    Relation,
)
from crm.policy.actions.plan import Plan
from crm.policy.actions.store import is_ancestor
from crm.policy.constraints.model import Colocation
from crm.policy.model import INFINITY, Assignment, Bundle, Group, Kind, Node, Resource, Role
from crm.policy.ordering.changes import Changes
from crm.policy.ordering.effects import EFFECTS
from crm.policy.ordering.interleave import instances_of, interleaves, partner
from crm.policy.ordering.summaries import Summaries

_DEPTH = 120  # nested updates; each takes up to five Python frames
_FIRST, _THEN = 1, 2  # which end of a relation changed
_MEANINGLESS = ~(ALWAYS)  # flags whose change wakes others
_BY_DEPENDENT = attrgetter("dependent_key")
# Bits that can change something when both ends are plain actions.
_ACTIVE = (
    THENREQ | RESTART | FIRSTREQ | PROMREQ | BLOCK | MIGBLOCK | REAL | ASYM | MIN | NESTPROBE | THENREQ1 | CANCEL
) | (SAMENODE | TGRAPH | FGRAPH)


class Propagation:
    """One run over all actions of a plan."""

    def __init__(self, plan: Plan, assignment: Assignment, pointless: Collection[tuple[str, str]] = ()) -> None:
        self.plan = plan
        self.changes = Changes(plan)
        self.summaries = Summaries(self.changes)
        # Keys of actions of which the first must not demand the other (`ordering.pointless`).
        self.pointless = pointless
        self.dependents = assignment.dependents
        self.family = self.changes.family
        self.completions: dict[Action, Action] = {}
        self.depth = 0
        self.settling = False
        self.postponed: list[Action] = []
        self.budget = 1000 * len(plan.actions) + 100_000

    def block_unrunnable(self) -> None:
        """13.5 for every action that cannot run, newest first."""
        for action in reversed(list(self.plan.actions)):
            if not action.flags & RUNNABLE:
                self.block_colocated(action)
        self._finish()

    def run(self) -> None:
        for action in reversed(list(self.plan.actions)):
            if action.inputs or action.minimum:
                self.update(action)
                if self.postponed:
                    self._finish()
        self._settle()

    def _settle(self) -> None:
        """Tell everybody what nobody has told them yet.

        The field's engine ends without this (a start that is blocked by a colocation does not announce it to what follows), and
        then has actions in its graph that wait for what it knows cannot run. Nothing that was told before is told again.
        """
        self.settling = True
        while True:
            before = self.plan.clock
            for action in reversed(list(self.plan.actions)):
                if action.inputs or action.minimum:
                    self.update(action)
            self._finish()
            if self.plan.clock == before or self.budget < 0:
                return

    def _finish(self) -> None:
        while self.postponed:
            action = self.postponed.pop(0)
            self.update(action)

    # --- re-evaluating an action (13.2) -------------------------------------------------------------------------------

    def update(self, then: Action) -> None:
        if not then.inputs and not then.minimum:
            return
        if self.depth >= _DEPTH:
            if then not in self.postponed:
                self.postponed.append(then)
            return
        self.budget -= 1
        if self.budget < 0:
            if self.budget == -1:
                self.plan.problems.append("orderings contradict each other: propagation was ended early")
            return
        self.depth += 1
        self._update(then)
        self.depth -= 1

    def _update(self, then: Action) -> None:
        entry = then.flags
        changed = False
        minimum = then.minimum
        if minimum:
            then.count = 0
            then.flags &= ~RUNNABLE
        family = self.family
        then_index = then.rsc.index if then.rsc is not None else -1
        inputs = then.inputs
        for position in range(len(inputs) - 1, -1, -1):
            relation = inputs[position]
            if not relation.bits & _ACTIVE and self._is_inert(relation):
                continue
            seen = relation.seen
            first = relation.first
            if (
                first.version <= seen
                and then.version <= seen
                and not minimum
                and (first.rsc is None or family[first.rsc.index] <= seen)
                and (then_index < 0 or family[then_index] <= seen)
            ):
                continue
            relation.seen = self.plan.clock
            result = self._evaluate(relation, first, then)
            if result & _THEN:
                changed = True
            if result & _FIRST:
                outputs = first.outputs
                for number in range(len(outputs) - 1, -1, -1):
                    self.update(outputs[number].then)
                self.update(first)
        if minimum:
            changed = (then.flags ^ entry) & _MEANINGLESS != 0
            if changed:
                self.changes.touch(then)
        if changed:
            if entry & RUNNABLE and not then.flags & RUNNABLE:
                self.block_colocated(then)
            self.update(then)
            outputs = then.outputs
            for number in range(len(outputs) - 1, -1, -1):
                self.update(outputs[number].then)

    def _is_inert(self, relation: Relation) -> bool:
        """Order only, and nothing to map or interleave: evaluating it can change nothing."""
        if not relation.bits:
            return True
        first, then = relation.first.rsc, relation.then.rsc
        if first is None or then is None:
            return True
        return first.kind is Kind.PRIMITIVE and (then.kind is Kind.PRIMITIVE or not relation.bits & ORD)

    def _evaluate(self, relation: Relation, first: Action, then: Action) -> int:
        bits = relation.bits
        first_rsc, then_rsc = first.rsc, then.rsc
        first_node, then_node = self._node_of(first), self._node_of(then)
        if bits & SAMENODE and first_node is not None and then_node is not None and first_node is not then_node:
            relation.bits = 0
            return 0
        if bits & CANCEL and first_rsc is not None and not then.flags & OPTIONAL and not first.flags & OPTIONAL:
            first.flags |= OPTIONAL
            self.changes.touch(first)
            if first.task == "reload-agent":
                self.plan.reload.discard(first_rsc)
        if (
            first_rsc is not None
            and then_rsc is not None
            and first_rsc is not then_rsc
            and not is_ancestor(first_rsc, then_rsc)
        ):
            mapped = self._completion(first, first_rsc)
            if mapped is not first:
                if self.plan.relate(mapped, then, bits):
                    relation.bits = 0
                    return _THEN
                return 0
        return self._apply(relation, first, then, first_node, then_node)

    def _node_of(self, action: Action) -> Node | None:
        if action.rsc is not None and action.rsc.kind is Kind.GROUP and action.task == "start":
            return self.plan.location(action.rsc)
        return action.node

    def _completion(self, first: Action, rsc: Resource) -> Action:
        """The action of a collective that stands for `first` being all done (13.2, completion mapping)."""
        if rsc.kind is Kind.PRIMITIVE:
            return first
        found = self.completions.get(first)
        if found is None:
            found = self.completions[first] = self._find_completion(first, rsc)
        return found

    def _find_completion(self, first: Action, rsc: Resource) -> Action:
        if "notify" in first.key or first.interval_ms:
            return first
        task = COMPLETED.get(first.task, first.task)
        if task not in ELEMENTARY:
            return first
        notifying = rsc.notify and (rsc.kind is Kind.CLONE or rsc.outermost.kind is Kind.BUNDLE)
        key = f"{rsc.id}_confirmed-post_notify_{task}_0" if notifying else f"{rsc.id}_{task}_0"
        return self.plan.newest_by_key(rsc, key) or first

    # --- applying a relation (13.3) -----------------------------------------------------------------------------------

    def _apply(
        self, relation: Relation, first: Action, then: Action, first_node: Node | None, then_node: Node | None
    ) -> int:
        """Every bit in its turn; which ends changed."""
        flags = self.summaries.ordering_flags(first, then_node)
        # Judging a collective by its children changes it for good, and that does not count as a change by this relation.
        then_flags = self.summaries.ordering_flags(then, first_node)
        node = then.node
        if relation.bits & THENREQ1:
            relation.bits = (relation.bits & ~THENREQ1) | THENREQ
            if first.node is not None:
                node = first.node
        result = self._apply_demands(relation.bits, first, then, node, flags)
        if relation.bits & MIN:
            result |= self._count_runnable(first, then, node, flags)
        if relation.bits & NESTPROBE and then.rsc is not None:
            if not flags & RUNNABLE and first.rsc is not None and first.rsc.active_nodes:
                relation.bits = 0
                return result
            result |= self._dispatch(BLOCK, then.rsc, first, then, node, flags)
        bits = relation.bits
        if bits & BLOCK:
            result |= self._apply_block(first, then, node, flags)
        for bit in (MIGBLOCK, REAL, ORD, ASYM):
            if bits & bit and then.rsc is not None:
                result |= self._dispatch(bit, then.rsc, first, then, node, flags)
        if self.settling:
            return result
        if bits & TGRAPH and first.flags & RUNNABLE and not flags & OPTIONAL:
            then.flags |= ALWAYS
        if bits & FGRAPH and not then_flags & OPTIONAL:
            first.flags |= ALWAYS
        if bits & (THENREQ | FIRSTREQ | RESTART) and then.flags & RUNNABLE and self._is_blocked_stop(first, flags):
            then.flags &= ~RUNNABLE  # this gives no reason
            self.changes.touch(then)
            result |= _THEN
        return result

    def _apply_demands(self, bits: int, first: Action, then: Action, node: Node | None, flags: int) -> int:
        """What being required on one side demands of the other."""
        result = 0
        if bits & THENREQ and not (self.pointless and (first.key, then.key) in self.pointless):
            if then.rsc is not None:
                result |= self._dispatch(THENREQ, then.rsc, first, then, node, flags)
            elif not flags & OPTIONAL and then.flags & OPTIONAL:
                self.changes.clear(then, OPTIONAL, first)
                self.changes.touch(then)
                result |= _THEN
        if bits & RESTART and then.rsc is not None:
            result |= self._dispatch(RESTART, then.rsc, first, then, node, flags)
        if bits & FIRSTREQ:
            if first.rsc is not None:
                result |= self._dispatch(FIRSTREQ, first.rsc, first, then, node, flags)
            elif not flags & OPTIONAL and first.flags & RUNNABLE:
                first.flags &= ~RUNNABLE
                self.changes.touch(first)
                result |= _FIRST
        if bits & PROMREQ and then.rsc is not None:
            result |= self._dispatch(PROMREQ, then.rsc, first, then, node, flags)
        return result

    def _apply_block(self, first: Action, then: Action, node: Node | None, flags: int) -> int:
        if then.rsc is not None:
            return self._dispatch(BLOCK, then.rsc, first, then, node, flags)
        if not flags & RUNNABLE and then.flags & RUNNABLE:
            then.flags &= ~(RUNNABLE | MIGRATABLE)
            self.changes.touch(then)
            return _THEN
        return 0

    def _is_blocked_stop(self, first: Action, flags: int) -> bool:
        rsc = first.rsc
        return (
            first.task == "stop"
            and rsc is not None
            and not flags & RUNNABLE
            and not self.plan.managed[rsc.index]
            and self.plan.blocked[rsc.index]
        )

    def _count_runnable(self, first: Action, then: Action, node: Node | None, flags: int) -> int:
        if then.rsc is not None:
            return self._dispatch(MIN, then.rsc, first, then, node, flags)
        if flags & RUNNABLE and self._members_can(first):
            then.count += 1
            if then.count >= then.minimum and not then.flags & RUNNABLE:
                then.flags |= RUNNABLE
                return _THEN
        return 0

    def _members_can(self, action: Action) -> bool:
        """A group's start can run as soon as it exists; it only counts as one that runs if all its members can, too."""
        rsc = action.rsc
        if rsc is None or rsc.kind is not Kind.GROUP:
            return True
        members = (self.plan.newest(member, action.task) for member in self.plan.children[rsc.index])
        return all(member is not None and member.flags & RUNNABLE for member in members)

    def _dispatch(self, bit: int, by: Resource, first: Action, then: Action, node: Node | None, flags: int) -> int:
        """Apply one bit by the kind of resource `by`; the loops run over the children of `then`'s resource."""
        if by.kind is Kind.PRIMITIVE:
            return self._rule(bit, first, then, flags)
        if by.kind is Kind.GROUP:
            result = self._rule(bit, first, then, flags)
            if then.rsc is not None:
                for member in self.plan.children[then.rsc.index]:
                    action = self.plan.newest(member, then.task, node)
                    if action is not None:
                        result |= self._dispatch(bit, member, first, action, node, flags)
            return result
        if first.rsc is not None and then.rsc is not None and interleaves(self.plan, first.rsc, then.rsc, then.key):
            return self._interleave(bit, first, then, node)
        result = self._rule(bit, first, then, flags)
        if then.rsc is None or then.rsc.kind is Kind.PRIMITIVE:
            return result
        instances = instances_of(self.plan, then.rsc)
        if bit == ORD and instances and instances[0].kind is Kind.PRIMITIVE:
            return result  # order alone changes nothing of them
        for instance in instances:
            action = self.plan.newest(instance, then.task, node)
            if action is None or not self.summaries.of(action) & RUNNABLE:
                continue
            change = self._dispatch(bit, instance, first, action, node, flags)
            result |= change
            if change & _THEN:
                for relation in reversed(list(action.outputs)):
                    self.update(relation.then)
        return result

    def _interleave(self, bit: int, first: Action, then: Action, node: Node | None) -> int:
        """13.4: each instance of `then` is tied to its partner only."""
        plan = self.plan
        assert first.rsc is not None and then.rsc is not None
        current = first.key.endswith(("_stopped_0", "_demoted_0"))
        result = 0
        for instance in instances_of(plan, then.rsc):
            mate = partner(plan, instance, first.rsc, current)
            if mate is None:
                if not current and bit in (THENREQ, BLOCK) and self._unassign(instance):
                    result |= _THEN
                continue
            first_action = self._partner_action(first, mate, first.rsc, is_first=True)
            then_action = self._partner_action(then, instance, then.rsc, is_first=False)
            if first_action is None or then_action is None:
                continue
            if plan.relate(first_action, then_action, bit):
                result |= _FIRST | _THEN
            assert then_action.rsc is not None
            flags = self.summaries.of(first_action)
            result |= self._dispatch(bit, then_action.rsc, first_action, then_action, node, flags)
        return result

    def _partner_action(
        self, action: Action, instance: Resource, collective: Resource, is_first: bool
    ) -> Action | None:
        task = self.summaries.elementary(action, instances_of(self.plan, collective)) if is_first else action.task
        rsc: Resource | None = instance
        if isinstance(collective, Bundle):
            base = ELEMENTARY.get(action.task, action.task)
            if (is_first and base != "stop") or (not is_first and base in ("promote", "demote")):
                inner = next((r.inner for r in collective.replicas if r.container is instance), None)
                rsc = inner if inner is not None else instance
        return None if rsc is None else self.plan.newest(rsc, task)

    def _unassign(self, instance: Resource) -> bool:
        """An interleaved instance without a partner runs nowhere."""
        plan = self.plan
        changed = False
        for leaf in instance.leaves():
            if not plan.must_unassign(leaf):
                continue
            plan.partners.clear()
            plan.clock += 1
            changed = plan.unassign(leaf) or changed
            parent: Resource | None = leaf
            while parent is not None:
                if parent is not leaf:
                    self.family[parent.index] = plan.clock
                parent = parent.parent
        return changed

    # --- the rules for one pair ---------------------------------------------------------------------------------------

    def _rule(self, bit: int, first: Action, then: Action, flags: int) -> int:
        if bit == ORD:
            return 0
        first_before, then_before = first.flags, then.flags
        EFFECTS[bit](self.changes, first, then, flags)
        result = 0
        if first.flags != first_before:
            self.changes.touch(first)
            result = _FIRST
        if then.flags != then_before:
            self.changes.touch(then)
            result |= _THEN
            if then.rsc is not None and then.rsc.parent is not None:
                self.update(then)
        return result

    # --- colocated starts (13.5) --------------------------------------------------------------------------------------

    def block_colocated(self, action: Action) -> None:
        """What must run with something that cannot start cannot start either."""
        rsc, task = action.rsc, action.task
        if rsc is None or task not in ("start", "promote") or action.flags & RUNNABLE:
            return
        outermost = rsc.outermost
        for child in self.plan.children[outermost.index]:
            found = self.plan.newest(child, task)
            if found is None or found.flags & RUNNABLE:
                return
        for colocation in self._dependents_of(outermost):
            if colocation.score < INFINITY:
                continue
            if task == "promote" and colocation.primary_role is not Role.PROMOTED:
                continue
            blocked = "promote" if colocation.dependent_role is Role.PROMOTED else "start"
            self._block_all(colocation.dependent, blocked, action)

    def _block_all(self, rsc: Resource, task: str, cause: Action) -> None:
        assert cause.rsc is not None
        for action in reversed(list(self.plan.by_rsc[rsc.index])):
            if action.task == task and action.flags & RUNNABLE:
                action.flags &= ~RUNNABLE
                self.changes.touch(action)
                self.plan.give_reason(action, f"colocation with {cause.rsc.id}", cause)
                self.block_colocated(action)
                self.update(action)
        for child in self.plan.children[rsc.index]:
            self._block_all(child, task, cause)

    def _dependents_of(self, rsc: Resource) -> list[Colocation]:
        """The effective colocations with a top-level resource as primary (P2 5.5)."""
        if not self.dependents:
            return []
        own = self.dependents[rsc.index]
        if not isinstance(rsc, Group):
            return own
        found = list(own)
        for member in rsc.children:
            for colocation in self.dependents[member.index]:
                if colocation.explicit:
                    insort_left(found, colocation, key=_BY_DEPENDENT)
        return found


__all__ = ["Propagation"]
