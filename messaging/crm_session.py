"""The crm of this node as the members see it: attached, vouching for itself, in the group or not.

A crm that attaches is in the group once a view says so. It must vouch for itself every `vouch_ms`; when it stops, or
its connection ends, the node leaves the group although its messaging goes on (the peers see the node up and its crm
down). A crm that comes back is let in only after a view without the old one, so that everybody sees that it was away;
until then it hears nothing.

Messages between crms belong to the view they were sent in. A multicast carries the last view its sender has seen and
is refused when that is not the present one. A direct message may be ahead of this node's view (it is kept until then)
or from before the sender or this node came into the group (it is dropped).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from messaging.effects import CrmMulticast, DropCrm, Level
from messaging.matrix import Matrix
from messaging.messages import NO_VIEW, DirectMessage, RowFlag
from messaging.ordering import MAX_PAYLOAD_BYTES, Ordering
from messaging.outbox import Outbox
from messaging.types import Direct, Undelivered, View, ViewId

MAX_HELD_DIRECTS = 4096


class CrmSession:
    """See the module's text. `view` is the present view, None before the first."""

    def __init__(self, node_id: int, vouch_ms: int, matrix: Matrix, ordering: Ordering, outbox: Outbox) -> None:
        self.attached = False
        self.vouch_due_ms: int | None = None
        self._me = node_id
        self._vouch_ms = vouch_ms
        self._matrix = matrix
        self._ordering = ordering
        self._out = outbox
        self._view: View | None = None
        self._must_be_seen_away = False
        self._since: dict[int, ViewId] = {}
        self._held: deque[tuple[int, DirectMessage]] = deque()

    def attach(self, now_ms: int) -> None:
        """A crm is here."""
        self.attached = True
        self.vouch_due_ms = now_ms + self._vouch_ms
        if not self._must_be_seen_away:
            self._activate()

    def vouch(self, now_ms: int) -> None:
        """It is still well."""
        if self.attached:
            self.vouch_due_ms = now_ms + self._vouch_ms

    def hold(self, hold: bool, now_ms: int) -> None:
        """While crm is not read from, its vouching cannot arrive and is not asked for."""
        if self.attached:
            self.vouch_due_ms = None if hold else now_ms + self._vouch_ms

    def detach(self, graceful: bool, may_be_in_group: bool) -> None:
        """It is gone. `may_be_in_group`: an agreement in progress may still put it there."""
        if not self.attached:
            return
        self.attached = False
        self.vouch_due_ms = None
        self._out.listening = self._out.in_group = False
        self._matrix.set_flag(RowFlag.ATTACHED, False)
        self._matrix.set_flag(RowFlag.GROUP_LEAVING, graceful)
        in_group = self._view is not None and self._me in self._view.group
        self._must_be_seen_away = self._must_be_seen_away or in_group or may_be_in_group

    def expire(self, now_ms: int, may_be_in_group: bool) -> None:
        """Drop a crm that has stopped vouching for itself."""
        if self.vouch_due_ms is not None and now_ms >= self.vouch_due_ms:
            reason = f"crm has not vouched for itself for {self._vouch_ms} ms: this node leaves the group"
            self._out.report(Level.ERROR, reason)
            self._out.add(DropCrm(reason))
            self.detach(graceful=False, may_be_in_group=may_be_in_group)

    def installed(self, view: View) -> None:
        """A new view stands (crm has been told)."""
        previous = self._view
        self._view = view
        returned = {member.node_id for member in view.joined}
        before = previous.group if previous else frozenset()
        self._since = {
            node_id: self._since.get(node_id, view.view_id)
            if node_id in before and node_id not in returned
            else view.view_id
            for node_id in view.group
        }
        self._out.in_group = self._out.listening and self._me in view.group
        if self._must_be_seen_away and self._me not in view.group:
            self._must_be_seen_away = False
            if self.attached:
                self._activate()
        held, self._held = self._held, deque()
        for sender, message in held:
            self.on_direct(sender, message)

    def multicast(self, event: CrmMulticast) -> None:
        """crm has something for the group."""
        view = self._view
        stale = view is None or self._me not in view.group or event.view_id != view.view_id
        if stale or len(event.payload) > MAX_PAYLOAD_BYTES:
            self._out.notify(Undelivered(event.token))
        else:
            self._ordering.multicast(event.token, event.payload)

    def send(self, target: int, payload: bytes) -> None:
        """crm has something for one member. To a node outside the group it is lost, as views tell."""
        if target == self._me:
            self._out.notify(Direct(self._me, payload))
        elif self._view is not None and self._me in self._view.group and target in self._view.group:
            self._out.send(target, DirectMessage(self._view.view_id, payload))

    def on_direct(self, sender: int, message: DirectMessage) -> None:
        """A message from the crm of a member."""
        view_id = self._view.view_id if self._view else NO_VIEW
        if message.view_id > view_id:
            if len(self._held) < MAX_HELD_DIRECTS:
                self._held.append((sender, message))
            return
        needed = [self._since.get(sender), self._since.get(self._me)]
        if all(since is not None and message.view_id >= since for since in needed):
            self._out.notify(Direct(sender, message.payload))

    def _activate(self) -> None:
        self._out.listening = True
        self._matrix.set_flag(RowFlag.GROUP_LEAVING, False)
        self._matrix.set_flag(RowFlag.ATTACHED, True)
        if self._view is not None:
            everyone = self._view.members
            self._out.notify(replace(self._view, joined=everyone, left=(), graceful=frozenset()))
