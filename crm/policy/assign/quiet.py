"""Which resources have nothing to say about where others go.

Theory of operation. Gathering (section 10) walks from a resource to its dependents, to theirs, and so on, along every path. In most
clusters nearly all of them are indifferent: score 0 everywhere. A resource is *quiet* when it and everything that gathering would
visit from it is indifferent, and on the same nodes; merging it changes nothing as long as all nodes are available, and makes only the
unavailable ones unusable otherwise. Quietness ends when the table of a resource, or of anything that would be visited from it, changes, and
never returns; so keeping track of it costs no more than the number of colocations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import INFINITY, Group, Resource

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


class Quiet:
    """Quietness of all resources. `mandatory` also requires that only mandatory colocations lead on from it."""

    def __init__(self, run: Run) -> None:
        everything = run.state.all_resources
        self.quiet = [True] * len(everything)
        self.mandatory = [True] * len(everything)
        self._visited_from: list[list[Resource]] = [[] for _ in everything]
        nodes: dict[Resource, int] = {}  # which set of nodes a table covers, as a small number
        known: dict[frozenset[int], int] = {}
        for rsc in everything:
            table = run.tables[rsc.index]
            nodes[rsc] = known.setdefault(frozenset(node.index for node in table), len(known))
            if not isinstance(rsc, Group) and not self._is_indifferent(run, rsc):
                self.quiet[rsc.index] = False
        optional: list[Resource] = []
        for rsc in everything:
            followers = [c.dependent for c in run.effective.of_primary(rsc)]
            if isinstance(rsc, Group):
                followers.append(rsc.children[0])  # visited in its place (10.3)
            for follower in followers:
                self._visited_from[follower.index].append(rsc)
                if nodes[_source(follower)] != nodes[_source(rsc)]:
                    self.quiet[rsc.index] = False
            if any(c.score < INFINITY for c in run.effective.of_primary(rsc)):
                optional.append(rsc)
        self._spread(self.mandatory, optional)
        self._spread(self.quiet, [rsc for rsc in everything if not self.quiet[rsc.index]])

    @staticmethod
    def _is_indifferent(run: Run, rsc: Resource) -> bool:
        if not run.is_plain(rsc) or any(run.tables[rsc.index].values()):
            return False
        return not (
            isinstance(rsc.parent, Group) and rsc.parent in run.locations_of
        )  # may count for members, too (10.4)

    def end(self, rsc: Resource) -> None:
        """The table of a resource, or what follows it, is going to change."""
        if self.quiet[rsc.index]:
            self._spread(self.quiet, [rsc])

    def _spread(self, flags: list[bool], ended: list[Resource]) -> None:
        for rsc in ended:
            flags[rsc.index] = False
        while ended:
            for primary in self._visited_from[ended.pop().index]:
                if flags[primary.index]:
                    flags[primary.index] = False
                    ended.append(primary)


def _source(rsc: Resource) -> Resource:
    """Whose table is read when this resource is visited."""
    return rsc.children[0] if isinstance(rsc, Group) else rsc
