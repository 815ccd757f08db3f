"""What history does to the tables of scores: bans, freezes, and tables that are replaced.

Theory of operation. Every change is recorded with its cause as a `Contribution`; there are few. A ban goes to a resource and everything
below it, and creates entries that are missing from the node's base score.

Sources: scheduler specification, part 2, section 1.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.model import INFINITY, Cause, Contribution
from crm.policy.values import add_scores

if TYPE_CHECKING:
    from crm.policy.model import ClusterState, Node, Resource


def add_score(state: ClusterState, rsc: Resource, node: Node, score: int, cause: Cause) -> None:
    """Add to one resource's own table."""
    before = rsc.table.get(node, node.base_score)
    result = rsc.table[node] = add_scores(before, score)
    state.contributions.append(Contribution(rsc, node, score, result, cause))


def ban(state: ClusterState, rsc: Resource, node: Node, cause: Cause) -> None:
    """Nothing of this resource may run on that node."""
    add_score(state, rsc, node, -INFINITY, cause)
    for child in rsc.children:
        ban(state, child, node, cause)


def ban_everywhere(state: ClusterState, rsc: Resource, cause: Cause) -> None:
    for node in state.nodes:
        ban(state, rsc, node, cause)


def replace_by_ban(state: ClusterState, rsc: Resource, cause: Cause) -> None:
    """The resource's own table becomes minus infinity on every node."""
    rsc.table = dict.fromkeys(state.nodes, -INFINITY)
    rsc.discovery = {}
    state.contributions += [Contribution(rsc, node, -INFINITY, -INFINITY, cause, replaces=True) for node in state.nodes]


def ban_target(rsc: Resource) -> Resource:
    """What a failure of `rsc` bans: itself, or the whole clone when its instances are alike."""
    top = rsc.top
    return rsc if rsc.unique else top
