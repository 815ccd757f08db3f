"""Which member is the DC, and whose CIB is the cluster's.

Theory of operation. When a view is installed every member of its group announces the same few facts about itself, in the total order.
Once all have spoken, every member holds the same facts, and the two verdicts below are pure functions of them: no votes are
counted, no member can disagree, and a member that dies meanwhile only leads to another view.

*The DC* is, in this order: a member with the oldest feature set (it must understand every graph); one that came from a quorate partition; one that
was DC there (so the role does not move needlessly); from the largest partition before; the longest in the cluster; the lowest id.

*The CIB* is the one with the highest standing (`crm.cib.lineage`: what a quorate view accepted is never displaced by what a minority
did); among equal ones that of a member that was part of a cluster until now, then the highest version, the DC's, the lowest id's.
A member that has lost its CIB (every copy on its disk is damaged) gives none. While there is such a member and no other has a CIB in which a
change was ever made, there is no verdict: taking an empty configuration for the cluster's would stop all that runs.

*Who is too old*: the CIB that is taken names the feature set that the cluster works with (`crm_feature_set`). It is that of the oldest member, and
rises once the last of the older ones is gone; a member that cannot do as much may not come back, since it would misread what the others may write by now.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crm.cib.lineage import Standing
from crm.cib.xml import Version, feature_key


@dataclass(frozen=True, slots=True)
class Facts:
    """What a member says of itself when a view is installed.

    `crm_id` names this life of its crm process. `quorate_before`: its last synchronised view had quorum. `peers_before`: the size of that
    view's group, 0 when it has none yet. `synced_since`: how many views it has been through as a synchronised member.
    `history_current`: its copy of the status section already tells what its executor knows.
    `leaving`: it was told to shut down. `cold`: it has not been part of a synchronised view since its start. `cib_lost`: every copy of the CIB
    on its disk is damaged, and it has not been given another yet. `same_boot`: it, or its predecessor, has been a member since the machine started.
    """

    node_id: int
    name: str
    incarnation: int
    crm_id: str
    feature_set: str
    version: Version
    standing: Standing
    digest: str
    quorate_before: bool
    peers_before: int
    was_dc: bool
    seniority: int
    history_current: bool
    leaving: bool = False
    action_limit: int = 0
    cib_lost: bool = False
    same_boot: bool = False
    cib_feature_set: str = ""
    """That of its CIB: what the members of the cluster that it comes from had agreed on."""

    @property
    def cold(self) -> bool:
        return self.peers_before == 0


def elect(candidates: Collection[Facts]) -> int:
    """The node id of the DC. ValueError without candidates."""
    return min(candidates, key=_dc_rank).node_id


def best_cib(candidates: Collection[Facts]) -> int | None:
    """The node id of the member whose CIB everybody takes; None when the only CIB that counts may be lost."""
    dc = elect(candidates)
    whole = [facts for facts in candidates if not facts.cib_lost]
    if len(whole) < len(candidates) and not any(facts.standing[3] or not facts.cold for facts in whole):
        return None
    best = max((facts.standing, not facts.cold, facts.version) for facts in whole)
    pool = [facts for facts in whole if (facts.standing, not facts.cold, facts.version) == best]
    return min(pool, key=lambda facts: (facts.node_id != dc, facts.node_id)).node_id


def too_old(candidates: Collection[Facts]) -> frozenset[int]:
    """Members that cannot do what the cluster whose CIB is taken works with; all of them, when none can."""
    source = best_cib(candidates)
    needed = next((facts.cib_feature_set for facts in candidates if facts.node_id == source), "")
    return frozenset(facts.node_id for facts in candidates if feature_key(facts.feature_set) < feature_key(needed))


def common_features(candidates: Collection[Facts]) -> str:
    """The feature set that all of these have."""
    return min((facts.feature_set for facts in candidates), key=feature_key, default="")


def _dc_rank(facts: Facts) -> tuple[tuple[int, ...], bool, bool, bool, int, int, int]:
    return (
        feature_key(facts.feature_set),
        facts.leaving,
        not facts.quorate_before,
        not facts.was_dc,
        -facts.peers_before,
        -facts.seniority,
        facts.node_id,
    )
