"""Agreement on views.

Every node computes from the same matrix which nodes belong together (`messaging.connectivity`). The lowest id of them
leads. When the present view differs from what should be (members, group, quorum, or a member that missed the view):

    leader                                   member
    Propose(ballot, members)  ---------->    waits until it expects the same members itself, then stops delivering
                              <----------    Accept(ballot, the view it comes from, how far its order has arrived)
    FlushRequest to holders, who send FlushData to those that lack messages
                              <----------    Flushed
    Install(ballot, ...)      ---------->    delivers the rest of the old view, reports what will never be, installs

A ballot is a `ViewId`; its sequence is higher than any this node has seen, and never used twice (a range is reserved on
disk before it is used). A member answers only to ballots higher than all it has answered to. Nobody installs a view
that not all of its members have accepted; a member that misses the last step is noticed, because heartbeats carry the
installed view, and is brought back by the next agreement, as somebody who did not come along.

Whoever keeps an agreement from happening (does not answer `ATTEMPTS` proposals, or should lead and does not) loses the
connection to this node for a while: it is not heard, so everybody's matrix shows it and all expect a view without it.
The while doubles each time. So no faulty node can hold the others up for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from messaging import quorum
from messaging.config import MessagingConfig
from messaging.effects import Durable, Level
from messaging.errors import Malformed, invariant
from messaging.matrix import Matrix
from messaging.messages import (
    NO_VIEW,
    Accept,
    Flush,
    FlushData,
    Flushed,
    FlushRequest,
    Install,
    Message,
    Propose,
    Refuse,
    Row,
    RowFlag,
    Withdraw,
)
from messaging.ordering import Ordering
from messaging.outbox import Outbox
from messaging.types import Member, View, ViewId

ATTEMPTS = 3
SEQUENCE_RESERVE = 1000
"""View sequences reserved on disk at once, so that a view change need not wait for a disk."""

FLUSH_MS = 5000
"""How long bringing everybody to the same messages may take."""

WISH_VIEWS = 4
"""Views that may come and go before a change that an operator asked for counts as not taken."""

MIN_ROUND_MS = 250
MAX_PENALTY_MS = 60_000
DISPUTE_ROUNDS = 3
"""Rounds a leader waits before it leaves members behind that it hears: they may be about to expect the same."""

FOLLOWER_ROUNDS = 4
"""Rounds a member waits for the leader: longer than the leader itself retries."""


class Phase(StrEnum):
    IDLE = "idle"
    LEADING = "leading"
    ACCEPTED = "accepted"
    LEFT = "left"


@dataclass(slots=True)
class Proposal:
    """What this node leads."""

    ballot: ViewId
    members: tuple[Member, ...]
    deadline_ms: int
    attempt: int
    accepts: dict[int, Accept] = field(default_factory=dict)
    flushes: tuple[Flush, ...] = ()
    flushing: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Promise:
    """What this node accepted and waits for."""

    ballot: ViewId
    members: tuple[Member, ...]
    deadline_ms: int


class Membership:
    """One node's part in the agreement. `view` is the installed view, None before the first.

    `moved` says that a message was taken since `evaluate` was last called, which is then due.
    """

    def __init__(
        self, config: MessagingConfig, me: Member, durable: Durable, matrix: Matrix, ordering: Ordering, outbox: Outbox
    ) -> None:
        self.phase = Phase.IDLE
        self.view: View | None = None
        self.round_ms = max(MIN_ROUND_MS, 2 * config.timers.keepalive_ms)
        self.seen_all = durable.seen_all
        self.moved = False
        self.view_changes = 0
        self._config = config
        self._names = {node.node_id: node.name for node in config.nodes}
        self._votes = config.votes
        self._rules = config.quorum.rules()
        self.roll = _remembered(config, durable)
        self.wish: quorum.Wish | None = None
        self._carried: quorum.Wish | None = None
        self._wish_views = 0
        self._window_due_ms: int | None = None
        self._window_over = False
        self._me = me
        self._matrix = matrix
        self._ordering = ordering
        self._out = outbox
        self._sequence = durable.sequence_ceiling
        self._ceiling = durable.sequence_ceiling
        self._promised = ViewId(self._sequence, 0)
        self._proposal: Proposal | None = None
        self._promise: Promise | None = None
        self._held: Propose | None = None
        self._attempt = 0
        self._stragglers_due_ms: int | None = None
        self._awaiting_since_ms: int | None = None
        self._dispute_due_ms: int | None = None
        self._dispute_over = False
        self._penalties: dict[int, tuple[int, int]] = {}
        self._penalized: set[int] = set()
        self._goodbyes: dict[int, int] = {}

    # --- what others ask of it

    @property
    def view_id(self) -> ViewId:
        return self.view.view_id if self.view else NO_VIEW

    def penalized(self, now_ms: int) -> set[int]:
        """Peers this node does not want to hear for now."""
        self._penalized = {peer for peer in self._penalized if now_ms < self._penalties[peer][0]}
        return self._penalized

    def due_ms(self) -> int | None:
        """When `evaluate` has something to do, if nothing happens before."""
        if self.phase is Phase.LEFT:
            return None
        if self._rests():
            return None
        due = [self._penalties[peer][0] for peer in self._penalized]
        if self._proposal:
            due.append(self._proposal.deadline_ms)
        if self._promise:
            due.append(self._promise.deadline_ms)
        if self._awaiting_since_ms is not None:
            due.append(self._awaiting_since_ms + FOLLOWER_ROUNDS * self.round_ms)
        if self._stragglers_due_ms is not None:
            due.append(self._stragglers_due_ms)
        if self._window_due_ms is not None:
            due.append(self._window_due_ms)
        if self._dispute_due_ms is not None:
            due.append(self._dispute_due_ms)
        return min(due, default=None)

    def _rests(self) -> bool:
        """Whether only news can set it in motion: asked with each event, so answered at once."""
        return (
            self._stragglers_due_ms is None
            and self._window_due_ms is None
            and self._dispute_due_ms is None
            and self._proposal is None
            and self._promise is None
            and self._awaiting_since_ms is None
            and not self._penalized
        )

    def verdict(self, flags: Mapping[int, int], roll: quorum.Roll | None = None) -> quorum.Verdict:
        """Quorum of a view of these nodes, by what they say of themselves. `roll`: the present one unless given."""
        return quorum.assess(
            roll or self.roll,
            frozenset(flags),
            self._votes,
            self._rules,
            seen_all=any(flag & RowFlag.SEEN_ALL for flag in flags.values()),
            evidence=any(flag & RowFlag.EVIDENCE for flag in flags.values()),
            distrusted=all(flag & RowFlag.DISTRUSTED for flag in flags.values()),
        )

    def ask(self, wish: quorum.Wish) -> None:
        """The operator wants another electorate: the next agreement, which this brings about, decides on it."""
        self.wish = wish
        self.moved = True
        self._matrix.set_flag(RowFlag.WISH, True)

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes belong to the cluster from now on. Their votes count when the members have agreed that they do."""
        self._config = config
        self._names = {node.node_id: node.name for node in config.nodes}
        self._votes = config.votes
        self._rules = config.quorum.rules()
        for gone in self._penalties.keys() - self._votes.keys():
            del self._penalties[gone]
            self._penalized.discard(gone)
        self.moved = True
        self._persist()

    def stop_waiting(self) -> None:
        """The operator says that the nodes `wait_for_all` waits for are off."""
        self.seen_all = self.moved = True
        self._persist()
        self._matrix.set_flag(RowFlag.SEEN_ALL, True)

    def note_row(self, row: Row) -> None:
        """A row arrived: remember who says goodbye, because it will soon be silent."""
        if row.flags & RowFlag.LEAVING:
            self._goodbyes[row.node_id] = row.incarnation

    def on_message(self, sender: int, message: Message, now_ms: int) -> None:
        """A word of a peer. Malformed when it is none of this agreement."""
        self.moved = True
        match message:
            case Propose():
                self._on_propose(sender, message)
            case Accept():
                self._on_accept(sender, message, now_ms)
            case Refuse():
                self._on_refuse(sender, message)
            case Withdraw():
                self._on_withdraw(sender, message)
            case FlushRequest():
                self._on_flush_request(sender, message)
            case FlushData():
                self._on_flush_data(message, now_ms)
            case Flushed():
                self._on_flushed(sender, message, now_ms)
            case Install():
                self._on_install(sender, message, now_ms)
            case _:
                raise Malformed(f"{type(message).__name__} inside the channel")

    # --- deciding

    def evaluate(self, now_ms: int) -> None:
        """Do what the matrix and the clock ask for. Called after everything that may have changed either."""
        self.moved = self._matrix.dirty = False
        if self.phase is Phase.LEFT:
            return
        self._time_out(now_ms)
        if self._window_due_ms is not None and now_ms >= self._window_due_ms:
            self._window_due_ms, self._window_over = None, True
        if self._stragglers_due_ms is not None and now_ms >= self._stragglers_due_ms:
            self._stragglers_due_ms = None
            self._matrix.expect({})
        if self.view is None and self._held is None and self.phase is Phase.IDLE and not self._matrix.may_form():
            return
        part = self._matrix.part()
        members = tuple(Member(node_id, self._names[node_id], row.incarnation) for node_id, row in sorted(part.items()))
        leader = members[0].node_id
        if self.phase is Phase.LEADING:
            invariant(self._proposal is not None, "leading without a proposal")
            if self._proposal and self._proposal.members != members:
                self._abandon()
        if self.phase is Phase.ACCEPTED and self._promise and not self._hears(self._promise.ballot.leader):
            self._abandon()  # while it is heard, it installs or withdraws: rows that say otherwise may be older than its install
        if self._held and self._held.members == members and self._held.ballot.leader == leader:
            self._accept(self._held, now_ms)
        if self.phase is not Phase.IDLE or leader != self._me.node_id:
            self._dispute_due_ms = None
        if self.phase is not Phase.IDLE:
            return
        if not self._needs_change(part, members, now_ms):
            self._awaiting_since_ms = self._dispute_due_ms = None
            self._dispute_over = False
            self._attempt = 0
        elif leader == self._me.node_id:
            self._awaiting_since_ms = None
            if not self._disputed(part, now_ms):
                self._propose(members, part, now_ms)
        elif self._awaiting_since_ms is None:
            self._awaiting_since_ms = now_ms

    def _disputed(self, part: Mapping[int, Row], now_ms: int) -> bool:
        """Whether to wait, because members that this node and that hear it would be left behind.

        The death of a node is noticed here a little earlier than there, when heartbeats are lost. Until the others notice, who
        did so first seems to be the one that is ill connected. It must not go off alone, nor be left alone, for that.
        """
        own, view = self._matrix.own.hears, self.view
        left_behind = view is not None and any(
            member.node_id not in part
            and own.get(member.node_id) == member.incarnation
            and (row := self._matrix.direct.get(member.node_id)) is not None
            and row.view_id == view.view_id
            and row.hears.get(self._me.node_id) == self._me.incarnation
            and not row.flags & RowFlag.LEAVING
            for member in view.members
        )
        if not left_behind:
            self._dispute_due_ms = None
            self._dispute_over = False
        elif self._dispute_due_ms is None and not self._dispute_over:
            self._dispute_due_ms = now_ms + DISPUTE_ROUNDS * self.round_ms
        elif self._dispute_due_ms is not None and now_ms >= self._dispute_due_ms:
            self._dispute_due_ms = None
            self._dispute_over = True
        return self._dispute_due_ms is not None

    def _hears(self, node_id: int) -> bool:
        return node_id in self._matrix.own.hears

    def _time_out(self, now_ms: int) -> None:
        proposal, promise = self._proposal, self._promise
        if proposal and now_ms >= proposal.deadline_ms:
            missing = {member.node_id for member in proposal.members} - proposal.accepts.keys() - {self._me.node_id}
            missing |= proposal.flushing - {self._me.node_id}
            self._abandon()
            self._attempt = proposal.attempt + 1
            if self._attempt >= ATTEMPTS:
                self._attempt = 0
                for peer in sorted(missing):
                    self._penalize(peer, now_ms, "does not answer proposals")
        if promise and now_ms >= promise.deadline_ms:
            self._abandon()
            self._penalize(promise.ballot.leader, now_ms, "does not complete its proposal")
        waited_from = self._awaiting_since_ms
        if waited_from is not None and now_ms >= waited_from + FOLLOWER_ROUNDS * self.round_ms:
            self._awaiting_since_ms = None
            leader = min(self._matrix.part())
            if leader != self._me.node_id:
                self._penalize(leader, now_ms, "should lead a view change and does not")

    def _needs_change(self, part: Mapping[int, Row], members: tuple[Member, ...], now_ms: int) -> bool:
        if self.view is None:
            return len(part) == len(self._votes) or any(row.flags & RowFlag.READY for row in part.values())
        if members != self.view.members:
            return True
        if any(row.view_id != self.view.view_id for row in part.values()):
            # For a while the others may still be installing it, and what they say of themselves is older than what
            # they said when they accepted. Later, they have missed it.
            return self._stragglers_due_ms is None
        if frozenset(node_id for node_id, row in part.items() if row.flags & RowFlag.ATTACHED) != self.view.group:
            return True
        if any(row.flags & RowFlag.WISH for row in part.values()):
            return True
        quorate = self.verdict({node_id: row.flags for node_id, row in part.items()}).quorate
        if quorate != self.view.quorate:
            return True
        # Windows end at each node by its own clock: when it is time is the leader's to say.
        return quorate and self._me.node_id == members[0].node_id and self._electorate_changes(frozenset(part))

    def _electorate_changes(self, members: frozenset[int]) -> bool:
        """Whether the next view would count other votes, by the rules alone."""
        return self._successor(self.roll, self.view_id, members, quorate=True, on_disk=True) != self.roll

    def _successor(
        self,
        roll: quorum.Roll,
        ballot: ViewId,
        members: frozenset[int],
        *,
        quorate: bool,
        on_disk: bool,
        wish: quorum.Wish | None = None,
    ) -> quorum.Roll:
        circumstances = quorum.Circumstances(
            members=members,
            quorate=quorate,
            on_disk=on_disk,
            window_over=self._window_over and self.view is not None and members == self.view.member_ids,
            goodbyes=frozenset(self._goodbyes),
            wish=wish,
        )
        expected = self._config.quorum.expected_votes
        return quorum.successor(roll, ballot, circumstances, self._votes, expected, self._rules)

    def give_up(self, peer: int, now_ms: int) -> None:
        """The peer is heard but takes nothing: go on without it."""
        self._penalize(peer, now_ms, "takes no messages")

    def _penalize(self, peer: int, now_ms: int, why: str) -> None:
        _, last_ms = self._penalties.get(peer, (0, 0))
        for_ms = min(MAX_PENALTY_MS, max(2 * last_ms, self._config.timers.deadtime_ms, 4 * self.round_ms))
        self._penalties[peer] = (now_ms + for_ms, for_ms)
        self._penalized.add(peer)
        self._out.report(Level.WARNING, f"node {self._names[peer]} {why}: not listening to it for {for_ms} ms")

    def _abandon(self) -> None:
        """Give up the agreement in progress; the present view goes on."""
        if self._proposal is not None:
            for member in self._proposal.members:
                if member.node_id != self._me.node_id:
                    self._out.send(member.node_id, Withdraw(self._proposal.ballot))
        self._proposal = self._promise = None
        self.phase = Phase.IDLE
        self._ordering.thaw()

    # --- leading

    def _next_ballot(self) -> ViewId:
        self._sequence = max(self._sequence, self._promised.sequence) + 1
        self._reserve(self._sequence)
        return ViewId(self._sequence, self._me.node_id)

    def _reserve(self, sequence: int) -> None:
        """No later life of this node may begin below what it has led or installed."""
        if sequence > self._ceiling:
            self._ceiling = sequence + SEQUENCE_RESERVE
            self._persist()

    def _persist(self) -> None:
        plain = quorum.configured(self._votes, self._config.quorum.expected_votes)
        roll = None if self.roll == plain else self.roll
        self._out.persist(Durable(self._ceiling, self.seen_all, roll, electors(self._config) if roll else ()))

    def _propose(self, members: tuple[Member, ...], part: Mapping[int, Row], now_ms: int) -> None:
        self._sequence = max(self._sequence, *(row.view_id.sequence for row in part.values()))
        ballot = self._promised = self._next_ballot()
        self.phase = Phase.LEADING
        proposal = self._proposal = Proposal(ballot, members, now_ms + self.round_ms, self._attempt)
        for member in members:
            if member.node_id != self._me.node_id:
                self._out.send(member.node_id, Propose(ballot, members))
        self._check_accepts(proposal, now_ms)

    def _on_accept(self, sender: int, message: Accept, now_ms: int) -> None:
        """A member agrees."""
        proposal = self._proposal
        if proposal is None or message.ballot != proposal.ballot or proposal.flushes:
            return
        if any(member.node_id == sender for member in proposal.members):
            proposal.accepts[sender] = message
            self._check_accepts(proposal, now_ms)

    def _on_refuse(self, sender: int, message: Refuse) -> None:
        """A member has answered to a higher ballot: try again above it."""
        proposal = self._proposal
        if proposal is None or message.ballot != proposal.ballot or message.promised < message.ballot:
            return
        self._sequence = max(self._sequence, message.promised.sequence)
        self._abandon()

    def _check_accepts(self, proposal: Proposal, now_ms: int) -> None:
        others = {member.node_id for member in proposal.members} - {self._me.node_id}
        if not others <= proposal.accepts.keys():
            return
        received = self._ordering.freeze()
        proposal.accepts[self._me.node_id] = self._own_accept(proposal.ballot, received)
        proposal.flushes = tuple(_flushes(proposal.accepts))
        proposal.deadline_ms = now_ms + FLUSH_MS
        for flush in proposal.flushes:
            self._start_flush(proposal, flush)
        self._check_flushed(proposal, now_ms)

    def _own_accept(self, ballot: ViewId, received: int) -> Accept:
        self._carried = self.wish
        return Accept(ballot, self.view_id, received, self._matrix.own.flags, self.roll, self.wish)

    def _start_flush(self, proposal: Proposal, flush: Flush) -> None:
        holder = next(each for each in flush.members if proposal.accepts[each].received == flush.upto)
        for target in flush.members:
            after = proposal.accepts[target].received
            if after < flush.upto:
                proposal.flushing.add(target)
                request = FlushRequest(proposal.ballot, flush.view_id, target, after, flush.upto)
                if holder == self._me.node_id:
                    self._send_flush(request)
                else:
                    self._out.send(holder, request)

    def _on_flushed(self, sender: int, message: Flushed, now_ms: int) -> None:
        """A member lacks nothing any more."""
        if self._proposal and message.ballot == self._proposal.ballot:
            self._proposal.flushing.discard(sender)
            self._check_flushed(self._proposal, now_ms)

    def _check_flushed(self, proposal: Proposal, now_ms: int) -> None:
        if proposal.flushing:
            return
        flags = {node_id: accept.flags for node_id, accept in proposal.accepts.items()}
        roll = self._next_roll(proposal, flags)
        verdict = self.verdict(flags, roll)
        rows = self._matrix.rows()
        silent = {
            node_id
            for node_id, row in rows.items()
            if row.flags & RowFlag.GROUP_LEAVING and not row.flags & RowFlag.ATTACHED
        }
        install = Install(
            ballot=proposal.ballot,
            members=proposal.members,
            group=tuple(sorted(node_id for node_id, flag in flags.items() if flag & RowFlag.ATTACHED)),
            graceful=tuple(sorted(silent | self._goodbyes.keys())),
            quorate=verdict.quorate,
            satisfied=verdict.satisfied,
            reason=verdict.reason,
            flushes=proposal.flushes,
            roll=roll,
        )
        for member in proposal.members:
            if member.node_id != self._me.node_id:
                self._out.send(member.node_id, install)
        self._install(install, now_ms)

    def _next_roll(self, proposal: Proposal, flags: Mapping[int, int]) -> quorum.Roll:
        """Whose votes count in the view that is about to be installed: the newest that any member knows, or its successor."""
        accepts = proposal.accepts
        rolls = [self.roll, *(accepts[node_id].roll for node_id in sorted(accepts))]
        roll = quorum.newest(rolls)
        wishes = [accepts[node_id].wish for node_id in sorted(accepts)]
        following = self._successor(
            roll,
            proposal.ballot,
            frozenset(flags),
            quorate=self.verdict(flags, roll).quorate,
            on_disk=all(each == roll for each in rolls),
            wish=next((wish for wish in wishes if wish is not None), None),
        )
        return following if self.verdict(flags, following).quorate else roll

    # --- following

    def _on_propose(self, sender: int, message: Propose) -> None:
        """A leader suggests a view; it is held until this node expects the same one (see `evaluate`)."""
        if message.ballot.leader != sender or self._me not in message.members or self.phase is Phase.LEFT:
            return
        if message.ballot <= self._promised:
            self._out.send(sender, Refuse(message.ballot, self._promised))
        elif self._held is None or message.ballot > self._held.ballot or sender != self._held.ballot.leader:
            self._held = message

    def _accept(self, propose: Propose, now_ms: int) -> None:
        self._held = None
        if propose.ballot <= self._promised:
            self._out.send(propose.ballot.leader, Refuse(propose.ballot, self._promised))
            return
        if self._proposal is not None:
            self._abandon()
        self._awaiting_since_ms = None
        self._promised = propose.ballot
        self._reserve(propose.ballot.sequence)  # on disk with the accept: the install that follows need not wait
        self.phase = Phase.ACCEPTED
        wait_ms = FLUSH_MS + FOLLOWER_ROUNDS * self.round_ms
        self._promise = Promise(propose.ballot, propose.members, now_ms + wait_ms)
        received = self._ordering.freeze()
        self._out.send(propose.ballot.leader, self._own_accept(propose.ballot, received))

    def _on_withdraw(self, sender: int, message: Withdraw) -> None:
        """The leader gives its ballot up."""
        if self._held is not None and self._held.ballot == message.ballot:
            self._held = None
        if self._promise is not None and self._promise.ballot == message.ballot and sender == message.ballot.leader:
            self._abandon()

    def _on_flush_request(self, sender: int, message: FlushRequest) -> None:
        """The leader asks this node to help another."""
        if self._promise and message.ballot == self._promise.ballot and sender == message.ballot.leader:
            self._send_flush(message)

    def _send_flush(self, request: FlushRequest) -> None:
        for ordered in self._ordering.after(request.view_id, request.after, request.upto):
            self._out.send(request.target, FlushData(request.ballot, request.upto, ordered))

    def _on_flush_data(self, message: FlushData, now_ms: int) -> None:
        """A holder passes on what this node lacks."""
        ballots = [each.ballot for each in (self._promise, self._proposal) if each]
        if message.ballot not in ballots:
            return
        self._ordering.add_flushed(message.ordered)
        if self._ordering.received < message.upto:
            return
        if self._promise:
            self._out.send(message.ballot.leader, Flushed(message.ballot))
        else:
            self._on_flushed(self._me.node_id, Flushed(message.ballot), now_ms)

    def _on_install(self, sender: int, message: Install, now_ms: int) -> None:
        """The leader says that all have agreed."""
        promise = self._promise
        if promise is None or message.ballot != promise.ballot or message.members != promise.members:
            return
        if _flush_of(message, self._me.node_id).upto <= self._ordering.received:
            self._install(message, now_ms)

    # --- installing

    def _install(self, install: Install, now_ms: int) -> None:
        flush = _flush_of(install, self._me.node_id)
        invariant(flush.view_id == self.view_id, f"flushed view {flush.view_id} but {self.view_id} is installed")
        self._ordering.finish(flush.upto)
        if (install.satisfied and not self.seen_all) or install.roll != self.roll:
            self.seen_all = self.seen_all or install.satisfied
            self.roll = install.roll
            self._persist()
        view = _relative_view(install, self.view, frozenset(flush.members))
        if self._rules.last_man_standing and (self.view is None or self.view.members != view.members):
            self._window_due_ms = now_ms + self._config.quorum.last_man_standing_window_ms
            self._window_over = False
        self.view = view
        self._settle_wish()
        self._stragglers_due_ms = now_ms + max(self.round_ms, self._config.timers.deadtime_ms)
        self.view_changes += 1
        self._proposal = self._promise = self._held = None
        self._awaiting_since_ms = self._dispute_due_ms = None
        self._dispute_over = False
        self._attempt = 0
        self.phase = Phase.IDLE
        for member in view.members:
            self._goodbyes.pop(member.node_id, None)
            if member.node_id not in self._penalized:
                self._penalties.pop(member.node_id, None)  # it has made up for it: the next one starts short
        self._ordering.install(view.view_id, view.member_ids)
        self._matrix.set_view(view.view_id)
        self._matrix.expect({member.node_id: member.incarnation for member in view.members})
        self._matrix.set_flag(RowFlag.READY, True)
        self._matrix.set_flag(RowFlag.SEEN_ALL, self.seen_all)
        self._out.notify(view)
        names = " ".join(member.name for member in view.members)
        quorate = "quorate" if view.quorate else "not quorate"
        self._out.report(Level.INFO, f"view {view.view_id}: {names}; {quorate}: {view.reason}")

    def isolate(self, now_ms: int) -> None:
        """This node was away for so long that the others have gone on without it: stand alone until they are heard."""
        if self.view is None:
            return
        self._abandon()
        ballot = self._promised = self._next_ballot()
        own = self._matrix.own
        verdict = self.verdict({self._me.node_id: own.flags})
        received = self._ordering.freeze()
        group = (self._me.node_id,) if own.flags & RowFlag.ATTACHED else ()
        flush = Flush(self.view_id, received, (self._me.node_id,))
        judged = (verdict.quorate, verdict.satisfied, verdict.reason)
        self._install(Install(ballot, (self._me,), group, (), *judged, (flush,), self.roll), now_ms)

    def _settle_wish(self) -> None:
        """Whether what the operator asked for has been decided on: done, or not taken by several views."""
        if self.wish is None or self.wish is not self._carried:
            return
        self._wish_views += 1
        done = self.wish.electorate in (self.roll.current, self.roll.pending)
        if done or self._wish_views >= WISH_VIEWS:
            said = "agreed" if done else "not taken by the members, who have no quorum or want another"
            self._out.report(Level.WARNING, f"change of the electorate to {self.wish.electorate.members}: {said}")
            self.wish = self._carried = None
            self._wish_views = 0
            self._matrix.set_flag(RowFlag.WISH, False)

    def leave(self) -> None:
        """Take no part any more. What `wait_for_all` learnt is void: others may go on without this node."""
        if self.phase in (Phase.LEADING, Phase.ACCEPTED):
            self._abandon()
        self.phase = Phase.LEFT
        self.seen_all = False
        self._persist()


