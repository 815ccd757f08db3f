"""The colocations that count when a resource is assigned.

Theory of operation. Every resource keeps two ordered lists: colocations in which it is the dependent, and those in which it is the
primary (5.4). What counts for a resource is more than its own lists: members take part in their group's, instances in their
clone's, containers in their bundle's (5.5). These effective lists are computed on first use and kept; they change only when implicit
colocations are added, a member becomes unmanaged, or an instance inside a promotable bundle settles.

Merging a list into one that is not empty repeats its first element and loses the others. That is a defect of the original whose
effects show in real configurations, hence it is part of the contract (5.5).
"""

from __future__ import annotations

from bisect import insort_left
from operator import attrgetter
from typing import TYPE_CHECKING

from crm.policy.constraints.model import Colocation
from crm.policy.model import INFINITY, Bundle, Clone, Group, Primitive, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run

_BY_PRIMARY = attrgetter("primary_key")
_BY_DEPENDENT = attrgetter("dependent_key")
_NONE: list[Colocation] = []


class EffectiveColocations:
    """Own lists, by `Resource.index`, and the effective lists made of them."""

    def __init__(self, run: Run, count: int) -> None:
        self.run = run
        self.as_dependent: list[list[Colocation]] = [_NONE] * count
        self.as_primary: list[list[Colocation]] = [_NONE] * count
        self.sorting_roles: set[Resource] = set()  # inner clones whose role sorting has begun (13.4)
        self._dependent: list[list[Colocation] | None] = [None] * count
        self._primary: list[list[Colocation] | None] = [None] * count

    def add(self, colocation: Colocation) -> None:
        """Put a colocation into both lists, before its equals (5.4)."""
        for lists, rsc, key in (
            (self.as_dependent, colocation.dependent, _BY_PRIMARY),
            (self.as_primary, colocation.primary, _BY_DEPENDENT),
        ):
            if lists[rsc.index] is _NONE:
                lists[rsc.index] = [colocation]
            else:
                insort_left(lists[rsc.index], colocation, key=key)

    def of_dependent(self, rsc: Resource) -> list[Colocation]:
        """Deff: where the resource is, in effect, the dependent. Not to be changed."""
        found = self._dependent[rsc.index]
        if found is None:
            found = self._dependent[rsc.index] = []
            self._contribute(rsc, rsc, found, self.as_dependent, True)
        return found

    def of_primary(self, rsc: Resource) -> list[Colocation]:
        """Peff: where the resource is, in effect, the primary. Not to be changed."""
        found = self._primary[rsc.index]
        if found is None:
            found = self._primary[rsc.index] = []
            self._contribute(rsc, rsc, found, self.as_primary, False)
        return found

    def forget(self, rsc: Resource) -> None:
        """The lists of a resource and of everything below it may have changed."""
        self._dependent[rsc.index] = None
        self._primary[rsc.index] = None
        self.run.changing(rsc)
        for child in rsc.children:
            self.forget(child)

    # --- collecting ----------------------------------------------------------------------------------------------------

    def _contribute(
        self, rsc: Resource, asker: Resource, into: list[Colocation], lists: list[list[Colocation]], down: bool
    ) -> None:
        """What `rsc` adds to the effective list of `asker`; `down`: the asker is the dependent."""
        own = lists[rsc.index]
        if isinstance(rsc, Primitive):
            if rsc is asker:
                _merge(into, own, down)
                if rsc.parent is not None:
                    self._contribute(rsc.parent, asker, into, lists, down)
            else:
                _insert(into, [c for c in own if c.explicit], down)
        elif isinstance(rsc, Group):
            self._contribute_group(rsc, asker, into, lists, down)
        elif isinstance(rsc, Clone):
            _merge(into, own, down)
            if rsc.parent is not None:
                self._contribute(rsc.parent, asker, into, lists, down)
        elif isinstance(rsc, Bundle) and self._concerns_bundle(rsc, asker):
            _merge(into, own, down)

    def _contribute_group(
        self, group: Group, asker: Resource, into: list[Colocation], lists: list[list[Colocation]], down: bool
    ) -> None:
        members = group.children
        representative = members[0] if down else members[-1]
        if asker is group or asker is representative:
            _merge(into, lists[group.index], down)
            if group.parent is not None:
                self._contribute(group.parent, asker, into, lists, down)
            if not down or group.colocated:
                for member in members:
                    if member is not asker:
                        _insert(into, [c for c in lists[member.index] if c.explicit], down)
        elif down and asker in members:
            earlier = members[: members.index(asker)]
            if not all(self.run.managed[member.index] for member in earlier):
                _insert(into, [c for c in lists[group.index] if c.score >= INFINITY], down)

    def _concerns_bundle(self, bundle: Bundle, asker: Resource) -> bool:
        if asker is bundle or any(asker is replica.container for replica in bundle.replicas):
            return True
        inner = bundle.inner_clone
        if inner is None or not inner.promotable:
            return False
        if asker is inner:
            return inner in self.sorting_roles
        return asker.parent is inner and self.run.settled[asker.index]


def _insert(into: list[Colocation], found: list[Colocation], down: bool) -> None:
    for colocation in found:
        insort_left(into, colocation, key=_BY_PRIMARY if down else _BY_DEPENDENT)


def _merge(into: list[Colocation], found: list[Colocation], down: bool) -> None:
    if into and found:
        _insert(into, found[:1] * len(found), down)  # the defect described above
    else:
        into += found
