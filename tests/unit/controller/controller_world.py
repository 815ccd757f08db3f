"""A few controllers with a perfect network: messages are delivered to all in one order, one at a time.

Executors only keep what they were told to run; a test says how it ended. The policy engine is a function that the test gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from crm.cib import xml
from crm.cib.xml import Version
from crm.controller import status
from crm.controller.core import Controller
from crm.controller.effects import (
    Acknowledge,
    AddNodes,
    Answer,
    Decide,
    Effect,
    Execute,
    Fence,
    Forget,
    KeepAttributes,
    Leave,
    Multicast,
    Record,
    Refused,
    Synchronised,
    UseFeatures,
)
from crm.controller.graph import parse
from crm.controller.messages import Message, Order, encode
from crm.controller.status import Update
from crm.controller.types import Identity, OperationReport, Settings
from messaging.types import Member, View, ViewId

Policy = Callable[[etree._Element], str]


@dataclass
class Replica:
    document: etree._Element
    stands: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def version(self) -> Version:
        return xml.version(self.document)

    def digest(self) -> str:
        return xml.digest(self.document)

    def apply_status(self, updates: Iterable[Update]) -> Sequence[Update]:
        changed = status.apply(self.document, updates)
        if changed:
            now = self.version
            xml.set_version(self.document, Version(now.admin_epoch, now.epoch, now.num_updates + 1))
        return changed

    @property
    def standing(self) -> tuple[int, int, int, int]:
        return self.stands

    def copy(self) -> bytes:
        return xml.to_bytes(self.document)

    def adopt(self, copy: bytes) -> None:
        self.document = xml.parse(copy)


@dataclass
class Executor:
    lrm: str | None = None

    def history(self) -> str | None:
        return self.lrm

    def active(self) -> bool:
        return self.lrm is not None


@dataclass
class Node:
    node_id: int
    name: str
    replica: Replica
    executor: Executor
    controller: Controller
    incarnation: int = 1
    orders: list[Order] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    decisions: list[Decide] = field(default_factory=list)
    left: str | None = None
    told: list[Forget | KeepAttributes] = field(default_factory=list)
    synced: bool = False
    answers: dict[int, str] = field(default_factory=dict)
    refused: str = ""
    strangers: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    wishes: list[str] = field(default_factory=list)
    """Feature sets that it wanted the cluster to use, as the DC."""

    def run(self, key: str) -> Order:
        """Take the order with this operation key off the pile."""
        found = next((order for order in self.orders if order.action.key == key), None)
        assert found is not None, f"{self.name} has no order {key}, only {[order.action.key for order in self.orders]}"
        self.orders.remove(found)
        return found


@dataclass
class World:
    """`policy` answers each decision at once; set `deciding` to False to hold the answers back in `Node.decisions`."""

    policy: Policy
    nodes: dict[int, Node] = field(default_factory=dict)
    now_ms: int = 1000
    epoch_s: int = 1_700_000_000
    deciding: bool = True
    view: View | None = None
    silent: set[int] = field(default_factory=set)
    """Nodes whose acknowledgements are lost with them."""
    _wire: deque[tuple[int, Message, int]] = field(default_factory=deque)
    _sequence: int = 0

    def add(
        self,
        node_id: int,
        cib: str | None = None,
        settings: Settings | None = None,
        lrm: str | None = None,
        life: int = 1,
    ) -> Node:
        document = xml.empty() if cib is None else xml.parse(cib)
        replica, executor = Replica(document), Executor(lrm)
        me = Identity(node_id, f"n{node_id}", f"00000000-0000-4000-8000-{life:04d}{node_id:08d}")
        node = Node(node_id, me.name, replica, executor, Controller(me, replica, executor, settings), life)
        self.nodes[node_id] = node
        return node

    def install(
        self,
        *members: int,
        group: Sequence[int] | None = None,
        quorate: bool = True,
        deliver: bool = True,
        abrupt: bool = False,
        late_news: bool = False,
    ) -> View:
        """Everybody named installs the next view; what was on the wire dies with the old one.

        With `late_news` its senders hear of that only after the new view, because they sent when it was agreed already.
        Those who are gone were silent before (`PeerLate`), unless the loss is `abrupt`, as when messaging is restarted.
        """
        dead = [entry for entry in self._wire if entry[0] in members]
        self._wire.clear()
        if not late_news:
            self._bury(dead)
        self._sequence += 1
        present = tuple(Member(i, self.nodes[i].name, self.nodes[i].incarnation) for i in members)
        old = self.view.members if self.view else ()
        self.view = View(
            ViewId(self._sequence, min(members)),
            present,
            frozenset(members if group is None else group),
            quorate,
            "test",
            tuple(m for m in present if m not in old),
            tuple(m for m in old if m not in present),
        )
        for i in members:
            for lost in () if abrupt else self.view.left:
                self.nodes[i].controller.on_peer_late(lost.node_id, 1000, self.now_ms)
            if i in self.view.group:
                self._effects(self.nodes[i], self.nodes[i].controller.on_view(self.view, self.now_ms))
        if late_news:
            self._bury(dead)
        if deliver:
            self.deliver()
        return self.view

    def _bury(self, dead: list[tuple[int, Message, int]]) -> None:
        for sender, _, tag in dead:
            self._effects(self.nodes[sender], self.nodes[sender].controller.on_undelivered(tag, self.now_ms))

    def deliver(self, limit: int = 100_000) -> None:
        """Deliver everything that is on the wire, and what follows from it."""
        while self._wire and limit:
            limit -= 1
            sender, message, tag = self._wire.popleft()
            payload = encode(message)
            assert self.view is not None
            for i in sorted(self.view.group):
                node = self.nodes[i]
                own = tag if i == sender else None
                effects = node.controller.on_delivered(sender, payload, own, self.epoch_s, self.now_ms)
                self._effects(node, effects)

    def pass_time(self, ms: int) -> None:
        """Time passes; controllers are woken when they asked for it."""
        end = self.now_ms + ms
        while True:
            group = self.view.group if self.view else frozenset()
            wakes = [(self.nodes[i].controller.next_wake_ms(), i) for i in group]
            due = sorted((when, i) for when, i in wakes if when is not None and when <= end)
            if not due:
                break
            self.now_ms = max(self.now_ms, due[0][0])
            node = self.nodes[due[0][1]]
            self._effects(node, node.controller.on_tick(self.now_ms))
            self.deliver()
        self.now_ms = end

    def finish(self, node: Node, order: Order, rc: int | None = None, op_status: int = 0, deliver: bool = True) -> None:
        """The executor of `node` reports how an order ended (as expected without `rc`)."""
        action = order.action
        rc = action.target_rc if rc is None else rc
        entry: dict[str, str] | None = None
        if action.task not in ("cancel", "delete") and action.resource is not None:
            suffix = f"{action.task}_{action.interval_ms}" if action.interval_ms else "last_0"
            entry = {
                "id": f"{action.resource.id}_{suffix}",
                "operation_key": action.key,
                "operation": action.task,
                "transition-key": order.transition_key,
                "transition-magic": f"{op_status}:{rc};{order.transition_key}",
                "call-id": "5",
                "rc-code": str(rc),
                "op-status": str(op_status),
                "interval": str(action.interval_ms),
            }
        report = OperationReport(
            action.task,
            action.resource,
            action.interval_ms,
            rc,
            action.target_rc,
            op_status,
            order.transition_key,
            entry,
        )
        self._effects(node, node.controller.on_operation(report, self.epoch_s, self.now_ms))
        if deliver:
            self.deliver()

    def fenced(self, node: Node, ok: bool = True, deliver: bool = True) -> None:
        request = node.fences.pop(0)
        effects = node.controller.on_fenced(request.token, ok, "" if ok else "no device", self.now_ms)
        self._effects(node, effects)
        if deliver:
            self.deliver()

    def answer(self, node: Node) -> None:
        """The policy engine answers the oldest question of `node`."""
        number = node.decisions.pop(0).number
        graph = parse(self.policy(node.replica.document))
        self._effects(node, node.controller.on_decision(number, graph, self.epoch_s * 1000, self.now_ms))
        self.deliver()

    def dc(self) -> Node:
        assert self.view is not None
        found = {self.nodes[i].controller.dc for i in self.view.group}
        assert len(found) == 1, f"the members disagree about the DC: {found}"
        number = found.pop()
        assert number is not None, "there is no DC"
        return self.nodes[number]

    def equal(self) -> bool:
        assert self.view is not None
        return len({self.nodes[i].replica.digest() for i in self.view.group}) == 1

    def perform(self, node: Node, effects: Iterable[Effect]) -> None:
        self._effects(node, effects)
        self.deliver()

    def _effects(self, node: Node, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Multicast(message, tag):
                    self._wire.append((node.node_id, message, tag))
                case Execute(order):
                    node.orders.append(order)
                case Fence():
                    node.fences.append(effect)
                case Decide():
                    node.decisions.append(effect)
                    if self.deciding:
                        number = node.decisions.pop().number
                        graph = parse(self.policy(node.replica.document))
                        answer = node.controller.on_decision(number, graph, self.epoch_s * 1000, self.now_ms)
                        self._effects(node, answer)
                case Record():
                    node.records.append(effect)
                case Leave(reason):
                    node.left = reason
                case Synchronised(now):
                    node.synced = now
                case Acknowledge(member, number) if node.node_id not in self.silent:
                    asker = self.nodes[member]
                    self._effects(asker, asker.controller.on_acknowledged(node.node_id, number))
                case Answer(ticket, problem):
                    node.answers[ticket] = problem
                case Forget() | KeepAttributes():
                    node.told.append(effect)
                case Refused(reason):
                    node.refused = reason
                case UseFeatures(feature_set):
                    node.wishes.append(feature_set)
                case AddNodes(nodes):
                    node.strangers.append(nodes)


# --- graphs -----------------------------------------------------------------------------------------------------------


def rsc_op(number: int, task: str, resource: str, node: int, **meta: Any) -> str:
    interval = meta.get("interval", "0")
    metas = "".join(f' CRM_meta_{name}="{value}"' for name, value in meta.items())
    return (
        f'<rsc_op id="{number}" operation="{task}" operation_key="{resource}_{task}_{interval}" on_node="n{node}" '
        f'on_node_uuid="{node}"><primitive id="{resource}" class="ocf" provider="vigil" type="Dummy"/>'
        f"<attributes{metas}/></rsc_op>"
    )


def crm_event(number: int, task: str, node: int, key: str = "", **meta: Any) -> str:
    metas = "".join(f' CRM_meta_{name}="{value}"' for name, value in meta.items())
    return (
        f'<crm_event id="{number}" operation="{task}" operation_key="{key or f"{task}-n{node}"}" on_node="n{node}" '
        f'on_node_uuid="{node}"><attributes{metas}/></crm_event>'
    )


def graph(*steps: tuple[str, tuple[int, ...]], **attributes: str) -> str:
    """Each step is an action and the ids of its inputs."""
    synapses = []
    for i, (body, inputs) in enumerate(steps):
        triggers = "".join(f'<trigger><rsc_op id="{number}"/></trigger>' for number in inputs)
        synapses.append(f'<synapse id="{i}"><action_set>{body}</action_set><inputs>{triggers}</inputs></synapse>')
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<transition_graph cluster-delay="60s"{extra}>{"".join(synapses)}</transition_graph>'


NOTHING = graph()


def status_of(node: Node, name: str) -> dict[str, str]:
    state = status.node_state_by_name(node.replica.document, name)
    return {} if state is None else {str(key): str(value) for key, value in state.attrib.items()}


def idle(document: etree._Element) -> str:
    return NOTHING


def two(policy: Any = idle, **kwargs: Any) -> World:
    world = World(policy, **kwargs)
    world.add(1)
    world.add(2)
    world.install(1, 2)
    return world


def fence_then_start(document: etree._Element) -> str:
    state = status.node_state_by_name(document, "n2")
    if state is not None and state.get("in_ccm") == "false" and state.get("expected") == "member":
        return graph(
            (crm_event(1, "stonith", 2, stonith_action="reboot"), ()),
            ('<pseudo_event id="2" operation="stop" operation_key="web_stop_0"><attributes/></pseudo_event>', (1,)),
            (rsc_op(3, "start", "web", 1), (2,)),
        )
    return NOTHING
