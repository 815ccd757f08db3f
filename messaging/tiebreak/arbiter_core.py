"""A node's side of the network arbiter, without I/O: when to report what, and what an answer is worth.

A node has one report on its way at a time and sends the next an interval after the answer, or at once when it is asked to
look. A grant counts from when the report that it answers was *sent* (the arbiter counts from when it answers, and one interval longer),
so it has run out here before the arbiter gives it to anybody else. It goes to the core of the node together with its end and with its
nodes: the core lets it count only while all of these are in the node's own part.

No answer for as long as a grant would count: the connection is given up. A node that leaves, or that takes its place again
after it was killed, says so and waits until the others have the vote that they will need without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from messaging.arbiter.protocol import VERSION, Hello, Report, Verdict
from messaging.config import MessagingConfig
from messaging.tiebreak import Surroundings
from messaging.tiebreak.preference import Prefer
from messaging.types import Member


@dataclass(frozen=True, slots=True)
class Send:
    report: Report


@dataclass(frozen=True, slots=True)
class Granted:
    """Evidence until then, for parts that contain all these nodes."""

    until_ms: int
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The connection is of no use any more."""

    why: str


Effect = Send | Granted | Reconnect


class ArbiterClient:
    """See the module's text. `due_ms` is when `tick` has something to do, if nothing happens before."""

    def __init__(self, config: MessagingConfig, me: Member) -> None:
        rules = config.quorum.tie_breaker
        self.interval_ms = rules.interval_ms
        self.lease_ms = (rules.tko - 1) * rules.interval_ms
        # Whatever may count has run out after a deadtime less, then the others have to ask once more.
        self.hand_over_ms = rules.tko * rules.interval_ms + 2 * config.timers.deadtime_ms
        self.hello = Hello(
            version=VERSION,
            cluster=config.cluster,
            node_id=me.node_id,
            name=me.name,
            incarnation=me.incarnation,
            stale_ms=rules.tko * rules.interval_ms,
            deadtime_ms=config.timers.deadtime_ms,
            prefer=Prefer(rules.prefer),
            votes=tuple((node.node_id, node.votes) for node in config.nodes),
        )
        self.connected = False
        self.leaving = False
        self.followed = False
        self.others_leaving: frozenset[int] = frozenset()
        self.until_ms = 0
        self.members: frozenset[int] = frozenset()
        self.weights: dict[int, int] = {}
        self.reason = "not connected"
        self.due_ms: int | None = None
        self._sequence = 0
        self._sent_ms: int | None = None

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes belong to the cluster: what the next greeting says."""
        self.hello = replace(self.hello, votes=tuple((node.node_id, node.votes) for node in config.nodes))

    def on_connected(self, now_ms: int) -> None:
        """The arbiter has been greeted: the first report is due."""
        self.connected = True
        self.reason = "connected"
        self._sent_ms = None
        self.due_ms = now_ms

    def on_disconnected(self, why: str) -> None:
        """What was granted goes on to count until its end."""
        self.connected = False
        self.reason = why
        self.others_leaving = frozenset()
        self.due_ms = self._sent_ms = None

    def ask(self, now_ms: int) -> None:
        """Report what is so now, whatever is on its way."""
        if self.connected:
            self._sent_ms = None
            self.due_ms = now_ms

    def tick(self, around: Surroundings, now_ms: int) -> list[Effect]:
        """Report, or give an answer up. `around` is without `others_leaving`."""
        if not self.connected or self.due_ms is None or now_ms < self.due_ms:
            return []
        if self._sent_ms is not None:
            return [Reconnect(f"no answer for {now_ms - self._sent_ms} ms")]
        self._sequence += 1
        self._sent_ms = now_ms
        self.due_ms = now_ms + self.lease_ms
        report = Report(
            sequence=self._sequence,
            part=tuple(sorted(around.part)),
            needs=around.needs and not self.leaving,
            view=tuple(member.node_id for member in around.members),
            leaving=self.leaving,
            weight=around.weight,
        )
        return [Send(report)]

    def on_verdict(self, verdict: Verdict, now_ms: int) -> list[Effect]:
        """An answer. Those to reports that have been overtaken say nothing any more."""
        if self._sent_ms is None or verdict.sequence != self._sequence:
            return []
        sent_ms, self._sent_ms = self._sent_ms, None
        self.due_ms = max(now_ms, sent_ms + self.interval_ms)
        leaving = frozenset(verdict.leaving) - {self.hello.node_id}
        if leaving != self.others_leaving:
            self.others_leaving = leaving
            self.due_ms = now_ms
        self.followed = verdict.followed
        self.reason = verdict.reason
        self.weights = dict(verdict.weights)
        until_ms = sent_ms + self.lease_ms
        if not verdict.grant or now_ms >= until_ms:
            return []
        self.until_ms, self.members = until_ms, frozenset(verdict.part)
        return [Granted(until_ms, self.members)]
