"""What clients wait for: a change of theirs is told done when every member of the view has it.

Theory of operation. A client's change gets a ticket. The message that carries it has a number, by which each member says that it was delivered there
(`Acknowledge`). Numbers grow and messages come in order, so an acknowledgement is good for all messages before it, and members send one for many. When
the last member has spoken the ticket is answered: whichever of them survives knows of the change then.

When the view ends before, the members that go on together have had the same messages, but the document that they agree on may be another one's. In the next synchronised
view, what is certainly in it needs no more than everybody's word that they have come so far (a message that says nothing but asks for acknowledgements). What may
have gone with a document that was not taken, or with a node that is back as a new one, is asked for once more; for what counts (`value++`) that could count twice, so
its client is told that it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile

from crm.attributes.messages import Wish
from crm.attributes.values import counts
from crm.controller.messages import Changes


@dataclass(frozen=True, slots=True)
class Resumed:
    """What becomes of the tickets whose view ended: to be sent now, and those of which nothing is known any more."""

    again: tuple[Changes, ...]
    doubtful: tuple[int, ...]


class Promises:
    """`me` is this member."""

    def __init__(self, me: int) -> None:
        self._me = me
        self._last = 0
        self._open: dict[int, Changes] = {}
        """What was asked, by ticket."""
        self._applied: set[int] = set()
        """Tickets that were delivered here, in this view or an earlier one."""
        self._numbers: dict[int, int] = {}
        """Ticket -> number of the message that carried it in this view; in the order of both."""
        self._others: frozenset[int] = frozenset()
        self._has: dict[int, int] = {}
        """Member -> the highest number that it has acknowledged in this view."""

    def ask(self, changes: Changes) -> Changes:
        """The change with a ticket of its own, to be sent."""
        self._last += 1
        self._open[self._last] = replace(changes, promises=(self._last,))
        return self._open[self._last]

    def asked(self, ticket: int) -> Changes:
        """What a ticket is for, as long as it is not answered."""
        return self._open[ticket]

    def close(self, ticket: int) -> None:
        """It is answered."""
        self._open.pop(ticket, None)
        self._applied.discard(ticket)
        self._numbers.pop(ticket, None)

    def on_view(self, group: frozenset[int]) -> None:
        self._numbers.clear()
        self._has.clear()
        self._others = group - {self._me}

    def delivered(self, number: int, tickets: Iterable[int]) -> list[int]:
        """A message of ours was delivered here. The tickets that every member has now."""
        for ticket in tickets:
            if ticket in self._open:
                self._applied.add(ticket)
                self._numbers[ticket] = number
        return self._everywhere()

    def acknowledged(self, member: int, number: int) -> list[int]:
        """A member has ours up to this number; perhaps before we have it ourselves. The tickets that every member has now."""
        self._has[member] = max(number, self._has.get(member, 0))
        return self._everywhere()

    def _everywhere(self) -> list[int]:
        limit = min((self._has.get(member, 0) for member in self._others), default=None)
        if limit is None:
            return list(self._numbers)
        return list(takewhile(lambda ticket: self._numbers[ticket] <= limit, self._numbers))

    def resume(self, *, kept_document: bool, renewed: frozenset[int]) -> Resumed:
        """The view is synchronised. `renewed`: members that have told anew what they know of themselves, or are not those of the view before."""
        certain: list[int] = []
        again: list[Changes] = []
        doubtful: list[int] = []
        for ticket in sorted(self._applied):
            changes = self._open[ticket]
            about = concerned(changes)
            if about == {str(self._me)} or (kept_document and not about & {str(each) for each in renewed}):
                certain.append(ticket)
            elif any(
                isinstance(word, Wish) and word.value is not None and counts(word.value) for word in changes.words
            ):
                doubtful.append(ticket)
            else:
                again.append(changes)
        if certain:
            again.append(Changes(reason="what the view before had is here", expected=True, promises=tuple(certain)))
        return Resumed(tuple(again), tuple(doubtful))


def concerned(changes: Changes) -> set[str]:
    """Ids of the nodes that it is about."""
    return {
        str(identity)
        for part in (*changes.updates, *changes.words)
        if (identity := getattr(part, "node_id", None)) is not None
    }
