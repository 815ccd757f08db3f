"""What this controller says: changes that wait, and messages that are on their way.

Theory of operation. Changes are sent when the view is synchronised, a few messages at a time (of those that clients wait for, one); what gathers meanwhile goes together. Each message has
a tag until its fate is known. One that was not delivered died with its view: what of it is still true (what this node says of itself, a confirmed
fencing, what a client was promised) waits for the next view; an order never existed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from crm.attributes.messages import Wish
from crm.controller.effects import Effect, Multicast
from crm.controller.messages import Changes, Message
from crm.controller.status import Attributes, EraseNode, NodeState, Update
from crm.events.causes import joined

MAX_IN_AIR: Final = 4
"""Own changes that may be undelivered at a time; the rest waits and is sent together."""
MAX_BATCH: Final = 500
"""Updates in one message."""


class Outbox:
    """`me` is this node's id in the CIB."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._waiting: list[Changes] = []
        self._in_air: dict[int, Message] = {}
        self._tags = 0
        self._tags_before_view = 0

    @property
    def empty(self) -> bool:
        """Nothing waits, and the fate of everything is known."""
        return not self._waiting and not self._in_air

    @property
    def unsent(self) -> bool:
        """Changes that have not been delivered yet."""
        return bool(self._waiting) or any(isinstance(message, Changes) for message in self._in_air.values())

    def waiting_attributes(self) -> Iterator[Attributes]:
        """Transient attributes of this node that are not on their way yet."""
        for changes in self._waiting:
            for update in changes.updates:
                if isinstance(update, Attributes) and update.node_id == self._me:
                    yield update

    def on_view(self) -> None:
        self._tags_before_view = self._tags

    def of_this_view(self, tag: int) -> bool:
        return tag > self._tags_before_view

    def forget_all(self) -> None:
        """Messaging is gone: nothing will be heard of what was on its way."""
        self._in_air.clear()

    def add(self, changes: Changes) -> None:
        self._waiting.append(changes)

    def landed(self, tag: int) -> Message | None:
        """The message with this tag has its fate."""
        return self._in_air.pop(tag, None)

    def again(self, changes: Changes) -> None:
        """These were not delivered: what is still true waits again."""
        kept: tuple[Update, ...] = tuple(
            update
            for update in changes.updates
            if changes.promises or (getattr(update, "node_id", None) == self._me and not isinstance(update, NodeState))
        )
        if any(isinstance(update, EraseNode) for update in changes.updates):
            kept = changes.updates
        # The time of an attribute comes again for the next DC; what a member has to tell is told in each view.
        words = tuple(word for word in changes.words if isinstance(word, Wish))
        if kept or changes.results or words:
            self._waiting.append(replace(changes, updates=kept, expected=False, words=words))

    def multicast(self, message: Message) -> Multicast:
        self._tags += 1
        if isinstance(message, Changes) and message.promises:
            message = replace(message, number=self._tags)
        self._in_air[self._tags] = message
        return Multicast(message, self._tags)

    def _gathers(self) -> bool:
        """The next ones are clients', who come in crowds, and so is a message in the air: while that is under way the next one fills."""
        return bool(self._waiting[0].promises) and any(
            isinstance(message, Changes) and message.promises for message in self._in_air.values()
        )

    def flush(self) -> list[Effect]:
        """Send what waits, as far as that is allowed. Only in a synchronised view."""
        effects: list[Effect] = []
        while self._waiting and len(self._in_air) < MAX_IN_AIR and not self._gathers():
            first = self._waiting.pop(0)
            updates, results, causes = list(first.updates), list(first.results), first.causes
            words, load_percent, reason = list(first.words), first.load_percent, first.reason
            promises = list(first.promises)
            while (
                self._waiting
                and self._waiting[0].expected == first.expected
                and _go_together(first, self._waiting[0])
                and self._waiting[0].opens == first.opens
                and bool(self._waiting[0].promises) == bool(first.promises)
                and len(updates) + len(words) + len(self._waiting[0].updates) <= MAX_BATCH
            ):
                following = self._waiting.pop(0)
                updates += following.updates
                results += following.results
                words += following.words
                promises += following.promises
                if following.reason != first.reason:
                    reason = f"{first.reason}, and others"
                load_percent = following.load_percent or load_percent
                causes = joined(causes, following.causes)
            message = replace(
                first,
                updates=tuple(updates),
                results=tuple(results),
                reason=reason,
                causes=causes,
                words=tuple(words),
                load_percent=load_percent,
                promises=tuple(promises),
            )
            effects.append(self.multicast(message))
        return effects


def _go_together(one: Changes, other: Changes) -> bool:
    """What has one reason; and attributes, whatever they are: they come in bursts."""
    return one.reason == other.reason or bool(one.words and other.words and not one.updates and not other.updates)
