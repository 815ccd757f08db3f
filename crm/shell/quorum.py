"""What `crm cluster quorum` says: how the votes stand, and what would happen if.

Theory of operation. The daemon tells its standing (votes, rules, who has been seen, whose votes count), or a vigil.toml does; the verdict on each side of
a split that was asked for comes from `messaging.forecast`, the arithmetic that the daemons themselves use. What follows from a verdict is the CIB's:
`no-quorum-policy` and fencing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lxml import etree

from crm.shell.session import ShellError
from messaging import forecast
from messaging.forecast import Side, Standing

_WITHOUT_QUORUM: Final = {
    "stop": "stops all its resources",
    "freeze": "goes on with what runs there and starts nothing else",
    "demote": "demotes what is promoted and goes on with the rest",
    "fence": "is fenced, by itself if need be",
    "suicide": "is fenced, by itself if need be",
    "ignore": "goes on all the same, as the other side may do: what runs on shared data is lost",
}


@dataclass(frozen=True, slots=True)
class Consequences:
    """What the CIB says; both None where there is only a configuration file."""

    no_quorum_policy: str | None = None
    fencing: bool | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """`down`: nodes that are off. `sides`: who still hears whom, nodes that are named nowhere being one more side.
    `seeing`: who sees the ping target, None when not said. `cold`: all nodes have just been booted."""

    down: str = ""
    split: str = ""
    seeing: str | None = None
    cold: bool = False


def consequences(cib: etree._Element) -> Consequences:
    """The two options of the CIB that matter, with their defaults."""
    values = {
        pair.get("name"): pair.get("value")
        for pair in cib.iterfind("configuration/crm_config/cluster_property_set/nvpair")
    }
    fencing = values.get("fencing-enabled") or values.get("stonith-enabled") or "true"
    return Consequences(values.get("no-quorum-policy") or "stop", fencing.lower() in ("true", "yes", "on", "1", "y"))


# --- how it stands ------------------------------------------------------------------------------------------------------


def report(answer: Mapping[str, Any]) -> list[str]:
    """The state of quorum, as `messaging.query quorum` tells it."""
    standing, names = read(answer)
    lines = [f"{'quorate' if answer.get('quorate') else 'NOT quorate'}: {answer.get('reason')}"]
    expected = f"votes present {answer.get('present_votes')}, expected {answer.get('expected_votes')}"
    if answer.get("configured_votes") != answer.get("expected_votes"):
        expected += f" (of {answer.get('configured_votes')} when all are counted)"
    lines.append(expected)
    members = set(answer.get("members", ()))
    counted = set(standing.roll.current.members)
    for node_id, votes in sorted(standing.votes.items()):
        there = "here" if node_id in members else "not here"
        says = "" if node_id in counted else ", not counted until it is back"
        seen = "" if not answer.get("wait_for_all") or node_id not in members else _seen(node_id in standing.seen_all)
        lines.append(f"  {names[node_id]}: {votes}, {there}{says}{seen}")
    rules = [
        key.replace("_", "-")
        for key in ("two_node", "wait_for_all", "last_man_standing", "allow_downscale")
        if answer.get(key)
    ]
    if rules:
        lines.append(f"rules: {', '.join(rules)}")
    if answer.get("electorate_changes"):
        lines.append("whose votes count is being changed just now")
    lines.append(f"an even split is decided by {forecast.tie_rule(standing, names)}")
    if standing.rules.tie_breaker:
        lines.append(f"its evidence is now at: {', '.join(answer.get('evidence_at') or ()) or 'nobody'}")
    detail = answer.get("evidence_detail")
    if isinstance(detail, dict):
        lines.append(
            "tie-breaker: " + "; ".join(f"{key.replace('_', ' ')} {_words(value)}" for key, value in detail.items())
        )
    return lines


def _words(value: Any) -> str:
    """A value of the tie-breaker's own report, for people."""
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key} ({_words(each)})" for key, each in value.items()) or "none"
        case list():
            return ", ".join(_words(each) for each in value) or "none"
        case None | "":
            return "none"
        case _:
            return str(value)


def _seen(seen: bool) -> str:
    return ", has seen all nodes" if seen else ", waits until all nodes were seen"


def read(answer: Mapping[str, Any]) -> tuple[Standing, dict[int, str]]:
    """The daemon's standing and the names of the nodes. ShellError when it says neither."""
    try:
        standing = forecast.read_standing(answer["standing"])
        names = {int(node_id): str(name) for node_id, name in answer["names"].items()}
    except (KeyError, TypeError, ValueError):
        raise ShellError("the daemon of this node is of another version: it does not tell how votes stand") from None
    detail = answer.get("evidence_detail") or {}
    holders = [node_id for node_id, name in names.items() if name == detail.get("master")]
    vote = frozenset(int(node_id) for node_id in detail.get("granted_to") or ())
    return replace(standing, holder=next(iter(holders), None), vote=vote), names


