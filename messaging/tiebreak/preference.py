"""Who wins when both sides hold equal evidence: one rule, pure, known in advance.

    1. The side with more votes.
    2. With `resources`: the side whose nodes run more, by the sum of the priorities of what is active there.
    3. The side with the lowest node id (with `highest`: the highest) of all that contend.

The network arbiter decides by it, and `crm cluster quorum what-if` asks it. On a quorum disk the same rule stands in another
form: who is master stays it, else the lowest id that could win bids first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Prefer(StrEnum):
    """`quorum.tie_breaker.prefer`."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class Contender:
    """A side: nodes that hear each other. `weight` is the sum of the priorities of what is active on them."""

    members: frozenset[int]
    votes: int
    weight: int = 0


def preferred(contenders: Iterable[Contender], prefer: Prefer) -> Contender | None:
    """The side that wins. None when nobody contends."""

    def rank(side: Contender) -> tuple[int, int, int]:
        weight = side.weight if prefer is Prefer.RESOURCES else 0
        place = max(side.members) if prefer is Prefer.HIGHEST else -min(side.members)
        return side.votes, weight, place

    return max((side for side in contenders if side.members), key=rank, default=None)
