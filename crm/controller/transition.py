"""The transition engine: walks one graph from the policy engine until nothing is left to do.

Theory of operation. A synapse may fire when each of its inputs is confirmed. Firing a pseudo-action confirms it at
once; any other action is handed out as a `Run` and stays in flight until its result, its deadline, or the loss of its node. Ready synapses fire
in the order of priority, then of the graph, within three limits: actions in flight at all (`batch-limit`), on one node
(`node-action-limit`), and migrations on one node (`migration-limit`). Operations of a node in `absent` (its crm is expected back at any moment)
wait, and so does what needs them; the transition is not over before then.

An abort forbids every synapse below its priority; what is in flight is waited for, because the next decision needs to
know how it ended. A failed action aborts with priority 1: clean-up work of infinite priority (post-notifications, the
"stopped" of a group) still runs when its inputs are there. The transition is over when nothing is in flight and
nothing may fire.

The engine knows no node, no clock and no wire. It never repeats an action and never confirms one that was not fired.
Each step costs O(actions that change), so that a graph of 70,000 actions is no different from one of seven.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from crm.controller.graph import INFINITY, Action, ActionKind, Graph
from crm.events.causes import Causes

MIGRATIONS: Final = frozenset(("migrate_to", "migrate_from"))
FAILURE_ABORT: Final = 1
"""Abort priority of a failed action: everything without a priority of its own is skipped."""


class State(StrEnum):
    """Where a synapse stands. WAITING -> FLYING -> one of the last four; pseudo-actions skip FLYING."""

    WAITING = "waiting"
    FLYING = "in flight"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    LOST = "lost"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """How a transition ended. INCOMPLETE: something never became ready, which is the policy engine's fault."""

    COMPLETE = "complete"
    ABORTED = "aborted"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Abort:
    priority: int
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """0: no limit, except `migration` where -1 means none (as in the option)."""

    batch: int = 0
    migration: int = -1
    node_actions: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Carry this action out. Its result must come back with this transition key."""

    action: Action
    transition_key: str


class Transition:
    """One walk of one graph. `uuid` names the controller instance that decided, `number` counts its decisions.

    `causes`: what led to the decision, for the event log.
    """

    def __init__(
        self,
        graph: Graph,
        number: int,
        uuid: str,
        limits: Limits | None = None,
        causes: Causes = (),
        absent: frozenset[str] = frozenset(),
        node_limits: Mapping[str, int] | None = None,
    ) -> None:
        self.graph = graph
        self.causes = causes
        self.number = number
        self.uuid = uuid
        self.limits = limits or Limits(graph.batch_limit, graph.migration_limit)
        self.aborted: Abort | None = None
        self.node_limits = dict(node_limits or {})
        """Of single nodes, where they differ from `limits.node_actions`; may be changed under way."""
        self._absent = absent
        synapses = graph.synapses
        self._state = [State.WAITING] * len(synapses)
        self._index = {synapse.action.id: i for i, synapse in enumerate(synapses)}
        self._missing = [len(synapse.inputs) for synapse in synapses]
        self._dependents: dict[int, list[int]] = {}
        for i, synapse in enumerate(synapses):
            for trigger in synapse.inputs:
                self._dependents.setdefault(trigger, []).append(i)
        self._ready: list[tuple[int, int]] = []
        self._parked: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        self._deadlines: dict[int, int] = {}
        self._on_node: dict[str, int] = {}
        self._migrating: dict[str, int] = {}
        self._counts = dict.fromkeys(State, 0)
        self._counts[State.WAITING] = len(synapses)
        for i, missing in enumerate(self._missing):
            if missing == 0:
                self._push(i)

    # --- what there is to know ---------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> Sequence[Action]:
        return [self.graph.synapses[i].action for i in self._deadlines]

    @property
    def done(self) -> bool:
        """Nothing is in flight and nothing may fire. True only after a `step` that found nothing."""
        return not self._deadlines and not self._ready and not any(self._parked.values())

    @property
    def fences(self) -> bool:
        """A node is to be fenced, and that is not confirmed (yet)."""
        return any(
            synapse.action.task == "stonith" and self._state[i] is not State.CONFIRMED
            for i, synapse in enumerate(self.graph.synapses)
        )

    @property
    def outcome(self) -> Outcome:
        if self.aborted is not None:
            return Outcome.ABORTED
        return Outcome.INCOMPLETE if self._counts[State.WAITING] else Outcome.COMPLETE

    @property
    def counts(self) -> Mapping[State, int]:
        return self._counts

    def key_of(self, action: Action) -> str:
        return f"{action.id}:{self.number}:{action.target_rc}:{self.uuid}"

    def action(self, action_id: int) -> Action | None:
        index = self._index.get(action_id)
        return None if index is None else self.graph.synapses[index].action

    def is_flying(self, action_id: int) -> bool:
        return self._index.get(action_id) in self._deadlines

    def unreachable(self) -> list[Action]:
        """Actions that never became ready, for the log of an incomplete transition."""
        return [s.action for i, s in enumerate(self.graph.synapses) if self._state[i] is State.WAITING]

    def next_deadline_ms(self) -> int | None:
        return min(self._deadlines.values(), default=None)

    # --- what happens ------------------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> list[Run]:
        """Fire everything that may fire now."""
        fired: list[Run] = []
        while self._ready:
            if self.limits.batch and len(self._deadlines) >= self.limits.batch:
                if not self._fire_pseudo():
                    break
                continue
            rank, i = heapq.heappop(self._ready)
            synapse = self.graph.synapses[i]
            if self._forbidden(synapse.priority):
                self._settle(i, State.SKIPPED)
                continue
            action = synapse.action
            if action.kind is ActionKind.PSEUDO:
                self._settle(i, State.CONFIRMED)
                continue
            if self._at_limit(action):
                heapq.heappush(self._parked.setdefault(self._queue_of(action), []), (rank, i))
                continue
            self._move(i, State.FLYING)
            self._count(action, 1)
            self._deadlines[i] = now_ms + self._patience_ms(action)
            fired.append(Run(action, self.key_of(action)))
            if action.no_wait:
                self._land(i, State.CONFIRMED)
        return fired

    def confirm(self, action_id: int) -> bool:
        """The action did what was expected. False when it is not in flight (late or repeated result)."""
        return self._finish(action_id, State.CONFIRMED)

    def fail(self, action_id: int, reason: str) -> bool:
        """The action ended otherwise; nothing that needs it will run, and a new decision is due."""
        if not self._finish(action_id, State.FAILED):
            return False
        self.abort(FAILURE_ABORT, reason)
        return True

    def not_sent(self, action_id: int, reason: str) -> bool:
        """The order never reached the executor, so it did not run and will not."""
        if not self._finish(action_id, State.LOST):
            return False
        self.abort(INFINITY, reason)
        return True

    def node_lost(self, node: str) -> list[Action]:
        """Results from this node will not come. Fencing it goes on: that is not the node's own work."""
        lost = [
            self.graph.synapses[i].action
            for i in list(self._deadlines)
            if self.graph.synapses[i].action.executed_on == node and self.graph.synapses[i].action.task != "stonith"
        ]
        for action in lost:
            self._finish(action.id, State.LOST)
        return lost

    def abort(self, priority: int, reason: str) -> None:
        """Forbid what is below `priority`. The first reason of the highest priority is kept."""
        if self.aborted is None or priority > self.aborted.priority:
            self.aborted = Abort(priority, reason)
            for queue in list(self._parked.values()):
                self._ready += queue
                queue.clear()
            heapq.heapify(self._ready)

    def expired(self, now_ms: int) -> list[Action]:
        """Actions whose result did not come in time; they are failed by this call."""
        late = [self.graph.synapses[i].action for i, deadline in self._deadlines.items() if deadline <= now_ms]
        for action in late:
            self.fail(action.id, f"{action.key} on {action.node} gave no result in {self._patience_ms(action)} ms")
        return late

    # --- inside ------------------------------------------------------------------------------------------------------

    def _push(self, index: int) -> None:
        heapq.heappush(self._ready, (-self.graph.synapses[index].priority, index))

    def _forbidden(self, priority: int) -> bool:
        return self.aborted is not None and priority < self.aborted.priority

    def _fire_pseudo(self) -> bool:
        """At the batch limit pseudo-actions still count as progress: they cost nothing and may end the transition."""
        for position, (_, i) in enumerate(self._ready):
            synapse = self.graph.synapses[i]
            if synapse.action.kind is ActionKind.PSEUDO or self._forbidden(synapse.priority):
                last = self._ready.pop()
                if position < len(self._ready):
                    self._ready[position] = last
                    heapq.heapify(self._ready)
                self._settle(i, State.SKIPPED if self._forbidden(synapse.priority) else State.CONFIRMED)
                return True
        return False

    def _at_limit(self, action: Action) -> bool:
        node = action.executed_on or ""
        if node in self._absent and (action.kind is ActionKind.RESOURCE or action.task == "do_shutdown"):
            return True
        if action.kind is not ActionKind.RESOURCE:
            return False
        limit = self.node_limits.get(node, self.limits.node_actions)
        if limit and self._on_node.get(node, 0) >= limit:
            return True
        if action.task in MIGRATIONS and self.limits.migration >= 0:
            return self._migrating.get(node, 0) >= self.limits.migration
        return False

    def _count(self, action: Action, change: int) -> None:
        if action.kind is not ActionKind.RESOURCE:
            return
        node = action.executed_on or ""
        self._on_node[node] = self._on_node.get(node, 0) + change
        if action.task in MIGRATIONS:
            self._migrating[node] = self._migrating.get(node, 0) + change

    def _patience_ms(self, action: Action) -> int:
        """The executor enforces the timeout itself; `cluster-delay` covers the way there and back."""
        if action.task == "stonith":
            return max(action.timeout_ms, self.graph.fencing_timeout_ms) + self.graph.cluster_delay_ms
        return action.timeout_ms + self.graph.cluster_delay_ms

    def _finish(self, action_id: int, state: State) -> bool:
        index = self._index.get(action_id)
        if index is None or index not in self._deadlines:
            return False
        self._land(index, state)
        return True

    def _land(self, index: int, state: State) -> None:
        action = self.graph.synapses[index].action
        del self._deadlines[index]
        self._count(action, -1)
        self._settle(index, state)
        # One hand of the node is free: the first of either kind that waits tries again.
        for migration in (False, True):
            waiting = self._parked.get((action.executed_on or "", migration))
            if waiting:
                heapq.heappush(self._ready, heapq.heappop(waiting))

    @staticmethod
    def _queue_of(action: Action) -> tuple[str, bool]:
        return action.executed_on or "", action.task in MIGRATIONS

    def _settle(self, index: int, state: State) -> None:
        self._move(index, state)
        if state is not State.CONFIRMED:
            return
        for dependent in self._dependents.get(self.graph.synapses[index].action.id, ()):
            self._missing[dependent] -= 1
            if self._missing[dependent] == 0 and self._state[dependent] is State.WAITING:
                self._push(dependent)

    def _move(self, index: int, state: State) -> None:
        self._counts[self._state[index]] -= 1
        self._counts[state] += 1
        self._state[index] = state
