"""What one bit of a relation does to a pair of actions (13.3).

Each rule takes the two actions and the first one's flags as they count here (a collective's are judged by its children). The order in
which bits are applied, and to whom, is `crm.policy.ordering.propagate`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from crm.policy.actions.model import (
    ASYM,
    BLOCK,
    FIRSTREQ,
    MIGBLOCK,
    MIGRATABLE,
    MIN,
    OPTIONAL,
    PROMREQ,
    PSEUDO,
    REAL,
    RESTART,
    RUNNABLE,
    THENREQ,
    Action,
)
from crm.policy.model import Role
from crm.policy.ordering.changes import Changes


def _then_required(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if not flags & OPTIONAL and not first.flags & MIGRATABLE:
        changes.clear(then, OPTIONAL, first)


def _restart(changes: Changes, first: Action, then: Action, flags: int) -> None:
    required = not then.flags & OPTIONAL
    if not required:
        if then.flags & RUNNABLE or then.rsc is None or then.rsc is not first.rsc:
            return
        if not changes.plan.managed[then.rsc.index]:
            return
    if first.flags & RUNNABLE or required:
        changes.clear(first, OPTIONAL, then)
    if not then.flags & MIGRATABLE:
        changes.clear(first, MIGRATABLE, then)
    if not first.flags & (OPTIONAL | RUNNABLE):
        changes.clear(then, RUNNABLE, first)


def _first_required(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if then.flags & OPTIONAL:
        return
    if not flags & OPTIONAL:
        changes.clear(first, OPTIONAL, then)
    if flags & MIGRATABLE and not then.flags & MIGRATABLE:
        changes.clear(first, MIGRATABLE, then)


def _promoted_requires(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if then.rsc is None or then.flags & OPTIONAL or changes.plan.role_of(then.rsc) is not Role.PROMOTED:
        return
    changes.clear(first, OPTIONAL, then)
    if not then.flags & MIGRATABLE:
        changes.clear(first, MIGRATABLE, then)


def _block(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if then.flags & RUNNABLE and not flags & RUNNABLE:
        changes.clear(then, RUNNABLE, first)
        changes.clear(then, MIGRATABLE, first)


def _migration_blocks(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if not then.flags & MIGRATABLE or not then.flags & RUNNABLE:
        changes.clear(first, RUNNABLE, then)
    if not then.flags & OPTIONAL:
        changes.clear(first, OPTIONAL, then)


def _real(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if not first.flags & RUNNABLE:
        changes.clear(then, MIGRATABLE, first)
        then.flags &= ~PSEUDO


def _asymmetric(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if first.flags & RUNNABLE or then.rsc is None:
        return
    rsc = then.rsc
    if then.flags & OPTIONAL:
        role = changes.plan.role_of(rsc)
        if then.task == "stop" and role is Role.STOPPED:
            return
        if then.task == "start" and role >= Role.STARTED and rsc.active_nodes == [then.node]:
            return
    changes.clear(then, OPTIONAL, first)
    changes.clear(then, RUNNABLE, first)


def _minimum(changes: Changes, first: Action, then: Action, flags: int) -> None:
    if flags & RUNNABLE:
        then.count += 1
        if then.count >= then.minimum:
            then.flags |= RUNNABLE


EFFECTS: dict[int, Callable[[Changes, Action, Action, int], None]] = {
    THENREQ: _then_required,
    RESTART: _restart,
    FIRSTREQ: _first_required,
    PROMREQ: _promoted_requires,
    BLOCK: _block,
    MIGBLOCK: _migration_blocks,
    REAL: _real,
    ASYM: _asymmetric,
    MIN: _minimum,
}
