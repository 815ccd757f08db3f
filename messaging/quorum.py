"""The arithmetic of quorum: from votes to a verdict with its reason, and from one electorate to the next. Pure.

The verdict on a view (`assess`), in the order of the rules:

    1. A node that was stopped for a while and found itself alone has no say until it has listened for a deadtime.
    2. With `wait_for_all`, a view in which nobody has ever seen all nodes together has none, unless all are here.
    3. More than half of the expected votes: quorate.
    4. Exactly half: `two_node` says quorate (fencing decides which half lives); a tie-breaker says quorate where its
       evidence holds for a member of this half; `auto_tie_breaker` says quorate where the half has the one node that
       decides; otherwise not.
    5. Less: not quorate.

A ping tie-breaker cannot exclude that both halves see their evidence. Then both are quorate, and fencing decides:
the half with the lowest node id is *preferred*, and the other should hold its fencing back for a moment (crm does).
The survivor of a dead peer is quorate at once in any case, whatever its id.

Whose votes are counted is the *electorate*: all nodes of the configuration, until it is changed. `last_man_standing` takes out
nodes that are lost for longer than its window, `allow_downscale` nodes that left politely, the operator whom he says
(`crm cluster expected-votes`, `crm cluster remove`); nodes that are back are taken in again. It is a set of nodes and not a mere number,
because two halves could each find the same number of votes, among different nodes.

An electorate is replaced in two steps (`successor`), each a view of its own: first both count (`pending`), and a view needs
quorum in both; when every member of a quorate view has that on its disk, the new one counts alone. So whoever knows
only the old one has lost its quorum before the new one counts, whatever fails in between: two quorate views of one time
have a member in common. What is newer is told by `Roll.since`, the view that decided it; nodes that meet go on with the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from messaging.types import ViewId

CONFIGURED = ViewId(0, 0)


@dataclass(frozen=True, slots=True)
class Ballots:
    """What a verdict is made of. Votes are counted over the members of one view that are in the electorate.

    `decides`: the node of `auto_tie_breaker` is here.
    """

    present_votes: int
    expected_votes: int
    present_nodes: int
    all_nodes: int
    seen_all: bool
    evidence: bool
    distrusted: bool = False
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The configured side. `tie_breaker` is the name of one outside the nodes, or empty. With `tie_breaker_votes` it brings
    votes of its own to the side that holds its evidence, instead of deciding even splits. `tie_prefer`: which of equal sides it
    takes (`messaging.tiebreak.preference`).

    `tie_shared`: several sides may hold its evidence at one time, and fencing decides between them.
    `auto_tie_breaker` is empty, `lowest`, `highest` or `list` (then `tie_nodes` has the ids). `least_votes`: below these,
    `allow_downscale` reduces nothing.
    """

    two_node: bool = False
    wait_for_all: bool = False
    ignore: bool = False
    tie_breaker: str = ""
    tie_breaker_votes: int = 0
    tie_prefer: str = "lowest"
    tie_shared: bool = False
    auto_tie_breaker: str = ""
    tie_nodes: tuple[int, ...] = ()
    last_man_standing: bool = False
    allow_downscale: bool = False
    least_votes: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """`satisfied`: from now on no member of this view needs to wait for all nodes any more."""

    quorate: bool
    reason: str
    satisfied: bool


@dataclass(frozen=True, slots=True)
class Electorate:
    """Whose votes count, and of how many more than half are needed: never less than the sum of theirs.

    `retired` nodes are about to be removed: members of views without a vote, and not taken in again.
    """

    members: tuple[int, ...] = ()
    expected: int = 0
    retired: tuple[int, ...] = ()


NOBODY = Electorate()


@dataclass(frozen=True, slots=True)
class Roll:
    """The electorate as the members of view `since` have it on their disks; with `pending`, both count.

    What the configuration says is of no view (`CONFIGURED`).
    """

    since: ViewId = CONFIGURED
    current: Electorate = NOBODY
    pending: Electorate | None = None


EMPTY_ROLL = Roll()


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for. `force`: although the view has no quorum; he says that nobody else is running."""

    electorate: Electorate
    force: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a change of the electorate depends on, beside the rules.

    `on_disk`: every member has the present roll. `window_over`: the members were the same for the window of
    `last_man_standing`. `goodbyes` are nodes that left politely.
    """

    members: frozenset[int]
    quorate: bool
    on_disk: bool
    window_over: bool = False
    goodbyes: frozenset[int] = frozenset()
    wish: Wish | None = None


