"""Stop, start, promote and demote of one primitive (3, 5).

Theory of operation. A leaf's role is a ladder (Stopped, Started or Unpromoted, Promoted). Two walks along it create its actions. The
restart walk goes from the current role down to Stopped and back up: optional actions that carry orderings and become required when
something forces a restart. The role walk goes from the current role to the next one: required actions.
"""

from __future__ import annotations

from crm.policy.actions import migration, recurring, unfencing
from crm.policy.actions.model import ABORT, ALWAYS, FIRSTREQ, OPTIONAL, PSEUDO, RUNNABLE, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import MultipleActive, Needs, Node, Primitive, Role

_S, _A, _U, _P = Role.STOPPED, Role.STARTED, Role.UNPROMOTED, Role.PROMOTED

# (from, towards) -> (next step, the action it takes); "" ends the walk.
LADDER: dict[tuple[Role, Role], tuple[Role, str]] = {
    (_S, _A): (_A, "start"),
    (_S, _U): (_U, "start"),
    (_S, _P): (_U, "start"),
    (_A, _S): (_S, "stop"),
    (_A, _U): (_U, ""),
    (_A, _P): (_P, "promote"),
    (_U, _S): (_S, "stop"),
    (_U, _A): (_S, "stop"),
    (_U, _P): (_P, "promote"),
    (_P, _S): (_U, "demote"),
    (_P, _A): (_U, "demote"),
    (_P, _U): (_U, "demote"),
}


def create_leaf_actions(plan: Plan, rsc: Primitive) -> None:
    """Everything that one primitive needs: stop/start/promote/demote, recurring actions, migration."""
    i = rsc.index
    if plan.next_role[i] is Role.UNKNOWN:
        plan.next_role[i] = Role.STOPPED if plan.node[i] is None else Role.STARTED
    assigned = plan.node[i]
    current = plan.current_node(rsc)
    for source in rsc.dangling_sources:
        dangling = plan.request(rsc, "stop", source, optional=False)
        dangling.flags |= ABORT
    moving = (
        current is not None and assigned is not None and current is not assigned and plan.next_role[i] >= Role.STARTED
    )
    need_stop = moving
    allow_migrate = moving and migration.allowed(plan, rsc, current, assigned)
    if rsc in plan.partial:
        if not _continue_partial(plan, rsc, current, allow_migrate):
            need_stop, allow_migrate = True, False
        multiply_active = False
    else:
        multiply_active = _multiply_active(plan, rsc)
    if multiply_active:
        if rsc.multiple_active is MultipleActive.STOP_START:
            need_stop = True
        elif rsc.multiple_active is MultipleActive.STOP_UNEXPECTED:
            need_stop = True
            plan.stop_unexpected.add(rsc)
    else:
        plan.stop_unexpected.discard(rsc)
    if rsc in plan.start_pending:
        start(plan, rsc, assigned, optional=True).flags |= ALWAYS
    need_promote = False
    if not moving:
        if plan.failed[i]:
            need_stop = need_stop or plan.stop_required[i]
            need_promote = not plan.stop_required[i] and plan.next_role[i] is Role.PROMOTED
        elif plan.blocked[i]:
            need_stop = True
        elif plan.role[i] > Role.STARTED and current is not None and assigned is not None:
            need_stop = need_stop or not start(plan, rsc, assigned, optional=True).flags & OPTIONAL
    _restart_walk(plan, rsc, assigned, need_stop, need_promote)
    _role_walk(plan, rsc, assigned)
    recurring.create(plan, rsc)
    if allow_migrate:
        assert current is not None and assigned is not None
        migration.create(plan, rsc, current, assigned)


def _continue_partial(plan: Plan, rsc: Primitive, current: Node | None, allow_migrate: bool) -> bool:
    """Whether a half-done migration goes on; if not it is forgotten (5.5)."""
    source, target = plan.partial[rsc]
    if (
        source is not None
        and target is not None
        and allow_migrate
        and len(rsc.active_nodes) == 2
        and current is source
        and plan.node[rsc.index] is target
    ):
        return True
    del plan.partial[rsc]
    return False


