"""The mutation check: each mutant breaks one safety rule of the core, in this process only; the simulator must notice.

A mutant is a set of replaced functions. `installed` puts them in place and takes them out again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from messaging import membership, quorum
from messaging.channel import Channel
from messaging.crm_session import CrmSession
from messaging.effects import Durable, Persist
from messaging.frame import FrameCodec, _Window
from messaging.keyring import Key
from messaging.matrix import Matrix
from messaging.membership import Membership
from messaging.messages import DirectMessage, Flush, Install, Ordered, Propose
from messaging.node import Node
from messaging.ordering import Ordering
from messaging.persist import StateStore
from messaging.tiebreak.qdisk_core import QuorumDiskCore
from messaging.types import Direct, ViewId

Patch = tuple[object, str, Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`breaks` names the rule."""

    name: str
    breaks: str
    patches: Callable[[], tuple[Patch, ...]]


@contextmanager
def installed(name: str | None) -> Iterator[None]:
    """With this mutant in place (with none for None). KeyError when there is none of that name."""
    patches = MUTANTS[name].patches() if name else ()
    before = [(where, attribute, getattr(where, attribute)) for where, attribute, _ in patches]
    try:
        for where, attribute, patched in patches:
            setattr(where, attribute, patched)
        yield
    finally:
        for where, attribute, original in before:
            setattr(where, attribute, original)


# --- quorum


def _judging(
    change: Callable[[quorum.Ballots, quorum.Rules], tuple[quorum.Ballots, quorum.Rules]],
) -> tuple[Patch, ...]:
    judge = quorum.judge

    def judged(ballots: quorum.Ballots, rules: quorum.Rules) -> quorum.Verdict:
        return judge(*change(ballots, rules))

    return ((quorum, "judge", judged),)


def _dead_vote() -> tuple[Patch, ...]:
    return _judging(lambda b, r: (replace(b, present_votes=b.present_votes + (b.present_nodes < b.all_nodes)), r))


def _no_wait_for_all() -> tuple[Patch, ...]:
    return _judging(lambda b, r: (b, replace(r, wait_for_all=False)))


def _evidence_always() -> tuple[Patch, ...]:
    return _judging(lambda b, r: (replace(b, evidence=True), r))


def _any_tie_node() -> tuple[Patch, ...]:
    return _judging(lambda b, r: (replace(b, decides=True), r))


def _own_verdict() -> tuple[Patch, ...]:
    on_install = Membership._on_install

    def judged_here(self: Membership, sender: int, message: Install, now_ms: int) -> None:
        verdict = self.verdict(dict.fromkeys(self._matrix.part(), self._matrix.own.flags))
        on_install(self, sender, replace(message, quorate=verdict.quorate, reason=verdict.reason), now_ms)

    return ((Membership, "_on_install", judged_here),)


# --- agreement


def _old_ballot() -> tuple[Patch, ...]:
    on_propose, accept = Membership._on_propose, Membership._accept

    def forgetful_propose(self: Membership, sender: int, message: Propose) -> None:
        self._promised = ViewId(0, 0)
        on_propose(self, sender, message)

    def forgetful_accept(self: Membership, propose: Propose, now_ms: int) -> None:
        self._promised = ViewId(0, 0)
        accept(self, propose, now_ms)

    return (Membership, "_on_propose", forgetful_propose), (Membership, "_accept", forgetful_accept)


def _not_all_accepts() -> tuple[Patch, ...]:
    def impatient(self: Membership, proposal: membership.Proposal, now_ms: int) -> None:
        if 2 * (len(proposal.accepts) + 1) <= len(proposal.members):
            return
        received = self._ordering.freeze()
        proposal.accepts[self._me.node_id] = self._own_accept(proposal.ballot, received)
        proposal.flushes = tuple(membership._flushes(proposal.accepts))
        proposal.deadline_ms = now_ms + membership.FLUSH_MS
        for flush in proposal.flushes:
            self._start_flush(proposal, flush)
        self._check_flushed(proposal, now_ms)

    return ((Membership, "_check_accepts", impatient),)


