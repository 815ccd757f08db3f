"""One ordered list for everything the cores of a node want done.

Failure detection, membership and ordering decide in turn within one event; what they want done must come out in the
order in which they decided it. Messages to members are kept as values (`ToMember`) until `Node` puts them on channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from messaging.effects import Durable, Effect, Notify, Persist, Report
from messaging.messages import Message
from messaging.types import Delivered, Direct, MessagingEvent


@dataclass(frozen=True, slots=True)
class ToMember:
    """A message on its way to the channel of a peer."""

    target: int
    message: Message


class Outbox:
    """Collects in order; `take` empties it.

    What is for crm is dropped here when there is none (`listening`), and messages of the group when the crm that
    listens is not (yet) in it (`in_group`).
    """

    def __init__(self) -> None:
        self.listening = False
        self.in_group = False
        self._entries: list[Effect | ToMember] = []

    @property
    def any(self) -> bool:
        return bool(self._entries)

    def send(self, target: int, message: Message) -> None:
        self._entries.append(ToMember(target, message))

    def notify(self, event: MessagingEvent) -> None:
        if not self.listening or (isinstance(event, Delivered | Direct) and not self.in_group):
            return
        self._entries.append(Notify(event))

    def report(self, level: int, text: str) -> None:
        self._entries.append(Report(level, text))

    def persist(self, durable: Durable) -> None:
        self._entries.append(Persist(durable))

    def add(self, effect: Effect) -> None:
        self._entries.append(effect)

    def take(self) -> list[Effect | ToMember]:
        entries, self._entries = self._entries, []
        return entries