def _multiply_active(plan: Plan, rsc: Primitive) -> bool:
    if plan.needs_fencing(rsc):
        return len(rsc.active_nodes) > 1
    return sum(1 for node in rsc.active_nodes if plan.clean(node)) > 1


def _restart_walk(plan: Plan, rsc: Primitive, assigned: Node | None, need_stop: bool, need_promote: bool) -> None:
    """From the current role down to Stopped and, where it may run on, up to the current role again (5.9)."""
    i = rsc.index
    plan.restarting = rsc
    current_role = role = plan.role[i]
    while role > Role.STOPPED:
        role, task = LADDER[role, Role.STOPPED]
        _step(plan, rsc, task, assigned, optional=not need_stop)
    while role is not current_role and current_role <= plan.next_role[i] and not plan.blocked[i]:
        role, task = LADDER[role, current_role]
        if not task:
            break
        required = need_stop or (need_promote and task == "promote")
        _step(plan, rsc, task, assigned, optional=not required)
    plan.restarting = None


def _role_walk(plan: Plan, rsc: Primitive, assigned: Node | None) -> None:
    role = plan.role[rsc.index]
    while role is not plan.next_role[rsc.index]:
        role, task = LADDER[role, plan.next_role[rsc.index]]
        if not task:
            break
        _step(plan, rsc, task, assigned, optional=False)


def _step(plan: Plan, rsc: Primitive, task: str, node: Node | None, optional: bool) -> None:
    if task == "stop":
        stop(plan, rsc, optional)
    elif task == "start":
        start(plan, rsc, node, optional)
    elif task == "promote":
        promote(plan, rsc, node, optional)
    else:
        demote(plan, rsc, optional)


def _is_expected(plan: Plan, rsc: Primitive, node: Node | None) -> bool:
    """Is this the node on which a `stop_unexpected` restart leaves the leaf alone?"""
    return (
        plan.restarting is rsc
        and rsc in plan.stop_unexpected
        and plan.next_role[rsc.index] > Role.STOPPED
        and node is not None
        and plan.node[rsc.index] is node
    )


def stop(plan: Plan, rsc: Primitive, optional: bool) -> None:
    """Stop a leaf wherever it is active."""
    i = rsc.index
    assigned = plan.node[i]
    target = plan.partial.get(rsc, (None, None))[1]
    for node in rsc.active_nodes:
        if _is_expected(plan, rsc, node):
            continue
        if target is not None:
            if node is target and assigned is not None and target is assigned:
                continue
            optional = False
        action = plan.request(rsc, "stop", node, optional)
        if assigned is None:
            plan.give_reason(action, "node availability", overwrite=True)
        elif plan.restarting is rsc and rsc in plan.stop_unexpected:
            plan.give_reason(action, "being multiply active", overwrite=True)
        if not plan.managed[i]:
            action.flags &= ~RUNNABLE
        if rsc.needs is Needs.UNFENCING:
            unfence = plan.fence_op(node, "on", optional=True, reason=None)
            plan.relate(action, unfence, FIRSTREQ)
            if not plan.fenceable(node):
                unfencing.note_unfenceable(plan, rsc, node)


def start(plan: Plan, rsc: Primitive, node: Node | None, optional: bool) -> Action:
    action = plan.request(rsc, "start", node, optional=True)
    unfencing.order_start(plan, rsc, node, action)
    if action.flags & RUNNABLE and not optional:
        action.flags &= ~OPTIONAL
    if _is_expected(plan, rsc, node):
        action.flags |= PSEUDO
    return action


def promote(plan: Plan, rsc: Primitive, node: Node | None, optional: bool) -> None:
    starts = plan.find_exact(rsc, "start", node, 0) if node is not None else []
    if all(action.flags & RUNNABLE for action in starts):
        action = plan.request(rsc, "promote", node, optional)
        if _is_expected(plan, rsc, node):
            action.flags |= PSEUDO
    elif node is not None:
        for action in plan.find_exact(rsc, "promote", node, 0):
            action.flags &= ~RUNNABLE


def demote(plan: Plan, rsc: Primitive, optional: bool) -> None:
    for node in rsc.active_nodes:
        if not _is_expected(plan, rsc, node):
            plan.request(rsc, "demote", node, optional)
