"""The executor: operations on the resources of this node, each accounted for.

Theory of operation. A resource has a queue, and at most one agent at work on it; operations run in the order in which they were ordered.
Every order ends in exactly one `Report` with its transition key: its result, or that it was cancelled before it had one.
A recurring operation runs at once, and again its interval after each end; after its first report there is another only when
its result changes. One that is to begin later (`start-delay`, `interval-origin`) is reported as accepted, and recorded as pending until it first runs,
so that nobody waits for it: its time may be hours away. Anything that changes a resource's state ends its recurring operations first, because what they would find
is about to stop being true; the policy engine orders new ones.

The history of a resource is what was reported, and is handed out whole when the node joins. It also goes to `Persist`, together
with what is in flight and what recurs, so that a restarted daemon continues (`restore`): recurring operations run again, what
was in flight is unknown and its resource is forgotten (so that it is probed anew), and what is believed to be active but
has no recurring monitor is looked at once.

Fence devices are not probed by running anything: they are "started" where this executor started them.

This class starts no process, reads no clock and knows no cluster.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from lxml import etree

from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult, Standard
from crm.executor import history, state
from crm.executor.history import Entry
from crm.executor.types import (
    META,
    RELOAD,
    AgentTraits,
    CancelTimer,
    Effect,
    InvariantBroken,
    Order,
    Persist,
    Report,
    Run,
    SetTimer,
)

MAX_QUEUED: Final = 256
"""Orders that may wait for one resource; a transition orders a handful."""
SPREAD_LIMIT_MS: Final = 1_000
"""After a restart the recurring operations begin within this time, not all at once."""
HARMLESS: Final = frozenset(("monitor", "notify", "validate-all", "meta-data"))
"""Actions that do not change the state of the resource."""

_ROLES: Final = {
    "start": OcfCode.OK,
    "migrate_from": OcfCode.OK,
    "demote": OcfCode.OK,
    "stop": OcfCode.OK,
    "promote": OcfCode.RUNNING_PROMOTED,
}
"""What a monitor finds after these actions, while the resource is active."""

_Recurring = tuple[str, int]


@dataclass(slots=True)
class _Job:
    """One order on its way. `call_id` 0 until it is sent; `over` when its result will be ignored; `check` when nobody ordered it."""

    order: Order
    queued_ms: int
    call_id: int = 0
    sent_ms: int = 0
    over: bool = False
    check: bool = False


@dataclass(slots=True)
class _Repeat:
    """A recurring operation. `last` is its last reported (rc, status), None before the first; `postponed`: accepted, and has not run yet."""

    order: Order
    call_id: int = 0
    last: tuple[int, ExecStatus] | None = None
    postponed: bool = False


@dataclass(slots=True)
class _Resource:
    """`role_rc` is what a monitor should find while active; `definition` an order that says how to run the agent.

    `over`: ids of entries that are no more, to be told with the next report.
    """

    id: str
    agent: AgentId
    entries: dict[str, Entry] = field(default_factory=dict)
    repeats: dict[_Recurring, _Repeat] = field(default_factory=dict)
    queue: deque[_Job] = field(default_factory=deque)
    running: _Job | None = None
    active: bool = False
    role_rc: int = int(OcfCode.OK)
    definition: Order | None = None
    over: set[str] = field(default_factory=set)

    def jobs(self) -> Iterable[_Job]:
        if self.running is not None:
            yield self.running
        yield from self.queue


class Executor:
    """See the module's text. `node` is this node's name, `node_id` its id in the CIB."""

    def __init__(self, node: str, node_id: str) -> None:
        self._node = node
        self._node_id = node_id
        self._resources: dict[str, _Resource] = {}
        self._by_call: dict[int, _Resource] = {}
        self._last_call = 0
        self._traits: dict[AgentId, AgentTraits] = {}

    # --- what there is to know ---------------------------------------------------------------------------------------

    def active(self) -> bool:
        """Whether a resource is, or may be, running here. Fence devices do not count: they are nowhere."""
        return any(self._may_run(resource) for resource in self._resources.values())

    def active_resources(self) -> list[str]:
        return [resource.id for resource in self._resources.values() if self._may_run(resource)]

    def history(self) -> str | None:
        """The `<lrm>` element of this node; None when nothing is known."""
        lrm = etree.Element("lrm", {"id": self._node_id})
        resources = etree.SubElement(lrm, "lrm_resources")
        for resource in self._resources.values():
            kept = [*resource.entries.values(), *self._pending(resource)]
            if kept:
                resources.append(history.lrm_resource(resource.id, resource.agent, kept))
        return etree.tostring(lrm, encoding="unicode") if len(resources) else None

    def in_flight(self) -> list[tuple[str, Order, int]]:
        """(resource, order, since when) of every agent at work, for status displays."""
        found = [(r.id, r.running.order, r.running.sent_ms) for r in self._resources.values() if r.running is not None]
        return sorted(found, key=lambda item: item[0])

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits (recurring operations between two runs do not count)."""
        return not any(resource.running or resource.queue for resource in self._resources.values())

    # --- what happens ------------------------------------------------------------------------------------------------

    def on_traits(self, agent: AgentId, traits: AgentTraits) -> None:
        """What the agent's meta-data say; it shapes the entries of operations that end from now on."""
        self._traits[agent] = traits

    def knows(self, agent: AgentId) -> bool:
        """Whether the agent's traits are known."""
        return agent in self._traits

    def on_order(self, order: Order, now_ms: int, epoch_s: int) -> list[Effect]:
        """Carry an order out when its turn comes. One that is under way already (same transition key) is not taken twice."""
        order = replace(order, traits=self._traits.get(order.agent, order.traits))
        resource = self._resources.get(order.resource)
        if order.action == "cancel":
            return self._cancel(order, resource)
        if order.action == "delete":
            effects = self.forget(order.resource)
            return [*effects, _report(order, OcfCode.OK, ExecStatus.DONE, forget_resource=True)]
        if resource is None:
            resource = self._resources[order.resource] = _Resource(order.resource, order.agent)
        if any(job.order.transition_key == order.transition_key and not job.check for job in resource.jobs()):
            return []
        if len(resource.queue) >= MAX_QUEUED:
            text = f"{len(resource.queue)} operations of {resource.id} are waiting already"
            return [_report(order, OcfCode.UNKNOWN_ERROR, ExecStatus.INVALID, text=text)]
        resource.agent = order.agent
        order = _as_started(resource, order)
        effects = []
        if order.interval_ms:
            effects += self._repeat(resource, order)
        elif order.action not in HARMLESS:
            effects += self._end_repeats(resource)
        if order.start_delay_ms and order.interval_ms:
            return effects + self._postpone(resource, order, now_ms)
        resource.queue.append(_Job(order, now_ms))
        return effects + self._next(resource, now_ms, epoch_s)

    def on_result(self, call_id: int, result: OperationResult, now_ms: int, epoch_s: int) -> list[Effect]:
        """The agent that was run under this call id has ended."""
        resource = self._by_call.pop(call_id, None)
        if resource is None or resource.running is None or resource.running.call_id != call_id:
            raise InvariantBroken(f"result for call {call_id}, which is not running")
        job = resource.running
        resource.running = None
        result = replace(result, queued_ms=max(0, job.sent_ms - job.queued_ms))
        effects = self._ended(resource, job, result, now_ms, epoch_s)
        return effects + self._next(resource, now_ms, epoch_s)

    def on_timer(self, name: str, now_ms: int, epoch_s: int) -> list[Effect]:
        """A recurring operation is due, or a delayed start is. Timers of what is over are ignored."""
        for resource in self._named(name):
            running = resource.running
            if running is not None and running.call_id == 0 and _delay_timer(resource.id) == name:
                return self._send(resource, running, now_ms)
            for repeat in resource.repeats.values():
                if _timer(repeat.order) == name:
                    resource.queue.append(_Job(repeat.order, now_ms))
                    return self._next(resource, now_ms, epoch_s)
        return []

    def forget(self, resource_id: str) -> list[Effect]:
        """Forget what is known of a resource (clean-up): it will be probed. What is running or waiting goes on."""
        resource = self._resources.get(resource_id)
        if resource is None:
            return []
        effects = self._end_repeats(resource)
        resource.entries.clear()
        resource.over.clear()
        if resource.running is None and not resource.queue and not resource.active:
            del self._resources[resource_id]
        return [*effects, Persist(resource_id, None)]

    def forget_entry(self, resource_id: str, entry_id: str) -> list[Effect]:
        """Forget one entry, such as the last failure."""
        resource = self._resources.get(resource_id)
        if resource is None or resource.entries.pop(entry_id, None) is None:
            return []
        return [self._persist(resource)]

    def restore(self, kept: Iterable[str], now_ms: int, epoch_s: int) -> list[Effect]:
        """Continue from what a predecessor had persisted. To be called first, its agents being known to be gone.

        Texts that cannot be read, and resources with an operation in flight, are dropped: they are unknown, and will be probed.
        """
        effects: list[Effect] = []
        for text in kept:
            saved = state.load(text)
            if saved is None:
                continue
            self._last_call = max(self._last_call, saved.last_call)
            resource = _Resource(saved.resource, saved.agent)
            self._resources[saved.resource] = resource
            if saved.in_flight:
                resource.active = True  # nobody knows; it counts as active until a probe says otherwise
                effects.append(Persist(saved.resource, None))
                continue
            # What was to begin later is ordered again, with what is then left of its delay.
            resource.entries = {
                name: dict(entry) for name, entry in saved.entries.items() if not history.pending(entry)
            }
            resource.active, resource.role_rc, resource.definition = saved.active, saved.role_rc, saved.definition
            for repeat in saved.repeats:
                order = repeat.order
                resource.repeats[(order.action, order.interval_ms)] = _Repeat(order, repeat.call_id, repeat.last)
                effects.append(SetTimer(_timer(order), now_ms + _spread(order)))
            if not saved.repeats:
                effects += self._look(resource, now_ms, epoch_s)
        return effects

    def _look(self, resource: _Resource, now_ms: int, epoch_s: int) -> list[Effect]:
        """See whether what is believed to be active still is."""
        known = resource.definition
        if known is None or not resource.active or resource.agent.standard == Standard.STONITH:
            return []
        parameters = {name: value for name, value in known.parameters.items() if name != META + "start_delay"}
        check = Order(
            resource=resource.id,
            agent=resource.agent,
            action="monitor",
            transition_key="",
            target_rc=resource.role_rc,
            parameters=parameters,
        )
        resource.queue.append(_Job(check, now_ms, check=True))
        return self._next(resource, now_ms, epoch_s)

    # --- one resource ------------------------------------------------------------------------------------------------

    def _next(self, resource: _Resource, now_ms: int, epoch_s: int) -> list[Effect]:
        """Begin what waits first, when nothing is at work."""
        effects: list[Effect] = []
        while resource.running is None and resource.queue:
            job = resource.running = resource.queue.popleft()
            order = job.order
            if order.agent.standard == Standard.STONITH and order.action == "monitor" and not order.interval_ms:
                resource.running = None
                rc = OcfCode.OK if resource.active else OcfCode.NOT_RUNNING
                effects += self._ended(resource, self._numbered(job, now_ms), OperationResult(rc), now_ms, epoch_s)
                continue
            if order.action not in HARMLESS:
                effects.append(self._persist(resource))
            if order.start_delay_ms and not order.interval_ms:
                effects.append(SetTimer(_delay_timer(resource.id), now_ms + order.start_delay_ms))
            else:
                effects += self._send(resource, job, now_ms)
        return effects

    def _send(self, resource: _Resource, job: _Job, now_ms: int) -> list[Effect]:
        self._numbered(job, now_ms)
        self._by_call[job.call_id] = resource
        order = job.order
        operation = Operation(
            agent=order.agent,
            action=order.traits.reload if order.action == RELOAD else order.action,
            resource=order.resource,
            parameters={name: value for name, value in order.parameters.items() if not name.startswith(META)},
            meta={name: value for name, value in order.parameters.items() if name.startswith(META)},
            timeout_ms=order.timeout_ms,
            interval_ms=order.interval_ms,
            node=self._node,
        )
        return [Run(job.call_id, operation)]

    def _numbered(self, job: _Job, now_ms: int) -> _Job:
        """Give a job its call id. All runs of a recurring operation have the same one, as their history entry does."""
        job.sent_ms = now_ms
        self._last_call += 1
        job.call_id = self._last_call
        return job

    def _ended(
        self, resource: _Resource, job: _Job, result: OperationResult, now_ms: int, epoch_s: int
    ) -> list[Effect]:
        order = job.order
        if job.check:
            return self._checked(resource, job, result)
        if job.over:
            return []
        if order.action == "notify":
            # A notification informs; nothing may depend on how an agent liked it.
            return [_report(order, order.target_rc, ExecStatus.DONE, text=result.exit_reason)]
        call_id = job.call_id
        effects: list[Effect] = []
        repeat = resource.repeats.get((order.action, order.interval_ms)) if order.interval_ms else None
        if repeat is not None:
            repeat.call_id = call_id = repeat.call_id or call_id
            effects.append(SetTimer(_timer(order), now_ms + order.interval_ms))
            if repeat.last == (result.rc, result.status):
                return effects
            repeat.last = (result.rc, result.status)
            repeat.postponed = False
        resource.active = _active_after(resource.active, order, result)
        resource.role_rc = _role_after(resource.role_rc, order, result)
        if not order.interval_ms:
            resource.definition = order
        promoted = resource.role_rc == OcfCode.RUNNING_PROMOTED
        # What is known of the agent now: its description may have come while it was at work.
        described = replace(order, traits=self._traits.get(order.agent, order.traits))
        entry, failure = history.entries(described, result, call_id, self._node, epoch_s, promoted=promoted)
        if entry is None and history.pending(resource.entries.get(order.key, {})):
            self._drop_postponed(resource, order)
        for kept in (entry, failure):
            if kept is not None:
                resource.entries[kept["id"]] = kept
        report = _report(
            order,
            result.rc,
            result.status,
            entry=entry,
            failure_entry=failure,
            forget=tuple(sorted(resource.over)),
            text=result.exit_reason,
        )
        resource.over.clear()
        return [self._persist(resource), report, *effects]

    def _checked(self, resource: _Resource, job: _Job, result: OperationResult) -> list[Effect]:
        """What the look after a restart has found. When it is not what was believed, nothing is believed any more."""
        if result.status is ExecStatus.DONE and result.rc == job.order.target_rc:
            return []
        resource.active = _active_after(resource.active, job.order, result)
        text = f"{resource.id} is not what it was before the restart: {OcfCode.text_of(result.rc)}"
        report = _report(job.order, result.rc, result.status, forget_resource=True, text=text)
        return [*self.forget(resource.id), report]

    # --- recurring operations ----------------------------------------------------------------------------------------

    def _repeat(self, resource: _Resource, order: Order) -> list[Effect]:
        """Register a recurring operation, in the place of an earlier one of the same kind."""
        effects: list[Effect] = []
        key = (order.action, order.interval_ms)
        if key in resource.repeats:
            effects = self._end_repeat(resource, key)
        resource.repeats[key] = _Repeat(order)
        resource.over.discard(order.key)
        return effects

    def _postpone(self, resource: _Resource, order: Order, now_ms: int) -> list[Effect]:
        """A recurring operation whose first time is yet to come: accepted now, and pending until then."""
        repeat = resource.repeats[(order.action, order.interval_ms)]
        self._last_call += 1
        repeat.postponed, repeat.call_id = True, self._last_call
        entry = history.postponed_entry(order, repeat.call_id, self._node)
        resource.entries[entry["id"]] = entry
        text = f"begins in {order.start_delay_ms / 1000:g} s"
        ordered = (history.pending_id(order),)
        report = _report(order, order.target_rc, ExecStatus.DONE, entry=entry, forget=ordered, text=text)
        report = replace(report, postponed=True)
        return [self._persist(resource), SetTimer(_timer(order), now_ms + order.start_delay_ms), report]

    @staticmethod
    def _drop_postponed(resource: _Resource, order: Order) -> None:
        resource.entries.pop(order.key, None)
        resource.over.add(order.key)

    def _end_repeats(self, resource: _Resource) -> list[Effect]:
        effects: list[Effect] = []
        for key in list(resource.repeats):
            effects += self._end_repeat(resource, key)
        return effects

    def _end_repeat(self, resource: _Resource, key: _Recurring) -> list[Effect]:
        """Take a recurring operation out. When it never had a result, whoever ordered it learns that it will have none."""
        repeat = resource.repeats.pop(key)
        resource.queue = deque(job for job in resource.queue if job.order is not repeat.order)
        if resource.running is not None and resource.running.order is repeat.order:
            resource.running.over = True
        effects: list[Effect] = [CancelTimer(_timer(repeat.order))]
        if repeat.postponed:
            self._drop_postponed(resource, repeat.order)
        elif repeat.last is None:
            effects += self._cancelled(repeat.order)
        return effects

    def _cancel(self, order: Order, resource: _Resource | None) -> list[Effect]:
        """An order to end one recurring operation; its history goes with it, a failure of it too: it would be cancelled for it again and again."""
        action = order.meta("operation") or "monitor"
        interval = order.meta("interval") or "0"
        key = (action, int(interval) if interval.isdigit() else 0)
        effects: list[Effect] = []
        over = [f"{order.resource}_{key[0]}_{key[1]}"]
        if resource is not None:
            if key in resource.repeats:
                effects += self._end_repeat(resource, key)
            failure = resource.entries.get(f"{order.resource}_last_failure_0")
            if failure is not None and failure.get("operation_key") == over[0]:
                over.append(failure["id"])
            if [entry_id for entry_id in over if resource.entries.pop(entry_id, None) is not None]:
                effects.append(self._persist(resource))
        return [*effects, _report(order, OcfCode.OK, ExecStatus.DONE, forget=tuple(over))]

    @staticmethod
    def _cancelled(order: Order) -> list[Effect]:
        text = f"{order.key} was cancelled before it had a result"
        return [_report(order, OcfCode.UNKNOWN_ERROR, ExecStatus.CANCELLED, text=text)]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _may_run(self, resource: _Resource) -> bool:
        if resource.agent.standard == Standard.STONITH:
            return False
        return resource.active or any(job.order.action not in HARMLESS for job in resource.jobs())

    def _pending(self, resource: _Resource) -> list[Entry]:
        found = []
        for job in resource.jobs():
            order = job.order
            silent = job.check or job.over or order.action == "notify"
            probe = order.action == "monitor" and not order.interval_ms
            repeat = resource.repeats.get((order.action, order.interval_ms)) if order.interval_ms else None
            known = repeat is not None and (repeat.last is not None or repeat.postponed)
            if not silent and not probe and not known:
                found.append(history.pending_entry(order, self._node))
        return found

    def _persist(self, resource: _Resource) -> Persist:
        in_flight = resource.running is not None and resource.running.order.action not in HARMLESS
        repeats = tuple(state.SavedRepeat(r.order, r.call_id, r.last) for r in resource.repeats.values() if r.last)
        saved = state.Saved(
            resource=resource.id,
            agent=resource.agent,
            entries=resource.entries,
            repeats=repeats,
            active=resource.active,
            in_flight=in_flight,
            last_call=self._last_call,
            role_rc=resource.role_rc,
            definition=resource.definition,
        )
        return Persist(resource.id, state.dump(saved))

    def _named(self, timer: str) -> list[_Resource]:
        resource = self._resources.get(timer.partition("|")[0])
        return [] if resource is None else [resource]


