"""A small deterministic world for messaging cores: virtual time, a faulty network, crashes, pauses, and checkers.

Everything derives from one seed. The nodes are the same `messaging.node.Node` the daemon runs; this module performs
their effects. Checks that must always hold are made as things happen and raise `Violation`.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from messaging.config import (
    Endpoint,
    LinkConfig,
    LinkMode,
    MessagingConfig,
    NodeConfig,
    QuorumConfig,
    Timers,
)
from messaging.effects import (
    AskTieBreaker,
    CloseStream,
    CrmAttached,
    CrmDetached,
    CrmMulticast,
    CrmSend,
    CrmVouched,
    DatagramReceived,
    DropCrm,
    Durable,
    Effect,
    Event,
    EvidenceChanged,
    Finished,
    LeaveRequested,
    Notify,
    OpenStream,
    Persist,
    Report,
    SendDatagram,
    SendStream,
    Started,
    StreamClosed,
    StreamOpened,
    StreamReceived,
    TimerFired,
)
from messaging.node import Node
from messaging.types import Delivered, Direct, Undelivered, View, ViewId

TIMERS = Timers(keepalive_ms=200, warntime_ms=500, deadtime_ms=1000, initdead_ms=3000, vouch_ms=3000)
VOUCH_EVERY_MS = 1000


class Violation(AssertionError):
    """Something that must never happen did."""


def make_config(
    node_id: int, count: int, quorum: QuorumConfig | None = None, timers: Timers = TIMERS
) -> MessagingConfig:
    from pathlib import Path

    nodes = tuple(NodeConfig(n, f"n{n}", 1, (Endpoint("127.0.0.1", 7000 + n),)) for n in range(1, count + 1))
    return MessagingConfig(
        cluster="world",
        node_id=node_id,
        nodes=nodes,
        links=(LinkConfig(0, LinkMode.UNICAST, 7000),),
        timers=timers,
        quorum=quorum or QuorumConfig(expected_votes=count),
        key_file=Path("/nowhere"),
        state_dir=Path("/nowhere"),
        run_dir=Path("/nowhere"),
    )


@dataclass
class Machine:
    """One node: its core while it runs, and what its disk holds."""

    node_id: int
    core: Node | None = None
    incarnation: int = 0
    life: int = 0
    durable: Durable = field(default_factory=lambda: Durable(0, False))
    paused_until: int = 0
    inbox: list[Event] = field(default_factory=list)
    timer_at: int | None = None
    # its crm
    attached: bool = False
    session: int = 0
    crm_view: View | None = None
    views: list[View] = field(default_factory=list)
    delivered: dict[ViewId, list[Delivered]] = field(default_factory=dict)
    open_tokens: dict[int, bytes] = field(default_factory=dict)
    directs: list[tuple[int, bytes]] = field(default_factory=list)
    next_token: int = 0
    evidence: bool = False


@dataclass
class Stream:
    """A connection between two lives. Each direction is first in, first out; a cut network only delays, until given up."""

    low: int
    high: int
    lives: tuple[int, int]
    ready_at: dict[int, int]
    stalled_since: int | None = None
    open: bool = True


class World:
    """See the module's text. `log` collects a readable trace."""

    def __init__(self, seed: int, count: int, quorum: QuorumConfig | None = None, timers: Timers = TIMERS) -> None:
        self.random = random.Random(seed)
        self.count = count
        self.now = 1000
        self.machines = {n: Machine(n) for n in range(1, count + 1)}
        self.cut: set[tuple[int, int]] = set()
        self.loss = 0.0
        self.duplication = 0.0
        self.max_delay = 3
        self.log: list[str] = []
        self.agreed: dict[ViewId, tuple[object, ...]] = {}
        self.ordered: dict[tuple[ViewId, int], tuple[int, int, bytes]] = {}
        self.multicasts = 0
        self._quorum = quorum
        self._timers = timers
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._streams: dict[tuple[int, int], Stream] = {}
        self._dialing: set[tuple[int, int]] = set()

    # --- time

    def at(self, when: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._count), what))

    def run_until(self, when: int) -> None:
        while self._queue and self._queue[0][0] <= when:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = when

    def run_for(self, how_long: int) -> None:
        self.run_until(self.now + how_long)

    def wait(self, condition: Callable[[], bool], limit: int, what: str) -> int:
        """Run until the condition holds; how long it took. Violation when it does not within the limit."""
        start = self.now
        while not condition():
            if self.now - start >= limit:
                raise Violation(f"not within {limit} ms: {what}; {self.describe()}")
            self.run_for(5)
        return self.now - start

    def note(self, text: str) -> None:
        self.log.append(f"{self.now:8d} {text}")

    def describe(self) -> str:
        return "; ".join(
            f"n{m.node_id}: "
            + (
                "down"
                if m.core is None
                else f"{m.core.membership.phase} "
                + (
                    f"{m.core.membership.view.view_id} {sorted(m.core.membership.view.member_ids)} "
                    f"group {sorted(m.core.membership.view.group)}"
                    if m.core.membership.view
                    else "no view"
                )
            )
            for m in self.machines.values()
        )

    # --- faults

    def boot(self, node_id: int, *, attach: bool = True, reboot: bool = True) -> None:
        machine = self.machines[node_id]
        machine.life += 1
        machine.incarnation = self.now * 10 + node_id
        if reboot:
            machine.durable = dataclasses.replace(machine.durable, seen_all=False)
        config = make_config(node_id, self.count, self._quorum, self._timers)
        machine.core = Node(config, machine.incarnation, machine.durable)
        machine.paused_until, machine.timer_at = 0, None
        machine.inbox.clear()
        machine.views, machine.delivered, machine.directs = [], {}, []
        machine.attached, machine.crm_view = False, None
        machine.open_tokens.clear()
        self.note(f"n{node_id} boots, incarnation {machine.incarnation}")
        self.give(node_id, Started())
        if machine.evidence:
            self.give(node_id, EvidenceChanged(True))
        if attach:
            self.attach(node_id)

    def crash(self, node_id: int) -> None:
        self.note(f"n{node_id} crashes")
        machine = self.machines[node_id]
        machine.core, machine.attached = None, False
        self._dialing = {pair for pair in self._dialing if pair[0] != node_id}
        for key in [key for key in self._streams if node_id in key]:
            self._give_up_later(key)

    def pause(self, node_id: int, how_long: int) -> None:
        self.note(f"n{node_id} pauses for {how_long}")
        self.machines[node_id].paused_until = self.now + how_long
        life = self.machines[node_id].life
        self.at(self.now + how_long, lambda: self._resume(node_id, life))

    def _resume(self, node_id: int, life: int) -> None:
        machine = self.machines[node_id]
        if machine.life != life or self.now < machine.paused_until:
            return
        inbox, machine.inbox = machine.inbox, []
        for event in inbox:
            self.give(node_id, event)
        self.give(node_id, TimerFired())

    def split(self, *sides: set[int]) -> None:
        """Only nodes on the same side reach each other."""
        self.note(f"split {sides}")
        side = {node_id: number for number, part in enumerate(sides) for node_id in part}
        self.cut = {
            (a, b) for a in self.machines for b in self.machines if a != b and side.get(a, -a) != side.get(b, -b)
        }

    def heal(self) -> None:
        self.note("heal")
        self.cut = set()
        self.loss = self.duplication = 0.0

    def up(self) -> list[int]:
        return [n for n, machine in self.machines.items() if machine.core is not None]

    # --- crm

    def attach(self, node_id: int) -> None:
        machine = self.machines[node_id]
        machine.attached = True
        machine.session += 1
        machine.crm_view = None
        machine.views, machine.delivered = [], {}
        machine.open_tokens.clear()
        self.give(node_id, CrmAttached())
        self._vouch(node_id, machine.life, machine.session)

    def detach(self, node_id: int, *, graceful: bool = False) -> None:
        machine = self.machines[node_id]
        if machine.core is not None and machine.attached:
            self.note(f"n{node_id} crm detaches")
            machine.attached = False
            machine.open_tokens.clear()
            self.give(node_id, CrmDetached(graceful))

    def _vouch(self, node_id: int, life: int, session: int) -> None:
        machine = self.machines[node_id]
        if machine.life == life and machine.session == session and machine.attached:
            self.give(node_id, CrmVouched())
            self.at(self.now + VOUCH_EVERY_MS, lambda: self._vouch(node_id, life, session))

    def multicast(self, node_id: int, payload: bytes) -> None:
        machine = self.machines[node_id]
        if machine.core is None or machine.crm_view is None or not machine.attached or self.now < machine.paused_until:
            return
        machine.next_token += 1
        machine.open_tokens[machine.next_token] = payload
        self.multicasts += 1
        self.give(node_id, CrmMulticast(machine.next_token, machine.crm_view.view_id, payload))

    def send(self, node_id: int, target: int, payload: bytes) -> None:
        if self.machines[node_id].core is not None:
            self.give(node_id, CrmSend(target, payload))

    def leave(self, node_id: int) -> None:
        self.note(f"n{node_id} leaves")
        self.give(node_id, LeaveRequested())

    def set_evidence(self, node_id: int, holds: bool) -> None:
        self.machines[node_id].evidence = holds
        if self.machines[node_id].core is not None:
            self.give(node_id, EvidenceChanged(holds))

    def _evidence(self, machine: Machine, life: int) -> None:
        if machine.life == life and machine.core is not None:
            self.give(machine.node_id, EvidenceChanged(machine.evidence))

    # --- running the cores

    def give(self, node_id: int, event: Event) -> None:
        machine = self.machines[node_id]
        if machine.core is None:
            return
        if self.now < machine.paused_until:
            if not isinstance(event, TimerFired):
                machine.inbox.append(event)
            return
        for effect in machine.core.handle(event, self.now):
            self._perform(machine, effect)
            if machine.core is None:
                return
        self._arm(machine)

    def _arm(self, machine: Machine) -> None:
        assert machine.core is not None
        due = machine.core.due_ms
        if due is None or machine.timer_at == due:
            return
        machine.timer_at = due
        life = machine.life
        self.at(due, lambda: self._fire(machine, life, due))

    def _fire(self, machine: Machine, life: int, due: int) -> None:
        if machine.life == life and machine.timer_at == due and machine.core is not None:
            machine.timer_at = None
            self.give(machine.node_id, TimerFired())

    def _perform(self, machine: Machine, effect: Effect) -> None:
        match effect:
            case SendDatagram(payload):
                self._datagram(machine, payload)
            case SendStream(peer, payload):
                self._stream_send(machine, peer, payload)
            case OpenStream(peer):
                self._dial(machine.node_id, peer, machine.life)
            case CloseStream(peer):
                self._close(machine.node_id, peer)
            case Persist(durable):
                machine.durable = durable
            case Notify(event):
                self._crm_event(machine, event)
            case AskTieBreaker():
                life = machine.life
                self.at(self.now + self.random.randint(1, 300), lambda: self._evidence(machine, life))
            case Report(_, text):
                self.note(f"n{machine.node_id}   {text}")
            case DropCrm(_):
                machine.attached = False
                machine.open_tokens.clear()
            case Finished():
                self.note(f"n{machine.node_id} has left")
                machine.core, machine.attached = None, False
                self._dialing = {pair for pair in self._dialing if pair[0] != machine.node_id}
                for key in [key for key in self._streams if machine.node_id in key]:
                    self._break(key)
            case _:
                pass

    # --- datagrams

    def _datagram(self, machine: Machine, payload: bytes) -> None:
        sender, incarnation = machine.node_id, machine.incarnation
        for target in self.machines:
            if target == sender or (sender, target) in self.cut:
                continue
            copies = 2 if self.random.random() < self.duplication else 1
            for _ in range(copies):
                if self.random.random() < self.loss:
                    continue
                event = DatagramReceived(0, sender, incarnation, payload)
                self.at(self.now + self.random.randint(0, self.max_delay), lambda t=target, e=event: self.give(t, e))

    # --- streams

    def _reachable(self, a: int, b: int) -> bool:
        return (a, b) not in self.cut and (b, a) not in self.cut

    def _dial(self, a: int, b: int, life: int) -> None:
        if (a, b) in self._dialing:
            return
        self._dialing.add((a, b))
        self.at(self.now + self.random.randint(1, 5), lambda: self._try_dial(a, b, life))

    def _try_dial(self, a: int, b: int, life: int) -> None:
        first, second = self.machines[a], self.machines[b]
        if (a, b) not in self._dialing or first.life != life:
            return
        if second.core is None or not self._reachable(a, b):
            self.at(self.now + 50, lambda: self._try_dial(a, b, life))
            return
        self._dialing.discard((a, b))
        key = (min(a, b), max(a, b))
        if key in self._streams:
            self._break(key)
        self._streams[key] = Stream(key[0], key[1], (self.machines[key[0]].life, self.machines[key[1]].life), {})
        self.give(a, StreamOpened(b, second.incarnation))
        self.give(b, StreamOpened(a, first.incarnation))

    def _close(self, a: int, b: int) -> None:
        self._dialing.discard((a, b))
        key = (min(a, b), max(a, b))
        stream = self._streams.pop(key, None)
        if stream is not None:
            stream.open = False
            delay = self._timers.deadtime_ms if not self._reachable(a, b) else 1
            life = self.machines[b].life
            self.at(self.now + delay, lambda: self._other_end(key, a, b, life))

    def _other_end(self, key: tuple[int, int], a: int, b: int, life: int) -> None:
        if self.machines[b].life == life and key not in self._streams:
            self.give(b, StreamClosed(a))

    def _break(self, key: tuple[int, int]) -> None:
        stream = self._streams.pop(key, None)
        if stream is None:
            return
        stream.open = False
        for end, other, life in ((key[0], key[1], stream.lives[0]), (key[1], key[0], stream.lives[1])):
            if self.machines[end].life == life:
                self.give(end, StreamClosed(other))

    def half_break(self, a: int, b: int) -> None:
        """The stream ends at `a` and `b` does not hear of it: the farewell went the way of the link that failed."""
        stream = self._streams.pop((min(a, b), max(a, b)))
        stream.open = False
        self.note(f"the stream to n{b} ends at n{a} only")
        self.give(a, StreamClosed(b))

    def _give_up_later(self, key: tuple[int, int]) -> None:
        stream = self._streams.get(key)

        def give_up() -> None:
            if self._streams.get(key) is stream:
                self._break(key)

        self.at(self.now + self.random.choice([1, self._timers.deadtime_ms]), give_up)

    def _stream_send(self, machine: Machine, peer: int, payload: bytes) -> None:
        key = (min(machine.node_id, peer), max(machine.node_id, peer))
        stream = self._streams.get(key)
        if stream is None:
            return
        ready = max(stream.ready_at.get(peer, 0), self.now + self.random.randint(0, self.max_delay))
        stream.ready_at[peer] = ready
        self.at(ready, lambda: self._stream_arrive(key, stream, machine.node_id, peer, payload, self.now))

    def _stream_arrive(
        self, key: tuple[int, int], stream: Stream, sender: int, peer: int, payload: bytes, _: int
    ) -> None:
        if not stream.open:
            return
        if not self._reachable(sender, peer) or (stream.stalled_since is not None):
            # TCP: everything behind waits for this one, until the kernel gives up
            if stream.stalled_since is None:
                stream.stalled_since = self.now
                self.at(self.now + self._timers.deadtime_ms, lambda: self._unstall(key, stream))
            stream.ready_at.setdefault(-peer, 0)
            self._stalled(stream).append((sender, peer, payload))
            return
        if self.machines[peer].core is None:
            return
        self.give(peer, StreamReceived(sender, payload))

    def _stalled(self, stream: Stream) -> list[tuple[int, int, bytes]]:
        if not hasattr(stream, "queue"):
            stream.queue = []  # type: ignore[attr-defined]
        queue: list[tuple[int, int, bytes]] = stream.queue  # type: ignore[attr-defined]
        return queue

    def _unstall(self, key: tuple[int, int], stream: Stream) -> None:
        if self._streams.get(key) is not stream:
            return
        if not self._reachable(*key):
            self._break(key)
            return
        stream.stalled_since = None
        queue = list(self._stalled(stream))
        self._stalled(stream).clear()
        for sender, peer, payload in queue:
            if stream.open and self.machines[peer].core is not None:
                self.give(peer, StreamReceived(sender, payload))

    # --- checkers

    def _crm_event(self, machine: Machine, event: object) -> None:
        match event:
            case View():
                self._check_view(machine, event)
            case Delivered():
                self._check_delivered(machine, event)
            case Undelivered(token):
                if machine.open_tokens.pop(token, None) is None:
                    raise Violation(f"n{machine.node_id}: token {token} has a second fate: undelivered")
            case Direct(sender, payload):
                machine.directs.append((sender, payload))
            case _:
                pass

    def _check_view(self, machine: Machine, view: View) -> None:
        me = machine.node_id
        content = (view.members, view.group, view.quorate, view.reason)
        if self.agreed.setdefault(view.view_id, content) != content:
            raise Violation(f"view {view.view_id} differs at n{me}: {content} and {self.agreed[view.view_id]}")
        if me not in view.member_ids:
            raise Violation(f"n{me} installs view {view.view_id} without itself")
        last = machine.crm_view
        if last is not None and view.view_id <= last.view_id:
            raise Violation(f"n{me} goes back from view {last.view_id} to {view.view_id}")
        if last is not None:
            self._check_relative(machine, last, view)
        machine.crm_view = view
        machine.views.append(view)
        machine.delivered.setdefault(view.view_id, [])
        if view.quorate and self._quorum is None:
            self._check_one_majority(machine, view)

    def _check_relative(self, machine: Machine, last: View, view: View) -> None:
        me = machine.node_id
        expected = (set(last.members) - set(view.left)) | set(view.joined)
        if expected != set(view.members):
            raise Violation(f"n{me}: {last.view_id} - left + joined is not {view.view_id}")
        # who came along has delivered the same
        for other in self.machines.values():
            if (
                other is machine
                or not other.attached
                or len(other.views) < 2
                or other.views[-1].view_id != view.view_id
            ):
                continue
            before = other.views[-2]
            if before.view_id != last.view_id:
                continue
            theirs, mine = other.delivered[last.view_id], machine.delivered[last.view_id]
            if (
                me in last.group
                and other.node_id in last.group
                and [d.payload for d in theirs] != [d.payload for d in mine]
            ):
                raise Violation(f"n{me} and n{other.node_id} left view {last.view_id} with different messages")

    def _check_one_majority(self, machine: Machine, view: View) -> None:
        for other in self.machines.values():
            theirs = other.core.membership.view if other.core else None
            if theirs is not None and theirs.quorate and not (theirs.member_ids & view.member_ids):
                raise Violation(f"two quorate views without a common member: {view.view_id} and {theirs.view_id}")

    def _check_delivered(self, machine: Machine, event: Delivered) -> None:
        me = machine.node_id
        if machine.crm_view is None or event.view_id != machine.crm_view.view_id:
            raise Violation(f"n{me} delivers a message of view {event.view_id} outside of it")
        log = machine.delivered[event.view_id]
        if event.sequence != len(log) + 1:
            raise Violation(f"n{me}: message {event.sequence} after {len(log)} in view {event.view_id}")
        if event.sender not in machine.crm_view.group:
            raise Violation(f"n{me} delivers from n{event.sender}, which is not in the group")
        content = (event.sender, event.token, event.payload)
        if self.ordered.setdefault((event.view_id, event.sequence), content) != content:
            raise Violation(f"order of view {event.view_id} differs at {event.sequence}")
        log.append(event)
        if event.sender == me and machine.open_tokens.pop(event.token, None) is None:
            raise Violation(f"n{me}: token {event.token} has a second fate: delivered")

    # --- what must come true

    def agree(self, members: set[int]) -> bool:
        """Whether these nodes, and only they, share one view with all their crms."""
        views = []
        for node_id in members:
            core = self.machines[node_id].core
            if core is None or core.membership.view is None:
                return False
            views.append(core.membership.view)
        attached = {n for n in members if self.machines[n].attached}
        return all(
            view.view_id == views[0].view_id and view.member_ids == members and view.group == attached for view in views
        )
