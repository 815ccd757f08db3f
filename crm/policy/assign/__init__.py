"""Deciding what runs where: from the cluster's state and its constraints to an assignment (part 2 of the scheduler specification).

Theory of operation. `assign` is the stage. It fills the resources' tables from everything that concerns single nodes (`criteria`),
adds what the structure of resources implies (`implicit`), and then assigns the top-level resources one after the other; assigning one
may assign others first. One module holds one kind of resource (`primitive`, `group`, `clone`, `bundle`) or one question
(`colocate`: what a colocation does to its dependent; `gather`: what dependents wish; `choice`: which node; `instances`,
`promotion`: which instances where and in which role; `utilization`: capacity). `run` is what they share while it lasts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from crm.policy.assign.bundle import assign_bundle
from crm.policy.assign.clone import assign_clone
from crm.policy.assign.criteria import apply_criteria
from crm.policy.assign.group import assign_group
from crm.policy.assign.implicit import add_implicit_constraints
from crm.policy.assign.order import sort_resources
from crm.policy.assign.primitive import assign_primitive
from crm.policy.assign.quiet import Quiet
from crm.policy.assign.run import Run
from crm.policy.constraints.model import Colocation, Locations
from crm.policy.model import Assignment, ClusterState, Kind, NodeKind, Primitive
from crm.policy.render.scores import capacity_lines

_PROCEDURES = {
    Kind.PRIMITIVE: assign_primitive,
    Kind.GROUP: assign_group,
    Kind.CLONE: assign_clone,
    Kind.BUNDLE: assign_bundle,
}
_FRAMES_PER_RESOURCE = 8  # a chain of colocations nests this many calls for each of its links


def assign(
    state: ClusterState,
    locations: Locations,
    colocations: Iterable[Colocation],
    *,
    explain: bool = False,
    show_scores: bool = False,
    show_utilization: bool = False,
) -> Assignment:
    """Assign every resource. Contributions, score lines and utilization lines are made only when asked for."""
    with _deep_recursion(len(state.all_resources)):
        run = Run(
            state,
            locations,
            colocations,
            _PROCEDURES,
            explain=explain,
            show_scores=show_scores,
            show_utilization=show_utilization,
        )
        apply_criteria(run)
        add_implicit_constraints(run)
        if run.strategy != "default":
            run.result.resource_order = sort_resources(run)
        run.quiet = Quiet(run)
        _assign_all(run)
    return run.result


def _assign_all(run: Run) -> None:
    lines = run.result.utilization_lines
    shown = [node for node in run.nodes if node.kind is not NodeKind.BUNDLE] if run.show_utilization else []
    lines += capacity_lines("Original", shown, run.capacity)
    if any(node.is_remote for node in run.nodes):
        for rsc in run.result.resource_order:
            if isinstance(rsc, Primitive) and rsc.is_connection:
                run.assign(rsc, rsc.partial_migration_target)
    for rsc in run.result.resource_order:
        if not (isinstance(rsc, Primitive) and rsc.is_connection):
            run.assign(rsc)
    lines += capacity_lines("Remaining", shown, run.capacity)


@contextmanager
def _deep_recursion(resources: int) -> Iterator[None]:
    """Chains of colocations are as long as the configuration makes them; none may end in a RecursionError."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, before + _FRAMES_PER_RESOURCE * resources))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
