"""The DC's part: decide, have it carried out, decide again, until nothing is left to do.

Theory of operation. A `Coordinator` exists at the DC from the moment a view is synchronised until the view ends. It writes the membership into
the status section, asks for a decision of the policy engine, walks the resulting transition, and asks again whenever something happens that the
decision could not know. States, as Pacemaker names them: S_IDLE, S_POLICY_ENGINE, S_TRANSITION_ENGINE, and S_INTEGRATION while it waits
for members that are expected (a cold start, or a crm that is being restarted).

A member whose crm is being restarted counts as what it was until its grace is over: nothing is ordered on it, and nothing that it runs is started
elsewhere; everything else goes on. Without quorum nothing is decided in that time: what is missing may just be its vote.

What was under way in an earlier transition, of this DC or of the one before it, is never ordered again: such an operation is pending in the status
section, and an action of the new transition with the same key on the same node takes its result. Fencing under way is taken over likewise.

A decision that was overtaken by a change is thrown away and made again, but not for ever: after `MAX_OVERTAKEN` times it is carried
out (the change then aborts it), so that a stream of changes cannot keep the cluster from acting.

A transition that was aborted waits for what is in flight, since the next decision should know how it ended; for stops, which may take minutes, only
`SLOW_STOP_MS`: whatever does not depend on them need not wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from crm.cib import xml
from crm.controller import failures, membership, properties, status
from crm.controller.effects import AddNodes, CibPort, Decide, Effect, Record, UseFeatures
from crm.controller.election import Facts, common_features
from crm.controller.graph import INFINITY, Action, ActionKind, Graph
from crm.controller.messages import Changes, Order, Orders, Result
from crm.controller.plan import plan
from crm.controller.status import (
    Attributes,
    ForgetOperation,
    ForgetResource,
    NodeState,
    Operation,
    Update,
)
from crm.controller.transition import Limits, Outcome, Run, State, Transition
from crm.events import causes as causal
from crm.events.causes import Causes
from messaging.types import View

MAX_OVERTAKEN: Final = 3
RECHECK_MARGIN_MS: Final = 50
"""After the second that the policy engine names: a clock that is being corrected must have reached it, or the same is decided again."""
RECHECK_PAUSE_MS: Final = 200
"""Before a decision that only time asks for, when its time has come already."""
RECHECK_LEAST_MS: Final = 1000
"""`cluster-recheck-interval` may not be less, or the cluster would do nothing but decide."""
DECISION_RETRY_MS: Final = 1000
"""Pause after the policy engine itself failed."""
FENCING_RETRY_MS: Final = 500
"""Pause before a failed fencing is tried again; grows with each attempt."""
SLOW_STOP_MS: Final = 1000
"""How long a transition that was aborted waits for stops under way before the next decision is made beside them."""
OPEN_LIMIT_MS: Final = 15_000
"""How long the configuration may stay closed because the DC is not done with what the view means."""
TIMED_OUT: Final = 2
UNKNOWN_ERROR: Final = 1


class Hands(Protocol):
    """What the coordinator has done for it by the controller around it. `open`: the configuration may be changed."""

    open: bool

    def publish(self, changes: Changes) -> list[Effect]: ...

    def order(self, orders: Orders) -> list[Effect]: ...

    def fence(self, action: Action, transition_key: str, delay_ms: int, cause: str) -> list[Effect]: ...


@dataclass(slots=True)
class Memory:
    """What outlives a view: counters, and what this DC has ordered and not yet seen the end of."""

    uuid: str
    name: str = ""
    transitions: int = 0
    ordered: dict[tuple[str, str], str] = field(default_factory=dict)
    """(node, operation key) -> transition key of the order under way."""
    startup_until_ms: int | None = None
    """Until when the rest of the cluster is awaited after a cold start; None when it is complete, or was running already."""
    absent_since: dict[int, int] = field(default_factory=dict)
    """Nodes that were at work and are missed, and since when."""
    fencing_failures: dict[str, int] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)
    """How busy the cores of a node were, in percent, when it reported last."""
    lost_since: dict[int, int] = field(default_factory=dict)
    """Nodes that went without a goodbye and have not been seen since, and when that was; kept by every member, for whoever is DC next."""
    _last_cause: int = 0

    def on_view(self, view: View, now_ms: int) -> None:
        """Who was lost with this view, and who is back. Of orders to those who did not come along the end may have been told elsewhere."""
        self.forget_orders({member.name for member in view.left})
        for member in view.left:
            if member.node_id not in view.graceful:
                self.lost_since[member.node_id] = now_ms
        for node in view.member_ids:
            self.lost_since.pop(node, None)

    def on_synchronised(self, facts: Iterable[Facts]) -> None:
        """At every member, not only at the DC: whoever is cold or gone has forgotten what it was ordered, or died with it."""
        self.forget_orders({name for name, _ in self.ordered} - {each.name for each in facts if not each.cold})

    def forget_orders(self, nodes: Collection[str]) -> None:
        """Nothing is known any more of what these were ordered: what counts is in the status section."""
        for known in [known for known in self.ordered if known[0] in nodes]:
            del self.ordered[known]

    def new_cause(self, kind: str) -> str:
        """A causal id for something that happens of itself on this node: `op-n1.3f2a.12`."""
        self._last_cause += 1
        return f"{kind}-{self.name}.{self.uuid[:4]}.{self._last_cause}"

    def forget(self, transition_key: str) -> None:
        """This order is over, or never was."""
        for known, key in self.ordered.items():
            if key == transition_key:
                del self.ordered[known]
                return


@dataclass(slots=True)
class Coordinator:
    """The DC of one synchronised view."""

    me: int
    cib: CibPort
    view: View
    facts: Mapping[int, Facts]
    memory: Memory
    hands: Hands
    expected_nodes: frozenset[str]
    died: frozenset[int] = frozenset()
    deadtime_ms: int = 1000
    transition: Transition | None = None
    _bound: dict[str, int] = field(default_factory=dict)
    _need: str | None = "the view changed"
    _need_causes: Causes = ()
    _deciding: int | None = None
    _deciding_causes: Causes = ()
    _overtaken: int = 0
    _patience: dict[int, int] = field(default_factory=dict)
    _startup_until_ms: int | None = None
    _not_before_ms: int = 0
    _recheck_ms: int | None = None
    _begun: bool = False
    _given_up: int = 0
    _grace_ms: int = 0
    _epoch_ahead_ms: int = 0
    """The wall clock minus the monotonic one, as of the last decision."""
    _opening: bool = False
    _open_at_ms: int = 0
    _waits_since_ms: int | None = None
    """Since when a transition that was aborted has been waiting for stops, and for nothing else."""
    _not_yet: frozenset[int] = frozenset()
    """Members whose crm is still expected at a cold start."""

    # --- states ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        if self._patience or self._startup_until_ms is not None:
            return "S_INTEGRATION"
        if self.transition is not None:
            return "S_TRANSITION_ENGINE"
        return "S_POLICY_ENGINE" if self._need is not None or self._deciding is not None else "S_IDLE"

    @property
    def idle(self) -> bool:
        return self.state == "S_IDLE"

    @property
    def reason(self) -> str | None:
        return self._need

    def begin(self, now_ms: int) -> list[Effect]:
        """The view is synchronised: write down what it means. The decision follows when that has been delivered."""
        document = self.cib.document
        self._need_causes = (self._cause,)
        self._open_at_ms = now_ms + OPEN_LIMIT_MS
        self._grace_ms = properties.crm_restart_grace_ms(document)
        missed = membership.missed(document, self.view, self.died)
        absent = self.memory.absent_since
        missed |= membership.still_missed(document, self.view, self.died, absent)
        self.memory.absent_since = {node: absent.get(node, now_ms) for node in missed}
        self._patience = {
            node: since + self._grace_ms
            for node, since in self.memory.absent_since.items()
            if since + self._grace_ms > now_ms
        }
        awaited = membership.awaited(document, self.view, self.expected_nodes)
        until = self.memory.startup_until_ms
        if until is not None and until > now_ms and awaited:
            self._startup_until_ms = until
            self._not_yet = self.view.member_ids - self.view.group
        effects: list[Effect] = []
        if self._patience or self._startup_until_ms is not None:
            waiting = sorted([status.node_name(document, str(node)) for node in self._patience] or awaited)
            effects.append(Record("waiting_for", {"nodes": waiting}, self._cause))
        effects += self._write_membership("membership of the view")
        effects += self._leave_time_to_stop(now_ms)
        features = common_features(self.facts.values())
        if self.view.quorate and xml.feature_key(features) > xml.feature_key(document.get(xml.FEATURES, "")):
            effects.append(UseFeatures(features))
        return effects + self._add_strangers()

    def _leave_time_to_stop(self, now_ms: int) -> list[Effect]:
        """Without fencing, who was lost may be cut off and alive; nothing is decided until it has had the time to notice, and to stop what it runs."""
        document = self.cib.document
        if not self.view.quorate or properties.fencing_enabled(document):
            return []
        grace_ms = properties.cut_off_grace_ms(document, self.deadtime_ms)
        until = max((since + grace_ms for since in self.memory.lost_since.values()), default=0)
        if until <= now_ms:
            return []
        self._not_before_ms = until
        lost = [status.node_name(document, str(node)) for node in sorted(self.memory.lost_since)]
        return [Record("cut_off_grace", {"nodes": lost, "grace_ms": until - now_ms}, self._cause)]

    @property
    def _cause(self) -> str:
        return causal.of_view(self.view.view_id)

    def _write_membership(self, reason: str) -> list[Effect]:
        patience = set(self._patience) | self._not_yet
        updates = membership.updates_for(self.cib.document, self.view, self.facts, self.me, patience)
        return self.hands.publish(Changes(tuple(updates), (), reason, True))

    # --- what happens ------------------------------------------------------------------------------------------------

    def on_changes(self, sender: int, changes: Changes, effective: list[Update], now_ms: int) -> list[Effect]:
        """Updates were delivered and applied; `effective` are those that changed something."""
        matched: set[str] = set()
        effects: list[Effect] = []
        name = self.facts[sender].name if sender in self.facts else ""
        if changes.load_percent and name and changes.load_percent != self.memory.loads.get(name):
            self.memory.loads[name] = changes.load_percent
            if self.transition is not None:
                self.transition.node_limits = self._node_limits()
        for result in changes.results:
            number = self._bound.pop(result.transition_key, None)
            if number is None or self.transition is None:
                continue
            if result.ok:
                self.transition.confirm(number)
            else:
                self.transition.fail(number, result.text)
            matched.add(result.transition_key)
        if changes.expected:
            if sender == self.me and not changes.opens:
                self._begun = True
        else:
            unforeseen = self._unforeseen(changes, effective, matched)
            if unforeseen is not None:
                self.need(unforeseen, changes.causes)
        return effects + self.pump(now_ms)

    def _unforeseen(self, changes: Changes, effective: list[Update], matched: set[str]) -> str | None:
        """Why these updates ask for a new decision; None when the transition expected them."""
        for update in effective:
            match update:
                case Operation():
                    if update.entry.get("transition-key") not in matched:
                        what = f"{update.entry.get('operation_key')} on {update.uname}"
                        return f"{what} gave {update.entry.get('rc-code')}"
                case ForgetOperation() | ForgetResource():
                    if not matched:
                        return changes.reason or "operation history was cleared"
                case Attributes():
                    return changes.reason or f"attributes of {update.uname} changed"
                case _:
                    return changes.reason or "the status section changed"
        if any(result.transition_key not in matched for result in changes.results):
            return "an earlier operation ended"
        return None

    def need(self, reason: str, causes: Causes = ()) -> None:
        """Something happened that the last decision could not know."""
        self._need_causes = causal.joined(self._need_causes, causes)
        if self.transition is not None:
            self.transition.abort(INFINITY, reason)
        if self._need is None:
            self._need = reason

    def on_configuration_changed(self, reason: str, now_ms: int, cause: str = "") -> list[Effect]:
        self.memory.fencing_failures.clear()
        self.need(reason, (cause,))
        return self._add_strangers() + self.pump(now_ms)

    def _add_strangers(self) -> list[Effect]:
        """Members that the configuration does not know: they are new, or it was erased or replaced."""
        strangers = membership.unknown_to_configuration(self.cib.document, self.view)
        return [AddNodes(strangers)] if strangers else []

    def on_decision(self, number: int, graph: Graph | str, epoch_ms: int, now_ms: int) -> list[Effect]:
        """The policy engine answered: a graph, or why it could not."""
        if number != self._deciding:
            return []
        self._deciding = None
        causes, self._deciding_causes = self._deciding_causes, ()
        if isinstance(graph, str):
            self._need_causes = causal.joined(causes, self._need_causes)
            self._need = self._need or "the policy engine failed"
            self._not_before_ms = max(self._not_before_ms, now_ms + DECISION_RETRY_MS)
            return [Record("decision_failed", {"transition": number, "error": graph}, causal.name_of(causes))]
        if self._need is not None and self._overtaken < MAX_OVERTAKEN:
            self._overtaken += 1
            self._need_causes = causal.joined(causes, self._need_causes)
            return self.pump(now_ms)
        self._overtaken = 0
        self._epoch_ahead_ms = epoch_ms - now_ms
        self._recheck_ms = self._next_recheck_ms(graph.recheck_by, now_ms)
        limits = Limits(graph.batch_limit, graph.migration_limit)
        absent = frozenset(status.node_name(self.cib.document, str(node)) for node in self._patience)
        self.transition = Transition(graph, number, self.memory.uuid, limits, causes, absent, self._node_limits())
        fields = {"number": number, "actions": len(graph.synapses), "plan": plan(graph), "after": list(causes[1:])}
        record = Record("transition", fields, causal.name_of(causes))
        effects: list[Effect] = [record] if graph.synapses else []
        if self._need is not None:
            # What is ready now is done; the change stops what follows.
            effects += self._walk(self.transition, now_ms)
            if self.transition is not None:
                self.transition.abort(INFINITY, self._need)
        return effects + self.pump(now_ms)

    def _next_recheck_ms(self, recheck_by: int | None, now_ms: int) -> int | None:
        """When time alone asks for a decision: at the second that the policy engine named, and at the latest after the interval (0: there is none)."""
        interval_ms = properties.recheck_interval_ms(self.cib.document)
        times = [now_ms + max(interval_ms, RECHECK_LEAST_MS)] if interval_ms else []
        if recheck_by is not None:
            at_ms = recheck_by * 1000 - self._epoch_ahead_ms + RECHECK_MARGIN_MS
            times.append(max(now_ms + RECHECK_PAUSE_MS, at_ms))
        return min(times, default=None)

    def _node_limits(self) -> dict[str, int]:
        """Operations at a time, by node: what the option says, else the node itself; half of it where the node is busy."""
        document = self.cib.document
        wanted, threshold = properties.node_action_limit(document), properties.load_threshold_percent(document)
        limits: dict[str, int] = {}
        for facts in self.facts.values():
            limit = wanted or facts.action_limit
            busy = bool(threshold) and self.memory.loads.get(facts.name, 0) > threshold
            limits[facts.name] = max(1, limit // 2) if busy and limit else limit
        return limits

    def on_fenced(
        self, transition_key: str, target: str, ok: bool, text: str, now_ms: int, cause: str = ""
    ) -> list[Effect]:
        """Fencing ended. Success becomes true for the transition when it is delivered as a change."""
        if ok:
            self.memory.fencing_failures.pop(target, None)
            return []
        attempts = self.memory.fencing_failures.get(target, 0) + 1
        self.memory.fencing_failures[target] = attempts
        number = self._bound.pop(transition_key, None)
        if number is not None and self.transition is not None:
            self.transition.fail(number, text)
        if attempts >= properties.fencing_max_attempts(self.cib.document):
            # Nothing else may be decided from this failure alone; any change asks again.
            self._given_up += 1
            fields = {"target": target, "attempts": attempts, "reason": text}
            return [Record("fencing_given_up", fields, cause or self._cause), *self.pump(now_ms)]
        self._need = self._need or text
        self._need_causes = causal.joined(self._need_causes, (cause,))
        self._not_before_ms = max(self._not_before_ms, now_ms + FENCING_RETRY_MS * attempts)
        return self.pump(now_ms)

    def on_not_sent(self, orders: Orders, now_ms: int) -> list[Effect]:
        """The view ended before these orders were delivered: nobody has them."""
        for order in orders.orders:
            self.memory.forget(order.transition_key)
            number = self._bound.pop(order.transition_key, None)
            if number is not None and self.transition is not None:
                self.transition.not_sent(number, "the view changed")
        return self.pump(now_ms)

    def on_tick(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if self._patience and min(self._patience.values()) <= now_ms:
            gone = sorted(node for node, until in self._patience.items() if until <= now_ms)
            self._patience = {node: until for node, until in self._patience.items() if until > now_ms}
            effects.append(Record("crm_absent", {"nodes": gone, "grace_ms": self._grace_ms}, self._cause))
            self._begun = False  # the decision needs what is being written now
            effects += self._write_membership("the crm of a member did not come back")
            self.need("the crm of a member did not come back", (self._cause,))
        if self._startup_until_ms is not None and self._startup_until_ms <= now_ms:
            self._startup_until_ms = None
            self._not_yet = frozenset()
            self._begun = False
            awaited = membership.awaited(self.cib.document, self.view, self.expected_nodes)
            effects.append(Record("started_without", {"nodes": awaited}, self._cause))
            effects += self._write_membership("nodes that were waited for did not come")
        if self._recheck_ms is not None and self._recheck_ms <= now_ms:
            self._recheck_ms = None
            cause = self.memory.new_cause("time")
            self.need("the time of a rule, a failure timeout or the recheck interval has come", (cause,))
        if self.transition is not None:
            for action in self.transition.expired(now_ms):
                effects += self._give_up(action, (now_ms + self._epoch_ahead_ms) // 1000)
        return effects + self.pump(now_ms)

    def next_wake_ms(self) -> int | None:
        times = list(self._patience.values())
        times += [time for time in (self._startup_until_ms, self._recheck_ms) if time is not None]
        if not self.hands.open and not self._opening:
            times.append(self._open_at_ms)
        if self._not_before_ms and self._need is not None and self.transition is None and self._deciding is None:
            times += [] if self._held else [self._not_before_ms]
        if self.transition is not None:
            deadline = self.transition.next_deadline_ms()
            times += [] if deadline is None else [deadline]
            times += [] if self._waits_since_ms is None else [self._waits_since_ms + SLOW_STOP_MS]
        return min(times, default=None)

    # --- deciding and acting -----------------------------------------------------------------------------------------

    def pump(self, now_ms: int) -> list[Effect]:
        """Do whatever can be done now."""
        return [*self._act(now_ms), *self._open(now_ms)]

    def _open(self, now_ms: int) -> list[Effect]:
        """When all that the view means is dealt with, or cannot be (fencing fails), the configuration may be changed.

        Once nobody is left to be fenced it must not wait for agents: they may be waiting for a change that they asked for.
        """
        if self.hands.open or self._opening:
            return []
        settled = self.idle or (self.transition is not None and not self.transition.fences and not self._patience)
        if not (settled or self.memory.fencing_failures or now_ms >= self._open_at_ms):
            return []
        self._opening = True
        return self.hands.publish(Changes((), (), "the configuration may be changed", True, True))

    @property
    def _held(self) -> bool:
        """Nothing is decided or ordered just now, whatever the time is."""
        waiting = self._startup_until_ms is not None or (bool(self._patience) and not self.view.quorate)
        return waiting or not self._begun

    def _act(self, now_ms: int) -> list[Effect]:
        if self._held:
            return []
        effects: list[Effect] = []
        if self.transition is not None:
            effects += self._walk(self.transition, now_ms)
        if self.transition is not None:
            effects += self._leave_slow_stops(self.transition, now_ms)
        if self.transition is None and self._need is not None and self._deciding is None:
            if now_ms < self._not_before_ms:
                return effects
            self._not_before_ms = 0
            self.memory.transitions += 1
            self._deciding = self.memory.transitions
            effects.append(Decide(self._deciding, self._need, self._need_causes))
            self._deciding_causes, self._need_causes = self._need_causes, ()
            self._need = None
        return effects

    def _leave_slow_stops(self, transition: Transition, now_ms: int) -> list[Effect]:
        """Something else is to be decided, and all that is waited for are stops, for a while already: another node may be asking to shut down, a service to be
        recovered. The next transition has the same stops, finds them under way (`_under_way`), and what depends on them waits for them there.
        """
        under_way = transition.in_flight
        waits = transition.aborted is not None and self._need is not None and bool(under_way)
        if not waits or any(action.task != "stop" for action in under_way):
            self._waits_since_ms = None
            return []
        if self._waits_since_ms is None:
            self._waits_since_ms = now_ms
        if now_ms < self._waits_since_ms + SLOW_STOP_MS:
            return []
        slow = [f"{action.key} on {action.node}" for action in under_way]
        self.transition = None
        self._waits_since_ms = None
        self._bound.clear()
        self._need_causes = causal.joined(transition.causes, self._need_causes)
        fields = {"number": transition.number, "reason": self._need or "", "under_way": slow}
        return [Record("transition_left", fields, causal.name_of(transition.causes))]

    def _walk(self, transition: Transition, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        runs = transition.step(now_ms)
        while runs:
            effects += self._carry_out(transition, runs, now_ms)
            runs = transition.step(now_ms)
        if not transition.done:
            return effects
        self.transition = None
        self._waits_since_ms = None
        self._bound.clear()
        outcome = transition.outcome
        cause = causal.name_of(transition.causes)
        reason = transition.aborted.reason if transition.aborted else ""
        if transition.graph.synapses:
            counts = {str(state): count for state, count in transition.counts.items() if count}
            fields = {"number": transition.number, "outcome": str(outcome), "reason": reason, "counts": counts}
            effects.append(Record("transition_end", fields, cause))
        # A failed action asks for a new decision; fencing that was given up does not.
        if self._need is None and transition.counts[State.FAILED] > self._given_up:
            self._need = reason
        if self._need is not None and outcome is not Outcome.COMPLETE:
            # The next decision goes on with what this one could not finish.
            self._need_causes = causal.joined(transition.causes, self._need_causes)
        self._given_up = 0
        if outcome is Outcome.INCOMPLETE:
            keys = [action.key for action in transition.unreachable()]
            effects.append(Record("transition_stuck", {"number": transition.number, "actions": keys[:20]}, cause))
        return effects

    def _carry_out(self, transition: Transition, runs: list[Run], now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        orders: list[Order] = []
        extra: list[Update] = []
        group = {member.name for member in self.view.members if member.node_id in self.view.group}
        cause = causal.name_of(transition.causes)
        for run in runs:
            action, key = run.action, run.transition_key
            if action.kind is ActionKind.RESOURCE:
                if action.executed_on not in group:
                    transition.not_sent(action.id, f"{action.executed_on} is not in the group")
                    continue
                under_way = self._under_way(action)
                if under_way is not None:
                    self._bound[under_way] = action.id
                    continue
            if not action.no_wait:
                self._bound[key] = action.id
            match action.task if action.kind is ActionKind.CLUSTER else None:
                case "stonith":
                    delay = FENCING_RETRY_MS * self.memory.fencing_failures.get(action.node or "", 0)
                    effects += self.hands.fence(action, key, delay, cause)
                case "clear_failcount":
                    effects += self.hands.publish(self._clear_failcount(action, key))
                case "lrm_delete":
                    forget = ForgetResource(action.node_id, action.resource.id if action.resource else "")
                    effects += self.hands.publish(Changes((forget,), (Result(key, True),), action.key, True))
                case other:
                    if other == "do_shutdown" and action.node_id is not None and action.node is not None:
                        extra.append(NodeState(action.node_id, action.node, expected="down"))
                    orders.append(Order(key, action, cause))
                    if action.kind is ActionKind.RESOURCE:
                        pending = status.pending(action, key)
                        extra += [] if pending is None else [pending]
                        extra += status.lock(self.cib.document, action)
                        self.memory.ordered[(action.executed_on or "", action.history_key)] = key
        if orders:
            effects += self.hands.order(Orders(transition.number, tuple(orders), tuple(extra), cause))
        return effects

    def _under_way(self, action: Action) -> str | None:
        """The transition key of the same operation that an earlier transition ordered and that has not ended."""
        known = self.memory.ordered.get((action.executed_on or "", action.history_key))
        if known is not None:
            return known
        if action.resource is None or action.node_id is None:
            return None
        entry = status.operation_entry(
            self.cib.document, action.node_id, action.resource.id, f"pending-{action.history_key}"
        )
        return None if entry is None else entry.get("transition-key")

    def _clear_failcount(self, action: Action, key: str) -> Changes:
        resource = action.resource.id if action.resource else ""
        node_id, node = action.node_id or "", action.node or ""
        attributes = status.transient_attributes(self.cib.document, node_id)
        task, interval = action.meta("operation"), action.meta("interval")
        wanted = failures.cleared_attributes(attributes, resource, task, int(interval) if interval else None)
        updates: list[Update] = [Attributes(node_id, node, wanted)] if wanted else []
        updates.append(ForgetOperation(node_id, resource, f"{resource}_last_failure_0"))
        return Changes(tuple(updates), (Result(key, True),), action.key, True)

    def _give_up(self, action: Action, epoch_s: int) -> list[Effect]:
        """No result came: write one, with its fail count, so that the next decision knows."""
        if action.kind is not ActionKind.RESOURCE or self.transition is None:
            return []
        key = self.transition.key_of(action)
        # It may be an order of an earlier transition whose result was to count for this one.
        for bound in [bound for bound, number in self._bound.items() if number == action.id]:
            self.memory.forget(bound)
            del self._bound[bound]
        causes = self.transition.causes
        fields = {"operation": action.key, "on": action.node, "number": self.transition.number}
        record = Record("action_lost", fields, causal.name_of(causes))
        operation = status.pending(action, key)
        if operation is None:
            return [record]
        entry = dict(operation.entry)
        suffix = f"{action.task}_{action.interval_ms}" if action.interval_ms else "last_0"
        entry["id"] = f"{operation.resource.id}_{suffix}"
        entry["rc-code"], entry["op-status"] = str(UNKNOWN_ERROR), str(TIMED_OUT)
        entry["transition-magic"] = f"{TIMED_OUT}:{UNKNOWN_ERROR};{key}"
        entry["last-rc-change"] = str(epoch_s)
        entry["exit-reason"] = "the node gave no result"
        updates: list[Update] = [Operation(operation.node_id, operation.uname, operation.resource, entry)]
        if failures.counts_as_failure(action.task, action.interval_ms, TIMED_OUT, UNKNOWN_ERROR, action.target_rc):
            counts = failures.failure_attributes(
                status.transient_attributes(self.cib.document, operation.node_id),
                operation.resource.id,
                action.task,
                action.interval_ms,
                start_is_fatal=properties.start_failure_is_fatal(self.cib.document),
                epoch_s=epoch_s,
            )
            updates.append(Attributes(operation.node_id, operation.uname, counts))
        lost = Changes(tuple(updates), (), f"{action.key} gave no result", causes=causes)
        return [record, *self.hands.publish(lost)]
