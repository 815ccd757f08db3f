"""Live migration of a primitive (7): when it is allowed, its two actions, and how they stand to stop and start."""

from __future__ import annotations

from crm.policy.actions.model import MIGBLOCK, MIGRATABLE, ORD, PSEUDO, REAL, Action
from crm.policy.actions.plan import Plan
from crm.policy.model import Node, Primitive


def allowed(plan: Plan, rsc: Primitive, current: Node | None, assigned: Node | None) -> bool:
    """7.1, for a leaf that moves."""
    return (
        rsc.allow_migrate
        and not rsc.not_migratable
        and plan.managed[rsc.index]
        and not plan.failed[rsc.index]
        and rsc not in plan.start_pending
        and current is not None
        and assigned is not None
        and not plan.unclean[current.index]
        and not plan.unclean[assigned.index]
        # Nothing waits for the start of a connection to migrate to its node, so that must be there already.
        and (assigned.connection is None or bool(assigned.connection.active_nodes))
    )


def create(plan: Plan, rsc: Primitive, current: Node, assigned: Node) -> None:
    """migrate_to on the source, migrate_from on the target; the start becomes a pseudo-action."""
    start = plan.request(rsc, "start", assigned, optional=True)
    stop = plan.request(rsc, "stop", current, optional=True)
    start.flags |= MIGRATABLE | PSEUDO
    stop.flags |= MIGRATABLE
    continuing = rsc in plan.partial and plan.partial[rsc][1] is not None
    if continuing:
        migrate_from = plan.request(rsc, "migrate_from", assigned, optional=True)
        migrate_from.flags |= MIGRATABLE
        migrate_from.needs = start.needs
        plan.declare(rsc, "monitor", rsc, "migrate_from", ORD)
    else:
        migrate_to = plan.request(rsc, "migrate_to", current, optional=True)
        migrate_from = plan.request(rsc, "migrate_from", assigned, optional=True)
        migrate_to.flags |= MIGRATABLE
        migrate_from.flags |= MIGRATABLE
        migrate_to.needs = start.needs
        plan.declare(rsc, "monitor", rsc, "migrate_to", ORD)
        plan.declare(rsc, "migrate_to", rsc, "migrate_from", ORD | MIGBLOCK)
        _describe(migrate_to, current, assigned)
        if not rsc.is_connection:
            migrate_to.set_meta("record-pending", "true")
    plan.declare(rsc, "migrate_from", rsc, "stop", ORD | MIGBLOCK)
    plan.declare(rsc, "migrate_from", rsc, "start", ORD | MIGBLOCK | REAL)
    _describe(migrate_from, current, assigned)


def _describe(action: Action, source: Node, target: Node) -> None:
    action.set_meta("migrate_source", source.name)
    action.set_meta("migrate_target", target.name)
