"""What constraints become: records that name resources, nodes and roles instead of ids.

Theory of operation. `location`, `colocation` and `order` parse one kind of constraint each, in document order, into these
records; nothing here knows XML. `position` is the constraint's place among all constraints of the configuration: stages that
take several kinds in document order merge by it. Sections are those of part 2 of the scheduler specification.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TypeAlias

from crm.policy.model import INFINITY, Cause, Clone, Discovery, Node, Resource, Role

SortKey: TypeAlias = tuple[int, int, int, str]


def single(value: float) -> float:
    """The nearest IEEE single-precision number (10.4: shares of a score are computed with these)."""
    return ctypes.c_float(value).value


def sort_key(rsc: Resource) -> SortKey:
    """Where a colocation stands in a list, by the resource at its other end (5.4)."""
    not_promotable = int(isinstance(rsc, Clone) and not rsc.promotable)
    return (-rsc.priority, -rsc.kind, not_promotable, rsc.id)


@dataclass(slots=True, frozen=True, eq=False)
class Location:
    """Scores of one resource on some nodes (3.1); `role` UNKNOWN means any."""

    resource: Resource
    scores: dict[Node, int]
    cause: Cause
    role: Role = Role.UNKNOWN
    discovery: Discovery = Discovery.ALWAYS


@dataclass(slots=True, frozen=True)
class Locations:
    """All location records, oldest first, and the resources that a constraint made exclusive (3.1)."""

    records: list[Location] = field(default_factory=list)
    exclusive: list[tuple[str, Resource]] = field(default_factory=list)  # by constraint id, even where no node matched
    recheck: list[int] = field(default_factory=list)  # epoch seconds at which a rule's result changes (part 1, 4.6)


@dataclass(slots=True, eq=False)
class Colocation:
    """`dependent` is placed relative to `primary` (5.2); roles UNKNOWN mean any."""

    id: str
    dependent: Resource
    primary: Resource
    score: int
    dependent_role: Role = Role.UNKNOWN
    primary_role: Role = Role.UNKNOWN
    attribute: str = "#uname"
    influence: bool = True  # the dependent's wishes count when the primary is placed, even if that is active
    explicit: bool = True  # from the configuration, not implied by its structure
    position: int = -1
    factor: float = field(init=False)  # score / INFINITY in single precision
    dependent_key: SortKey = field(init=False)
    primary_key: SortKey = field(init=False)

    def __post_init__(self) -> None:
        self.factor = single(self.score / INFINITY)
        self.dependent_key = sort_key(self.dependent)
        self.primary_key = sort_key(self.primary)

    @property
    def mandatory(self) -> bool:
        return self.score >= INFINITY or self.score <= -INFINITY

    def __repr__(self) -> str:
        return f"<Colocation {self.id}: {self.dependent.id} with {self.primary.id} {self.score}>"
