"""Who is told when: queues of alerts for slow agents.

Theory of operation. A record becomes happenings (`crm.alerts.happenings`), each happening a job for every recipient that wants it. A recipient's jobs
run one after the other, in the order of what happened; recipients do not wait for one another, but at most `MAX_RUNNING` agents run at a time. A
recipient whose agent is slow may have `MAX_WAITING` jobs; what comes then is dropped, counted, and told when its agent has ended: the first of them at once, the others when the queue is empty again, or in hundreds. An agent that fails
again and again for one reason is told of once. Nothing waits for an alert.

What happens to nodes before this node has joined (and may have an old configuration) is told when it has.

This class starts no process and reads no clock; effects are in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crm.alerts.configuration import Call, Configuration, Kind
from crm.alerts.happenings import Happening, environment, of_record

MAX_RUNNING: Final = 8
"""Agents at work at a time."""
MAX_WAITING: Final = 500
"""Alerts that may wait for one recipient."""
MAX_HELD: Final = 100
"""Happenings to nodes that are kept until this node has joined."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run an agent; its end comes back under `token`."""

    token: int
    call: Call
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tell:
    """A record for the event log."""

    name: str
    fields: Mapping[str, Any]
    cause: str = ""


Effect = Run | Tell


@dataclass(slots=True)
class _Queue:
    """Of one recipient. `running`: the token of its agent at work."""

    waiting: deque[tuple[Call, Happening, int, int]] = field(default_factory=deque)
    running: int | None = None
    dropped: int = 0
    """Not yet told."""
    told: bool = False
    """Whether it was told that some were dropped, since the queue was last empty."""


class Alerts:
    """See the module's text. `version` is told to agents."""

    def __init__(self, version: str) -> None:
        self.sent = {True: 0, False: 0}
        self.dropped = 0
        self._version = version
        self._configuration: Configuration | None = None
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._running: dict[int, tuple[Call, Happening]] = {}
        self._failing: dict[tuple[str, str], str] = {}
        """Why a recipient's last alert failed; the same reason is told once until one succeeds."""
        self._held: list[tuple[Happening, int]] | None = []
        self._sequence = 0
        self._tokens = 0

    @property
    def waiting(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    @property
    def idle(self) -> bool:
        return not self._running and not self.waiting

    def configure(self, configuration: Configuration) -> None:
        """The alerts of the CIB as it is now. What waits is sent as it was to be."""
        self._configuration = configuration

    def joined(self, at_us: int) -> list[Effect]:
        """This node has the cluster's configuration: what was held back may be told."""
        held, self._held = self._held, None
        effects: list[Effect] = []
        for happening, then_us in held or ():
            effects += self._tell(happening, then_us)
        return effects

    def on_record(self, record: Mapping[str, Any], node_ids: Mapping[str, str], at_us: int) -> list[Effect]:
        """Something happened, `at_us` microseconds since the epoch."""
        effects: list[Effect] = []
        for happening in of_record(record, node_ids):
            if self._held is not None and happening.kind is Kind.NODE:
                if len(self._held) < MAX_HELD:
                    self._held.append((happening, at_us))
            else:
                effects += self._tell(happening, at_us)
        return effects

    def on_ended(self, token: int, ok: bool, text: str) -> list[Effect]:
        """An agent has ended, or could not be run; `text` says why when it failed."""
        call, happening = self._running.pop(token)
        queue = self._queues[call.key]
        queue.running = None
        self.sent[ok] += 1
        effects: list[Effect] = []
        before = self._failing.pop(call.key, None)
        if not ok:
            self._failing[call.key] = text
        if not ok and text != before:
            # The recipient's id, not its value: a URL may be a secret.
            failed = {"alert": call.alert, "path": call.path, "recipient": call.key[1], "text": text}
            effects.append(Tell("alert_failed", failed, happening.cause))
        # The first at once, then the sum: a storm of alerts is to make no storm of records.
        if queue.dropped and (not queue.told or not queue.waiting or queue.dropped >= MAX_WAITING):
            dropped = {"alert": call.alert, "recipient": call.key[1], "count": queue.dropped}
            effects.append(Tell("alerts_dropped", dropped))
            queue.dropped = 0
            queue.told = True
        return effects + self._next()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _tell(self, happening: Happening, at_us: int) -> list[Effect]:
        calls = [] if self._configuration is None else self._configuration.calls(at_us // 1_000_000)
        wanted = [call for call in calls if call.wants(happening.kind, happening.attribute)]
        if not wanted:
            return []
        self._sequence += 1
        for call in wanted:
            queue = self._queues.setdefault(call.key, _Queue())
            if len(queue.waiting) >= MAX_WAITING:
                queue.dropped += 1
                self.dropped += 1
            else:
                queue.waiting.append((call, happening, at_us, self._sequence))
        return self._next()

    def _next(self) -> list[Effect]:
        """Begin what may begin, the oldest first."""
        effects: list[Effect] = []
        while len(self._running) < MAX_RUNNING:
            ready = [queue for queue in self._queues.values() if queue.running is None and queue.waiting]
            if not ready:
                break
            queue = min(ready, key=lambda each: each.waiting[0][3])
            call, happening, at_us, sequence = queue.waiting.popleft()
            self._tokens += 1
            queue.running = self._tokens
            self._running[self._tokens] = (call, happening)
            ours = environment(happening, call.recipient, call.timestamp_format, at_us, sequence, self._version)
            effects.append(Run(self._tokens, call, dict(call.environment) | ours))
        for key in [key for key, queue in self._queues.items() if queue.running is None and not queue.waiting]:
            del self._queues[key]
        return effects
