"""Which of the allowed nodes a resource gets (8.3, 8.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from crm.policy.assign import utilization
from crm.policy.model import INFINITY, Choice, Clone, Node, Primitive, Resource, Scores

if TYPE_CHECKING:
    from crm.policy.assign.run import Run

T = TypeVar("T")


def merge_sort(items: list[T], compare: Callable[[T, T], int]) -> list[T]:
    """Top-down stable merge sort. Its exact course matters where comparisons are not transitive (19.1)."""
    if len(items) < 2:
        return items
    middle = len(items) // 2
    left, right = merge_sort(items[:middle], compare), merge_sort(items[middle:], compare)
    merged: list[T] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if compare(left[i], right[j]) <= 0:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


def node_key(run: Run, rsc: Resource | None, scores: Scores) -> Callable[[Node], tuple[int, int, bool, str]]:
    """Sort key of 8.3 for every strategy but `balanced`."""
    current = run.current_node(rsc) if rsc is not None else None
    available, load = run.available, run.assigned_count
    if run.strategy == "minimal":
        return lambda node: (-scores[node] if available[node.index] else INFINITY, 0, False, node.name)
    return lambda node: (
        -scores[node] if available[node.index] else INFINITY,
        load[node.index],
        node is not current,
        node.name,
    )


def sorted_nodes(run: Run, rsc: Resource | None, scores: Scores) -> list[Node]:
    """The nodes of a table, best first (8.3)."""
    if run.strategy != "balanced":
        return sorted(scores, key=node_key(run, rsc, scores))
    key = node_key(run, rsc, scores)

    def compare(a: Node, b: Node) -> int:
        left, right = key(a), key(b)
        if left[0] != right[0]:
            return -1 if left[0] < right[0] else 1
        return utilization.compare_capacity(run, a, b) or (left > right) - (left < right)

    return merge_sort(run.in_table_order(scores)[::-1], compare)


def best_node(run: Run, rsc: Resource, scores: Scores, among: Iterable[Node] | None = None) -> Node | None:
    """The first of `sorted_nodes`, without sorting where the order is a plain one."""
    if run.strategy == "balanced":
        wanted = None if among is None else set(among)
        return next((node for node in sorted_nodes(run, rsc, scores) if wanted is None or node in wanted), None)
    candidates = scores if among is None else [node for node in among if node in scores]
    return min(candidates, key=node_key(run, rsc, scores), default=None)


def choose(run: Run, rsc: Primitive, prefer: Node | None) -> Node | None:
    """The node for a primitive whose table is complete (8.4); it may still turn out unusable."""
    if run.strategy != "default":
        prefer = utilization.limit(run, rsc, prefer)
    node, choice = _choose(run, rsc, run.tables[rsc.index], prefer)
    if run.explaining:
        if choice is Choice.BEST_SCORE and node is not None:
            choice = _what_decided(run, rsc, node)
        run.decide(rsc, node, choice)
    return node


def _choose(run: Run, rsc: Primitive, table: Scores, prefer: Node | None) -> tuple[Node | None, Choice]:
    best = best_node(run, rsc, table)
    if best is None:
        return None, Choice.NONE_USABLE
    top, available = table[best], run.available
    if prefer is not None and prefer in table:
        score = table[prefer]
        if score >= top and score >= 0 and available[prefer.index]:
            return prefer, Choice.WANTED
    if top <= 0 or not available[best.index] or (isinstance(rsc.parent, Clone) and rsc.parent.unique):
        return best, Choice.BEST_SCORE
    current = run.current_node(rsc)
    if current is None or not available[current.index] or current.base_score < 0 or table.get(current) != top:
        return best, Choice.BEST_SCORE
    if current is best:
        return best, Choice.BEST_SCORE
    return current, Choice.STAYS


def _what_decided(run: Run, rsc: Primitive, node: Node) -> Choice:
    """For people: by what the chosen node beats the next best one."""
    table, load = run.tables[rsc.index], run.assigned_count
    usable = [other for other, score in table.items() if score >= 0 and (run.available[other.index] or other.is_guest)]
    if node not in usable:
        return Choice.NONE_USABLE
    if len(usable) == 1:
        return Choice.ONLY_USABLE
    equals = [other for other in usable if other is not node and table[other] == table[node]]
    if not equals:
        return Choice.BEST_SCORE
    if run.strategy == "balanced" and all(utilization.compare_capacity(run, node, other) < 0 for other in equals):
        return Choice.CAPACITY
    if run.strategy != "minimal":
        if all(load[node.index] < load[other.index] for other in equals):
            return Choice.LOAD
        if node is run.current_node(rsc):
            return Choice.STAYS
    return Choice.NAME
