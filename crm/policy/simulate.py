"""Carrying out a transition on paper (23): every action succeeds at once, its result goes into the status section.

Theory of operation. Synapses are passed over in document order, again and again, until a pass fires nothing; a completed action counts
at once for later synapses of the same pass. The given CIB is changed in place: callers pass a copy. An action chosen in `failures` gets
the result given there, adds a fail count, and everything not yet started with a priority below INFINITY is skipped from then on.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml.etree import SubElement, _Element

from crm.cib.digest import digested_parameters
from crm.policy.actions.model import PSEUDO, Action
from crm.policy.digests import attribute_digest
from crm.policy.graph import FEATURE_SET, GraphWriter
from crm.policy.inject import NO_UUID, OperationSpec, count_failure
from crm.policy.model import INFINITY, Primitive
from crm.policy.schedule import Transition
from crm.policy.values import parse_integer


@dataclass(slots=True)
class Execution:
    """What happened: the lines of "Executing Cluster Transition", and whether the graph ran to its end."""

    lines: list[str] = field(default_factory=list)
    complete: bool = True
    failed: bool = False
    executed: list[Action] = field(default_factory=list)


def execute(
    cib: _Element,
    transition: Transition,
    now: int,
    failures: tuple[OperationSpec, ...] = (),
    realistic: bool = False,
) -> Execution:
    """Run the transition's graph against `cib`, whose status section is changed.

    `crm_simulate` leaves out what only the cluster itself would do: clean-ups, clearing of fail counts, cancellations and
    shutdowns change nothing. With `realistic` they do.
    """
    return _Simulation(cib, transition, now, failures, realistic).run()


class _Simulation:
    def __init__(
        self, cib: _Element, transition: Transition, now: int, failures: tuple[OperationSpec, ...], realistic: bool
    ) -> None:
        self.transition = transition
        self.realistic = realistic
        self.now = now
        self.failures = failures
        self.result = Execution()
        self.status = _StatusSection(cib, now)
        self.known_names = transition.known_names()

    def run(self) -> Execution:
        synapses, inputs = self.transition.synapses, self.transition.inputs
        waiting = [0] * len(synapses)
        followers: list[list[int]] = [[] for _ in synapses]
        ready: list[int] = []
        for number, firsts in enumerate(inputs):
            waiting[number] = len(firsts)
            for first in firsts:
                if first.synapse >= 0:
                    followers[first.synapse].append(number)
            if not firsts:
                ready.append(number)
        later: list[int] = []
        while ready:
            number = heapq.heappop(ready)
            action = synapses[number]
            if not self.result.failed or self._priority(action) >= INFINITY:
                self._fire(action)
            else:
                self.result.complete = False
                continue
            for follower in followers[number]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heapq.heappush(ready if follower > number else later, follower)
            if not ready:
                ready, later = later, []
        if any(waiting) and not self.result.failed:
            self.result.complete = False
        return self.result

    def _priority(self, action: Action) -> int:
        return self.transition.priority_of(action)

    # --- one action ---------------------------------------------------------------------------------------------------

    def _fire(self, action: Action) -> None:
        self.result.executed.append(action)
        if action.flags & PSEUDO:
            where = f" on {action.node.name}" if action.task == "stonith" and action.node is not None else ""
            self.result.lines.append(f"Pseudo action:   {self.transition.operation_key(action)}{where}")
            if where and self.realistic and action.node is not None:
                self.status.forget_all(action.node.name, action.node.id)
        elif action.task == "stonith":
            self._fence(action)
        elif action.task in ("do_shutdown", "clear_failcount", "lrm_delete"):
            whose = f" for {self._primitive_id(action)}" if isinstance(action.rsc, Primitive) else ""
            self.result.lines.append(f"Cluster action:  {action.task}{whose} on {_node_name(action)}")
            if self.realistic:
                self._do_cluster_action(action)
        else:
            self._operate(action)

    def _do_cluster_action(self, action: Action) -> None:
        node = action.node
        if node is None:
            return
        if action.task == "do_shutdown":
            self.status.fence(node.name, node.id)
        elif action.task == "lrm_delete":
            self.status.forget(node.name, node.id, self._name(action))
        else:
            self.status.clear_failures(node.name, node.id, {self._name(action), self._primitive_id(action)})

    def _fence(self, action: Action) -> None:
        operation = action.get_meta("stonith_action") or ""
        self.result.lines.append(f"Fencing {_node_name(action)} ({operation})")
        if operation != "on" and action.node is not None:
            self.status.fence(action.node.name, action.node.id)

    def _ids(self, action: Action) -> tuple[str, str | None]:
        assert isinstance(action.rsc, Primitive)
        return GraphWriter.primitive_ids(action.rsc)

    def _primitive_id(self, action: Action) -> str:
        return self._ids(action)[0]

    def _name(self, action: Action) -> str:
        """The name a result is shown and recorded under (23.1)."""
        identity, long_id = self._ids(action)
        if identity in self.known_names:
            return identity
        return long_id if long_id is not None and long_id in self.known_names else identity

    def _operate(self, action: Action) -> None:
        name = self._name(action)
        interval = action.get_meta("interval") or "0"
        suffix = f"={interval}" if interval != "0" and action.task != "delete" else ""
        self.result.lines.append(f"Resource action: {name:<15} {action.task}{suffix} on {_node_name(action)}")
        if action.node is None:
            return
        if action.task == "delete":
            if self.realistic:
                self.status.forget(action.node.name, action.node.id, name)
            return
        if action.task == "cancel" and self.realistic:
            self.status.cancel(action.node.name, action.node.id, name, action.get_meta("operation") or "", interval)
            return
        if self.realistic and action.task in ("start", "stop") and isinstance(action.rsc, Primitive):
            self._renew_remote_node(action.rsc)
        attributes = self.transition.attributes(action)
        rc = int(attributes.get("CRM_meta_op_target_rc", "0"))
        outcome = rc
        for failure in self.failures:
            if (
                failure.task == action.task
                and failure.interval_ms == int(interval)
                and failure.node == action.node.name
                and failure.resource in (name, self._primitive_id(action))
            ):
                outcome = failure.rc
                self.result.failed = True
                self.result.lines.append(f"Pretending action {action.id} failed with rc={failure.rc}")
        self._record(action, name, attributes, rc, outcome)

    def _renew_remote_node(self, rsc: Primitive) -> None:
        """A remote node that comes or goes has no history: what ran there is unknown, and probed when it is back."""
        if rsc.remote_node is not None:
            self.status.forget_all(rsc.remote_node.name, rsc.remote_node.id)

    def _record(self, action: Action, name: str, attributes: Mapping[str, str], rc: int, outcome: int) -> None:
        rsc, node = action.rsc, action.node
        assert isinstance(rsc, Primitive) and node is not None
        identity = self._primitive_id(action)
        interval = int(attributes.get("CRM_meta_interval", "0"))
        task = "start" if action.task in ("reload", "reload-agent") else action.task
        entry_id = f"{identity}_last_0"
        if action.task == "notify":
            kind, about = attributes.get("CRM_meta_notify_type", ""), attributes.get("CRM_meta_notify_operation", "")
            entry_id = f"{identity}_{kind}_notify_{about}_0"
        elif interval:
            entry_id = f"{identity}_{task}_{interval}"
        elif task in ("migrate_to", "migrate_from"):
            entry_id = f"{identity}_{task}_0"
        if outcome != rc:
            entry_id = f"{identity}_last_failure_0"
            state = self.status.node_state(node.name, node.id)
            self.result.lines += count_failure(state, identity, task, interval, self.now)
        values = {
            "id": entry_id,
            "operation_key": f"{identity}_{task}_{interval}",
            "operation": task,
            "crm-debug-origin": "crm_simulate",
            "crm_feature_set": FEATURE_SET,
            "transition-key": f"{action.id}:-1:{rc}:{NO_UUID}",
            "transition-magic": f"0:{outcome};{action.id}:-1:{rc}:{NO_UUID}",
            "exit-reason": "" if outcome == rc else "User-injected result",
            "on_node": node.name,
            "call-id": "",
            "rc-code": str(outcome),
            "op-status": "0",
            "interval": str(interval),
            "last-rc-change": str(self.now),
            "op-digest": operation_digest(attributes, interval),
        }
        if task in ("migrate_to", "migrate_from"):
            values["migrate_source"] = attributes.get("CRM_meta_migrate_source", "")
            values["migrate_target"] = attributes.get("CRM_meta_migrate_target", "")
        self.status.record(node.name, node.id, name, identity, rsc, values, cancelled=action.task == "cancel")


def _node_name(action: Action) -> str:
    return action.node.name if action.node is not None else ""


def operation_digest(attributes: Mapping[str, str], interval_ms: int) -> str:
    """What the executor would store as `op-digest` for an operation run with these attributes (P1 24.2)."""
    return attribute_digest(digested_parameters(attributes, interval_ms))


class _StatusSection:
    """The status section of a CIB, indexed for writing results."""

    def __init__(self, cib: _Element, now: int) -> None:
        found = cib.find("status")
        self.status: _Element = found if found is not None else SubElement(cib, "status")
        self.now = now
        self.by_name = {str(e.get("uname")): e for e in self.status.iterchildren("node_state") if e.get("uname")}
        self.by_id = {str(e.get("id")): e for e in self.status.iterchildren("node_state") if e.get("id")}
        self.resources: dict[tuple[_Element, str], _Element | None] = {}
        self.indexed: set[_Element] = set()

    def node_state(self, name: str, identity: str) -> _Element:
        state = self.by_name.get(name)
        if state is None:
            state = self.by_id.get(identity)
            if state is None:
                state = SubElement(self.status, "node_state", id=identity)
                self.by_id[identity] = state
            state.set("uname", name)
            self.by_name[name] = state
        return state

    def fence(self, name: str, identity: str) -> None:
        state = self.node_state(name, identity)
        for attribute, value in (
            ("in_ccm", "false"),
            ("crmd", "offline"),
            ("join", "down"),
            ("expected", "down"),
        ):
            state.set(attribute, value)
        self.forget_all(name, identity)

    def forget_all(self, name: str, identity: str) -> None:
        """The whole history of a node, and its transient attributes."""
        state = self.node_state(name, identity)
        for tag in ("lrm", "transient_attributes"):
            for element in list(state.iterchildren(tag)):
                state.remove(element)
        self.indexed.discard(state)
        for key in [key for key in self.resources if key[0] is state]:
            del self.resources[key]

    def _resources_of(self, state: _Element) -> _Element:
        lrm = state.find("lrm")
        if lrm is None:
            lrm = SubElement(state, "lrm", id=str(state.get("id")))
        found = lrm.find("lrm_resources")
        return found if found is not None else SubElement(lrm, "lrm_resources")

    def _find(self, state: _Element, name: str) -> _Element | None:
        if state not in self.indexed:
            self.indexed.add(state)
            for element in state.iterfind("lrm/lrm_resources/lrm_resource"):
                key = (state, str(element.get("id")))
                # two of a name are as good as none (P1 0.3)
                self.resources[key] = None if key in self.resources else element
        return self.resources.get((state, name))

    def forget(self, node: str, node_id: str, name: str) -> None:
        """A clean-up removes the whole history of a resource on a node."""
        state = self.node_state(node, node_id)
        element = self._find(state, name)
        if element is not None:
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)
            del self.resources[state, name]

    def cancel(self, node: str, node_id: str, name: str, task: str, interval: str) -> None:
        """A cancelled recurring action leaves the history."""
        element = self._find(self.node_state(node, node_id), name)
        if element is not None:
            for entry in list(element.iterchildren("lrm_rsc_op")):
                if entry.get("operation") == task and entry.get("interval") == interval:
                    element.remove(entry)

    def clear_failures(self, node: str, node_id: str, names: set[str]) -> None:
        """The fail counts of a resource, and the failures that history remembers for good."""
        state = self.node_state(node, node_id)
        for pair in list(state.iterfind("transient_attributes//nvpair")):
            prefix, _, rest = (pair.get("name") or "").partition("-count-")
            if prefix != "fail":
                prefix, _, rest = (pair.get("name") or "").partition("-failure-")
            parent = pair.getparent()
            if prefix in ("fail", "last") and rest.partition("#")[0] in names and parent is not None:
                parent.remove(pair)
        for name in sorted(names):
            element = self._find(state, name)
            if element is not None:
                for entry in list(element.iterchildren("lrm_rsc_op")):
                    if (entry.get("id") or "").endswith("_last_failure_0"):
                        element.remove(entry)

    def record(
        self,
        node: str,
        node_id: str,
        name: str,
        identity: str,
        rsc: Primitive,
        values: dict[str, str],
        cancelled: bool,
    ) -> None:
        state = self.node_state(node, node_id)
        element = self._find(state, name)
        if element is None:
            element = self._find(state, identity)
        if element is None:
            element = SubElement(self._resources_of(state), "lrm_resource", id=identity)
            element.set("class", rsc.standard)
            if rsc.provider:
                element.set("provider", rsc.provider)
            element.set("type", rsc.type)
            key = (state, identity)
            self.resources[key] = None if key in self.resources else element
        highest = 0
        old: _Element | None = None
        for entry in element.iterchildren("lrm_rsc_op"):
            highest = max(highest, parse_integer(entry.get("call-id")) or 0)
            if entry.get("id") == values["id"]:
                old = entry
        values = {**values, "call-id": str(highest + 1)}
        if old is None:
            old = SubElement(element, "lrm_rsc_op")
        else:
            old.attrib.clear()
        for attribute, value in values.items():
            old.set(attribute, value)
