"""What must always hold, checked from outside the nodes by what they install, send and tell their crms.

- Views: one id has one content; a node is in what it installs; ids grow at a node, across its restarts too; every member
  but the leader had accepted the ballot; a ballot is used once.
- Quorum: by the checker's own arithmetic, where the votes that count do not change; and no two quorate views without
  a common member at one time, where the mode excludes it. Under two_node and ping both halves may be quorate by design
  (fencing decides), so there only the arithmetic, `wait_for_all` and the evidence are checked.
- Frames: what a node takes was sent as it is, over that link, by a life that is the newest it knows, and is taken once.
- Messages: one order in a view, without gaps; who goes together from one view to the next has delivered the same; each
  multicast has one fate at its sender, before the view that ends its chance; no message of another incarnation than the
  view's, from another view, or twice. Direct messages keep their order and do not survive a separation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crm.simulator.clock import Violation
from crm.simulator.machine import Machine, Session
from crm.simulator.swarm import Mode, Swarm
from messaging.frame import Packet
from messaging.messages import NO_VIEW, Accept, ChannelData, Propose, decode, encode
from messaging.types import Delivered, Direct, Member, MessagingEvent, Undelivered, View, ViewId

EVIDENCE_LAG_MS = 12_000
EVIDENCE_LAG_BEATS = 12
"""How old the word of a member may be that a view was judged by: proposals, flush and drifting clocks included. The greater of both."""

_DATA_KIND = encode(ChannelData(1, b""))[0]
_DATA_BYTES = len(encode(ChannelData(1, b"")))
_AGREEMENT_KINDS = {encode(Propose(NO_VIEW, ()))[0], encode(Accept(NO_VIEW, NO_VIEW, 0, 0))[0]}
"""Most of what streams carry is not decoded a second time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A multicast or a direct message on its way."""

    sender: Member
    view_id: ViewId


class Checkers:
    """See the module's text. Each method raises Violation."""

    def __init__(self, swarm: Swarm, machines: Mapping[int, Machine]) -> None:
        self.swarm = swarm
        self.machines = machines
        self.sent: dict[int, Sent] = {}
        self.frames: Mapping[tuple[int, int, int], Sequence[bytes]] = {}
        self.views = 0
        self.quorate_views = 0
        self.deliveries = 0
        self._contents: dict[ViewId, tuple[object, ...]] = {}
        self._last_id: dict[int, ViewId] = {}
        self._ballots: dict[ViewId, tuple[Member, ...]] = {}
        self._accepted: dict[ViewId, set[int]] = {}
        self._seen_all: set[tuple[int, int]] = set()
        self._order: dict[tuple[ViewId, int], tuple[int, int, bytes]] = {}
        self._places: dict[int, tuple[ViewId, int]] = {}
        self._wiped: set[int] = set()
        self._taken: dict[tuple[int, int], set[tuple[int, int, int, int]]] = {}
        self._newest: dict[tuple[int, int, int], int] = {}
        self._ends: dict[tuple[ViewId, ViewId], tuple[int, int]] = {}

    # --- lives

    def started(self, machine: Machine, incarnation: int, carried_on: int | None) -> None:
        """`carried_on`: the incarnation whose knowledge of having seen all nodes this life may go on with."""
        if carried_on is not None and (machine.node_id, carried_on) in self._seen_all:
            self._seen_all.add((machine.node_id, incarnation))

    def wiped(self, node_id: int) -> None:
        """A node has lost what it had written down: what it led then it may lead again, once nobody is in it any more."""
        self._wiped.add(node_id)
        self._last_id.pop(node_id, None)

    def _forget(self, view_id: ViewId) -> bool:
        """A node without memory leads a ballot again. Whether nothing of the first one was left."""
        if view_id.leader not in self._wiped:
            return False
        others = [machine for node_id, machine in self.machines.items() if node_id != view_id.leader]
        if any(each.core is not None and each.installed and each.installed.view_id == view_id for each in others):
            return False
        self._contents.pop(view_id, None)
        self._accepted.pop(view_id, None)
        self._order = {place: what for place, what in self._order.items() if place[0] != view_id}
        self._ends = {pair: what for pair, what in self._ends.items() if view_id not in pair}
        return True

    # --- frames

    def admitted(self, target: int, link: int, packet: Packet) -> None:
        """A node took a frame that came over a link."""
        life = (target, self.machines[target].life)
        where = f"frame {packet.sequence} of n{packet.sender}@{packet.incarnation} on link {link} at n{target}"
        taken = self._taken.get(life)
        if taken is None:
            for old in [old for old in self._taken if old[0] == target]:
                del self._taken[old]
            taken = self._taken[life] = set()
        once = (packet.sender, packet.incarnation, link, packet.sequence)
        if once in taken:
            raise Violation(f"replayed: {where}")
        taken.add(once)
        newest = self._newest.get((*life, packet.sender), 0)
        if packet.incarnation < newest:
            raise Violation(f"of a dead incarnation, {newest} is known: {where}")
        self._newest[*life, packet.sender] = packet.incarnation
        sent = self.frames.get((packet.sender, packet.incarnation, link), ())
        if not 0 < packet.sequence <= len(sent) or sent[packet.sequence - 1] != packet.payload:
            raise Violation(f"nobody sent this: {where}")

    # --- the agreement

    def stream_payload(self, machine: Machine, payload: bytes) -> None:
        """Something a node puts on a stream."""
        if payload[0] != _DATA_KIND or payload[_DATA_BYTES] not in _AGREEMENT_KINDS:
            return
        message = decode(payload[_DATA_BYTES:])
        if isinstance(message, Propose):
            known = self._ballots.setdefault(message.ballot, message.members)
            if known != message.members and self._forget(message.ballot):
                known = self._ballots[message.ballot] = message.members
            if known != message.members:
                raise Violation(
                    f"ballot used twice: {message.ballot} for {_names(known)} and {_names(message.members)}"
                )
        elif isinstance(message, Accept):
            self._accepted.setdefault(message.ballot, set()).add(machine.node_id)

    def installed(self, machine: Machine, view: View, now: int) -> None:
        """A node has a new view, whether or not a crm is there to be told."""
        me = machine.node_id
        self.views += 1
        content = (view.members, view.group, view.quorate, view.reason)
        known = self._contents.setdefault(view.view_id, content)
        if known != content:
            self._forget(view.view_id)
            known = self._contents.setdefault(view.view_id, content)
        if known != content:
            raise Violation(f"view agreement: {view.view_id} is {content} at n{me} and was {known}")
        own = view.member(me)
        if own is None or own.incarnation != machine.incarnation:
            raise Violation(f"n{me} installs view {view.view_id} without itself")
        last = self._last_id.get(me)
        if last is not None and view.view_id <= last:
            raise Violation(f"view ids of n{me} go back: {last} then {view.view_id}")
        self._last_id[me] = view.view_id
        absent = view.member_ids - self._accepted.get(view.view_id, set()) - {view.view_id.leader}
        if absent:
            raise Violation(f"view {view.view_id} installed at n{me} without the accept of {_ids(absent)}")
        self._check_quorum(machine, view, now)

    def _check_quorum(self, machine: Machine, view: View, now: int) -> None:
        lives = {(member.node_id, member.incarnation) for member in view.members}
        everybody = len(view.members) == self.swarm.size
        knows = everybody or bool(lives & self._seen_all)
        if everybody:
            self._seen_all.add((machine.node_id, machine.incarnation))
        if not view.quorate:
            return
        self.quorate_views += 1
        if knows:
            self._seen_all.add((machine.node_id, machine.incarnation))
        mode, votes, expected = self.swarm.mode, len(view.members), self.swarm.size
        where = f"view {view.view_id} of {_ids(view.member_ids)} at n{machine.node_id}"
        if not mode.changes_electorate and (votes * 2 < expected or (votes * 2 == expected and not mode.half_suffices)):
            raise Violation(f"quorum by {votes} of {expected} votes: {where}")
        if mode.waits_for_all and not knows:
            raise Violation(f"quorum before all nodes were seen: {where}")
        if votes * 2 == expected and mode is Mode.PING:
            self._check_evidence(view, where, now)
        if votes * 2 == expected and mode is Mode.LOWEST and 1 not in view.member_ids:
            raise Violation(f"quorum of the half without the node that decides: {where}")
        if mode.excludes_two:
            self._check_alone(view, now)

    def _check_evidence(self, view: View, where: str, now: int) -> None:
        lag_ms = max(EVIDENCE_LAG_MS, EVIDENCE_LAG_BEATS * self.swarm.timers.keepalive_ms)
        if len(view.members) == 1:
            lag_ms = 0  # alone, a node judges by what it knows at that moment
        for node_id in view.member_ids:
            machine = self.machines[node_id]
            if machine.told_evidence or now - machine.no_evidence_since < lag_ms:
                return
        raise Violation(f"quorum without evidence: {where}")

    def _check_alone(self, view: View, now: int) -> None:
        for other in self.machines.values():
            theirs = other.installed
            if other.core is None or theirs is None or now < other.paused_until:
                continue
            if theirs.quorate and not theirs.member_ids & view.member_ids:
                raise Violation(f"two quorate views without a common member: {view.view_id} and {theirs.view_id}")

    # --- what crms are told

    def told(self, machine: Machine, session: Session, event: MessagingEvent) -> None:
        """A crm hears something."""
        match event:
            case View():
                self._told_view(machine, session, event)
            case Delivered():
                self._told_delivered(machine, session, event)
            case Undelivered(token):
                if session.open_tokens.pop(token, None) is None:
                    raise Violation(f"second fate at n{machine.node_id}: {token} undelivered")
            case Direct():
                self._told_direct(machine, session, event)
            case _:
                pass

    def _told_view(self, machine: Machine, session: Session, view: View) -> None:
        me, last = machine.node_id, session.view
        if session.open_tokens:
            raise Violation(f"no fate at n{me} for {sorted(session.open_tokens)} before view {view.view_id}")
        if last is not None:
            if view.view_id <= last.view_id:
                raise Violation(f"crm of n{me} is told view {view.view_id} after {last.view_id}")
            if (set(last.members) - set(view.left)) | set(view.joined) != set(view.members):
                raise Violation(f"n{me}: {last.view_id} without left and with joined is not {view.view_id}")
            if me in last.group and session.view_count > 1:
                here = (session.sequence, me)
                known = self._ends.setdefault((last.view_id, view.view_id), here)
                if known[0] != here[0]:
                    raise Violation(
                        f"virtual synchrony: from {last.view_id} to {view.view_id}, n{me} delivered {here[0]} "
                        f"messages and n{known[1]} {known[0]}"
                    )
        returned = {member.node_id for member in view.joined}
        before = last.group if last else frozenset()
        session.since = {
            node_id: session.since[node_id] if node_id in before and node_id not in returned else view.view_id
            for node_id in view.group
        }
        session.view, session.sequence = view, 0
        session.view_count += 1

    def _told_delivered(self, machine: Machine, session: Session, event: Delivered) -> None:
        me, view = machine.node_id, session.view
        self.deliveries += 1
        where = f"{event.view_id}/{event.sequence} at n{me}"
        if view is None or event.view_id != view.view_id:
            raise Violation(f"delivered outside its view: {where}")
        if event.sequence != session.sequence + 1:
            raise Violation(f"total order: {where} after {session.sequence}")
        session.sequence = event.sequence
        content = (event.sender, event.token, event.payload)
        if self._order.setdefault((event.view_id, event.sequence), content) != content:
            raise Violation(f"total order: {where} is another message elsewhere")
        place = (event.view_id, event.sequence)
        if self._places.setdefault(event.token, place) != place:
            raise Violation(f"delivered twice: {where} was {self._places[event.token]}")
        sent = self.sent.get(event.token)
        if sent is None or sent.view_id != event.view_id:
            raise Violation(f"delivered in another view than sent: {where}")
        if sent.sender not in view.members or event.sender != sent.sender.node_id or event.sender not in view.group:
            raise Violation(f"message of a dead incarnation or of no member: {where}")
        if event.sender == me and session.open_tokens.pop(event.token, None) is None:
            raise Violation(f"second fate at n{me}: {event.token} delivered")

    def _told_direct(self, machine: Machine, session: Session, event: Direct) -> None:
        session.directs += 1
        me, view, number = machine.node_id, session.view, int(event.payload.partition(b" ")[0])
        sent = self.sent[number]
        where = f"direct {number} from n{event.sender} to n{me}"
        if event.sender == me:
            return
        if view is None or sent.sender not in view.members:
            raise Violation(f"message of a dead incarnation: {where}")
        if number <= session.last_direct.get(event.sender, 0):
            raise Violation(f"order of direct messages: {where} after {session.last_direct[event.sender]}")
        session.last_direct[event.sender] = number
        since = session.since.get(event.sender)
        if since is None or sent.view_id < since:
            raise Violation(f"sent before a separation: {where}, in view {sent.view_id}, together since {since}")


def _ids(node_ids: frozenset[int] | set[int]) -> str:
    return "{" + " ".join(f"n{node_id}" for node_id in sorted(node_ids)) + "}"


def _names(members: tuple[Member, ...]) -> str:
    return "{" + " ".join(f"{member.name}@{member.incarnation}" for member in members) + "}"
