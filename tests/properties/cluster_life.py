"""A dumb world beside the policy engine: what really runs where, kept from executed actions alone, and what must never happen in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml.etree import _Element

from crm.policy.actions.model import OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.constraints.model import Colocation
from crm.policy.constraints.read import read_constraints
from crm.policy.constraints.sets import References
from crm.policy.model import INFINITY, Bundle, Clone, Group, Kind, Node, Primitive, Resource
from crm.policy.schedule import Transition


@dataclass
class World:
    """`running` maps a node's name to what is active there: the id that history uses, and how often."""

    fencing: bool
    members: list[str]
    running: dict[str, dict[str, int]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)  # gone, and not known to be off
    down: set[str] = field(default_factory=set)  # known to be off
    faults: list[str] = field(default_factory=list)

    def observe_nodes(self, cib: _Element) -> None:
        """What happened to nodes since the last transition."""
        for state in cib.iterfind("status/node_state"):
            name = str(state.get("uname"))
            if name not in self.members:
                continue  # a remote node is there when its connection is
            if state.get("in_ccm") == "true":
                self.lost.discard(name)
                self.down.discard(name)
            elif state.get("expected") == "down":
                self.down.add(name)
            elif self.fencing:
                self.lost.add(name)
            else:
                self._clear(name)  # nobody will ever know: what ran there is given up
                self.down.add(name)

    def execute(self, transition: Transition, executed: list[Action]) -> None:
        self.transition = transition
        for action in executed:
            self._execute(action)

    def _clear(self, node: str) -> None:
        """A node is off, with everything in it, guests included."""
        gone = self.running.pop(node, {})
        for name in gone:
            if name in self.running:  # a connection: its node is what it carried
                self._clear(name)

    def _execute(self, action: Action) -> None:
        node = action.node
        if action.task == "stonith" and node is not None and action.get_meta("stonith_action") != "on":
            self._clear(node.name)
            self.lost.discard(node.name)
            return
        if action.flags & PSEUDO or node is None:
            return
        if action.task == "do_shutdown":
            if self.running.get(node.name) and any(self._is_managed(name) for name in self.running[node.name]):
                self.faults.append(f"{node.name} shut down while {sorted(self.running[node.name])} ran there")
            self._clear(node.name)
            self.down.add(node.name)
        elif isinstance(action.rsc, Primitive):
            self._operate(action, action.rsc, node)

    def _is_managed(self, name: str) -> bool:
        rsc = self.transition.state.by_id.get(name)
        return rsc is not None and self.transition.plan.managed[rsc.index]

    def _operate(self, action: Action, rsc: Primitive, node: Node) -> None:
        name = rsc.id if rsc.unique else rsc.config_id
        here = self.running.setdefault(node.name, {})
        if action.task in ("start", "migrate_to", "migrate_from", "promote", "demote"):
            self._check_node(action, node)
        if action.task == "start":
            self._check_single(rsc, name, node)
            here[name] = here.get(name, 0) + 1
            if rsc.is_connection:  # its node is there again
                self.down.discard(rsc.id)
                self.lost.discard(rsc.id)
        elif action.task == "stop":
            here.pop(name, None)
            if rsc.is_connection:
                self.running.pop(rsc.id, None)
        elif action.task == "migrate_to":
            here.pop(name, None)
            target = action.get_meta("migrate_target") or ""
            there = self.running.setdefault(target, {})
            there[name] = there.get(name, 0) + 1

    def _check_node(self, action: Action, node: Node) -> None:
        where = node.name
        host: Resource | None = node.connection
        if host is not None and not any(host.id in names for names in self.running.values()):
            self.faults.append(f"{action.key} on {where}, whose connection is not started")
        if where in self.lost or where in self.down:
            self.faults.append(f"{action.key} on {where}, which is not online")

    def _check_single(self, rsc: Primitive, name: str, node: Node) -> None:
        """Never active twice: a primitive anywhere, an anonymous instance on one node, a clone beyond its number."""
        clone = next((r for r in _ancestors(rsc) if isinstance(r, Clone)), None)
        if clone is None or clone.unique:
            others = [where for where, names in self.running.items() if name in names]
            if others:
                self.faults.append(f"{name} started on {node.name} while active on {others}")
            return
        if name in self.running.get(node.name, {}) and clone.clone_node_max < 2:
            self.faults.append(f"{name} started twice on {node.name}")
        total = sum(names.get(name, 0) for names in self.running.values())
        if total >= clone.clone_max:
            self.faults.append(f"{name} started on {node.name}: more than {clone.clone_max} instances")


