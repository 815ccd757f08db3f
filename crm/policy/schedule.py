"""The policy engine's table of contents: from a CIB and the time to a transition, one call a stage.

`schedule` is a pure function: the same CIB and time give the same result, byte for byte. It never raises on bad input; what was treated
leniently is in `Transition.problems`. The DC walks `Transition.to_xml()`; `crm_simulate`, `crm why` and the simulator read the rest.

Stages (part 3 of the scheduler specification, section 1): unpack the CIB; read constraints; assign resources; then plan: what the status
demands, orderings that constraints and structure declare, changed definitions, probes, the actions of every resource,
remote nodes, fencing; turn declared orderings into relations and propagate; summarize; write the graph.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crm.policy.actions.collective import create_actions
from crm.policy.actions.definitions import DefinitionCheck, clear_removed
from crm.policy.actions.fencing import create_fencing
from crm.policy.actions.model import Action
from crm.policy.actions.plan import Plan
from crm.policy.actions.probes import create_probes
from crm.policy.actions.remote import order_remote
from crm.policy.actions.requested import create_lock_deletions, create_requested
from crm.policy.assign import assign
from crm.policy.assign.identity import keep_running_instances
from crm.policy.causes import Reason, reasons_of
from crm.policy.constraints.order import declare_constraints
from crm.policy.constraints.read import Constraints, read_constraints
from crm.policy.graph import GraphWriter
from crm.policy.model import Assignment, ClusterState, Primitive, ReportItem
from crm.policy.ordering.apply import apply_orderings, order_probes
from crm.policy.ordering.internal import declare_internal
from crm.policy.ordering.pointless import pointless_restarts
from crm.policy.ordering.propagate import Propagation
from crm.policy.ordering.validate import drop_invalid
from crm.policy.render.summary import Summary, summarize
from crm.policy.state import unpack

if TYPE_CHECKING:
    from lxml.etree import _Element


class Transition:
    """What is to happen, in which order, and why. `synapses` in the order of the graph, `inputs` what each waits for."""

    def __init__(
        self, state: ClusterState, assignment: Assignment, plan: Plan, writer: GraphWriter, summary: Summary
    ) -> None:
        self.state = state
        self.assignment = assignment
        self.plan = plan
        self.writer = writer
        self.summary = summary
        self._xml: str | None = None

    @property
    def synapses(self) -> list[Action]:
        return self.writer.synapses

    @property
    def inputs(self) -> list[list[Action]]:
        return self.writer.inputs

    @property
    def problems(self) -> list[ReportItem]:
        """What the CIB got lenient treatment for."""
        return self.state.problems

    @property
    def contradictions(self) -> list[str]:
        """Sentences about orderings that contradict each other: what was given up, what was left out because of it."""
        loops = [entry for entry in self.plan.unreachable if entry.in_loop]
        return [str(entry) for entry in (*self.plan.dropped, *loops)] + self.plan.problems

    @property
    def recheck_by(self) -> int | None:
        """When to schedule again even if nothing happens (epoch seconds)."""
        return self.writer.recheck_by()

    @property
    def idle(self) -> bool:
        """Nothing is to be done."""
        return not self.writer.synapses

    # --- for whoever carries it out -----------------------------------------------------------------------------------

    def known_names(self) -> set[str]:
        """Ids and history names of all resources: the names under which results are recorded."""
        names = {rsc.id for rsc in self.state.all_resources}
        names.update(
            rsc.history_name
            for rsc in self.state.all_resources
            if isinstance(rsc, Primitive) and rsc.history_name is not None
        )
        return names

    def priority_of(self, action: Action) -> int:
        return self.writer.priority_of(action)

    def operation_key(self, action: Action) -> str:
        return self.writer.operation_key(action)

    def attributes(self, action: Action) -> dict[str, str]:
        return self.writer.attribute_values(action)

    def to_xml(self) -> str:
        """The `transition_graph` document."""
        if self._xml is None:
            with without_collection():
                self._xml = self.writer.text()
        return self._xml

    def reasons(self) -> list[Reason]:
        """Why each action must happen, cannot, or was left out."""
        return reasons_of(self.plan)


def schedule(
    cib: _Element,
    now: int,
    *,
    masked: bool = True,
    explain: bool = False,
    show_scores: bool = False,
    show_utilization: bool = False,
) -> Transition:
    """Decide what runs where and what gets it there. `now` in epoch seconds.

    `masked`: private parameters (passwords) may be hidden in this CIB, so that a difference in them alone is none. The cluster's own CIB hides nothing,
    and its histories are those of our own executor, which leaves tracing out of its digests.
    """
    with without_collection():
        state = unpack(cib, now, masked)
        constraints = read_constraints(state)
        assignment = assign(
            state,
            constraints.locations,
            constraints.colocations,
            explain=explain,
            show_scores=show_scores,
            show_utilization=show_utilization,
        )
        return plan_transition(state, constraints, assignment)


@contextmanager
def without_collection() -> Iterator[None]:
    """Everything made here lives until the end: looking for garbage among it takes a third of the time and finds none.

    Who also writes the graph wraps both: a collection due in between would go through everything that the schedule is made of.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


_REPLANS = 3  # each leaves out restarts that the one before made pointless


def plan_transition(state: ClusterState, constraints: Constraints, assignment: Assignment) -> Transition:
    """From an assignment to the transition that brings it about."""
    keep_running_instances(state, assignment)
    problems = list(state.problems)
    pointless: dict[tuple[str, str], None] = {}
    for _ in range(_REPLANS):
        plan, propagation = _plan(state, constraints, assignment, pointless, problems)
        summary = summarize(plan)
        writer = GraphWriter(plan, propagation)
        writer.collect()
        found = pointless_restarts(plan)
        if not found:
            break
        pointless.update(dict.fromkeys(found))
        problems = list(state.problems)
    state.problems[:] = problems
    if plan.unreachable:
        summary = summarize(plan)
    return Transition(state, assignment, plan, writer, summary)


def _plan(
    state: ClusterState,
    constraints: Constraints,
    assignment: Assignment,
    pointless: dict[tuple[str, str], None],
    problems: list[ReportItem],
) -> tuple[Plan, Propagation]:
    """All actions, their relations, and what these make of them."""
    plan = Plan(state, assignment)
    create_requested(plan)
    declare_constraints(plan, constraints.elements, constraints.references, constraints.colocations, problems)
    create_lock_deletions(plan)
    for rsc in plan.resource_order:
        declare_internal(plan, rsc)
    definitions = DefinitionCheck(plan, state.digests)
    definitions.run()
    plan.adopt(assignment)
    definitions.run_deferred()
    create_probes(plan)
    clear_removed(plan)
    for rsc in plan.resource_order:
        create_actions(plan, rsc)
    order_remote(plan)
    create_fencing(plan)
    apply_orderings(plan)
    propagation = Propagation(plan, assignment, pointless)
    propagation.block_unrunnable()
    order_probes(plan)
    propagation.run()
    drop_invalid(plan)
    return plan, propagation


__all__ = ["Primitive", "Reason", "Transition", "plan_transition", "schedule", "without_collection"]