def electors(config: MessagingConfig) -> tuple[int, ...]:
    """What the configuration says about votes, as plain numbers: remembered with a roll that members agreed on."""
    votes = sorted(config.votes.items())
    return (config.quorum.expected_votes, *(number for pair in votes for number in pair))


def _remembered(config: MessagingConfig, durable: Durable) -> quorum.Roll:
    """Where a life begins: as the members agreed last, unless the operator has written another configuration since."""
    if durable.roll is not None and durable.electors == electors(config):
        return durable.roll
    return quorum.configured(config.votes, config.quorum.expected_votes)


def _flushes(accepts: Mapping[int, Accept]) -> list[Flush]:
    """Per previous view: who comes from it, and the longest beginning of its order any of them has."""
    together: dict[ViewId, list[int]] = {}
    for node_id in sorted(accepts):
        together.setdefault(accepts[node_id].previous, []).append(node_id)
    return [
        Flush(view_id, max(accepts[node_id].received for node_id in node_ids), tuple(node_ids))
        for view_id, node_ids in sorted(together.items())
    ]


def _flush_of(install: Install, node_id: int) -> Flush:
    for flush in install.flushes:
        if node_id in flush.members:
            return flush
    return Flush(NO_VIEW, 1 << 63, ())  # matches nothing: an install that does not name its member


def _relative_view(install: Install, previous: View | None, companions: frozenset[int]) -> View:
    """The view as this node sees it: who joined and left relative to the one it had."""
    before = previous.members if previous else ()
    joined = tuple(each for each in install.members if each not in before or each.node_id not in companions)
    left = tuple(each for each in before if each not in install.members or each.node_id not in companions)
    group = frozenset(install.group)
    gone = {each.node_id for each in left} | ((previous.group if previous else frozenset()) - group)
    return View(
        view_id=install.ballot,
        members=install.members,
        group=group,
        quorate=install.quorate,
        reason=install.reason,
        joined=joined,
        left=left,
        graceful=frozenset(install.graceful) & gone,
    )
