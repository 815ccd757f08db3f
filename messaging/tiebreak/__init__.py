"""Tie-breakers: who may go on at an even split.

A tie-breaker has *evidence* for its own half, or not. It looks at its own pace while all is well, and at once when the
core asks (`ask`, at the first sign of a silent peer), because what it saw a while ago says nothing about the split.
It reports changes, and the outcome of every look it was asked for, through a callback; the verdict is
`messaging.quorum`'s.

`Evidence` is the part without I/O: it takes the outcome of each round and says whether evidence holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from messaging.config import MessagingConfig
from messaging.types import Member


class Tell(Protocol):
    """Takes what a tie-breaker has to say.

    Evidence with an end is void from then on, on the daemon's own clock. Evidence for `members` counts only while all of
    them are in this node's part.
    """

    def __call__(self, holds: bool, until_ms: int | None = None, members: frozenset[int] = frozenset()) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the node's core knows of the cluster, for a tie-breaker that has to know.

    `may_win`: with evidence, this node's part would have quorum. `view` is the sequence of the installed view.

    `part`: who would go on together should those that are late be dead. `needs`: these have quorum with evidence and not
    without, or the installed view rests on it. `weight`: what runs here, see `preference`.
    """

    may_win: bool
    quorate: bool = False
    view: int = 0
    members: tuple[Member, ...] = ()
    graceful: frozenset[int] = frozenset()
    part: frozenset[int] = frozenset()
    needs: bool = False
    weight: int = 0


class TieBreaker(Protocol):
    """What the daemon needs of one."""

    async def settle(self, on_change: Tell) -> None:
        """Before any peer can hear of this life: let the others go on without the one before, where they need that.

        SetupError when it can never work here.
        """

    def start(self, on_change: Tell) -> None:
        """Begin to look, unless `settle` has. SetupError when it can never work here."""

    async def hand_over(self) -> None:
        """Before the goodbye: let the others go on."""

    def ask(self) -> None:
        """Look now, and believe only what is seen now."""

    def relist(self, config: MessagingConfig) -> None:
        """Other nodes belong to the cluster from now on."""

    def status(self) -> dict[str, Any]:
        """For `query("quorum")`."""

    def close(self) -> None:
        """Stop."""


class Evidence:
    """One lost round among good ones means nothing, `tko` of them do; after `ask` only the fresh round counts."""

    def __init__(self, tko: int) -> None:
        self.holds = False
        self._tko = tko
        self._missed = 0

    def round(self, answered: bool, urgent: bool) -> bool:
        """Take the outcome of a round. Returns whether `holds` changed."""
        before = self.holds
        self._missed = 0 if answered else self._missed + 1
        if answered:
            self.holds = True
        elif urgent or self._missed >= self._tko:
            self.holds = False
        return self.holds != before
