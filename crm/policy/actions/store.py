"""The index of all actions, their relations, and the orderings declared before the actions exist.

Theory of operation. Actions are found by key (resource, task and interval; ignoring case) or by task, and where several match the
specification says whether the oldest or the newest counts (2.2). Each resource has one slot per key, with its actions in order of
creation, those by node, and those that have no node yet: a search for a node makes the latter adopt it. Nothing here knows
what an action means; `crm.policy.actions.plan` does.

`declare` remembers an ordering between things that may not exist yet (12); `crm.policy.ordering.apply` turns declarations into relations.
"""

from __future__ import annotations

from crm.policy.actions.model import IFUNMIG, ORD, Action, Relation
from crm.policy.model import Node, Primitive, Resource
from crm.policy.values import truthy


class Slot:
    """The actions of one resource with one key."""

    __slots__ = ("actions", "by_node", "loose")

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.by_node: dict[Node, Action] = {}  # the oldest on each node
        self.loose = 0  # how many have no node

    def add(self, action: Action) -> None:
        self.actions.append(action)
        if action.node is None:
            self.loose += 1
        else:
            self.by_node.setdefault(action.node, action)

    def adopt(self, node: Node) -> None:
        for action in self.actions:
            if action.node is None:
                action.node = node
        self.loose = 0
        self.by_node[node] = next(action for action in self.actions if action.node is node)

    def oldest(self, node: Node | None) -> Action | None:
        if node is None:
            return self.actions[0] if self.actions else None
        if self.loose:
            self.adopt(node)
        return self.by_node.get(node)


class Ordering:
    """A declared ordering: on each side an action, or a resource and a task (interval 0)."""

    __slots__ = ("bits", "first", "first_rsc", "first_task", "from_user", "then", "then_rsc", "then_task")

    def __init__(
        self,
        first_rsc: Resource | None,
        first_task: str,
        first: Action | None,
        then_rsc: Resource | None,
        then_task: str,
        then: Action | None,
        bits: int,
    ) -> None:
        self.first_rsc = first_rsc
        self.first_task = first_task
        self.first = first
        self.then_rsc = then_rsc
        self.then_task = then_task
        self.then = then
        self.bits = bits
        self.from_user = False  # a constraint of the configuration says so


def is_ancestor(ancestor: Resource, rsc: Resource) -> bool:
    parent = rsc.parent
    while parent is not None:
        if parent is ancestor:
            return True
        parent = parent.parent
    return False


def declared_bits(first: Action, then: Action) -> int:
    """The bits of all relations declared between two actions."""
    known = first.related
    if known is None:
        outputs = first.outputs
        bits = 0
        if len(outputs) <= _FEW:
            for relation in outputs:
                if relation.then is then:
                    bits |= relation.declared
            return bits
        known = first.related = {}
        for relation in outputs:
            known[relation.then] = known.get(relation.then, 0) | relation.declared
    return known.get(then, 0)


def can_migrate(rsc: Resource) -> bool:
    if isinstance(rsc, Primitive):
        return rsc.allow_migrate and not rsc.not_migratable
    return truthy(rsc.meta.get("allow-migrate"))  # a group that allows it takes part in the declarations, too


