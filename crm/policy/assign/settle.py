"""Putting a leaf on a node, and taking it off again (8.1).

Every assignment counts as load of its node and takes capacity from it; undoing one gives both back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign import utilization
from crm.policy.model import Bundle, Clone, Node, Primitive, Resource, Role
from crm.policy.render.scores import utilization_line

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def assign_to(run: Run, rsc: Primitive, node: Node | None, final: bool, *, forced: bool = False) -> bool:
    """Settle a primitive on a node, or nowhere when the node cannot be used (8.1)."""
    index = rsc.index
    table = run.tables[index]
    if node is not None and not forced:
        usable = table[node] >= 0 and (run.available[node.index] or node.is_guest)
        if not usable:
            node = None
    unassign(run, rsc)
    run.settled[index] = True
    if isinstance(rsc.parent, Clone) and isinstance(rsc.parent.parent, Bundle):
        run.effective.forget(rsc)
    if node is None:
        if final:
            run.next_role[index] = Role.STOPPED
        return False
    run.node[index] = node
    run.assigned_score[index] = node.base_score if forced else table[node]  # forced: the node, not an entry (1.4)
    run.assigned_count[node.index] += 1
    utilization.take(run, rsc, node)
    if run.show_utilization:
        run.result.utilization_lines.append(utilization_line(rsc, node, rsc.utilization))
    return True


def unassign(run: Run, rsc: Resource) -> None:
    """Undo an assignment, of all leaves below a collective too."""
    run.settled[rsc.index] = False
    if not isinstance(rsc, Primitive):
        for child in rsc.children:
            unassign(run, child)
        return
    node = run.node[rsc.index]
    if node is not None:
        run.node[rsc.index] = None
        run.assigned_count[node.index] -= 1
        utilization.take(run, rsc, node, -1)
