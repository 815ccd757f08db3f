"""Assigning a clone (12.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign import gather, instances, promotion
from crm.policy.model import Clone, Node, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def assign_clone(run: Run, rsc: Resource, prefer: Node | None, final: bool) -> Node | None:
    assert isinstance(rsc, Clone)
    if run.settled[rsc.index] or run.busy[rsc.index]:
        return None
    run.busy[rsc.index] = True
    if rsc.promotable:
        promotion.add_promotion_scores(run, rsc)
    for colocation in run.effective.of_dependent(rsc):
        if not run.settled[colocation.primary.index]:
            run.assign(colocation.primary, prefer, final)
    for colocation in run.effective.of_primary(rsc):
        gather.absorb(run, rsc, colocation, soft=True)
    run.show(rsc, "pcmk__clone_assign")
    run.children[rsc.index] = instances.sort_instances(run, rsc, run.children[rsc.index])
    instances.distribute(run, rsc, run.children[rsc.index], rsc.clone_max, rsc.clone_node_max)
    if rsc.promotable:
        promotion.choose_promoted(run, rsc)
    run.settled[rsc.index] = True
    run.busy[rsc.index] = False
    return None