def _ancestors(rsc: Resource) -> list[Resource]:
    found = []
    current: Resource | None = rsc
    while current is not None:
        found.append(current)
        current = current.parent
    return found


# --- what must hold when nothing is left to do ------------------------------------------------------------------------


def final_faults(transition: Transition) -> list[str]:
    """Mandatory colocations and orderings that the final state violates. Not judged: what people or failures took out of the
    cluster's hands (unmanaged, blocked), and what contradictory orderings kept from being done."""
    if transition.plan.unreachable or transition.plan.dropped:
        return []
    state = transition.state
    constraints = read_constraints(state)
    faults = []
    for colocation in constraints.colocations:
        ends = (colocation.dependent, colocation.primary)
        if any(_hands_off(transition, end) for end in ends) or colocation.dependent_role or colocation.primary_role:
            continue
        if any(end.kind is Kind.BUNDLE for end in ends) or isinstance(colocation.dependent, Clone):
            continue
        if _leads_to(colocation.primary, colocation.dependent, constraints.colocations):
            continue  # each is placed with regard to the other: one of the two is placed first
        if _waits(transition, colocation.primary):
            continue
        here, there = _places(colocation.dependent), _places(_representative(colocation.primary))
        if colocation.score >= INFINITY and not here <= there:
            faults.append(
                f"{colocation.id}: {colocation.dependent.id} on {_names(here)}, {colocation.primary.id} on {_names(there)}"
            )
        elif colocation.score <= -INFINITY and here & _places(colocation.primary):
            faults.append(
                f"{colocation.id}: {colocation.dependent.id} and {colocation.primary.id} both on {_names(here)}"
            )
    for element in constraints.elements:
        if element.tag == "rsc_order" and element.get("first") and element.get("kind") == "Mandatory":
            faults += _order_faults(transition, constraints.references, element)
    return faults


def _waits(transition: Transition, rsc: Resource) -> bool:
    """Some of it has a place but cannot start there yet."""
    plan = transition.plan
    return any(
        not action.flags & (OPTIONAL | RUNNABLE) for leaf in rsc.leaves() for action in plan.by_task(leaf, "start")
    )


def _leads_to(start: Resource, goal: Resource, colocations: list[Colocation]) -> bool:
    reached, waiting = set(), [start.outermost]
    while waiting:
        rsc = waiting.pop()
        if rsc is goal.outermost:
            return True
        if rsc not in reached:
            reached.add(rsc)
            waiting += [c.primary.outermost for c in colocations if c.dependent.outermost is rsc]
    return False


def _order_faults(transition: Transition, references: References, element: _Element) -> list[str]:
    first = references.resource(str(element.get("first")))
    then = references.resource(str(element.get("then")))
    if first is None or then is None or element.get("symmetrical") or element.get("first-action"):
        return []
    if _hands_off(transition, first) or _hands_off(transition, then):
        return []
    if _places(then) and not _places(_representative(first)):
        return [f"{element.get('id')}: {then.id} on {_names(_places(then))} without {first.id}"]
    return []


def _hands_off(transition: Transition, rsc: Resource) -> bool:
    plan = transition.plan
    return any(
        not plan.managed[leaf.index] or plan.blocked[leaf.index] or plan.failed[leaf.index] for leaf in rsc.leaves()
    )


def _representative(rsc: Resource) -> Resource:
    return rsc.children[-1] if isinstance(rsc, Group) else rsc


def _places(rsc: Resource) -> set[Node]:
    if isinstance(rsc, Bundle):
        return {node for replica in rsc.replicas for node in replica.container.active_nodes}
    return {node for leaf in rsc.leaves() for node in leaf.active_nodes}


def _names(nodes: set[Node]) -> str:
    return ", ".join(sorted(node.name for node in nodes)) or "no node"
