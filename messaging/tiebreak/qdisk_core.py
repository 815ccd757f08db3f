"""The quorum disk as tie-breaker, without I/O: one node's part in deciding on a shared disk who is master.

The node that is *master* on the disk has evidence, nobody else; so at an even split the half with the master wins. It
is sticky: who is master stays it while it can write in time and its part of the cluster could win at all. When there is
none, the lowest id of the nodes whose part could win becomes it.

Each node works in cycles, `interval_ms` apart: write one's own block, then, after that has returned, read all blocks.

Why there are never two masters, whatever is slow or stops:

  1. A claim (bid or mastership) is *held* from the moment a block that has it was written, until `hold_ms` after that
     write *began*. The next write extends it only when it *returns* before the end. A claim that ran out is given
     up, and everything begins again with a bid.
  2. A claim of another is ignored only when its block did not change for `stale_ms`: from the end of a read that saw it
     first to the beginning of a read that still saw it. As `hold_ms` is shorter, no claim that is held is ever ignored
     (had it been extended after the first of these reads, the last one would have seen that write).
  3. A bidder becomes master only by a read that began after its own claim was written, and that found no claim which
     may not be ignored. Of two that hold claims at one time, the one whose claim was written later would have read the
     other's. (Of two bidders, the one with the higher id takes its bid back; a bidder gives way to a master.)

This compares no clocks between nodes, only durations, with `interval_ms` of every `stale_ms` as margin for clocks that
do not run alike. The evidence is given to the node together with its end: a node that was paused finds it void.

What cannot be read or does not pass its checksum is a claim of nobody knows whom, until it is stale. A disk that fails or does
not return is absence: the claim runs out.

Without `master_wins` every node that has just written and read, and could win, has evidence, until `hold_ms` after the write began. That excludes
nobody: both halves may win, and fencing decides, so nobody is marked either.

The master marks each node that its view lost without a goodbye. A node that finds a mark against its present life stops
relying on what it believed: it stands alone, without quorum. A mark counts only while its writer is master.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from messaging.errors import invariant
from messaging.tiebreak import Surroundings
from messaging.tiebreak.qdisk_blocks import (
    EMPTY,
    Claim,
    Mark,
    State,
    mark_block,
    pack,
    state_block,
    unpack_mark,
    unpack_state,
)
from messaging.types import Member


@dataclass(frozen=True, slots=True)
class Cycle:
    """What is to be done to the disk: read `own`, write these blocks in order, then read those. Numbers of blocks."""

    own: int
    writes: tuple[tuple[int, bytes], ...]
    reads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a cycle went, in the node's own monotonic milliseconds. `blocks` is empty when anything failed.

    `written_ms` is None when the write failed: it may have happened nevertheless, or happen later. `before` is what was in
    the node's own block.
    """

    write_began_ms: int
    written_ms: int | None = None
    read_began_ms: int = 0
    read_ms: int = 0
    blocks: Mapping[int, bytes] | None = None
    before: bytes | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """This node has evidence until then, unless it says something else before."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class NoEvidence:
    pass


@dataclass(frozen=True, slots=True)
class Evicted:
    """The master `by` went on without this life of this node."""

    by: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the log; `trouble` when somebody should look."""

    text: str
    trouble: bool = False


Effect = Evidence | NoEvidence | Evicted | Say


@dataclass(slots=True)
class Peer:
    """What was seen of another node's block."""

    raw: bytes
    since_ms: int
    stale: bool = False
    state: State | None = None


