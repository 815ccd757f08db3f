"""Which configuration descends from which: where changes were made, so that none is lost without a word.

Theory of operation. A version alone cannot tell two copies apart that grew separately. A `Lineage` counts the changes that people made, and
remembers in which view each was made and whether that view had quorum:

    1.1q:3 4.2m:5     changes 1 to 3 in view 1.1 with quorum, 4 and 5 in view 4.2 without (a minority)

All members of a view apply the same changes, so two copies that name the same change of the same view are equal up to it (as logs with equal
terms are in Raft). Hence `contains`: whether nothing is lost when another copy takes this one's place. And hence `standing`: the copy
to be taken is the one whose last quorate view is the latest, then the one with most changes. Any two quorate views share a
member, so what a quorate view accepted on all its disks is in every later one; a minority's changes never displace it, and are taken
over when nothing speaks against them. `confirmed` marks them as the cluster's own then.

Changes that the cluster makes itself (a node entered in the configuration) do not count: a stale member that starts alone must not come to
stand above the others by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_SEGMENTS: Final = 64
"""Views remembered; a copy that is older than all of them cannot be shown to be contained and is kept aside."""

_SEGMENT = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})([qm]):([0-9]{1,18})\Z")

Standing = tuple[int, int, int, int]
"""Sequence and leader of the last quorate view in which a change was made, the number of changes up to its last, and of all changes.

The highest wins, so what a minority has added counts only between copies that are equal in what quorate views have accepted.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """The changes of one view: those after the segment before, up to number `upto`."""

    view: tuple[int, int]
    quorate: bool
    upto: int

    def __str__(self) -> str:
        return f"{self.view[0]}.{self.view[1]}{'q' if self.quorate else 'm'}:{self.upto}"


@dataclass(frozen=True, slots=True)
class Lineage:
    segments: tuple[Segment, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.segments))

    @classmethod
    def parse(cls, text: str) -> Lineage:
        """ValueError when it is none."""
        segments: list[Segment] = []
        for part in text.split():
            match = _SEGMENT.match(part)
            if match is None:
                raise ValueError(f"not a part of a lineage: {part!r}")
            segment = Segment((int(match[1]), int(match[2])), match[3] == "q", int(match[4]))
            if segments and segment.upto < segments[-1].upto:
                raise ValueError(f"a lineage that goes back: {text!r}")
            segments.append(segment)
        return cls(tuple(segments[-MAX_SEGMENTS:]))

    @property
    def changes(self) -> int:
        return self.segments[-1].upto if self.segments else 0

    @property
    def standing(self) -> Standing:
        quorate = [(*segment.view, segment.upto) for segment in self.segments if segment.quorate]
        return (*max(quorate, default=(0, 0, 0)), self.changes)

    @property
    def provisional(self) -> bool:
        """Whether it ends with changes that only a minority has accepted."""
        return bool(self.segments) and not self.segments[-1].quorate

    def recorded(self, view: tuple[int, int], quorate: bool) -> Lineage:
        """One more change, made in this view."""
        return self._with(Segment(view, quorate, self.changes + 1))

    def confirmed(self, view: tuple[int, int]) -> Lineage:
        """A quorate view has taken over what a minority had accepted."""
        return self._with(Segment(view, True, self.changes)) if self.provisional else self

    def contains(self, other: Lineage) -> bool:
        """Whether every change of `other` is in this copy too."""
        last = other._last_change()
        if last is None:
            return True
        return any(segment.view == last.view and segment.upto >= last.upto for segment in self.segments)

    def _last_change(self) -> Segment | None:
        """The last view in which changes were made; a confirmation makes none."""
        found, before = None, 0
        for segment in self.segments:
            if segment.upto > before:
                found = segment
            before = segment.upto
        return found

    def _with(self, segment: Segment) -> Lineage:
        kept = self.segments
        if kept and kept[-1].view == segment.view and kept[-1].quorate == segment.quorate:
            kept = kept[:-1]
        return Lineage((*kept, segment)[-MAX_SEGMENTS:])
