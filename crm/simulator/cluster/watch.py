"""What must always hold in a cluster, checked against what really happens on the machines, not against what a node believes.

- A primitive is never active on two machines, at any instant; never are two instances of a clone promoted. A machine that is cut off still runs what it
  runs: starting it elsewhere needs its power cut first.
- Where a machine died with a resource and nothing has confirmed that it is off (a fence device, its own return), the resource is not started elsewhere.
- One DC in a view: all members name the same one, and only it decides.
- An order is carried out once, and has one report while the crm that took it lives.
- What a client was told is done is there at the end; `Promise` says what that means for each kind of change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.types import OcfCode, Operation, OperationResult
from crm.simulator.cluster.box import PROMOTED, Box
from messaging.types import ViewId

if TYPE_CHECKING:
    from crm.simulator.cluster.world import ClusterWorld


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
    """A transient attribute of a node that was written: it holds until that node's next life."""

    node_id: int
    life: tuple[int, int]
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
        self._world = world
        self._fail = fail
        self._owners: dict[str, dict[int, int]] = {}
        """Resource -> node id -> boot in which it was active there and has not been seen to be stopped."""
        self._dcs: dict[ViewId, int] = {}
        self._deciders: dict[ViewId, int] = {}
        self._ordered: dict[tuple[int, str], int] = {}
        self._operations: dict[str, str] = {}

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

    def action_ended(self, box: Box, operation: Operation, result: OperationResult) -> None:
        """An agent has told its crm: from here on the cluster may know."""
        self.counts.actions += 1
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

    def event(self, box: Box, record: dict[str, Any]) -> None:
        """A line of a node's event log."""
        name = str(record["event"])
        self.counts.events[name] = self.counts.events.get(name, 0) + 1
        node = box.node
        if node is None or node.controller.view is None:
            return
        view_id, controller = node.controller.view.view_id, node.controller
        match name:
            case "dc":
                self.came_back(box)
                named = controller.dc or 0
                if self._dcs.setdefault(view_id, named) != named:
                    self._fail(f"two DCs in view {view_id}: n{self._dcs[view_id]} and, says {box.name}, n{named}")
            case "decide":
                self.counts.decisions += 1
                if self._deciders.setdefault(view_id, box.node_id) != box.node_id:
                    self._fail(f"two DCs in view {view_id}: n{self._deciders[view_id]} and {box.name} decide")
            case "action_lost":
                self.counts.lost_actions += 1
            case _:
                pass

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
        self._ordered[(box.node_id, transition_key)] = 0

    def unreported(self, box: Box, life: int) -> list[str]:
        """Orders of this life of crm that have had no report."""
        return [key for (node_id, key), of in self._ordered.items() if node_id == box.node_id and of == life]

    def promise(self, promise: Promise) -> None:
        self.counts.promises += 1
        self.promises.append(promise)


def _roles(box: Box, base: str) -> set[str]:
    return {role for name, role in box.running.items() if name.partition(":")[0] == base}
