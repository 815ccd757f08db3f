"""One node of the messaging layer, whole: events in, effects out, no I/O.

`Node` composes the failure detector, the matrix, the agreement on views, the ordering of messages, the channels to the
peers and the session of the local crm. The daemon and the simulator run this same class. `handle` takes one event and
the time and returns the effects in their order; `due_ms` is when a `TimerFired` is wanted next.

What a heartbeat does:

    DatagramReceived -> failure detector (alive) -> matrix (the sender's row) -> agreement (does the view still fit?)
                                                                              -> ordering (what all have is forgotten)

A node whose timer fires late was itself stopped. Up to `deadtime` it only excuses its peers, whose heartbeats it could
not read. Beyond, they have gone on without it: it stands alone in a view of its own, not quorate, until it has heard
them again (`Membership.isolate`).

A peer that is late is asked to speak up, so that between `warntime` and `deadtime` many heartbeats would have to be lost
for a false death.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from messaging import forecast, quorum
from messaging.channel import Channel
from messaging.config import MessagingConfig, TieBreakerType
from messaging.crm_session import CrmSession
from messaging.effects import (
    AskTieBreaker,
    CloseStream,
    CrmAttached,
    CrmDetached,
    CrmMulticast,
    CrmSend,
    CrmVouched,
    DatagramReceived,
    Durable,
    Effect,
    Event,
    Evicted,
    EvidenceChanged,
    Finished,
    HoldCrm,
    LeaveRequested,
    Level,
    OpenStream,
    Persist,
    Relisted,
    SendDatagram,
    SendStream,
    Started,
    StreamClosed,
    StreamOpened,
    StreamReceived,
    TimerFired,
    WaitingEnded,
    WishMade,
)
from messaging.errors import Malformed, invariant
from messaging.failure_detector import Change, FailureDetector, Liveness
from messaging.matrix import Matrix
from messaging.membership import Membership, Phase
from messaging.messages import (
    ChannelAck,
    ChannelData,
    ChannelHello,
    DirectMessage,
    Heartbeat,
    Message,
    Ordered,
    Row,
    RowFlag,
    Submit,
    decode,
    decode_datagram,
    encode,
)
from messaging.ordering import Ordering
from messaging.outbox import Outbox, ToMember
from messaging.quorum import Electorate, Wish
from messaging.tiebreak import Surroundings
from messaging.types import Member, PeerLate, View
from messaging.watchdog_core import Health

BEAT_SPACING_MS = 5
"""Between two heartbeats that are sent because something changed."""

HURRY = 8
"""A node that is asked to speak up does so within this part of a keepalive."""

LATE_TIMER_MS = 100
LEAST_LATE_TIMER_MS = 20
"""A timer this late means that this node was stopped; below, it is ordinary scheduling. With fast timers it is a keepalive."""

SETTLING = 4
"""A stream younger than this part of deadtime may not yet be known at its other end."""

NEVER_MS = 1 << 62

GOODBYE_MS = 1000
GOODBYE_BEAT_MS = 20
MAX_EVALUATIONS = 16
MAX_SPINS = 1000
"""Events in a row after which something is due at once: beyond, we would spin (with real-time priority)."""


@dataclass(slots=True)
class PeerState:
    """The stream to one life of a peer."""

    incarnation: int
    channel: Channel = field(default_factory=Channel)
    dialing: bool = False
    lost_ms: int | None = None
    opened_ms: int = 0
    given_up: bool = False
    """What was sent to this member is forgotten: it is not heard until a view without it stands."""


class Node:
    """See the module's text."""

    def __init__(self, config: MessagingConfig, incarnation: int, durable: Durable) -> None:
        me = config.node(config.node_id)
        self.config = config
        self.me = Member(me.node_id, me.name, incarnation)
        self.due_ms: int | None = None
        self.malformed = 0
        self.weight = 0
        """What this node's crm says that it runs, for a tie-breaker that prefers who runs more."""
        self._timers = config.timers
        self._late_timer_ms = min(LATE_TIMER_MS, max(LEAST_LATE_TIMER_MS, self._timers.keepalive_ms))
        self._hurry_ms = max(BEAT_SPACING_MS, self._timers.keepalive_ms // HURRY)
        self._names = {node.node_id: node.name for node in config.nodes}
        self._out = Outbox()
        self.matrix = Matrix(self.me, {node.node_id: node.votes for node in config.nodes}, self._timers.deadtime_ms)
        self.detector = FailureDetector(self._timers.warntime_ms, self._timers.deadtime_ms)
        self.ordering = Ordering(me.node_id, self._out)
        self.membership = Membership(config, self.me, durable, self.matrix, self.ordering, self._out)
        self.crm = CrmSession(me.node_id, self._timers.vouch_ms, self.matrix, self.ordering, self._out)
        self._peers: dict[int, PeerState] = {}
        self._last_payload: dict[int, bytes] = {}
        self._view: View | None = None
        self._ready_due_ms: int | None = None
        self._beat_due_ms = 0
        self._last_beat_ms = 0
        self._last_beat: tuple[tuple[int, int], SendDatagram] | None = None
        self._at_rest = False
        self._others_due_ms = NEVER_MS
        """When something is due that is neither a beat nor somebody's silence."""
        self._relay_due_ms = 0
        self._distrust_until_ms: int | None = None
        self._goodbye_until_ms: int | None = None
        self._holding = False
        self._evidence = False
        self._evidence_until_ms: int | None = None
        self._evidence_for: frozenset[int] = frozenset()
        self._watched: dict[int, bool] = {}
        self._spins = 0
        self._reach_changed = False
        self._grace_due_ms: int | None = None
        self._surroundings: tuple[tuple[object, ...], Surroundings] | None = None
        self.matrix.set_flag(RowFlag.SEEN_ALL, durable.seen_all)

    # --- the one entry

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event and return what is to be done about it, in order."""
        if self._evidence_until_ms is not None and now_ms >= self._evidence_until_ms:
            self._take_evidence(False, None)  # first of all: this node may have been stopped meanwhile
        if self.due_ms is not None and now_ms - self.due_ms > self._late_timer_ms:
            self._was_stopped(now_ms)
        elif self._at_rest:
            effects = self._everyday(event, now_ms)
            if effects is not None:
                return effects
        elif isinstance(event, DatagramReceived) and self.heard_again(event, now_ms):
            return []
        self._at_rest = False
        self._dispatch(event, now_ms)
        self._run_timers(now_ms)
        agreement_due_ms = self.membership.due_ms()
        agreement_due = agreement_due_ms is not None and now_ms >= agreement_due_ms
        if self._reach_changed or agreement_due:
            self._update_hears(now_ms)
        if self.matrix.dirty or self.membership.moved or agreement_due:
            self._evaluate(now_ms)
        effects = self._drain(now_ms)
        self._set_due(now_ms)
        return effects

    def _everyday(self, event: Event, now_ms: int) -> list[Effect] | None:
        """What a node at rest does nearly all the time, kept short. None when the event needs all of `handle`.

        At rest means: the last event was one of these or a heartbeat sent in full, and nothing is known that the next
        heartbeat would have to say. So only the beat itself, somebody's silence or a timer that is not of every day is due.
        """
        if isinstance(event, DatagramReceived):
            return [] if self.heard_again(event, now_ms) else None
        if isinstance(event, CrmVouched):
            if self.due_ms is None or now_ms >= self.due_ms:
                return None
            self.crm.vouch(now_ms)
            return []  # `due_ms` may now be too early, which is made up for when it comes
        if (
            not isinstance(event, TimerFired)
            or self._last_beat is None
            or not self._beat_due_ms <= now_ms < self._others_due_ms
        ):
            return None
        beat_due_ms = now_ms + self._timers.keepalive_ms
        if not self.detector.in_time(now_ms, beat_due_ms):
            return None
        self._last_beat_ms, self._beat_due_ms = now_ms, beat_due_ms
        if now_ms >= self._relay_due_ms:
            self._relay_due_ms = beat_due_ms
        self.due_ms, self._spins = min(beat_due_ms, self._others_due_ms), 0
        if self.detector.due_ms is not None and self.detector.due_ms < self.due_ms:
            self.due_ms = self.detector.due_ms
        return [self._last_beat[1]]

    def heard_again(self, event: DatagramReceived, now_ms: int) -> bool:
        """The everyday case, kept short: a heartbeat in time that says what the last one of that node said.

        True when that is all there is to it: nothing follows, and `due_ms` stays as it is.
        """
        due_ms = self.due_ms
        if due_ms is None or now_ms >= due_ms or self._last_payload.get(event.sender) != event.payload:
            return False
        return self.detector.heard_in_time(event.sender, event.incarnation, event.link, now_ms)

    def _dispatch(self, event: Event, now_ms: int) -> None:
        match event:
            case DatagramReceived():
                self._on_datagram(event, now_ms)
            case StreamReceived(peer, payload):
                self._on_stream(peer, payload, now_ms)
            case TimerFired():
                pass
            case CrmMulticast():
                self.crm.multicast(event)
            case CrmSend(target, payload):
                self.crm.send(target, payload)
            case CrmVouched():
                self.crm.vouch(now_ms)
            case StreamOpened(peer, incarnation):
                self._on_stream_opened(peer, incarnation, now_ms)
            case StreamClosed(peer):
                self._on_stream_closed(peer, now_ms)
            case CrmAttached():
                self.crm.attach(now_ms)
            case CrmDetached(graceful):
                self.crm.detach(graceful, self._agreement_runs())
            case EvidenceChanged(holds, until_ms, members):
                self._take_evidence(holds and (until_ms is None or now_ms < until_ms), until_ms, members)
            case Evicted(by):
                if self.membership.phase is not Phase.LEFT:
                    self._stand_alone(f"node {by} has evicted this node: it goes on without us", now_ms)
            case WishMade(wish):
                self.membership.ask(wish)
            case Relisted(config):
                self._relist(config)
            case WaitingEnded():
                self.membership.stop_waiting()
            case LeaveRequested():
                self._leave(now_ms)
            case Started():
                self._beat_due_ms = self._last_beat_ms = now_ms
                self._ready_due_ms = now_ms + self._timers.initdead_ms

    def _take_evidence(self, holds: bool, until_ms: int | None, members: frozenset[int] = frozenset()) -> None:
        self._evidence = holds
        self._evidence_until_ms = until_ms if holds else None
        self._evidence_for = members
        self.matrix.set_flag(RowFlag.EVIDENCE, holds and members <= self.matrix.part().keys())

    def _check_evidence(self) -> None:
        """Evidence for certain nodes counts only while they are together."""
        if self._evidence_for:
            together = self._evidence_for <= self.matrix.part().keys()
            self.matrix.set_flag(RowFlag.EVIDENCE, self._evidence and together)

    def _agreement_runs(self) -> bool:
        return self.membership.phase in (Phase.LEADING, Phase.ACCEPTED)

    # --- heartbeats

    def _on_datagram(self, event: DatagramReceived, now_ms: int) -> None:
        sender = event.sender
        if sender not in self._names:
            return  # removed while this was on its way, or not added here yet
        alive = self.detector.alive.get(sender)
        if alive is not None and event.incarnation != alive.incarnation:
            if event.incarnation < alive.incarnation:
                return
            self._lose(sender, "has started again")
            alive = None
        repeated = alive is not None and self._last_payload.get(sender) == event.payload
        if not repeated and not self._learn(event, now_ms):
            return
        if alive is None:
            self._out.report(Level.INFO, f"node {self._names[sender]} is heard")
            self._beat_due_ms = min(self._beat_due_ms, self._last_beat_ms + BEAT_SPACING_MS)  # let it hear us too
            self._reach_changed = True
        change = self.detector.heard(sender, event.incarnation, event.link, now_ms)
        if change:
            self._tell(change)

    def _learn(self, event: DatagramReceived, now_ms: int) -> bool:
        """Take the rows of a heartbeat. False when it is none."""
        try:
            beat = decode_datagram(event.payload)
        except Malformed:
            self.malformed += 1
            return False
        if (
            not isinstance(beat, Heartbeat)
            or beat.row.node_id != event.sender
            or beat.row.incarnation != event.incarnation
        ):
            self.malformed += 1
            return False
        known = self.matrix.direct.get(event.sender)
        if known is None or known.incarnation != event.incarnation or beat.row.version >= known.version:
            self.matrix.learn(beat.row)
            self._watched[event.sender] = bool(beat.row.flags & RowFlag.WATCHED)
            self.membership.note_row(beat.row)
            self.ordering.on_received(event.sender, beat.row.view_id, beat.received)
            for row, age_ms in beat.relayed:
                self.matrix.learn_relayed(row, age_ms, now_ms)
        if self.me.node_id in beat.late:
            self._beat_due_ms = min(self._beat_due_ms, self._last_beat_ms + self._hurry_ms)
        if self.me.node_id in beat.streamless:
            self._on_streamless(event.sender, now_ms)
        if beat.relayed or beat.late or beat.streamless:
            self._last_payload.pop(event.sender, None)  # it must be read again each time
        else:
            self._last_payload[event.sender] = event.payload
        return True

    def _tell(self, change: Change) -> None:
        name = self._names[change.peer]
        match change.liveness:
            case Liveness.LATE:
                self._out.report(Level.WARNING, f"node {name} is late: silent for {change.silent_ms} ms")
                if self.config.quorum.tie_breaker.kind is not TieBreakerType.NONE:
                    self._out.add(AskTieBreaker())
                    if self._evidence_until_ms is None:  # evidence that has an end is never older than it may be
                        self.matrix.set_flag(RowFlag.EVIDENCE, False)  # until it is seen now; the answer sets it
                self._beat_due_ms = min(self._beat_due_ms, self._last_beat_ms + BEAT_SPACING_MS)  # ask it to speak up
                if self._view is not None and change.peer in self._view.member_ids:
                    self._out.notify(PeerLate(change.peer, change.silent_ms))
            case Liveness.BACK:
                self._out.report(Level.INFO, f"node {name} is back in time after {change.silent_ms} ms")
            case Liveness.DEAD:
                self._lose(change.peer, f"is dead: silent for {change.silent_ms} ms")

    def _lose(self, peer_id: int, why: str, *, replaced: bool = False) -> None:
        """This life of the peer is over as far as this node hears."""
        self._out.report(Level.WARNING, f"node {self._names[peer_id]} {why}")
        self._reach_changed = True
        self.detector.forget(peer_id)
        self.matrix.drop(peer_id)
        self._last_payload.pop(peer_id, None)
        state = self._peers.get(peer_id)
        if state is not None:
            state.channel.closed()
            if self._view is None or peer_id not in self._view.member_ids:
                state.channel.forget()  # of a member: when a view without it stands, since it may be back before
            state.dialing = False
            state.lost_ms = None
            if not replaced:  # else the stream that stands now is the one of its next life
                self._out.add(CloseStream(peer_id))

    def _update_hears(self, now_ms: int) -> None:
        self._reach_changed = False
        penalized = self.membership.penalized(now_ms)
        grace_until: list[int] = []
        hears = {}
        for peer_id, alive in self.detector.alive.items():
            state = self._peers.get(peer_id)
            if state is None or state.incarnation != alive.incarnation:
                state = self._peers[peer_id] = PeerState(alive.incarnation)
            if not state.channel.open and not state.dialing and self.me.node_id < peer_id:
                state.dialing = True
                self._out.add(OpenStream(peer_id))
            grace_ms = 0 if state.lost_ms is None else state.lost_ms + self._timers.deadtime_ms
            if now_ms < grace_ms:
                grace_until.append(grace_ms)
            if (state.channel.open or now_ms < grace_ms) and peer_id not in penalized and not state.given_up:
                hears[peer_id] = alive.incarnation
        self._grace_due_ms = min(grace_until, default=None)
        self.matrix.set_hears(hears)

    # --- streams

    def _on_stream_opened(self, peer_id: int, incarnation: int, now_ms: int) -> None:
        state = self._peers.get(peer_id)
        if peer_id not in self._names or (state is not None and incarnation < state.incarnation):
            self._out.add(CloseStream(peer_id))
            return
        if state is None or incarnation > state.incarnation:
            if peer_id in self.detector.alive:
                self._lose(peer_id, "has started again", replaced=True)
            state = self._peers[peer_id] = PeerState(incarnation)
        self._reach_changed = True
        state.dialing = False
        state.lost_ms = None
        state.opened_ms = now_ms
        for payload in state.channel.opened():
            self._out.add(SendStream(peer_id, payload))

    def _on_stream_closed(self, peer_id: int, now_ms: int) -> None:
        state = self._peers.get(peer_id)
        if state is None or not state.channel.open:
            return
        self._reach_changed = True
        state.channel.closed()
        state.lost_ms = now_ms
        if peer_id < self.me.node_id:
            self._beat_due_ms = min(self._beat_due_ms, self._last_beat_ms + BEAT_SPACING_MS)  # it must dial: tell it
        self._out.report(Level.INFO, f"the stream to node {self._names[peer_id]} broke")

    def _break_stream(self, peer_id: int, state: PeerState, now_ms: int) -> None:
        """End a stream that is of no use; a new one will be dialed."""
        self._reach_changed = True
        state.channel.closed()
        state.lost_ms = now_ms
        self._out.add(CloseStream(peer_id))

    def _on_streamless(self, peer_id: int, now_ms: int) -> None:
        """The peer hears us and has no stream to us: what stands here stands at one end only.

        A connection that was cut does not tell its other end so (its farewell went the way of the link), and it is this
        node that dials. Waiting until this end notices would take longer than the peer goes on hearing us without.
        """
        state = self._peers.get(peer_id)
        if state is None or not state.channel.open or self.me.node_id > peer_id:
            return
        if now_ms - state.opened_ms >= self._timers.deadtime_ms // SETTLING:
            self._out.report(Level.INFO, f"the stream to node {self._names[peer_id]} has ended there: dialing anew")
            self._break_stream(peer_id, state, now_ms)

    def _on_stream(self, peer_id: int, payload: bytes, now_ms: int) -> None:
        state = self._peers.get(peer_id)
        if state is None or not state.channel.open:
            return
        replies: list[bytes] = []
        body: bytes | None = None
        try:
            match decode(payload):
                case ChannelData() as data:
                    body, replies = state.channel.received(data)
                case ChannelHello() as hello:
                    replies = state.channel.hello(hello)
                case ChannelAck() as ack:
                    state.channel.acked(ack)
                case other:
                    raise Malformed(f"{type(other).__name__} outside the channel")
            for reply in replies:
                self._out.add(SendStream(peer_id, reply))
            if body is not None:
                self._on_message(peer_id, decode(body), now_ms)
        except Malformed as error:
            self.malformed += 1
            self._out.report(Level.WARNING, f"node {self._names[peer_id]} sent nonsense ({error}): stream closed")
            self._break_stream(peer_id, state, now_ms)

    def _on_message(self, sender: int, message: Message, now_ms: int) -> None:
        match message:
            case Ordered():
                self.ordering.on_ordered(sender, message)
            case Submit():
                self.ordering.on_submit(sender, message)
            case DirectMessage():
                self.crm.on_direct(sender, message)
            case _:
                self.membership.on_message(sender, message, now_ms)

    # --- time

    def _was_stopped(self, now_ms: int) -> None:
        silent_ms = now_ms - self._last_beat_ms
        if silent_ms < self._timers.deadtime_ms:
            self._out.report(Level.WARNING, f"this node was stopped for {silent_ms} ms: excusing the others")
            self.detector.excuse(now_ms + 2 * self._timers.keepalive_ms)
            return
        self._stand_alone(
            f"this node was stopped for {silent_ms} ms, longer than deadtime: the others go on without it", now_ms
        )

    def _stand_alone(self, why: str, now_ms: int) -> None:
        """The others have gone on: claim nothing until they are heard anew, or were listened for in vain."""
        self._out.report(Level.ERROR, why)
        self._distrust_until_ms = now_ms + self._timers.deadtime_ms
        self.matrix.set_flag(RowFlag.DISTRUSTED, True)
        for peer_id in list(self.detector.alive):
            self._lose(peer_id, "must be heard anew")
        self._update_hears(now_ms)
        if self.membership.phase is not Phase.LEFT:
            self.membership.isolate(now_ms)
            self._after_install()

    def _run_timers(self, now_ms: int) -> None:
        if self.detector.due_ms is not None and now_ms >= min(self.detector.due_ms, self._beat_due_ms):
            # With every beat, so that while all is well the beats are the only times this node wakes for.
            for change in self.detector.expire(now_ms):
                self._tell(change)
        if self._grace_due_ms is not None and now_ms >= self._grace_due_ms:
            self._reach_changed = True
        self.matrix.expire(now_ms)
        if self._ready_due_ms is not None and now_ms >= self._ready_due_ms:
            self._ready_due_ms = None
            self.matrix.set_flag(RowFlag.READY, True)
        if self._distrust_until_ms is not None and now_ms >= self._distrust_until_ms:
            self._distrust_until_ms = None
            self.matrix.set_flag(RowFlag.DISTRUSTED, False)
        if self.crm.vouch_due_ms is not None and now_ms >= self.crm.vouch_due_ms:
            self.crm.expire(now_ms, self._agreement_runs())
        if self._goodbye_until_ms is not None and (now_ms >= self._goodbye_until_ms or self._goodbye_heard()):
            self._goodbye_until_ms = None
            self._out.add(Finished())

    def _evaluate(self, now_ms: int) -> None:
        for _ in range(MAX_EVALUATIONS):
            self._check_evidence()
            self.membership.evaluate(now_ms)
            self._after_install()
            self._update_hears(now_ms)
            if not self.matrix.dirty:
                return
        invariant(False, "the agreement does not come to rest")

    def _after_install(self) -> None:
        view = self.membership.view
        if view is not None and view is not self._view:
            self._view = view
            for member in view.left:
                state = self._peers.get(member.node_id)
                if state is not None and member.node_id not in view.member_ids:
                    state.channel.forget()
                    state.given_up = False
            self.crm.installed(view)

    def _leave(self, now_ms: int) -> None:
        if self._goodbye_until_ms is not None:
            return
        self._goodbye_until_ms = now_ms + min(GOODBYE_MS, self._timers.deadtime_ms)
        self.matrix.set_flag(RowFlag.LEAVING, True)
        self.matrix.set_flag(RowFlag.ATTACHED, False)
        self.membership.leave()
        self.matrix.set_flag(RowFlag.SEEN_ALL, False)

    def _goodbye_heard(self) -> bool:
        """Whether every member that is heard has gone on to a view without this node."""
        if self.matrix.changed:
            return False  # it has not been said yet
        if self._view is None:
            return True
        rows = [self.matrix.direct.get(node_id) for node_id in self._view.member_ids - {self.me.node_id}]
        return all(row is None or row.view_id > self._view.view_id for row in rows)

    def _set_due(self, now_ms: int) -> None:
        others_due_ms = NEVER_MS
        for moment in (
            self._ready_due_ms,
            self._distrust_until_ms,
            self.crm.vouch_due_ms,
            self._goodbye_until_ms,
            self._grace_due_ms,
            self._evidence_until_ms,
            self.membership.due_ms(),
        ):
            if moment is not None and moment < others_due_ms:
                others_due_ms = moment
        self._others_due_ms = others_due_ms
        due_ms = min(self._beat_due_ms, others_due_ms)
        if self.detector.due_ms is not None and self.detector.due_ms < due_ms:
            due_ms = self.detector.due_ms
        if due_ms > now_ms:
            self.due_ms, self._spins = due_ms, 0
            return
        self.due_ms = now_ms
        self._spins += 1
        invariant(self._spins < MAX_SPINS, "a timer is due for ever")

    # --- output

    def _drain(self, now_ms: int) -> list[Effect]:
        """The effects of this event: what must be on disk first, then the news of this node's row, then the rest."""
        effects: list[Effect] = []
        persists: list[Effect] = []
        for entry in self._out.take() if self._out.any else ():
            if isinstance(entry, ToMember):
                self._send(entry, effects, now_ms)
            elif isinstance(entry, Persist):
                persists.append(entry)
            else:
                effects.append(entry)
        full = self.ordering.full
        for state in self._peers.values():
            full = full or state.channel.full
        if full != self._holding:
            self._holding = full
            self.crm.hold(self._holding, now_ms)
            effects.append(HoldCrm(self._holding))
        if not self.matrix.changed and now_ms < self._beat_due_ms:
            return persists + effects
        return persists + self._beat(now_ms) + effects

    def _send(self, entry: ToMember, effects: list[Effect], now_ms: int) -> None:
        state = self._peers.get(entry.target)
        if state is None:
            return
        effects.extend(SendStream(entry.target, payload) for payload in state.channel.send(encode(entry.message)))
        if state.channel.overflowing:
            state.channel.forget()
            state.given_up = self._view is not None and entry.target in self._view.member_ids
            self.membership.give_up(entry.target, now_ms)
            self._reach_changed = True

    def _beat(self, now_ms: int) -> list[Effect]:
        if self.matrix.changed:
            self._beat_due_ms = min(self._beat_due_ms, self._last_beat_ms + BEAT_SPACING_MS)
        if now_ms < self._beat_due_ms:
            return []
        self.matrix.changed = False
        self._last_beat_ms = now_ms
        late = self.detector.late()
        spacing_ms = 2 * self._hurry_ms if late else self._timers.keepalive_ms
        self._beat_due_ms = now_ms + (GOODBYE_BEAT_MS if self._goodbye_until_ms is not None else spacing_ms)
        relayed: tuple[tuple[Row, int], ...] = ()
        if now_ms >= self._relay_due_ms:  # not with every beat: in a large cluster that starts, all change at once
            self._relay_due_ms = now_ms + self._timers.keepalive_ms
            relayed = self.matrix.to_relay(now_ms)
        streamless = self._streamless()
        if relayed or late or streamless:
            beat = Heartbeat(self.matrix.own, self.ordering.received, relayed, late, streamless)
            return [SendDatagram(encode(beat))]
        said = (self.matrix.own.version, self.ordering.received)
        if self._last_beat is None or self._last_beat[0] != said:
            beat = Heartbeat(self.matrix.own, self.ordering.received)
            self._last_beat = (said, SendDatagram(encode(beat)))
        self._at_rest = self.matrix.uniform and not (
            self._goodbye_until_ms or self._reach_changed or self.matrix.dirty or self.membership.moved
        )
        return [self._last_beat[1]]

    def _streamless(self) -> tuple[int, ...]:
        """Who is heard and would have to dial this node."""
        found = [
            peer_id
            for peer_id, state in self._peers.items()
            if not state.channel.open and peer_id < self.me.node_id and peer_id in self.detector.alive
        ]
        return tuple(sorted(found))

    # --- nodes that come and go

    def _relist(self, config: MessagingConfig) -> None:
        """Who is not listed any more has left before, or is lost now."""
        before, self._names = self._names, {node.node_id: node.name for node in config.nodes}
        self.config = config
        for gone in before.keys() - self._names.keys():
            self._names[gone] = before[gone]
            if gone in self.detector.alive or gone in self._peers:
                self._lose(gone, "is not listed any more")
            self._peers.pop(gone, None)
            self._watched.pop(gone, None)
            del self._names[gone]
        self.matrix.relist(config.votes)
        self.membership.relist(config)
        self._reach_changed = True
        listed = ", ".join(self._names.values())
        self._out.report(Level.WARNING, f"the nodes of the cluster are now {listed}")

    def plan_nodes(self) -> Wish:
        """The electorate that follows from the nodes that are listed now. ValueError when this part has no quorum."""
        rules = self.config.quorum
        return self.plan_electorate(
            quorum.listed_electorate(
                self.membership.roll.current, self.config.votes, rules.expected_votes, rules.rules()
            )
        )

    def plan_retirement(self, node_id: int) -> Wish:
        """A member whose vote shall not count any more, since it is about to be removed. ValueError as above."""
        current = self.membership.roll.current
        members = tuple(each for each in current.members if each != node_id)
        votes = self.config.votes
        if not sum(votes.get(each, 0) for each in members):
            raise ValueError("no vote would be left")
        counted = sum(votes.get(each, 0) for each in members)
        retired = tuple(sorted({*current.retired, node_id}))
        return self.plan_electorate(Electorate(members, counted, retired))

    # --- for the tie-breaker

    def surroundings(self, without: frozenset[int] = frozenset()) -> Surroundings:
        """Whether evidence would give this node's part quorum, and the installed view. `without`: nodes that leave.

        Asked some times a second and mostly under the same circumstances, so the last answer is kept with them.
        """
        present, part = self.membership.phase is not Phase.LEFT, self.matrix.part()
        gone = without.union(self.detector.late())
        circumstances = (present, part, gone, self._view, self.membership.roll, self.weight, self.config)
        if self._surroundings is None or self._surroundings[0] != circumstances:
            self._surroundings = circumstances, self._look_around(present, part, gone)
        return self._surroundings[1]

    def _look_around(self, present: bool, part: Mapping[int, Row], gone: frozenset[int]) -> Surroundings:
        flags = {node_id: row.flags for node_id, row in part.items()}
        staying = {node_id: flag for node_id, flag in flags.items() if node_id not in gone - {self.me.node_id}}
        may_win = present and self._verdict(flags, evidence=True)
        view = self._view
        if view is None:
            return Surroundings(may_win, part=frozenset(staying), needs=present and self._needs(staying))
        rests = view.quorate and self._needs(dict.fromkeys(view.member_ids, RowFlag.SEEN_ALL))
        return Surroundings(
            may_win=may_win,
            quorate=view.quorate,
            view=view.view_id.sequence,
            members=view.members,
            graceful=view.graceful,
            part=frozenset(staying),
            needs=present and (rests or self._needs(staying)),
            weight=self.weight,
        )

    def _needs(self, flags: dict[int, int]) -> bool:
        """Whether these nodes have quorum with evidence, and not without."""
        return self._verdict(flags, evidence=True) and not self._verdict(flags, evidence=False)

    def _verdict(self, flags: dict[int, int], *, evidence: bool) -> bool:
        bit = RowFlag.EVIDENCE if evidence else 0
        return self.membership.verdict({each: flag & ~RowFlag.EVIDENCE | bit for each, flag in flags.items()}).quorate

    # --- for the watchdog

    def health(self, now_ms: int) -> Health:
        """Whether this node deserves to go on.

        Whom it hears now counts beside the view, which may be about to change: by when they were really heard, since the failure
        detector excuses them when this node itself was delayed, perhaps again and again.
        """
        view, me = self._view, self.me.node_id
        limit_ms = self._timers.deadtime_ms + 2 * self._timers.keepalive_ms
        fresh = {peer_id for peer_id, peer in self.detector.alive.items() if now_ms - peer.heard_ms < limit_ms} | {me}
        together = {each: row.flags for each, row in self.matrix.part().items() if each in fresh}
        now_quorate = self.membership.verdict(together).quorate
        return Health(
            quorate=view is not None and view.quorate and now_quorate,
            in_group=view is not None and me in view.group,
            attached=self.crm.attached,
            departed=not self.crm.attached and bool(self.matrix.own.flags & RowFlag.GROUP_LEAVING),
        )

    def announce_watchdog(self, watched: bool) -> None:
        """What the next heartbeats say of it."""
        self.matrix.set_flag(RowFlag.WATCHED, watched)

    def watched(self) -> dict[str, bool]:
        """Of each other node: whether it said, when it was heard last, that a watchdog resets it."""
        return {self._names[node_id]: known for node_id, known in sorted(self._watched.items())}

    # --- for people

    def status(self) -> dict[str, Any]:
        """What `query("status")` answers."""
        view = self._view
        return {
            "node": {"id": self.me.node_id, "name": self.me.name, "incarnation": self.me.incarnation},
            "phase": self.membership.phase.value,
            "view": None
            if view is None
            else {
                "id": str(view.view_id),
                "members": [
                    {"id": each.node_id, "name": each.name, "incarnation": each.incarnation} for each in view.members
                ],
                "group": sorted(view.group),
                "quorate": view.quorate,
                "reason": view.reason,
            },
            "view_changes": self.membership.view_changes,
            "crm_attached": self.crm.attached,
            "received": self.ordering.received,
            "retained": self.ordering.retained,
        }

    def peers(self, now_ms: int) -> list[dict[str, Any]]:
        """What is heard of each other node, for `query("links")`."""
        answer = []
        for node_id, name in sorted(self._names.items()):
            if node_id == self.me.node_id:
                continue
            alive = self.detector.alive.get(node_id)
            state = self._peers.get(node_id)
            answer.append(
                {
                    "id": node_id,
                    "name": name,
                    "state": "dead" if alive is None else "late" if alive.late else "alive",
                    "silent_ms": None if alive is None else now_ms - alive.heard_ms,
                    "stream": bool(state and state.channel.open),
                    "links": {} if alive is None else {str(k): now_ms - at for k, at in sorted(alive.links.items())},
                }
            )
        return answer

    def standing(self) -> forecast.Standing:
        """What a forecast begins with."""
        rows = self.matrix.rows()
        seen = {node_id for node_id, row in rows.items() if row.flags & RowFlag.SEEN_ALL}
        rules = self.config.quorum
        roll = self.membership.roll
        return forecast.Standing(self.config.votes, rules.expected_votes, rules.rules(), roll, frozenset(seen))

    def plan_expected(self, votes: int, *, force: bool) -> Wish:
        """What `crm cluster expected-votes` asks for. ValueError with the reason when it cannot be."""
        view = self._view
        if view is None:
            raise ValueError("this node has no view of the cluster yet")
        return quorum.plan_expected(
            self.membership.roll, view.member_ids, self.config.votes, votes, quorate=view.quorate, force=force
        )

    def plan_electorate(self, electorate: Electorate) -> Wish:
        """What a change of the nodes asks for. ValueError with the reason when it cannot be."""
        if self._view is None or not self._view.quorate:
            raise ValueError("this part of the cluster has no quorum")
        return Wish(electorate)

    def quorum(self) -> dict[str, Any]:
        """What `query("quorum")` answers."""
        view = self._view
        rules = self.config.quorum
        votes = self.config.votes
        members = view.member_ids if view else frozenset()
        roll = self.membership.roll
        return {
            "standing": forecast.standing_document(self.standing()),
            "names": {str(node_id): name for node_id, name in self._names.items()},
            "members": sorted(members),
            "electorate": [self._names.get(node_id, str(node_id)) for node_id in roll.current.members],
            "electorate_changes": roll.pending is not None or self.membership.wish is not None,
            "quorate": view.quorate if view else False,
            "reason": view.reason if view else "no view yet",
            "expected_votes": roll.current.expected,
            "present_votes": sum(votes[node_id] for node_id in members if node_id in roll.current.members),
            "configured_votes": rules.expected_votes,
            "votes": {self._names[node_id]: count for node_id, count in votes.items()},
            "two_node": rules.two_node,
            "wait_for_all": rules.wait_for_all,
            "seen_all": self.membership.seen_all,
            "auto_tie_breaker": rules.auto_tie_breaker,
            "last_man_standing": rules.last_man_standing,
            "allow_downscale": rules.allow_downscale,
            "tie_breaker": rules.tie_breaker.kind.value,
            "evidence": self._evidence,
            "evidence_at": [
                self._names.get(node_id, str(node_id))
                for node_id, row in sorted(self.matrix.rows().items())
                if row.flags & RowFlag.EVIDENCE
            ],
            "preferred": bool(members) and min(votes) in members,
        }
