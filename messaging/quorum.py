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
    """`satisfied`: from now on no member of this view needs to wait for all nodes any more."""

    quorate: bool
    reason: str
    satisfied: bool


def majority(votes: int) -> int:
    """The least number of votes that is more than half."""
    return votes // 2 + 1


def judge(ballots: Ballots, rules: Rules) -> Verdict:
    """The verdict for one view."""
    quorate, reason = _verdict(ballots, rules)
    everybody = ballots.present_nodes >= ballots.all_nodes
    have = f"{ballots.present_votes} of {ballots.expected_votes} votes"
    return Verdict(quorate, f"{have}; {reason}", everybody or (quorate and ballots.seen_all))


def _verdict(ballots: Ballots, rules: Rules) -> tuple[bool, str]:
    """The rules of the module's text, in their order."""
    everybody = ballots.present_nodes >= ballots.all_nodes
    needed = majority(ballots.expected_votes)
    if rules.ignore:
        return True, "quorum is ignored by configuration"
    if ballots.distrusted and not everybody:
        return False, "stopped for longer than deadtime, listening before anything is claimed"
    if rules.wait_for_all and not everybody and not ballots.seen_all:
        return False, f"wait_for_all: {ballots.all_nodes - ballots.present_nodes} not seen since this start"
    if ballots.present_votes >= needed:
        return True, "majority"
    if ballots.present_votes * 2 != ballots.expected_votes or not ballots.present_votes:
        return False, f"{needed} needed"
    if rules.two_node:
        return True, "two_node: half is enough, fencing decides"
    if not rules.tie_breaker:
        return False, "even split without tie-breaker"
    if ballots.evidence:
        return True, f"even split, tie-breaker {rules.tie_breaker} holds here"
    return False, f"even split, tie-breaker {rules.tie_breaker} does not hold here"