def _forget_sequence() -> tuple[Patch, ...]:
    def persist(self: Membership) -> None:
        self._out.persist(Durable(0, self.seen_all))

    return ((Membership, "_persist", persist),)


def _reserve_nothing() -> tuple[Patch, ...]:
    accept = Membership._accept

    def careless(self: Membership, propose: Propose, now_ms: int) -> None:
        ceiling, self._ceiling = self._ceiling, 1 << 62
        accept(self, propose, now_ms)
        self._ceiling = ceiling

    return ((Membership, "_accept", careless),)


def _persist_later() -> tuple[Patch, ...]:
    drain = Node._drain

    def drained(self: Node, now_ms: int) -> list[Any]:
        effects = drain(self, now_ms)
        return sorted(effects, key=lambda effect: isinstance(effect, Persist))

    return ((Node, "_drain", drained),)


# --- order and fate


def _skip_flush() -> tuple[Patch, ...]:
    flushes, finish = membership._flushes, Ordering.finish

    def no_flushes(accepts: Any) -> list[Flush]:
        return [replace(flush, upto=0) for flush in flushes(accepts)]

    def finish_here(self: Ordering, upto: int) -> None:
        finish(self, self.received)

    return (
        (membership, "_flushes", no_flushes),
        (Membership, "_start_flush", lambda self, proposal, flush: None),
        (Ordering, "finish", finish_here),
    )


def _no_freeze() -> tuple[Patch, ...]:
    def keep_delivering(self: Ordering) -> int:
        return self.received

    return ((Ordering, "freeze", keep_delivering),)


def _out_of_order() -> tuple[Patch, ...]:
    append = Ordering._append

    def hasty(self: Ordering, message: Ordered) -> None:
        if message.sender == self._me and message.sequence > 1 and message.sequence - 1 in self._log:
            message = replace(message, payload=self._log[message.sequence - 1].payload)
        append(self, message)

    return ((Ordering, "_append", hasty),)


def _lose_fate() -> tuple[Patch, ...]:
    finish = Ordering.finish

    def silent(self: Ordering, upto: int) -> None:
        for token in [token for token in self._outstanding if upto < self.received or not self._log]:
            del self._outstanding[token]
        finish(self, upto)

    return ((Ordering, "finish", silent),)


def _stale_direct() -> tuple[Patch, ...]:
    def credulous(self: CrmSession, sender: int, message: DirectMessage) -> None:
        self._out.notify(Direct(sender, message.payload))

    return (CrmSession, "on_direct", credulous), (Channel, "forget", lambda self: None)


# --- frames


def _accept_replays() -> tuple[Patch, ...]:
    return ((_Window, "admit", lambda self, incarnation, sequence: True),)


def _accept_old_incarnations() -> tuple[Patch, ...]:
    judge = FrameCodec._judge

    def forgetful(self: FrameCodec, link: int, data: bytes) -> Any:
        self._incarnations.clear()
        return judge(self, link, data)

    return ((FrameCodec, "_judge", forgetful),)


def _trust_everybody() -> tuple[Patch, ...]:
    return ((Key, "verify", lambda self, tag, *parts: True),)


# --- what is written down


def _one_copy() -> tuple[Patch, ...]:
    read_state = StateStore._read_state

    def careless(self: StateStore) -> Any:
        try:
            json.loads(self._machine.read(self._state))
        except FileNotFoundError:
            return read_state(self)
        except ValueError:
            return {"incarnation": 0, "sequence_ceiling": 0}
        return read_state(self)

    return ((StateStore, "_read_state", careless),)


def _any_boot() -> tuple[Patch, ...]:
    def read(self: StateStore) -> bool:
        try:
            return bool(json.loads(self._machine.read(self._boot))["seen_all"])
        except (OSError, ValueError):
            return False

    return ((StateStore, "_read_seen_all", read),)


# --- whose votes count, and evidence