class ActionStore:
    """All actions in order of creation, and how to find them."""

    def __init__(self, resources: int) -> None:
        self.actions: list[Action] = []
        self.orderings: list[Ordering] = []
        self.by_rsc: list[list[Action]] = [[] for _ in range(resources)]
        self._slots: list[dict[str, Slot]] = [{} for _ in range(resources)]
        self._tasks: list[dict[str, list[Action]]] = [{} for _ in range(resources)]
        self._known: dict[tuple[int, str, int], Slot] = {}  # slots found before, without making their key again
        self._loose: dict[str, Slot] = {}  # actions of no resource

    # --- finding ------------------------------------------------------------------------------------------------------

    def slot(self, rsc: Resource | None, low_key: str) -> Slot | None:
        return self._loose.get(low_key) if rsc is None else self._slots[rsc.index].get(low_key)

    def _slot_of(self, rsc: Resource, task: str, interval_ms: int) -> Slot | None:
        key = (rsc.index, task, interval_ms)
        slot = self._known.get(key)
        if slot is None:
            slot = self._slots[rsc.index].get(f"{rsc.id}_{task}_{interval_ms}".lower())
            if slot is not None:
                self._known[key] = slot
        return slot

    def find(self, rsc: Resource, task: str, node: Node | None = None, interval_ms: int = 0) -> list[Action]:
        """All with that key, oldest first; with a node, those there, adopting the ones that have none."""
        slot = self._slot_of(rsc, task, interval_ms)
        if slot is None:
            return []
        if node is None:
            return slot.actions
        if slot.loose:
            slot.adopt(node)
        if node not in slot.by_node:
            return []
        return [action for action in slot.actions if action.node is node]

    def find_exact(self, rsc: Resource, task: str, node: Node, interval_ms: int) -> list[Action]:
        """All with that key on that very node; nothing is adopted."""
        slot = self._slot_of(rsc, task, interval_ms)
        return [] if slot is None else [action for action in slot.actions if action.node is node]

    def oldest(self, rsc: Resource, task: str, node: Node | None = None) -> Action | None:
        slot = self._slot_of(rsc, task, 0)
        return None if slot is None else slot.oldest(node)

    def by_task(self, rsc: Resource, task: str) -> list[Action]:
        """All with that task, whatever the key, oldest first."""
        return self._tasks[rsc.index].get(task, _NONE)

    def newest(self, rsc: Resource, task: str, node: Node | None = None) -> Action | None:
        """The newest with that task; nothing is adopted."""
        found = self._tasks[rsc.index].get(task)
        if not found:
            return None
        if node is None:
            return found[-1]
        for action in reversed(found):
            if action.node is node:
                return action
        return None

    def newest_by_key(self, rsc: Resource, key: str) -> Action | None:
        slot = self._slots[rsc.index].get(key.lower())
        return slot.actions[-1] if slot is not None and slot.actions else None

    # --- adding -------------------------------------------------------------------------------------------------------

    def add(self, key: str, task: str, rsc: Resource | None, node: Node | None, flags: int, interval_ms: int) -> Action:
        action = Action(len(self.actions) + 1, key, task, rsc, node, flags, interval_ms)
        self.actions.append(action)
        if rsc is None:
            slots = self._loose
        else:
            slots = self._slots[rsc.index]
            self.by_rsc[rsc.index].append(action)
            self._tasks[rsc.index].setdefault(task, []).append(action)
        low_key = key.lower()
        slot = slots.get(low_key)
        if slot is None:
            slot = slots[low_key] = Slot()
        slot.add(action)
        return action

    def retask(self, action: Action, task: str) -> None:
        """Change what an action does (a recurring action becomes its own cancellation); it is no longer found by its old task."""
        if action.rsc is not None:
            tasks = self._tasks[action.rsc.index]
            tasks[action.task].remove(action)
            found = tasks.setdefault(task, [])
            found.append(action)
            found.sort(key=lambda item: item.id)
        action.task = task

    # --- relations ----------------------------------------------------------------------------------------------------

    @staticmethod
    def relate(first: Action, then: Action, bits: int) -> bool:
        """Add a relation; false when one that shares a bit exists (10.2)."""
        if not bits or first is then:
            return False
        if declared_bits(first, then) & bits:
            return False
        if first.related is not None:
            first.related[then] = first.related.get(then, 0) | bits
        relation = Relation(first, then, bits)
        first.outputs.append(relation)
        then.inputs.append(relation)
        return True

    def declare_for_user(
        self, first_rsc: Resource, first_task: str, then_rsc: Resource, then_task: str, bits: int
    ) -> None:
        """Order two tasks because a constraint says so."""
        if bits:
            number = len(self.orderings)
            self.declare(first_rsc, first_task, then_rsc, then_task, bits)
            self.orderings[number].from_user = True

    def declare(self, first_rsc: Resource, first_task: str, then_rsc: Resource, then_task: str, bits: int) -> None:
        """Order two tasks, with what that means for their migrations (7.3)."""
        if not bits:
            return
        self.orderings.append(Ordering(first_rsc, first_task, None, then_rsc, then_task, None, bits))
        if first_rsc is not then_rsc and (can_migrate(first_rsc) or can_migrate(then_rsc)):
            self._declare_migration(first_rsc, first_task, then_rsc, then_task)

    def declare_actions(self, first: Action, then: Action, bits: int) -> None:
        if not bits:
            return
        self.orderings.append(Ordering(first.rsc, first.task, first, then.rsc, then.task, then, bits))
        if first.rsc is not None and then.rsc is not None and first.rsc is not then.rsc:
            self._declare_migration(first.rsc, first.task, then.rsc, then.task)

    def declare_after(self, first: Action, then_rsc: Resource, then_task: str, bits: int) -> None:
        """Order a task after an action that exists."""
        self.orderings.append(Ordering(first.rsc, first.task, first, then_rsc, then_task, None, bits))
        if first.rsc is not None and first.rsc is not then_rsc:
            self._declare_migration(first.rsc, first.task, then_rsc, then_task)

    def declare_after_probe(self, probe: Action, then_rsc: Resource, then_task: str, bits: int) -> None:
        """Order a task after a probe; migrations do not care."""
        self.orderings.append(Ordering(probe.rsc, "monitor", probe, then_rsc, then_task, None, bits))

    def declare_before(self, first_rsc: Resource, first_task: str, then: Action, bits: int) -> None:
        """Order an action that exists after a task."""
        self.orderings.append(Ordering(first_rsc, first_task, None, then.rsc, then.task, then, bits))
        if then.rsc is not None and first_rsc is not then.rsc:
            self._declare_migration(first_rsc, first_task, then.rsc, then.task)

    def _declare_migration(self, first: Resource, first_task: str, then: Resource, then_task: str) -> None:
        first_can, then_can = can_migrate(first), can_migrate(then)
        if not (first_can or then_can) or is_ancestor(first, then) or is_ancestor(then, first):
            return
        if first_task == "start" and then_task == "start":
            if first_can and then_can:
                self._declare(first, "migrate_from", then, "migrate_to", ORD)
            if then_can:
                self._declare(first, "start", then, "migrate_to", ORD | IFUNMIG if first_can else ORD)
        elif then_can and first_task == "stop" and then_task == "stop":
            bits = ORD | IFUNMIG if first_can else ORD
            self._declare(first, "stop", then, "migrate_to", bits)
            if isinstance(then, Primitive) and then.partial_migration_target is not None:
                self._declare(first, "stop", then, "migrate_from", bits)
        elif then_can and first_task == "promote" and then_task == "start":
            self._declare(first, "promote", then, "migrate_to", ORD)
        elif then_can and first_task == "demote" and then_task == "stop":
            self._declare(first, "demote", then, "migrate_to", ORD)
            if isinstance(then, Primitive) and then.partial_migration_target is not None:
                self._declare(first, "demote", then, "migrate_from", ORD)

    def _declare(self, first: Resource, first_task: str, then: Resource, then_task: str, bits: int) -> None:
        self.orderings.append(Ordering(first, first_task, None, then, then_task, None, bits))


_NONE: list[Action] = []
_FEW = 6  # most actions have one or two outputs: looking through them is cheaper than a table for each
