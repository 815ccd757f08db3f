"""The total order of the messages of one view.

The member that led the agreement on the view is its sequencer. A multicast goes to it (`Submit`), gets the next number,
and goes from it to everybody (`Ordered`) over channels that keep their order; so what a member has is always a gapless
beginning of the same sequence, and it delivers on arrival.

A view change freezes the order: from then on arrivals are kept but not delivered, so that what a member has told the
new leader stays true. The members that go on together bring each other to the longest beginning any of them has
(`after`, `add_flushed`) and then `finish`: deliver up to there, and give up the rest. A multicast of this node that has
not been delivered by then is reported undelivered. So each multicast ends in exactly one of both, in the view it was
sent in.

Messages are kept until every member has them (`stable`), which members learn from each other's heartbeats; the senders'
own part of what is not stable yet is bounded (`WINDOW_BYTES`), and crm is made to wait beyond it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from messaging.errors import invariant
from messaging.messages import NO_VIEW, Ordered, Submit
from messaging.outbox import Outbox
from messaging.types import Delivered, Undelivered, ViewId

WINDOW_BYTES = 16 * 1024 * 1024
WINDOW_MESSAGES = 4096
MAX_PAYLOAD_BYTES = 60 * 1024
"""With all headers still one record of a stream."""


class Ordering:
    """The order of the present view at one member."""

    def __init__(self, node_id: int, outbox: Outbox) -> None:
        self._me = node_id
        self._out = outbox
        self._view = NO_VIEW
        self._members: frozenset[int] = frozenset()
        self._log: dict[int, Ordered] = {}
        self._stable = 0
        self._delivered = 0
        self._frozen = False
        self._outstanding: dict[int, int] = {}
        self._waiting: deque[Submit] = deque()
        self._submitted: deque[tuple[int, Submit]] = deque()
        self._unstable: deque[tuple[int, int]] = deque()
        self._unstable_bytes = 0
        self._heard: dict[int, int] = {}
        self.received = 0

    @property
    def full(self) -> bool:
        """Whether crm must wait before it sends more."""
        on_the_way = len(self._outstanding) + len(self._unstable)
        return self._unstable_bytes >= WINDOW_BYTES or on_the_way >= WINDOW_MESSAGES

    @property
    def retained(self) -> int:
        """Messages kept because not every member is known to have them."""
        return len(self._log)

    def install(self, view_id: ViewId, members: Iterable[int]) -> None:
        """Begin the order of a new view. The one before was finished."""
        invariant(not self._outstanding, "a view begins while multicasts of the last are undecided")
        self._view, self._members = view_id, frozenset(members)
        self._log.clear()
        self._stable = self._delivered = self.received = self._unstable_bytes = 0
        self._waiting.clear()
        self._submitted.clear()
        self._unstable.clear()
        self._heard = {member: 0 for member in self._members if member != self._me}
        self._frozen = False

    # --- normal operation

    def multicast(self, token: int, payload: bytes) -> None:
        """A multicast of this node's crm, sent in the present view."""
        self._outstanding[token] = len(payload)
        self._unstable_bytes += len(payload)
        submit = Submit(self._view, token, payload)
        if self._frozen:
            self._waiting.append(submit)
        else:
            self._submit(submit)

    def on_submit(self, sender: int, message: Submit) -> None:
        """A member asks this node, the sequencer, for a place in the order."""
        if message.view_id != self._view or self._view.leader != self._me or sender not in self._members:
            return
        if self._frozen:
            self._submitted.append((sender, message))
        else:
            self._order(sender, message)

    def on_ordered(self, sender: int, message: Ordered) -> None:
        """The sequencer tells a place."""
        if message.view_id != self._view or sender != self._view.leader or message.sequence != self.received + 1:
            return
        self._append(message)

    def on_received(self, peer: int, view_id: ViewId, received: int) -> None:
        """A heartbeat tells how far a member has got."""
        if view_id != self._view or peer not in self._heard or received <= self._heard[peer]:
            return
        self._heard[peer] = min(received, self.received)
        self._settle()

    def _submit(self, submit: Submit) -> None:
        if self._view.leader == self._me:
            self._order(self._me, submit)
        else:
            self._out.send(self._view.leader, submit)

    def _order(self, sender: int, submit: Submit) -> None:
        ordered = Ordered(self._view, self.received + 1, sender, submit.token, submit.payload)
        for member in sorted(self._heard):
            self._out.send(member, ordered)
        self._append(ordered)

    def _append(self, message: Ordered) -> None:
        self.received = message.sequence
        self._log[message.sequence] = message
        if not self._frozen:
            self._deliver(self.received)

    def _deliver(self, upto: int) -> None:
        for sequence in range(self._delivered + 1, upto + 1):
            message = self._log[sequence]
            self._delivered = sequence
            if message.sender == self._me and message.token in self._outstanding:
                self._unstable.append((sequence, self._outstanding.pop(message.token)))
            self._out.notify(Delivered(self._view, sequence, message.sender, message.payload, message.token))
        self._settle()

    def _settle(self) -> None:
        """Forget what every member has."""
        stable = min([*self._heard.values(), self._delivered])
        for sequence in range(self._stable + 1, stable + 1):
            del self._log[sequence]
        self._stable = max(self._stable, stable)
        while self._unstable and self._unstable[0][0] <= self._stable:
            self._unstable_bytes -= self._unstable.popleft()[1]

    # --- view change

    def freeze(self) -> int:
        """Deliver nothing more for now. Returns how far the order has arrived."""
        self._frozen = True
        return self.received

    def thaw(self) -> None:
        """The view goes on after all."""
        if not self._frozen:
            return
        self._frozen = False
        self._deliver(self.received)
        waiting, submitted = list(self._waiting), list(self._submitted)
        self._waiting.clear()
        self._submitted.clear()
        for submit in waiting:
            self._submit(submit)
        for sender, submit in submitted:
            self._order(sender, submit)

    def after(self, view_id: ViewId, after: int, upto: int) -> list[Ordered]:
        """What a member that has everything up to `after` lacks. Empty when this node cannot help."""
        if view_id != self._view or after < self._stable or upto > self.received:
            return []
        return [self._log[sequence] for sequence in range(after + 1, upto + 1)]

    def add_flushed(self, message: Ordered) -> None:
        """A message that a holder passed on."""
        if message.view_id == self._view and message.sequence == self.received + 1:
            self._append(message)

    def finish(self, upto: int) -> None:
        """End the order at `upto`: deliver what is left up to there and give up the rest."""
        invariant(upto >= self._delivered, f"the order ends at {upto} but {self._delivered} was delivered")
        invariant(upto <= self.received, f"the order ends at {upto} but only {self.received} has arrived")
        self._frozen = True
        self._deliver(upto)
        for token in sorted(self._outstanding):
            self._out.notify(Undelivered(token))
        self._outstanding.clear()
