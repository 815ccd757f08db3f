"""What would happen if: the verdict on each side of a split that has not happened. Pure.

The same arithmetic that the daemon uses (`messaging.quorum`), fed with a question instead of an event: `Standing` is what
the cluster is like now (or, from a configuration file, what it is like when all is well), `sides` who would still hear whom.
A node in no side is down. `forecast` answers for each side by itself, as the nodes there would: once its view stands, and
for `last_man_standing` also when the window is over.

Evidence of a tie-breaker outside the nodes cannot be computed. A quorum disk or a network arbiter has one winner at most, so
there the rule says who. Ping targets (and a disk without `master_wins`) may be seen by each side or by none: `evidence` says
by whom, and without that the answer for a side that depends on it is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from messaging import quorum
from messaging.quorum import Circumstances, Roll, Rules, Verdict
from messaging.tiebreak import preference
from messaging.tiebreak.preference import Contender, Prefer
from messaging.types import ViewId

QDISK = "qdisk"
_NEXT = ViewId(1 << 62, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a forecast begins with. `seen_all` are the nodes that need not wait for the others any more; `holder` is the node
    that has the evidence of an exclusive tie-breaker now (the master of a quorum disk), `vote` the nodes that have the vote of an arbiter now. `weights`: what the nodes run, where that decides."""

    votes: Mapping[int, int]
    expected: int
    rules: Rules
    roll: Roll
    seen_all: frozenset[int]
    holder: int | None = None
    weights: Mapping[int, int] = field(default_factory=dict)
    vote: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Side:
    """The answer for one side. `quorate` is None when it depends on evidence that nobody can know beforehand.

    `later`: the electorate after the window of `last_man_standing`, where that changes it.
    """

    members: frozenset[int]
    quorate: bool | None
    reason: str
    needs_evidence: bool
    later: quorum.Electorate | None


def whole(votes: Mapping[int, int], expected: int, rules: Rules) -> Standing:
    """A cluster in which all is well: everybody has seen everybody, and nothing was changed."""
    return Standing(votes, expected, rules, quorum.configured(votes, expected), frozenset(votes))


def forecast(
    standing: Standing, sides: Sequence[frozenset[int]], evidence: frozenset[int] | None = None
) -> tuple[Side, ...]:
    """Each side's future. `evidence`: the nodes that see the ping target; None when that is not known."""
    blind = [_verdict(standing, members, evidence=False) for members in sides]
    seeing = [_verdict(standing, members, evidence=True) for members in sides]
    asks = [not without.quorate and with_it.quorate for without, with_it in zip(blind, seeing, strict=True)]
    winner = _winner(standing, [members for members, needs in zip(sides, asks, strict=True) if needs])
    answers = []
    for members, needs, without, with_it in zip(sides, asks, blind, seeing, strict=True):
        quorate: bool | None = without.quorate
        if needs and standing.rules.tie_shared:
            quorate = None if evidence is None else bool(evidence & members)
        elif needs:
            quorate = members == winner
        verdict = with_it if quorate else without
        answers.append(Side(members, quorate, verdict.reason, needs, _later(standing, members, quorate=bool(quorate))))
    return tuple(answers)


def _verdict(standing: Standing, members: frozenset[int], *, evidence: bool) -> Verdict:
    return quorum.assess(
        standing.roll,
        members,
        standing.votes,
        standing.rules,
        seen_all=bool(members & standing.seen_all),
        evidence=evidence,
    )


def _winner(standing: Standing, asking: Sequence[frozenset[int]]) -> frozenset[int] | None:
    """Of the sides that need an exclusive tie-breaker, the one that gets it: with its present holder, else by its rule."""
    for members in asking:
        if standing.holder in members:
            return members
    if standing.rules.tie_breaker == QDISK:
        return min(asking, key=min, default=None)  # the lowest id of those that could win bids first
    heirs = [members for members in asking if members & standing.vote] or asking
    sides = [
        Contender(
            members,
            sum(standing.votes.get(each, 0) for each in members),
            sum(standing.weights.get(each, 0) for each in members),
        )
        for members in heirs
    ]
    winner = preference.preferred(sides, Prefer(standing.rules.tie_prefer))
    return winner.members if winner else None


def _later(standing: Standing, members: frozenset[int], *, quorate: bool) -> quorum.Electorate | None:
    circumstances = Circumstances(members, quorate, on_disk=True, window_over=True)
    following = quorum.successor(standing.roll, _NEXT, circumstances, standing.votes, standing.expected, standing.rules)
    wanted = following.pending or following.current
    return None if wanted == standing.roll.current else wanted


def preferred(sides: Sequence[frozenset[int]]) -> frozenset[int]:
    """Where several sides may be quorate, the one that fences at once while the others hold back for a moment."""
    return min(sides, key=min)


def tie_rule(standing: Standing, names: Mapping[int, str]) -> str:
    """What decides at an even split, in a sentence, known in advance."""
    rules = standing.rules
    if rules.ignore:
        return "quorum is ignored: every side goes on"
    if rules.two_node:
        return "two_node: both sides go on and fencing decides; the one with the lowest node id fences first"
    if rules.auto_tie_breaker:
        node_id = quorum.deciding_node(standing.roll.current, standing.votes, rules)
        who = names.get(node_id, str(node_id)) if node_id is not None else "nobody: no such node has a vote"
        return f"auto_tie_breaker {rules.auto_tie_breaker}: the side with {who}"
    if rules.tie_shared:
        return (
            f"{rules.tie_breaker}: each side that sees it; where both do, both go on and fencing decides, the side with the "
            "lowest node id first"
        )
    if rules.tie_breaker:
        known = standing.vote or ({standing.holder} if standing.holder is not None else ())
        holder = f" (now {' '.join(names.get(each, '?') for each in sorted(known))})" if known else ""
        by = {
            "highest": "the highest node id",
            "resources": "the most running resources by priority, then the lowest node id",
        }
        size = "the most votes, then with " if rules.tie_breaker_votes and rules.tie_breaker != QDISK else ""
        return (
            f"{rules.tie_breaker}: one side only, the one with its present holder{holder}, else with "
            f"{size}{by.get(rules.tie_prefer, 'the lowest node id')}"
        )
    return "nothing: no side of an even split has quorum"


# --- as JSON, since who asks is not the process that knows -------------------------------------------------------------


def standing_document(standing: Standing) -> dict[str, Any]:
    """`read_standing` is its inverse."""
    return {
        "votes": {str(node_id): count for node_id, count in standing.votes.items()},
        "expected": standing.expected,
        "rules": {each.name: getattr(standing.rules, each.name) for each in fields(standing.rules)},
        "roll": quorum.roll_document(standing.roll),
        "seen_all": sorted(standing.seen_all),
        "holder": standing.holder,
        "vote": sorted(standing.vote),
        "weights": {str(node_id): weight for node_id, weight in standing.weights.items()},
    }


def read_standing(document: dict[str, Any]) -> Standing:
    """KeyError, TypeError or ValueError for anything that `standing_document` does not write."""
    rules = {**document["rules"], "tie_nodes": tuple(document["rules"]["tie_nodes"])}
    return Standing(
        {int(node_id): int(count) for node_id, count in document["votes"].items()},
        int(document["expected"]),
        Rules(**rules),
        quorum.read_roll(document["roll"]),
        frozenset(document["seen_all"]),
        document["holder"],
        {int(node_id): int(weight) for node_id, weight in document["weights"].items()},
        frozenset(document["vote"]),
    )
