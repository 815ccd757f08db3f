"""What must always hold in a cluster, checked against what really happens on the machines, not against what a node believes.

- A primitive is never active on two machines, at any instant; never are two instances of a clone promoted. A machine that is cut off still runs what it
  runs: starting it elsewhere needs its power cut first.
- Where a machine died with a resource and nothing has confirmed that it is off (a fence device, its own return), the resource is not started elsewhere.
- One DC in a view: all members name the same one, and only it decides.
- An order is carried out once, and has one report while the crm that took it lives; what was reported is known to the DC that the reporter is with.
- A resource has one agent at work on a machine at a time, whoever started it.
- A crm that starts takes nothing for inactive that runs.
- What the DC orders follows from the configuration as it knows it; a transition that is not stopped can be carried out to its end.
- What a client was told is done is there at the end; `Promise` says what that means for each kind of change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agents.types import OcfCode, Operation, OperationResult, Standard
from crm.cib.replica import GroupView, Reply
from crm.cib.xml import Version
from crm.controller import status
from crm.controller.graph import INFINITY
from crm.controller.messages import Orders
from crm.executor.core import Executor
from crm.simulator.cluster.box import PROMOTED, Box
from messaging.types import View, ViewId

if TYPE_CHECKING:
    from crm.daemon.node import Node
    from crm.simulator.cluster.world import ClusterWorld

_INSTANCE: Final = re.compile(":[0-9]+")
REPORT_MS: Final = 5_000
"""Within this what a member of the group reports is known to the DC, in one view."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A change that a client was told is done. `element` is an id in the configuration; `there` whether it must be in it at the end.

    `certain`: more than half of all nodes accepted it. What fewer accepted may instead be in a file that was kept aside.
    """

    element: str
    there: bool
    certain: bool


@dataclass(frozen=True, slots=True)
class AttributePromise:
    """A transient attribute of a node that was written: it holds as long as the node stays, whatever becomes of its crm."""

    node_id: int
    stay: tuple[int, int]
    name: str
    value: str


@dataclass(slots=True)
class Counts:
    """What was seen, for the totals."""

    starts: int = 0
    actions: int = 0
    decisions: int = 0
    fencings: int = 0
    promises: int = 0
    lost_actions: int = 0
    events: dict[str, int] = field(default_factory=dict)


class Watch:
    """See the module's text. `fail` is told what must not be."""

    def __init__(self, world: ClusterWorld, fail: Callable[[str], None]) -> None:
        self.counts = Counts()
        self.promises: list[Promise] = []
        self.attributes: list[AttributePromise] = []
        self.answered_in: dict[int, View] = {}
        """Node id -> the view in which it told a client last that an attribute is set."""
        self._world = world
        self._fail = fail
        self._owners: dict[str, dict[int, int]] = {}
        """Resource -> node id -> boot in which it was active there and has not been seen to be stopped."""
        self._dcs: dict[ViewId, int] = {}
        self._deciders: dict[ViewId, int] = {}
        self._ordered: dict[tuple[int, str], int] = {}
        self._operations: dict[str, str] = {}
        self._reported: dict[tuple[int, str], tuple[int, int]] = {}
        """(node id, transition key) -> the life of crm that reported it, and when."""
        self._left: dict[int, int] = {}
        self._synced_ms: dict[int, int] = {}
        self._changes: dict[str, int] = {}
        """By the life of a crm: changes of the configuration that it knows."""
        self._decisions: dict[tuple[str, int], int] = {}
        """(life of a crm, number) -> how many of them the question to the policy engine knew."""
        self._carrying = 0
        self._answers: dict[tuple[int, Version], GroupView] = {}
        """(node id, version) -> the view in which that node called a change done."""

    # --- the truth on the machines

    def active(self, box: Box, name: str) -> None:
        """A resource has become active (or promoted) here."""
        self.counts.starts += 1
        world, base = self._world, name.partition(":")[0]
        others = [each for each in world.boxes.values() if each is not box and each.powered]
        if base in world.configuration.primitives:
            twice = [each.name for each in others if name in each.running]
            if twice:
                self._fail(f"active twice: {name} on {box.name} and {', '.join(twice)}")
            if world.cluster_swarm.fencing:
                self._check_owner(box, name)
        elif box.running.get(name) == PROMOTED:
            twice = [each.name for each in others if PROMOTED in _roles(each, base)]
            if twice:
                self._fail(f"promoted twice: {name} on {box.name} and {', '.join(twice)}")

    def _check_owner(self, box: Box, name: str) -> None:
        owners = self._owners.setdefault(name, {})
        for node_id in owners:
            if node_id != box.node_id:
                self._fail(f"start before fencing is confirmed: {name} on {box.name}, last seen on n{node_id}")
        owners[box.node_id] = box.boots

    def action_begun(self, box: Box, operation: Operation) -> None:
        """An agent is about to start."""
        if operation.agent.standard == Standard.STONITH:
            return
        for job in box.jobs:
            if job.operation.resource == operation.resource:
                text = f"{job.operation.action} and {operation.action} of {operation.resource} on {box.name}"
                self._fail(f"two agents at work on one resource: {text}")

    def action_ended(self, box: Box, operation: Operation, result: OperationResult) -> None:
        """An agent has told its crm: from here on the cluster may know."""
        self.counts.actions += 1
        box.guests.discard(operation.resource)
        gone = (operation.action == "stop" and result.ok) or (
            operation.action == "monitor" and result.rc == OcfCode.NOT_RUNNING
        )
        if gone and operation.resource not in box.running:
            self.moved(box, operation.resource)

    def moved(self, box: Box, name: str) -> None:
        """A resource is not here any more, and the cluster can know."""
        self._owners.get(name, {}).pop(box.node_id, None)

    def fencing_confirmed(self, target: Box) -> None:
        self.counts.fencings += 1
        for owners in self._owners.values():
            if not target.powered or owners.get(target.node_id) != target.boots:
                owners.pop(target.node_id, None)

    def came_back(self, box: Box) -> None:
        """A machine that was restarted is a synchronised member again: it tells for itself what runs on it."""
        for owners in self._owners.values():
            if owners.get(box.node_id, box.boots) != box.boots:
                del owners[box.node_id]

    # --- the nodes

    def stay_of(self, box: Box) -> tuple[int, int]:
        """Another one after the machine was restarted, or its node had left the cluster on purpose."""
        return box.boots, self._left.get(box.node_id, 0)

    def event(self, box: Box, record: dict[str, Any]) -> None:
        """A line of a node's event log."""
        name = str(record["event"])
        if name == "leaving":
            self._left[box.node_id] = self._left.get(box.node_id, 0) + 1
        self.counts.events[name] = self.counts.events.get(name, 0) + 1
        node = box.node
        if node is None or node.controller.view is None:
            return
        view_id, controller = node.controller.view.view_id, node.controller
        match name:
            case "dc":
                self._synced_ms[box.node_id] = self._world.now
                self.came_back(box)
                named = controller.dc or 0
                if self._dcs.setdefault(view_id, named) != named:
                    self._fail(f"two DCs in view {view_id}: n{self._dcs[view_id]} and, says {box.name}, n{named}")
            case "decide":
                self.counts.decisions += 1
                self._decisions[node.crm_id, int(record["number"])] = self._changes.get(node.crm_id, 0)
                if self._deciders.setdefault(view_id, box.node_id) != box.node_id:
                    self._fail(f"two DCs in view {view_id}: n{self._deciders[view_id]} and {box.name} decide")
            case "action_lost":
                self.counts.lost_actions += 1
                self._check_lost(box, node, record)
            case "cib_changed":
                self._changes[node.crm_id] = self._changes.get(node.crm_id, 0) + 1
            case "transition_stuck":
                self._fail(f"a transition of {box.name} cannot be carried out to its end: {record['actions'][:3]}")
            case _:
                pass

    def _check_lost(self, box: Box, node: Node, record: dict[str, Any]) -> None:
        """The DC gives an operation up. Its node must not have reported it long ago, to this very view."""
        world, view = self._world, node.controller.view
        other = world.box_named(str(record["on"]))
        if view is None or other is None or other.node_id not in view.group or not other.crm_up:
            return
        history = status.history_of(node.cib.document, str(other.node_id))
        key = _INSTANCE.sub("", str(record["operation"]))
        for entry in () if history is None else history.iter("lrm_rsc_op"):
            if entry.get("op-status") != "-1" or entry.get("operation_key") != key:
                continue
            life, when = self._reported.get((other.node_id, entry.get("transition-key", "")), (0, 0))
            known_ms = max(when, self._synced_ms.get(box.node_id, 0), self._synced_ms.get(other.node_id, 0))
            if life == world.life_of(other) and world.now - known_ms > REPORT_MS:
                self._fail(f"a report was lost: {record['operation']} on {other.name} counts as lost by {box.name}")

    def begun(self, box: Box, core: Executor) -> None:
        """A crm has taken over what its predecessor had written down."""
        wrong = set(box.running) & set(core._resources) - set(core.active_resources()) - box.guests
        if wrong:
            self._fail(f"a crm begins with a wrong idea: {', '.join(sorted(wrong))} runs on {box.name}")

    @contextmanager
    def decided(self, number: int) -> Iterator[None]:
        """What is ordered in here is what a new decision allows at once, whatever has happened meanwhile."""
        self._carrying = number
        yield
        self._carrying = 0

    def sent(self, box: Box, node: Node, orders: Orders) -> None:
        """The DC sends orders of one transition."""
        known = self._decisions.get((node.crm_id, orders.transition), 0)
        coordinator = node.controller.coordinator
        if orders.transition == self._carrying or known == self._changes.get(node.crm_id, 0):
            return
        if coordinator is None or coordinator.transition is None:
            return
        urgent = {s.action.id for s in coordinator.transition.graph.synapses if s.priority >= INFINITY}
        late = [order.action.key for order in orders.orders if order.action.id not in urgent]
        if late:
            self._fail(f"{box.name} orders {', '.join(late)} by a decision that a change has overtaken")

    def ordered(self, box: Box, life: int, transition_key: str, operation: str) -> None:
        """A node's executor is given an order. `operation` names what it is to do, empty where doing it twice is no harm."""
        if (box.node_id, transition_key) in self._ordered:
            self._fail(f"ordered twice: {transition_key} on {box.name}")
        for key in self.unreported(box, life) if operation else ():
            if self._operations.get(key) == operation:
                self._fail(f"ordered again while it is under way: {operation} on {box.name}")
        self._ordered[(box.node_id, transition_key)] = life
        self._operations[transition_key] = operation

    def reported(self, box: Box, transition_key: str) -> None:
        self._reported[box.node_id, transition_key] = (
            self._ordered.get((box.node_id, transition_key), 0),
            self._world.now,
        )
        self._ordered[(box.node_id, transition_key)] = 0

    def unreported(self, box: Box, life: int) -> list[str]:
        """Orders of this life of crm that have had no report."""
        return [key for (node_id, key), of in self._ordered.items() if node_id == box.node_id and of == life]

    def answering(self, box: Box, view: GroupView | None, reply: Reply) -> None:
        """A node is about to tell a client that its change is made."""
        if view is not None and not reply.error:
            self._answers[box.node_id, reply.version] = view

    def promise(self, box: Box, element: str, there: bool, version: Version) -> None:
        """A client of this machine was told: it is on every disk of the view.

        What half of the nodes accept that may go on (`two_node`) must survive in a file at least, as what a minority accepts.
        """
        view = self._answers[box.node_id, version]
        certain = view.quorate and self._world.cluster_swarm.messaging.is_majority(view.group)
        self.counts.promises += 1
        self.promises.append(Promise(element, there, certain))
        for node_id in sorted(view.group | {box.node_id}) if certain else ():
            file = self._world.boxes[node_id].state_dir / "cib/cib.xml"
            if (f'"{element}"' in file.read_text()) != there:
                self._fail(f"told before it is on the disk of n{node_id}: {element} there={there}")


def _roles(box: Box, base: str) -> set[str]:
    return {role for name, role in box.running.items() if name.partition(":")[0] == base}
