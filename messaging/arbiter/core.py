"""What the arbiter decides, without I/O.

The arbiter has one vote for each cluster and gives it to one *part* of it, a set of nodes that hear each other: a *grant* for
exactly these nodes. A node counts its grant only while all nodes of the grant are in its own part, and only until the
grant's end by its own clock. It renews it all the time.

Why there are never two winners:

  1. **Grants that count at one time intersect.** A grant is given only when its part has a node in common with the part of every
     grant that may still count somewhere. Who counts on a grant has all its nodes in its part. So two parts that count on the
     arbiter at one time have a node in common: they cannot be the two halves of a split.
  2. A grant *may count* until it ran out here, `stale_ms` after the last answer that gave or renewed it; it is never taken back. The
     node counts from when it *asked*, and one interval less. Where others of a view rest on the node's grant, the cluster's
     deadtime comes on top: so long they may take to notice that the node is gone.
  3. A grant is on stable storage before it is answered. An arbiter that starts again takes all that it finds there to count, as
     if they had been given a moment before it ended. Of a cluster of which it finds nothing (a new arbiter, a lost disk) it
     assumes the worst: it gives nothing until whatever another had given has run out.

Only durations are compared, no clocks of two machines; `stale_ms` has one interval of margin for clocks that do not run alike.

Who wins, where several could: the part that has the vote keeps it while it asks for it. Otherwise, of the parts that contend
(all its nodes that are connected say the same part, and that they need the vote), the one that `preference.preferred` names. While
nodes that are connected still contradict each other, nothing is given for half of `stale_ms`; then to who is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from messaging.arbiter.protocol import VERSION, Hello, Message, Refused, Report, Verdict
from messaging.tiebreak.preference import Contender, Prefer, preferred

PATIENCE_PARTS = 2
"""A contest in which nodes contradict each other is decided after this part of `stale_ms`."""

MAX_NODES = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """A grant as it is on disk. `hold_ms`: for how long it may count after the last answer."""

    grant: int
    part: tuple[int, ...]
    hold_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """What has to survive of a cluster."""

    last_grant: int = 0
    grants: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Persist:
    """On stable storage before the next effect is performed."""

    cluster: str
    record: Record


@dataclass(frozen=True, slots=True)
class Answer:
    connection: int
    message: Message


@dataclass(frozen=True, slots=True)
class Close:
    connection: int


@dataclass(frozen=True, slots=True)
class Say:
    text: str


Effect = Persist | Answer | Close | Say


@dataclass(slots=True)
class Grant:
    """A grant that may count somewhere until then."""

    number: int
    part: frozenset[int]
    hold_ms: int
    until_ms: int


@dataclass(slots=True)
class Voter:
    """A node that is connected, and what it said last."""

    connection: int
    hello: Hello
    report: Report | None = None
    heard_ms: int = 0


@dataclass(slots=True)
class Docket:
    """One cluster's state. `worst_until_ms`: until then a grant nobody knows of may count."""

    name: str
    last_grant: int = 0
    grants: dict[int, Grant] = field(default_factory=dict)
    voters: dict[int, Voter] = field(default_factory=dict)
    worst_until_ms: int | None = None
    unsettled: dict[frozenset[int], tuple[int, int]] = field(default_factory=dict)
    """Since when a part has asked in vain, and when it did last."""
    votes: dict[int, int] = field(default_factory=dict)
    prefer: Prefer = Prefer.LOWEST