def majority(votes: int) -> int:
    """The least number of votes that is more than half."""
    return votes // 2 + 1


# --- the verdict ------------------------------------------------------------------------------------------------------


def assess(
    roll: Roll,
    members: frozenset[int],
    votes: Mapping[int, int],
    rules: Rules,
    *,
    seen_all: bool,
    evidence: bool,
    distrusted: bool = False,
) -> Verdict:
    """The verdict on a view of these members. `votes` are those of all nodes of the configuration."""
    verdicts = [
        judge(
            Ballots(
                present_votes=sum(votes.get(node_id, 0) for node_id in electorate.members if node_id in members),
                expected_votes=electorate.expected,
                present_nodes=len(members),
                all_nodes=len(votes),
                seen_all=seen_all,
                evidence=evidence,
                distrusted=distrusted,
                decides=deciding_node(electorate, votes, rules) in members,
            ),
            rules,
        )
        for electorate in (roll.current, roll.pending)
        if electorate is not None
    ]
    verdict = next((each for each in verdicts if not each.quorate), verdicts[0])
    note = _note(roll, votes)
    return Verdict(verdict.quorate, verdict.reason + note, verdict.satisfied) if note else verdict


def deciding_node(electorate: Electorate, votes: Mapping[int, int], rules: Rules) -> int | None:
    """The node whose half wins by `auto_tie_breaker`. The same for both halves, so one of them at most has it."""
    candidates = [node_id for node_id in electorate.members if votes.get(node_id, 0)]
    match rules.auto_tie_breaker:
        case "lowest":
            return min(candidates, default=None)
        case "highest":
            return max(candidates, default=None)
        case "list":
            return next((node_id for node_id in rules.tie_nodes if node_id in electorate.members), None)
    return None


def _note(roll: Roll, votes: Mapping[int, int]) -> str:
    """Says whose votes count where these are not simply all."""
    if roll.pending is not None:
        return f" (the electorate changes: {_ids(roll.current)} and {_ids(roll.pending)} both count)"
    if set(roll.current.members) != set(votes):
        return f" (counting the votes of {_ids(roll.current)}, since view {roll.since})"
    return ""


def _ids(electorate: Electorate) -> str:
    return "{" + " ".join(map(str, electorate.members)) + "}"


def judge(ballots: Ballots, rules: Rules) -> Verdict:
    """The verdict by one electorate."""
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
    if rules.tie_breaker_votes:
        return _with_votes_of_the_tie_breaker(ballots, rules)
    if ballots.present_votes >= needed:
        return True, "majority"
    if ballots.present_votes * 2 != ballots.expected_votes or not ballots.present_votes:
        return False, f"{needed} needed"
    if rules.two_node:
        return True, "two_node: half is enough, fencing decides"
    if rules.auto_tie_breaker:
        where = "here" if ballots.decides else "not here"
        return ballots.decides, f"even split, the node of auto_tie_breaker {rules.auto_tie_breaker} is {where}"
    if not rules.tie_breaker:
        return False, "even split without tie-breaker"
    if ballots.evidence:
        return True, f"even split, tie-breaker {rules.tie_breaker} holds here"
    return False, f"even split, tie-breaker {rules.tie_breaker} does not hold here"


def _with_votes_of_the_tie_breaker(ballots: Ballots, rules: Rules) -> tuple[bool, str]:
    """More than half of the nodes' votes and the tie-breaker's together. One side at most holds its evidence."""
    theirs = rules.tie_breaker_votes
    needed = majority(ballots.expected_votes + theirs)
    have = ballots.present_votes + (theirs if ballots.evidence and ballots.present_votes else 0)
    where = "counted here" if ballots.evidence else "not here"
    reason = f"{needed} needed, {have} with the {theirs} of tie-breaker {rules.tie_breaker} ({where})"
    return have >= needed, reason


# --- from one electorate to the next ------------------------------------------------------------------------------------


def configured(votes: Mapping[int, int], expected: int) -> Roll:
    """The electorate of a cluster in which nothing was changed yet."""
    return Roll(current=Electorate(tuple(sorted(votes)), expected))


def newest(rolls: Iterable[Roll]) -> Roll:
    """The one to go on with, of those that nodes bring along; the first one of several as new."""
    best: Roll | None = None
    for roll in rolls:
        if best is None or roll.since > best.since:
            best = roll
    return best or EMPTY_ROLL


