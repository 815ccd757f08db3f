"""Taking the members of a view in: everybody speaks once, then one CIB, then the histories that it lacks.

Theory of operation. A `Join` belongs to one view and lives until the next. Each member of the group multicasts its `Facts`. When
all have arrived, every member derives the same `Agreement` from them: who is DC, whose CIB is taken, who
must be given it, and whose operation history it does not tell. Where all copies are equal, nothing is transferred. The source
multicasts its CIB if anybody lacks it; each member whose history is missing multicasts that; when the last of these messages is delivered the view is
*synchronised*: all members have the same document, and it is true. Updates wait until then.

A member that dies in the middle changes the view, and a new `Join` begins; nothing of the old one is kept. There is no
timer: a member of the group that hangs stops vouching for itself and leaves the group. A member that is too old for the cluster leaves likewise
once everybody has spoken: there is no agreement with it, and the next view is without it. Where no CIB can be relied on (`crm.controller.election`)
the view stays as it is, undecided, until a member comes that has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from crm.controller.election import Facts, best_cib, elect, too_old
from crm.controller.status import ForgetResource


class Stage(StrEnum):
    """COLLECTING facts -> TRANSFERRING the CIB and histories -> SYNCED."""

    COLLECTING = "collecting"
    TRANSFERRING = "transferring"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What follows from everybody's facts; the same at every member."""

    dc: int
    source: int
    digest: str
    lacking: frozenset[int]
    histories: frozenset[int]
    cold_start: bool

    @property
    def transfer(self) -> bool:
        return bool(self.lacking)


def agree(facts: Iterable[Facts]) -> Agreement | None:
    """The verdict of the facts of a whole group; None when nobody has a CIB that can be relied on, or somebody is too old to be one of it."""
    everybody = list(facts)
    if too_old(everybody):
        return None
    source = best_cib(everybody)
    if source is None:
        return None
    chosen = next(item for item in everybody if item.node_id == source)
    lacking = frozenset(item.node_id for item in everybody if item.digest != chosen.digest)
    return Agreement(
        dc=elect(everybody),
        source=source,
        digest=chosen.digest,
        lacking=lacking,
        histories=frozenset(item.node_id for item in everybody if item.node_id in lacking or not item.history_current),
        cold_start=all(item.cold for item in everybody),
    )


@dataclass(slots=True)
class Join:
    """The progress of one view. Feed it what is delivered; it says when a stage is reached."""

    group: frozenset[int]
    facts: dict[int, Facts] = field(default_factory=dict)
    agreement: Agreement | None = None
    have_cib: bool = False
    histories: set[int] = field(default_factory=set)
    unsettled: list[ForgetResource] = field(default_factory=list)
    """What the histories told so far leave unknown of others, whose own words may have been under way already."""

    @property
    def without_cib(self) -> frozenset[int]:
        """Members that have lost their CIB, when nobody can give them one: no agreement comes in this view."""
        if self.agreement is not None or not self._complete or self.refused:
            return frozenset()
        return frozenset(item.node_id for item in self.facts.values() if item.cib_lost)

    @property
    def refused(self) -> frozenset[int]:
        """Members that are too old for the cluster: they leave, and no agreement comes in this view."""
        return too_old(self.facts.values()) if self.agreement is None and self._complete else frozenset()

    @property
    def needed(self) -> str:
        """The feature set of the cluster that refuses them."""
        source = best_cib(self.facts.values()) if self._complete else None
        return "" if source is None else self.facts[source].cib_feature_set

    @property
    def _complete(self) -> bool:
        return len(self.facts) == len(self.group)

    @property
    def stage(self) -> Stage:
        if self.agreement is None:
            return Stage.COLLECTING
        done = self.have_cib and self.agreement.histories <= self.histories
        return Stage.SYNCED if done else Stage.TRANSFERRING

    def on_facts(self, facts: Facts) -> Agreement | None:
        """One member has spoken. The agreement, when this was the last one; None otherwise."""
        if facts.node_id not in self.group or self.agreement is not None:
            return None
        self.facts[facts.node_id] = facts
        if len(self.facts) < len(self.group):
            return None
        self.agreement = agree(self.facts.values())
        if self.agreement is None:
            return None
        self.have_cib = not self.agreement.transfer
        return self.agreement

    def on_cib(self, sender: int) -> bool:
        """The source's CIB was delivered. False when it is not the agreed one."""
        if self.agreement is None or sender != self.agreement.source or self.have_cib:
            return False
        self.have_cib = True
        return True

    def on_history(self, sender: int) -> bool:
        """A member's history was delivered. A history counts only after the CIB that it completes."""
        if not self.have_cib:
            return False
        self.histories.add(sender)
        return True