def _as_started(resource: _Resource, order: Order) -> Order:
    """What is active is stopped with the parameters that it was started with.

    Those of the order are of the configuration as it is now: another address, or none at all when the resource was deleted.
    """
    known = resource.definition
    if order.action != "stop" or known is None or not resource.active:
        return order
    parameters = {name: value for name, value in order.parameters.items() if name.startswith(META)}
    parameters.update((name, value) for name, value in known.parameters.items() if not name.startswith(META))
    return replace(order, parameters=parameters)


def _report(
    order: Order,
    rc: int,
    status: ExecStatus,
    *,
    entry: Entry | None = None,
    failure_entry: Entry | None = None,
    forget: tuple[str, ...] = (),
    forget_resource: bool = False,
    text: str = "",
) -> Report:
    return Report(
        resource=order.resource,
        agent=order.agent,
        action=order.action,
        interval_ms=order.interval_ms,
        transition_key=order.transition_key,
        target_rc=order.target_rc,
        rc=int(rc),
        status=status,
        entry=entry,
        failure_entry=failure_entry,
        forget=forget,
        forget_resource=forget_resource,
        text=text,
    )


def _active_after(before: bool, order: Order, result: OperationResult) -> bool:
    """Whether the resource is, or may be, active after this result."""
    done = result.status is ExecStatus.DONE
    if order.action == "monitor":
        if done and result.rc == OcfCode.NOT_RUNNING:
            return False
        if result.rc == OcfCode.NOT_INSTALLED:
            return before and order.interval_ms != 0
        return True
    if order.action == "stop":
        return not (done and result.rc == OcfCode.OK)
    if order.agent.standard == Standard.STONITH:
        return result.ok  # a device that could not be started is not half started
    return True


def _role_after(before: int, order: Order, result: OperationResult) -> int:
    """What a monitor should find from now on: running, or running promoted."""
    if order.action == "monitor":
        promoted = result.rc in (OcfCode.RUNNING_PROMOTED, OcfCode.DEGRADED_PROMOTED)
        return OcfCode.RUNNING_PROMOTED if promoted else OcfCode.OK
    return _ROLES.get(order.action, before) if result.ok else before


def _timer(order: Order) -> str:
    return f"{order.resource}|{order.action}|{order.interval_ms}"


def _delay_timer(resource_id: str) -> str:
    return f"{resource_id}|delay"


def _spread(order: Order) -> int:
    """When a recurring operation begins again after a restart: different for each, the same each time."""
    return zlib.crc32(order.key.encode()) % max(1, min(order.interval_ms, SPREAD_LIMIT_MS))