class QuorumDiskCore:
    """See the module's text. Calls alternate: `begin`, then `finish` with the outcome of the cycle that it returned."""

    def __init__(
        self,
        me: Member,
        uuid: str,
        nodes: Mapping[int, str],
        interval_ms: int,
        tko: int,
        *,
        master_wins: bool = True,
    ) -> None:
        invariant(tko >= 3, "tko of a quorum disk is at least 3")
        self.me = me
        self.master_wins = master_wins
        self.uuid = uuid
        self.stale_ms = tko * interval_ms
        self.hold_ms = (tko - 1) * interval_ms
        self.claim = Claim.NONE
        self.held_until_ms = 0
        self._evidence_until_ms = 0
        self.evicted_by = ""
        self.error = ""
        self.peers: dict[int, Peer] = {}
        self._nodes = dict(nodes)
        self._relisted: dict[int, str] | None = None
        self._counter = 0
        self._written = self._last_written = EMPTY
        self._written_claim = Claim.NONE
        self._quiet_until_ms: int | None = None
        self._seen_all_blocks = False
        self._surroundings = Surroundings(False)
        self._lost: dict[int, int] = {}
        self._marks: dict[int, Mark | None] = {}
        self._foreign = ""
        self._foreign_until_ms = 0
        self._failed_until_ms = 0
        self._known_own = False

    def relist(self, nodes: Mapping[int, str]) -> None:
        """Other nodes belong to the cluster, from the next cycle on."""
        self._relisted = dict(nodes)

    # --- a cycle

    def begin(self, surroundings: Surroundings, now_ms: int) -> tuple[list[Effect], Cycle]:
        """What to write and read now. The effects come first: no claim is given up on the disk before it is here."""
        if self._quiet_until_ms is None:  # a write of an earlier life of this node may still be on its way
            self._quiet_until_ms = now_ms + self.stale_ms
        if self._relisted is not None:
            self._nodes, self._relisted = self._relisted, None
            self.peers = {node_id: peer for node_id, peer in self.peers.items() if node_id in self._nodes}
            self._lost = {node_id: lost for node_id, lost in self._lost.items() if node_id in self._nodes}
        effects = self.expire(now_ms)
        self._note_losses(surroundings)
        self._surroundings = surroundings
        if self.claim is not Claim.NONE and not (surroundings.may_win and not self.evicted_by and not self._foreign):
            effects += self._give_up(
                "ends: this node leaves, is not fit, or its part of the cluster cannot win", trouble=False
            )
        if self.may_bid(now_ms):
            self.claim = Claim.BID
            self.held_until_ms = 0
        self._counter += 1
        self._written_claim = self.claim
        self._last_written, self._written = (
            self._written,
            pack(
                State(
                    uuid=self.uuid,
                    node_id=self.me.node_id,
                    name=self.me.name,
                    incarnation=self.me.incarnation,
                    counter=self._counter,
                    claim=self.claim,
                    able=self._able(now_ms),
                    view=surroundings.view,
                    members=tuple(member.node_id for member in surroundings.members),
                    quorate=surroundings.quorate,
                )
            ),
        )
        writes = [(state_block(self.me.node_id), self._written), *self._mark_writes()]
        reads = [state_block(node_id) for node_id in self._nodes] + [mark_block(node_id) for node_id in self._nodes]
        return effects, Cycle(state_block(self.me.node_id), tuple(writes), tuple(sorted(reads)))

    def finish(self, outcome: Outcome, now_ms: int) -> list[Effect]:
        """Take what came of the cycle."""
        effects: list[Effect] = []
        if outcome.error:
            self._failed_until_ms = now_ms + self.stale_ms
        if outcome.error != self.error:
            self.error = outcome.error
            effects.append(Say(f"quorum disk: {outcome.error or 'reads and writes again'}", bool(outcome.error)))
        if outcome.written_ms is None:
            if self.claim is not Claim.MASTER:
                self.claim = Claim.NONE
                self._quiet_until_ms = now_ms + self.stale_ms
            self._known_own = False
        else:
            self._extend(outcome.write_began_ms, outcome.written_ms)
        effects += self.expire(now_ms)
        if outcome.written_ms is not None and outcome.blocks is not None:
            effects += self._check_own(outcome.before, now_ms)
            effects += self._observe(outcome.blocks, outcome.read_began_ms, outcome.read_ms)
            if self.claim is Claim.BID and self._written_claim is Claim.BID and now_ms < self.held_until_ms:
                effects += self._compare()
            if not self.master_wins and self._able(now_ms):
                self._evidence_until_ms = outcome.write_began_ms + self.hold_ms
                return [*effects, Evidence(self._evidence_until_ms)]
        if self.claim is Claim.MASTER and self.master_wins:
            effects.append(Evidence(self.held_until_ms))
        return effects

    def evidence_until_ms(self) -> int:
        """0: there is none."""
        if not self.master_wins:
            return self._evidence_until_ms
        return self.held_until_ms if self.claim is Claim.MASTER else 0

    def expire(self, now_ms: int) -> list[Effect]:
        """A claim that was not extended in time is void."""
        if self.claim is Claim.NONE or now_ms < self.held_until_ms or not self.held_until_ms:
            return []
        return self._give_up("ran out: it was not written in time")

    def _give_up(self, why: str, *, trouble: bool = True) -> list[Effect]:
        was, self.claim, self.held_until_ms = self.claim, Claim.NONE, 0
        if was is not Claim.MASTER:
            return []
        said = Say(f"this node's mastership on the quorum disk {why}", trouble)
        return [NoEvidence(), said] if self.master_wins else [said]

    # --- the own claim

    def _extend(self, began_ms: int, written_ms: int) -> None:
        """Rule 1. A write that returns too late extends nothing: meanwhile another may have ignored the claim."""
        if self._written_claim is Claim.NONE or self.claim is Claim.NONE:
            return
        if not self.held_until_ms or written_ms < self.held_until_ms:
            self.held_until_ms = began_ms + self.hold_ms

    def _able(self, now_ms: int) -> bool:
        if not self._surroundings.may_win or self.evicted_by or self._foreign or not self._seen_all_blocks:
            return False
        return now_ms >= self._failed_until_ms

    def may_bid(self, now_ms: int) -> bool:
        """Whether the next cycle should come at once, because there is something to win."""
        if self.claim is not Claim.NONE:
            return False
        if not self._able(now_ms) or self._quiet_until_ms is None or now_ms < self._quiet_until_ms:
            return False
        return not any(self._yields_to(node_id, peer) or self._waits_for(peer) for node_id, peer in self.peers.items())

    def _waits_for(self, peer: Peer) -> bool:
        """The lowest id bids first, so that it is known beforehand who becomes master."""
        return peer.state is not None and not peer.stale and peer.state.able and peer.state.node_id < self.me.node_id

    def _compare(self) -> list[Effect]:
        """Rule 3: this read began after the bid was written."""
        others = {node_id: peer for node_id, peer in self.peers.items() if self._in_the_way(peer)}
        if not others:
            self.claim = Claim.MASTER
            return [Say("this node is master on the quorum disk")]
        if any(self._yields_to(node_id, peer) for node_id, peer in others.items()):
            self.claim, self.held_until_ms = Claim.NONE, 0
        return []

    def _in_the_way(self, peer: Peer) -> bool:
        """Rule 2: a claim, or what may be one, of somebody who may still be there."""
        return not peer.stale and (peer.state is None or peer.state.claim is not Claim.NONE)

    def _yields_to(self, node_id: int, peer: Peer) -> bool:
        if not self._in_the_way(peer):
            return False
        return peer.state is None or peer.state.claim is Claim.MASTER or node_id < self.me.node_id

    # --- the others

    def _observe(self, blocks: Mapping[int, bytes], began_ms: int, ended_ms: int) -> list[Effect]:
        for node_id in self._nodes:
            if node_id == self.me.node_id:
                continue
            raw = blocks[state_block(node_id)]
            peer = self.peers.get(node_id)
            if peer is None or peer.raw != raw:
                self.peers[node_id] = Peer(raw, ended_ms, False, unpack_state(raw, self.uuid, node_id))
            else:
                peer.stale = began_ms - peer.since_ms >= self.stale_ms
        self._seen_all_blocks = True
        self._marks = {node_id: unpack_mark(blocks[mark_block(node_id)], self.uuid, node_id) for node_id in self._nodes}
        return self._check_mark()

    def _check_own(self, before: bytes | None, now_ms: int) -> list[Effect]:
        """Nobody else writes this block: or two machines have one id, or two clusters one disk."""
        known, self._known_own = self._known_own, True
        if not known or before is None or before == self._last_written:
            if self._foreign and now_ms >= self._foreign_until_ms:
                self._foreign = ""
            return []
        found = unpack_state(before, self.uuid, self.me.node_id)
        who = f"{found.name}, incarnation {found.incarnation}," if found else "somebody"
        text = f"{who} writes the block of node id {self.me.node_id} ({self.me.name}), which must be this node's alone"
        told, self._foreign = self._foreign, text
        self._foreign_until_ms = now_ms + self.stale_ms
        lost = self._give_up("is void: its block is written by another")
        return lost if told else [*lost, Say(f"quorum disk: {text}", True)]

    # --- eviction

    def _check_mark(self) -> list[Effect]:
        mark = self._marks.get(self.me.node_id)
        valid = mark is not None and mark.incarnation == self.me.incarnation and self._is_master(mark)
        if mark is None or not valid:
            self.evicted_by = ""
            return []
        if self.evicted_by:
            return []
        self.evicted_by = mark.by_name
        effects = self._give_up(f"is void: node {mark.by_name} has evicted this node")
        # A later view than the marked one, with the writer in it, means that the mark is about to be taken back.
        together = self._surroundings.view > mark.view and mark.by in {
            each.node_id for each in self._surroundings.members
        }
        return effects if together else [*effects, NoEvidence(), Evicted(mark.by_name)]

    def _is_master(self, mark: Mark) -> bool:
        peer = self.peers.get(mark.by)
        if peer is None or peer.stale or peer.state is None:
            return False
        return peer.state.claim is Claim.MASTER and peer.state.incarnation == mark.by_incarnation

    def _note_losses(self, now: Surroundings) -> None:
        """Who was with this node and is gone without a goodbye, until it is back."""
        before = {member.node_id: member.incarnation for member in self._surroundings.members}
        present = {member.node_id: member.incarnation for member in now.members}
        for node_id, incarnation in before.items():
            if present.get(node_id) != incarnation and node_id not in now.graceful:
                self._lost[node_id] = incarnation
        for node_id in present:
            self._lost.pop(node_id, None)

    def _mark_writes(self) -> list[tuple[int, bytes]]:
        """Marks that are missing, and marks against nodes that are back."""
        around = self._surroundings
        if self.claim is not Claim.MASTER or not around.quorate or not self.master_wins:
            return []
        writes = []
        for node_id, incarnation in sorted(self._lost.items()):
            known = self._marks.get(node_id)
            mark = Mark(
                self.uuid, node_id, incarnation, self.me.node_id, self.me.name, self.me.incarnation, around.view
            )
            if known is None or (known.incarnation, known.by, known.by_incarnation) != (
                incarnation,
                self.me.node_id,
                self.me.incarnation,
            ):
                writes.append((mark_block(node_id), pack(mark)))
        present = {member.node_id for member in around.members}
        back: Sequence[int] = sorted(node_id for node_id in present if self._marks.get(node_id) is not None)
        return writes + [(mark_block(node_id), EMPTY) for node_id in back]

    # --- leaving

    def another_may_follow(self) -> bool:
        """Whether somebody is there who is not master yet, but could be."""
        there = [peer.state for peer in self.peers.values() if peer.state is not None and not peer.stale]
        return any(state.able for state in there) and all(state.claim is not Claim.MASTER for state in there)

    # --- for people

    def status(self, now_ms: int) -> dict[str, object]:
        """For `query("quorum")`."""
        master = self.me.name if self.claim is Claim.MASTER else ""
        nodes = {}
        for node_id, peer in sorted(self.peers.items()):
            nodes[self._nodes[node_id]] = (
                "silent" if peer.stale else peer.state.claim.value if peer.state else "unknown"
            )
            if not peer.stale and peer.state is not None and peer.state.claim is Claim.MASTER:
                master = master or self._nodes[node_id]
        return {
            "master": master,
            "holds": now_ms < self.evidence_until_ms(),
            "master_wins": self.master_wins,
            "nodes": nodes,
            "evicted_by": self.evicted_by,
            "error": self._foreign or self.error,
        }
