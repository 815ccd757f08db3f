"""Assigning a primitive (section 8).

Theory of operation. Mandatory colocations come first, then optional ones; within each, where the resource is the dependent before where
it is the primary. Primaries are assigned before their dependents, recursively; a resource met again while it is in progress is
left alone. Then the table is final, is printed, and a node is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign import colocate, gather
from crm.policy.assign.choice import choose
from crm.policy.assign.settle import assign_to
from crm.policy.constraints.model import Colocation
from crm.policy.model import Cause, Choice, Node, Primitive, Resource, Role

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def assign_primitive(run: Run, rsc: Resource, prefer: Node | None, final: bool) -> Node | None:
    assert isinstance(rsc, Primitive)
    index = rsc.index
    parent = rsc.parent
    if parent is not None and not run.busy[parent.index]:
        run.assign(parent, prefer, final)
    if run.settled[index]:
        return run.node[index]
    if run.busy[index]:
        return None
    run.busy[index] = True
    _apply_colocations(run, rsc)
    _respect_next_role(run, rsc)
    run.show(rsc, "pcmk__primitive_assign")
    if run.options.fencing_enabled and not run.state.has_fence_device:
        _freeze(run, rsc)
    if not run.managed[index]:
        run.next_role[index] = run.role[index]
        assign_to(run, rsc, run.current_node(rsc), final, forced=True)
        run.decide(rsc, run.node[index], Choice.UNMANAGED)
    elif run.options.stop_all_resources:
        run.decide(rsc, None, Choice.STOP_ALL)
        assign_to(run, rsc, None, final)
    else:
        node = choose(run, rsc, prefer)
        if not run.settled[index]:
            assign_to(run, rsc, node, final)
    if rsc.is_connection and rsc.remote_node is not None:
        _announce_remote(run, rsc, rsc.remote_node)
    run.busy[index] = False
    return run.node[index]


def _apply_colocations(run: Run, rsc: Primitive) -> None:
    primaries, dependents = run.effective.of_dependent(rsc), run.effective.of_primary(rsc)
    if not primaries and not dependents:
        return
    for mandatory in (True, False):
        for colocation in primaries:
            if colocation.mandatory is mandatory:
                follow(run, rsc, colocation)
        for colocation in dependents:
            if colocation.mandatory is mandatory:
                gather.absorb(run, rsc, colocation)


def follow(run: Run, rsc: Primitive, colocation: Colocation) -> None:
    """Apply one colocation in which `rsc` is the dependent; one that may be broken never takes the last room (8.2)."""
    kept = None
    if colocation.dependent_role is Role.PROMOTED or (colocation.score < 0 and not colocation.mandatory):
        kept = dict(run.tables[rsc.index])
    primary = colocation.primary
    if not run.settled[primary.index]:
        run.assign(primary)
    mark = len(run.result.contributions)
    colocate.apply(run, colocation, rsc, primary)
    if kept is not None and not run.has_room(run.tables[rsc.index]):
        run.tables[rsc.index] = kept
        run.withdraw(rsc, mark)


def _respect_next_role(run: Run, rsc: Primitive) -> None:
    index = rsc.index
    if run.next_role[index] is Role.STOPPED:
        run.ban_everywhere(rsc, _why_stopped(run, rsc))
    elif run.next_role[index] > run.role[index] and not run.state.quorate and run.options.no_quorum_policy == "freeze":
        run.next_role[index] = run.role[index]


def _why_stopped(run: Run, rsc: Primitive) -> Cause:
    if rsc in run.unpaired:
        return Cause("no-partner", run.unpaired[rsc].id, run.unpaired[rsc].primary.id)
    if rsc.meta.get("target-role", "").lower() == "stopped":
        return Cause("target-role", rsc.id)
    return Cause("on-fail", rsc.id, "what a failure (or its node) demands is that it stays stopped")


def _freeze(run: Run, rsc: Primitive) -> None:
    """Without a fence device nothing may change; later members of its group see an unmanaged member (5.5)."""
    if run.managed[rsc.index]:
        run.managed[rsc.index] = False
        if rsc.parent is not None:
            run.effective.forget(rsc.parent)


def _announce_remote(run: Run, connection: Primitive, node: Node) -> None:
    """The fate of a connection decides whether its node can be used by those assigned later (15.2)."""
    result = run.result
    if run.node[connection.index] is not None and run.next_role[connection.index] is not Role.STOPPED:
        result.online[node.index] = True
        if not node.seen:
            result.unclean[node.index] = False
    else:
        result.shutdown[node.index] = True
    run.refresh_available(node)