class Arbiter:
    """All clusters of one arbiter. `handle_*` returns effects in the order in which they are to be carried out."""

    def __init__(self, records: Mapping[str, Record], now_ms: int) -> None:
        self._dockets: dict[str, Docket] = {}
        self._connections: dict[int, tuple[str, int]] = {}
        for name, record in records.items():
            docket = self._dockets[name] = Docket(name, record.last_grant, worst_until_ms=now_ms)
            for kept in record.grants:
                grant = Grant(kept.grant, frozenset(kept.part), kept.hold_ms, now_ms + kept.hold_ms)
                docket.grants[kept.grant] = grant

    # --- connections

    def on_hello(self, connection: int, hello: Hello, now_ms: int) -> list[Effect]:
        """A node has connected and said who it is; that it may speak for its cluster is known already."""
        if connection in self._connections:
            return [Close(connection), *self.on_closed(connection)]  # it has said who it is
        refusal = _refusal(hello)
        docket = self._dockets.setdefault(hello.cluster, Docket(hello.cluster))
        known = docket.voters.get(hello.node_id)
        if not refusal and known is not None and known.hello.incarnation > hello.incarnation:
            refusal = f"node {hello.name} has connected with a later life of it"
        if refusal:
            return [
                Answer(connection, Refused(refusal)),
                Close(connection),
                Say(f"{hello.cluster}: refused: {refusal}"),
            ]
        effects: list[Effect] = []
        if known is not None:
            self._connections.pop(known.connection, None)
            effects.append(Close(known.connection))
        docket.voters[hello.node_id] = Voter(connection, hello, None, now_ms)
        docket.votes = dict(hello.votes)
        docket.prefer = hello.prefer
        if docket.worst_until_ms is None:
            docket.worst_until_ms = now_ms + hello.stale_ms + hello.deadtime_ms
        self._connections[connection] = (hello.cluster, hello.node_id)
        return [*effects, Say(f"{hello.cluster}: node {hello.name} is connected")]

    def on_closed(self, connection: int) -> list[Effect]:
        """The connection has ended. What was granted goes on to count."""
        cluster, node_id = self._connections.pop(connection, ("", 0))
        if not cluster:
            return []
        voter = self._dockets[cluster].voters.pop(node_id)
        return [Say(f"{cluster}: node {voter.hello.name} is not connected any more")]

    def drop_cluster(self, cluster: str) -> list[Effect]:
        """It may not speak here any more."""
        docket = self._dockets.get(cluster)
        effects: list[Effect] = []
        for voter in list(docket.voters.values()) if docket else []:
            effects += [Close(voter.connection), *self.on_closed(voter.connection)]
        return effects

    # --- reports

    def on_report(self, connection: int, report: Report, now_ms: int) -> list[Effect]:
        """Answer it. A connection that has been superseded is not listened to."""
        cluster, node_id = self._connections.get(connection, ("", 0))
        if not cluster:
            return [Close(connection)]
        docket = self._dockets[cluster]
        voter = docket.voters[node_id]
        if node_id not in report.part:
            return [Answer(connection, Refused("a part without the node that reports it")), Close(connection)]
        voter.report, voter.heard_ms = report, now_ms
        docket.grants = {number: grant for number, grant in docket.grants.items() if now_ms < grant.until_ms}
        leaving = tuple(sorted(each for each, other in docket.voters.items() if other.report and other.report.leaving))
        if report.leaving:
            followed = self._followed(docket, node_id, now_ms)
            return [Answer(connection, Verdict(report.sequence, 0, (), "it leaves", leaving, followed))]
        number, reason, effects = self._decide(docket, voter, report, now_ms)
        part = tuple(sorted(docket.grants[number].part)) if number else ()
        verdict = Verdict(report.sequence, number, part, reason, leaving, weights=_weights(docket))
        return [*effects, Answer(connection, verdict)]

    def _decide(self, docket: Docket, voter: Voter, report: Report, now_ms: int) -> tuple[int, str, list[Effect]]:
        """The number of the grant (0: none), the reason, and what is to be done first."""
        part = frozenset(report.part)
        if not report.needs:
            return 0, "the vote is not needed", []
        hold_ms = voter.hello.stale_ms
        if len(part) > 1 or len(report.view) > 1:
            hold_ms += voter.hello.deadtime_ms
        held = _held(docket, voter.hello.node_id, part)
        if held is not None:
            return self._renew(docket, held, hold_ms, now_ms)
        if docket.worst_until_ms is not None and now_ms < docket.worst_until_ms:
            return 0, "the arbiter has no record of this cluster yet: an earlier one's vote may still count", []
        blocking = [grant for grant in docket.grants.values() if not grant.part & part]
        if blocking:
            return 0, f"the vote is with {self._names(docket, blocking[0].part)}", []
        reason = self._contest(docket, part, now_ms)
        if reason:
            return 0, reason, []
        docket.last_grant += 1
        grant = Grant(docket.last_grant, part, hold_ms, now_ms + hold_ms)
        docket.grants[grant.number] = grant
        docket.unsettled.clear()
        said = f"{docket.name}: the vote goes to {self._names(docket, part)} (grant {grant.number})"
        return grant.number, "the vote is here", [self._record(docket), Say(said)]

    def _renew(self, docket: Docket, grant: Grant, hold_ms: int, now_ms: int) -> tuple[int, str, list[Effect]]:
        effects: list[Effect] = []
        if hold_ms > grant.hold_ms:
            grant.hold_ms = hold_ms
            effects = [self._record(docket)]
        grant.until_ms = max(grant.until_ms, now_ms + hold_ms)
        return grant.number, "the vote is here", effects

    def _record(self, docket: Docket) -> Persist:
        kept = tuple(Kept(each.number, tuple(sorted(each.part)), each.hold_ms) for each in docket.grants.values())
        return Persist(docket.name, Record(docket.last_grant, kept))

    def _contest(self, docket: Docket, part: frozenset[int], now_ms: int) -> str:
        """Why this part does not get a vote that nobody holds. Empty when it does."""
        reports = self._live(docket, now_ms)
        stale_ms = max(voter.hello.stale_ms for voter in docket.voters.values())
        # Also among the others: a side that is still finding itself may be the one that goes first.
        settled = all(
            frozenset(reports[other].part) == frozenset(report.part)
            for report in reports.values()
            for other in report.part
            if other in reports
        )
        if settled:
            docket.unsettled.pop(part, None)
        else:
            since_ms, last_ms = docket.unsettled.get(part, (now_ms, now_ms))
            if now_ms - last_ms >= stale_ms:  # it did not go on asking
                since_ms = now_ms
            docket.unsettled[part] = (since_ms, now_ms)
            if now_ms - since_ms < stale_ms // PATIENCE_PARTS:
                return "nodes that are connected do not agree yet on who hears whom"
        sides = {part: self._contender(docket, part, reports)}
        for report in reports.values():
            other = frozenset(report.part)
            agreed = all(frozenset(reports[each].part) == other for each in other if each in reports)
            if report.needs and agreed and not other & part and self._open_to(docket, other):
                sides[other] = self._contender(docket, other, reports)
        winner = preferred(sides.values(), docket.prefer)
        if winner is not None and winner.members != part:
            return f"{self._names(docket, winner.members)} goes first ({docket.prefer.value})"
        return ""

    def _open_to(self, docket: Docket, part: frozenset[int]) -> bool:
        return all(grant.part & part for grant in docket.grants.values())

    def _live(self, docket: Docket, now_ms: int) -> dict[int, Report]:
        """What the nodes say that are there and stay."""
        return {
            node_id: voter.report
            for node_id, voter in docket.voters.items()
            if voter.report is not None and not voter.report.leaving and now_ms - voter.heard_ms < voter.hello.stale_ms
        }

    def _contender(self, docket: Docket, part: frozenset[int], reports: Mapping[int, Report]) -> Contender:
        votes = sum(docket.votes.get(node_id, 0) for node_id in part)
        return Contender(part, votes, sum(reports[each].weight for each in part if each in reports))

    def _followed(self, docket: Docket, leaver: int, now_ms: int) -> bool:
        """Whether everybody who will need the vote without the leaver has it."""
        others = self._live(docket, now_ms)
        asking = [frozenset(report.part) for report in others.values() if report.needs]
        unaware = any(leaver in report.part for report in others.values())
        unaware = unaware or any(voter.report is None for voter in docket.voters.values())
        return not unaware and all(any(grant.part <= part for grant in docket.grants.values()) for part in asking)

    # --- for people

    def _names(self, docket: Docket, part: frozenset[int]) -> str:
        known = {node_id: voter.hello.name for node_id, voter in docket.voters.items()}
        return " ".join(known.get(node_id, f"node {node_id}") for node_id in sorted(part))

    def status(self, now_ms: int) -> dict[str, object]:
        """What `vigil-arbiter status` shows."""
        answer: dict[str, object] = {}
        for name, docket in sorted(self._dockets.items()):
            live = self._live(docket, now_ms)
            answer[name] = {
                "nodes": {
                    voter.hello.name: {
                        "id": node_id,
                        "heard_ms_ago": now_ms - voter.heard_ms,
                        "live": node_id in live,
                        "part": list(voter.report.part) if voter.report else [],
                        "needs": bool(voter.report and voter.report.needs),
                    }
                    for node_id, voter in sorted(docket.voters.items())
                },
                "votes_given": [
                    {"grant": each.number, "part": sorted(each.part), "counts_for_ms": each.until_ms - now_ms}
                    for each in docket.grants.values()
                    if now_ms < each.until_ms
                ],
                "prefer": docket.prefer.value,
            }
        return answer


def _held(docket: Docket, node_id: int, part: frozenset[int]) -> Grant | None:
    """The grant to renew: that of this very part, else a narrower one with the node in it."""
    fitting = [grant for grant in docket.grants.values() if node_id in grant.part and grant.part <= part]
    return max(fitting, key=lambda grant: (len(grant.part), grant.number), default=None)


def _weights(docket: Docket) -> tuple[tuple[int, int], ...]:
    """What the nodes run, so that each of them can say beforehand who would win."""
    if docket.prefer is not Prefer.RESOURCES:
        return ()
    return tuple((node_id, voter.report.weight) for node_id, voter in sorted(docket.voters.items()) if voter.report)


def _refusal(hello: Hello) -> str:
    if hello.version != VERSION:
        return f"protocol version {hello.version}; this arbiter speaks {VERSION}"
    if hello.node_id not in dict(hello.votes):
        return f"node id {hello.node_id} is not one of its cluster's nodes"
    if len(hello.votes) > MAX_NODES:
        return f"more than {MAX_NODES} nodes"
    return ""