def successor(
    roll: Roll, ballot: ViewId, circumstances: Circumstances, votes: Mapping[int, int], expected: int, rules: Rules
) -> Roll:
    """The roll that the view `ballot` installs; `roll` itself where nothing changes.

    `expected` is what the configuration expects when everybody is there.
    """
    wish = circumstances.wish
    if wish is not None and wish.force:
        return Roll(ballot, wish.electorate)
    if not circumstances.quorate or rules.ignore:
        return roll
    if roll.pending is not None:
        return Roll(ballot, roll.pending) if circumstances.on_disk else roll
    wanted = wish.electorate if wish is not None else wanted_electorate(roll, circumstances, votes, expected, rules)
    return roll if wanted == roll.current else Roll(ballot, roll.current, wanted)


def plan_expected(
    roll: Roll, members: frozenset[int], votes: Mapping[int, int], expected: int, *, quorate: bool, force: bool
) -> Wish:
    """The electorate when an operator sets the expected votes. ValueError with the reason when that cannot be."""
    present = _sum(members, votes)
    everybody = set(roll.current.members) | members
    if not present:
        raise ValueError("no node with a vote is here")
    if expected < present:
        raise ValueError(
            f"expected votes of {expected} are less than the {present} that are here: two halves could each have a majority"
        )
    if not quorate and not force:
        raise ValueError(
            "this part of the cluster has no quorum; that the other nodes run nothing can only be said with --force"
        )
    if force and not quorate and present < majority(expected):
        raise ValueError(f"with {expected} expected votes the {present} that are here have no quorum either")
    chosen = everybody if expected >= _sum(everybody, votes) else members
    return Wish(Electorate(tuple(sorted(chosen)), expected), force=force and not quorate)


def listed_electorate(current: Electorate, votes: Mapping[int, int], expected: int, rules: Rules) -> Electorate:
    """The electorate after nodes were added to or removed from the configuration.

    Nodes that were counted out by rule stay so until they are back; so does a new one, where such rules are in force.
    """
    changing = rules.last_man_standing or rules.allow_downscale
    chosen = tuple(sorted(set(current.members) & votes.keys() if changing else votes))
    counted = _sum(chosen, votes)
    return Electorate(chosen, max(counted, expected) if set(chosen) >= votes.keys() else counted)


def wanted_electorate(
    roll: Roll, circumstances: Circumstances, votes: Mapping[int, int], expected: int, rules: Rules
) -> Electorate:
    """Who should be counted, by the rules alone."""
    before = roll.current
    chosen = set(before.members) | (circumstances.members - set(before.retired))
    if rules.last_man_standing and circumstances.window_over:
        chosen &= circumstances.members
    if rules.allow_downscale:
        for node_id in sorted((circumstances.goodbyes & chosen) - circumstances.members):
            if _sum(chosen - {node_id}, votes) >= max(1, rules.least_votes):
                chosen.discard(node_id)
    if chosen == set(before.members):
        return before
    counted = _sum(chosen, votes)
    everybody = chosen >= votes.keys()
    return Electorate(tuple(sorted(chosen)), max(counted, expected) if everybody else counted, before.retired)


def _sum(node_ids: Iterable[int], votes: Mapping[int, int]) -> int:
    return sum(votes.get(node_id, 0) for node_id in node_ids)


# --- as JSON, for the disk and for queries -----------------------------------------------------------------------------


def roll_document(roll: Roll) -> dict[str, Any]:
    """The electorate as JSON; `read_roll` is its inverse."""
    return {
        "since": [roll.since.sequence, roll.since.leader],
        "current": _electorate_document(roll.current),
        "pending": None if roll.pending is None else _electorate_document(roll.pending),
    }


def _electorate_document(electorate: Electorate) -> dict[str, Any]:
    return {
        "members": list(electorate.members),
        "expected": electorate.expected,
        "retired": list(electorate.retired),
    }


def read_roll(document: dict[str, Any]) -> Roll:
    """KeyError, TypeError or ValueError for anything that `roll_document` does not write."""
    sequence, leader = document["since"]
    pending = document["pending"]
    return Roll(
        ViewId(int(sequence), int(leader)),
        _read_electorate(document["current"]),
        None if pending is None else _read_electorate(pending),
    )


def _read_electorate(document: dict[str, Any]) -> Electorate:
    return Electorate(
        tuple(int(node_id) for node_id in document["members"]),
        int(document["expected"]),
        tuple(int(node_id) for node_id in document["retired"]),
    )