def _evidence_for_ever() -> tuple[Patch, ...]:
    take = Node._take_evidence

    def believe(self: Node, holds: bool, until_ms: int | None, *rest: Any) -> None:
        take(self, holds or self._evidence, None, *rest)

    return ((Node, "_take_evidence", believe),)


def _disk_without_tko() -> tuple[Patch, ...]:
    begin = QuorumDiskCore.__init__

    def hasty(self: QuorumDiskCore, *arguments: Any) -> None:
        begin(self, *arguments)
        self.stale_ms = self.hold_ms // 4

    return ((QuorumDiskCore, "__init__", hasty),)


def _disk_without_reading() -> tuple[Patch, ...]:
    return ((QuorumDiskCore, "_in_the_way", lambda self, peer: False),)


def _one_step() -> tuple[Patch, ...]:
    successor = quorum.successor

    def hasty(roll: quorum.Roll, ballot: ViewId, *rest: Any) -> quorum.Roll:
        following = successor(roll, ballot, *rest)
        return following if following.pending is None else quorum.Roll(ballot, following.pending)

    return ((quorum, "successor", hasty),)


# --- staying together


def _old_rows() -> tuple[Patch, ...]:
    return ((Matrix, "_view_of", lambda self, row: row.view_id),)


def _broken_promise() -> tuple[Patch, ...]:
    return ((Membership, "_hears", lambda self, node_id: node_id in self._matrix.part()),)


def _no_patience() -> tuple[Patch, ...]:
    return ((Membership, "_disputed", lambda self, part, now_ms: False),)


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant("dead-vote", "the vote of a node that is not in the view is counted", _dead_vote),
        Mutant("ignore-wait-for-all", "wait_for_all is not waited for", _no_wait_for_all),
        Mutant("evidence-always", "the tie-breaker is taken to hold without evidence", _evidence_always),
        Mutant("any-tie-node", "auto_tie_breaker is taken to hold for whichever half", _any_tie_node),
        Mutant("own-verdict", "each member judges quorum by itself", _own_verdict),
        Mutant("old-ballot", "a ballot below one that was accepted is accepted", _old_ballot),
        Mutant("not-all-accepts", "a view is installed when more than half have accepted", _not_all_accepts),
        Mutant("forget-sequence", "the reserved view sequence is not written down", _forget_sequence),
        Mutant("reserve-nothing", "a member does not write down how far the views it accepted went", _reserve_nothing),
        Mutant("persist-later", "what relies on the disk is done before the disk has it", _persist_later),
        Mutant("skip-flush", "members do not bring each other to the same messages", _skip_flush),
        Mutant("no-freeze", "messages are delivered after a member has said how far it is", _no_freeze),
        Mutant("out-of-order", "a member delivers another message at a place", _out_of_order),
        Mutant("lose-fate", "multicasts that were not delivered are forgotten", _lose_fate),
        Mutant("stale-direct", "direct messages from before a separation are delivered after it", _stale_direct),
        Mutant("accept-replays", "a frame is taken as often as it comes", _accept_replays),
        Mutant(
            "accept-old-lives",
            "frames of an older incarnation than one that was heard are taken",
            _accept_old_incarnations,
        ),
        Mutant("trust-everybody", "the proof in a frame is not checked", _trust_everybody),
        Mutant("one-copy", "a torn state file is taken for none, and its copy is not read", _one_copy),
        Mutant("any-boot", "what wait_for_all learnt outlives the boot", _any_boot),
        Mutant("evidence-for-ever", "evidence outlives its end", _evidence_for_ever),
        Mutant(
            "disk-without-tko", "a claim on the disk is ignored long before tko intervals are over", _disk_without_tko
        ),
        Mutant("disk-without-reading", "a bid on the disk wins whatever others have written", _disk_without_reading),
        Mutant("one-step", "the votes that count change at once instead of in two views", _one_step),
        Mutant("old-rows", "the first to install a view believes the others' older rows and goes alone", _old_rows),
        Mutant("no-patience", "who notices a death first goes off without those that have not yet", _no_patience),
        Mutant("broken-promise", "a member gives up a view because a heartbeat overtook its install", _broken_promise),
    )
}