# --- what if ------------------------------------------------------------------------------------------------------------


def absent(answer: Mapping[str, Any], names: Mapping[int, str]) -> frozenset[int]:
    """The nodes that this one does not share its view with; nobody, while it has none."""
    members = frozenset(int(node_id) for node_id in answer.get("members") or ())
    return frozenset(names) - members if members else frozenset()


def what_if(
    standing: Standing,
    names: Mapping[int, str],
    question: Question,
    then: Consequences,
    away: frozenset[int] = frozenset(),
) -> list[str]:
    """The answer, a few lines a side. ShellError when the question names a node twice, or one that there is not.

    Who is `away` now and not named in a side stays so; after a boot of all nodes nobody is.
    """
    away = frozenset() if question.cold else away.difference(_ids(names, question.split.replace("/", ","), "--split"))
    sides = _sides(names, question, away)
    seeing = None if question.seeing is None else frozenset(_ids(names, question.seeing, "--seeing"))
    if question.cold:
        standing = replace(standing, seen_all=frozenset())
    answers = forecast.forecast(standing, sides, seeing)
    winners = [answer for answer in answers if answer.quorate is not False]
    stays = away.difference(_ids(names, question.down, "--down"))
    lines = [f"not here now, and taken to stay away unless named in --split: {_called(names, stays)}"] if stays else []
    for answer in answers:
        everybody_else = [names[node_id] for node_id in sorted(names) if node_id not in answer.members | stays]
        lines.append(f"{_called(names, answer.members)}: {_verdict(answer, standing)}")
        lines.extend(f"    {text}" for text in _then(answer, winners, then, everybody_else, names))
    lines.append(f"an even split is decided by {forecast.tie_rule(standing, names)}")
    return lines


def _verdict(answer: Side, standing: Standing) -> str:
    if answer.quorate is None:
        votes = answer.reason.partition(";")[0]
        return f"quorate if it sees what its tie-breaker {standing.rules.tie_breaker} looks at, else not ({votes})"
    return f"{'quorate' if answer.quorate else 'NOT quorate'}: {answer.reason}"


def _then(
    answer: Side, winners: Sequence[Side], then: Consequences, gone: Sequence[str], names: Mapping[int, str]
) -> Iterable[str]:
    """What follows, by the CIB."""
    if_so, if_not = ("if so, it ", "if not, it ") if answer.quorate is None else ("it ", "it ")
    if answer.quorate is not False:
        if gone:
            yield if_so + _recovery(then.fencing, gone)
        if len(winners) > 1:
            first = forecast.preferred([each.members for each in winners]) == answer.members
            when = "at once, before the others" if first else "a moment later, so that the preferred side is first"
            yield f"several sides may go on: {if_so}fences {when}"
        if answer.later is not None:
            counted = ", ".join(names[node_id] for node_id in answer.later.members)
            window = "once the window of last_man_standing is over"
            yield f"{window}, the votes of {counted} alone are counted (expected {answer.later.expected})"
    if answer.quorate is not True:
        policy = then.no_quorum_policy or "stop"
        text = _WITHOUT_QUORUM.get(policy, f"does what no-quorum-policy={policy} says")
        known = f"no-quorum-policy={policy}" + ("" if then.no_quorum_policy else ", unless the CIB says otherwise")
        yield f"{if_not}{text} ({known})"


def _recovery(fencing: bool | None, gone: Sequence[str]) -> str:
    who = ", ".join(gone)
    if fencing is None:
        return f"goes on, and fences {who} before it recovers what ran there, unless fencing is disabled in the CIB"
    if fencing:
        return f"goes on, and fences {who} before it recovers what ran there"
    return f"goes on and recovers what ran on {who} at once: fencing is disabled, so nobody knows whether it still runs there"


def _sides(names: Mapping[int, str], question: Question, away: frozenset[int]) -> list[frozenset[int]]:
    down = _ids(names, question.down, "--down")
    sides = [frozenset(_ids(names, side, "--split")) for side in question.split.split("/")] if question.split else []
    said = [*down, *(node_id for side in sides for node_id in side)]
    twice = sorted({names[node_id] for node_id in said if said.count(node_id) > 1})
    if twice:
        raise ShellError(f"{', '.join(twice)}: said to be in two places")
    rest = frozenset(names) - frozenset(said) - away
    if rest:
        sides.append(rest)
    sides = [side for side in sides if side]
    if not sides:
        raise ShellError("nobody is left to have quorum")
    return sides


def _ids(names: Mapping[int, str], text: str, option: str) -> list[int]:
    by_name = {name: node_id for node_id, name in names.items()}
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in by_name]
    if unknown:
        raise ShellError(f"{option}: no node {', '.join(unknown)}; there are {', '.join(sorted(by_name))}")
    return [by_name[word] for word in wanted]


def _called(names: Mapping[int, str], members: Iterable[int]) -> str:
    return ", ".join(names[node_id] for node_id in sorted(members))
