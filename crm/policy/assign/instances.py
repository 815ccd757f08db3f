"""Spreading the instances of a clone, or the containers of a bundle, over nodes (12.2 - 12.5).

Theory of operation. Instances are sorted so that those that should stay come first. A first pass tries to keep each active
instance on its node: it places it there on trial and looks whether it really ends there; where a better node turns up, one slot of
that node is reserved for somebody who needs it more, and the trial is repeated. A second pass places the rest. Each placement bans the
nodes on which the collective has no place for another instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign.choice import merge_sort
from crm.policy.assign.gather import gather, has_influence
from crm.policy.assign.settle import unassign
from crm.policy.model import INFINITY, Cause, Node, Resource, Scores

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


# --- the order of instances (12.2) ------------------------------------------------------------------------------------------


def sort_instances(run: Run, collective: Resource, instances: list[Resource]) -> list[Resource]:
    """Those that should be placed first, first."""
    order = InstanceOrder(run, collective)
    return merge_sort(instances, order.compare)


def instance_number(rsc: Resource) -> int:
    """The number at the end of an id: `x:3` or `B-podman-3`."""
    digits = rsc.id.replace("-", ":").rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


class InstanceOrder:
    """Compares instances; what is costly to know about one is found once and kept."""

    def __init__(self, run: Run, collective: Resource) -> None:
        self.run = run
        self.collective = collective
        self._places: dict[Resource, tuple[bool, Node | None]] = {}
        self._wishes: dict[Resource, int] = {}

    def compare(self, a: Resource, b: Resource) -> int:
        """Negative: `a` first."""
        if a.active_nodes and b.active_nodes and len(a.active_nodes) != len(b.active_nodes):
            return len(a.active_nodes) - len(b.active_nodes)
        can_a, node_a = self._place(a)
        can_b, node_b = self._place(b)
        if can_a is not can_b:
            return -1 if can_a else 1
        priority = self.run.priority
        if priority[a.index] != priority[b.index]:
            return -1 if priority[a.index] > priority[b.index] else 1
        if node_a is None or node_b is None:
            return (node_a is None) - (node_b is None)
        return self._compare_active(a, node_a, b, node_b)

    def _compare_active(self, a: Resource, node_a: Node, b: Resource, node_b: Node) -> int:
        run = self.run
        available_a, available_b = run.available[node_a.index], run.available[node_b.index]
        if available_a is not available_b:
            return -1 if available_a else 1
        allowed = run.tables[self.collective.index]
        known_a, known_b = node_a in allowed, node_b in allowed
        if not known_a or not known_b:
            return known_b - known_a
        counts = run.counts.get(self.collective, {})
        count_a, count_b = counts.get(node_a, 0), counts.get(node_b, 0)
        if count_a != count_b:
            return count_a - count_b
        failed_a, failed_b = _failed(a), _failed(b)
        if failed_a is not failed_b:
            return 1 if failed_a else -1
        wish_a, wish_b = self._wish(a, node_a), self._wish(b, node_b)
        if wish_a != wish_b:
            return -1 if wish_a > wish_b else 1
        return instance_number(a) - instance_number(b)

    def _place(self, rsc: Resource) -> tuple[bool, Node | None]:
        """Whether the instance may stay (or is inactive), and its node when it may."""
        found = self._places.get(rsc)
        if found is None:
            node = self.run.current_node(rsc)
            if node is None:
                found = True, None
            elif self.run.tables[rsc.index].get(node, -INFINITY) >= 0:
                found = True, node
            else:
                found = False, None
            self._places[rsc] = found
        return found

    def _wish(self, rsc: Resource, node: Node) -> int:
        """The score that colocations give the instance on its current node."""
        found = self._wishes.get(rsc)
        if found is None:
            found = self._wishes[rsc] = _colocation_score(self.run, rsc, node)
        return found


def _failed(rsc: Resource) -> bool:
    return rsc.failed or any(_failed(child) for child in rsc.children)


def _colocation_score(run: Run, rsc: Resource, node: Node) -> int:
    table: Scores = {node: node.base_score}
    for c in run.effective.of_dependent(rsc):
        table = gather(run, c.primary, rsc, table, c, c.factor, prune=False, soft=False)
    for c in run.effective.of_primary(rsc):
        if has_influence(run, c, rsc):
            table = gather(run, c.dependent, rsc, table, c, c.factor, prune=False, soft=True)
    return table[node]


# --- distribution (12.3 - 12.5) ---------------------------------------------------------------------------------------------


def distribute(run: Run, collective: Resource, instances: list[Resource], total: int, per_node: int) -> None:
    """Place up to `total` instances, at most `per_node` on a node; the others are banned everywhere (12.3)."""
    run.counts[collective] = {}
    on_available = sum(run.available[node.index] for node in run.tables[collective.index])
    optimal = max(1, total // on_available) if on_available else 1
    placed = 0
    for instance in instances:
        if placed >= total:
            break
        node = _worth_keeping(run, collective, instance, optimal)
        if node is not None and _keep(run, collective, instance, node, total - placed, per_node):
            placed += 1
    for instance in instances:
        if run.settled[instance.index]:
            continue
        if placed >= total:
            run.ban_everywhere(instance, Cause("clone-max", collective.id, f"only {total} instances"))
        elif _place(run, collective, instance, None, per_node, final=True) is not None:
            placed += 1


def _worth_keeping(run: Run, collective: Resource, instance: Resource, optimal: int) -> Node | None:
    """The current node of an instance that the first pass should try to keep there."""
    if run.settled[instance.index] or instance.failed:
        return None
    node = run.current_node(instance)
    if node is None or not run.available[node.index] or node.base_score < 0:
        return None
    return node if run.counts[collective].get(node, 0) < optimal else None


def _keep(run: Run, collective: Resource, instance: Resource, node: Node, budget: int, per_node: int) -> bool:
    """Try to keep an instance on its node, reserving a slot for each better node that turns up (12.4)."""
    if run.tables[instance.index].get(node, -INFINITY) < 0:
        return False
    saved = [(rsc, dict(run.tables[rsc.index])) for rsc in _tree(instance)]
    counts = run.counts[collective]
    run.counts[collective] = dict(counts)  # raised for every slot that is reserved
    mark = len(run.result.contributions)
    kept = False
    for _ in range(budget):
        found = _place(run, collective, instance, node, per_node, final=False)
        if found is node:
            kept = True
            break
        for rsc, table in saved:
            run.tables[rsc.index] = dict(table)
        run.withdraw(instance, mark)
        if found is None:
            run.settled[instance.index] = False  # members of a group stay settled: nowhere
            break
        unassign(run, instance)
    run.counts[collective] = counts
    if kept:
        counts[node] = counts.get(node, 0) + 1
    return kept


def _tree(rsc: Resource) -> list[Resource]:
    return [rsc, *(below for child in rsc.children for below in _tree(child))]


def _place(
    run: Run, collective: Resource, instance: Resource, prefer: Node | None, per_node: int, *, final: bool
) -> Node | None:
    """Assign one instance to a node that has room for it (12.5)."""
    if run.busy[instance.index]:
        return None
    _ban_full_nodes(run, collective, instance, per_node)
    node = run.assign(instance, prefer, final)
    if node is not None:
        counts = run.counts[collective]
        counts[node] = counts.get(node, 0) + 1
    return node


def _ban_full_nodes(run: Run, collective: Resource, instance: Resource, per_node: int) -> None:
    allowed, counts, available = run.tables[collective.index], run.counts[collective], run.available
    table = run.tables[instance.index]
    if instance.removed:
        barred = list(table)
    else:
        barred = [
            node
            for node in table
            if not available[node.index] or allowed.get(node, -INFINITY) < 0 or counts.get(node, 0) >= per_node
        ]
    full = [node for node in barred if counts.get(node, 0) >= per_node] if run.explaining else barred
    for rsc in (instance, *instance.children):
        run.changing(rsc)
        own = run.tables[rsc.index]
        for nodes, kind in ((full, "no-slot"), (barred, "collective")):
            before = run.before(rsc)
            for node in nodes:
                if node in own:
                    own[node] = -INFINITY
            run.explain(rsc, before, Cause(kind, collective.id), replaces=True)
            if not run.explaining:
                break
