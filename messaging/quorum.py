"""The arithmetic of quorum: from votes to a verdict with its reason. Pure; a few lines that must be right.

    1. A node that was stopped for a while and found itself alone has no say until it has listened for a deadtime.
    2. With `wait_for_all`, a view in which nobody has ever seen all nodes together has none, unless all are here.
    3. More than half of the expected votes: quorate.
    4. Exactly half: `two_node` says quorate (fencing decides which half lives); a tie-breaker says quorate where its
       evidence holds for a member of this half; otherwise not.
    5. Less: not quorate.

A ping tie-breaker cannot exclude that both halves see their evidence. Then both are quorate, and fencing decides:
the half with the lowest node id is *preferred*, and the other should hold its fencing back for a moment (crm does).
The survivor of a dead peer is quorate at once in any case, whatever its id.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ballots:
    """What a verdict is made of. Votes are counted over the members of one view."""

    present_votes: int
    expected_votes: int
    present_nodes: int
    all_nodes: int
    seen_all: bool
    evidence: bool
    distrusted: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured side. `tie_breaker` is its name, or empty."""

    two_node: bool = False
    wait_for_all: bool = False
    ignore: bool = False
    tie_breaker: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`satisfied` says that `wait_for_all` needs no more waiting for the members of this view."""

    quorate: bool
    reason: str
    satisfied: bool


def majority(votes: int) -> int:
    """The least number of votes that is more than half."""
    return votes // 2 + 1


def judge(ballots: Ballots, rules: Rules) -> Verdict:
    """The verdict for one view. See the module's text for the rules, in their order."""
    everybody = ballots.present_nodes >= ballots.all_nodes
    satisfied = everybody or ballots.seen_all
    have = f"{ballots.present_votes} of {ballots.expected_votes} votes"
    if rules.ignore:
        return Verdict(True, f"{have}; quorum is ignored by configuration", satisfied)
    if ballots.distrusted and ballots.present_nodes < ballots.all_nodes:
        return Verdict(False, f"{have}; this node was stopped for longer than deadtime and listens first", satisfied)
    if rules.wait_for_all and not satisfied:
        missing = ballots.all_nodes - ballots.present_nodes
        return Verdict(False, f"{have}; wait_for_all: {missing} never seen since this start", satisfied)
    if ballots.present_votes >= majority(ballots.expected_votes):
        return Verdict(True, f"{have}; majority", satisfied)
    if ballots.present_votes * 2 == ballots.expected_votes and ballots.present_votes > 0:
        return _tie(have, ballots, rules, satisfied)
    return Verdict(False, f"{have}; {majority(ballots.expected_votes)} needed", satisfied)


def _tie(have: str, ballots: Ballots, rules: Rules, satisfied: bool) -> Verdict:
    if rules.two_node:
        return Verdict(True, f"{have}; two_node: half is enough, fencing decides", satisfied)
    if rules.tie_breaker:
        if ballots.evidence:
            return Verdict(True, f"{have}; even split, tie-breaker {rules.tie_breaker} holds here", satisfied)
        return Verdict(False, f"{have}; even split, tie-breaker {rules.tie_breaker} does not hold here", satisfied)
    return Verdict(False, f"{have}; even split without tie-breaker", satisfied)
