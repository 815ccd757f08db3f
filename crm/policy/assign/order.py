"""In which order top-level resources are assigned when a placement strategy is set (7.2).

Who wants its place most comes first: by priority, by the score where it is now, then by the scores of all nodes, each with the
wishes of what it depends on merged in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign.choice import sorted_nodes
from crm.policy.assign.gather import merge
from crm.policy.constraints.model import single
from crm.policy.model import INFINITY, Group, Resource, Scores

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def sort_resources(run: Run) -> list[Resource]:
    nodes = sorted_nodes(run, None, {node: node.base_score for node in run.nodes})

    def key(rsc: Resource) -> tuple[int, int, list[int]]:
        table = _sort_table(run, rsc)
        current = run.current_node(rsc)
        here = -INFINITY if current is None else table.get(current, -INFINITY)
        return -run.priority[rsc.index], -here, [-table.get(node, -INFINITY) for node in nodes]

    return sorted(run.result.resource_order, key=key)


def _sort_table(run: Run, rsc: Resource) -> Scores:
    """The resource's own table with its primaries' merged in."""
    owner = rsc.children[-1] if isinstance(rsc, Group) else rsc
    run.gathering[rsc.index] = run.gathering[owner.index] = 1
    table = dict(run.tables[owner.index])
    if run.has_room(table):
        table = _add_primaries(run, owner, owner, table, 1.0)
    run.gathering[rsc.index] = run.gathering[owner.index] = 0
    return table


def _add_primaries(run: Run, source: Resource, target: Resource, table: Scores, factor: float) -> Scores:
    for wish in run.effective.of_dependent(source):
        share = single(single(factor * wish.score) / INFINITY)
        primary = wish.primary
        guards = [primary.index]
        while isinstance(primary, Group):
            primary = primary.children[0]
            guards.append(primary.index)
        if any(run.gathering[guard] for guard in guards):
            continue
        for guard in guards:
            run.gathering[guard] = 1
        work = merge(run, primary, target, table, wish, share, False)
        if run.has_room(work):
            table = _add_primaries(run, primary, target, work, share)
        for guard in guards:
            run.gathering[guard] = 0
    return table
