"""Causes in words: one score change, one node's state, one choice, as a part of a sentence.

The words are Pacemaker's; a constraint, attribute or resource is always named by its id, so that the reader finds it.
"""

from __future__ import annotations

from crm.policy.model import INFINITY, Assignment, Choice, ClusterState, Contribution, Node, Primitive, Resource, Role
from crm.policy.values import ROLE_NAMES, show_score


def signed(score: int) -> str:
    text = show_score(score)
    return text if text.startswith("-") else f"+{text}"


def place_of(assignment: Assignment, rsc: Resource) -> str:
    """`on n1`, `on n1 and n2`, or `stopped`."""
    nodes = {node for leaf in rsc.leaves() if (node := assignment.node[leaf.index]) is not None}
    return f"on {_names(nodes)}" if nodes else "stopped"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _names(nodes: set[Node]) -> str:
    return listed([node.name for node in sorted(nodes, key=lambda node: node.index)])


def describe(change: Contribution, state: ClusterState, assignment: Assignment) -> str:
    """What changed a score, without the amount: `location constraint l1`."""
    cause, node = change.cause, change.node.name
    banned = change.result <= -INFINITY
    if cause.kind == "location":
        return f"location constraint {cause.id}" + (f" bans it from {node}" if banned else "")
    if cause.kind == "promotion-location":
        return f"location constraint {cause.id} for the promoted role"
    if cause.kind in ("colocation", "anticolocation"):
        return _colocation(change, state, assignment, banned)
    if cause.kind == "dependent":
        if cause.id.startswith("#"):
            return f"{cause.detail}, which must be with it, prefers or avoids {node}"
        return f"{cause.detail}, colocated with it by {cause.id}, prefers or avoids {node}"
    return (
        _FIXED[cause.kind].format(id=cause.id, detail=cause.detail, node=node)
        if cause.kind in _FIXED
        else (": ".join(part for part in (cause.kind, cause.detail or cause.id) if part))
    )


_FIXED = {
    "stickiness": "resource-stickiness, because it is on {node} now",
    "health": "{detail}",
    "node-type": "{detail}",
    "fail-count": "{detail}",
    "no-slot": "{id} has all the instances on {node} that it may have there",
    "collective": "{id} as a whole cannot run on {node}",
    "clone-max": "all instances of {id} that may run are placed ({detail})",
    "exclusive-discovery": "probing of {id} is exclusive to other nodes (resource-discovery=exclusive)",
    "shutdown-lock": "{detail}",
    "ticket": "{detail}",
    "target-role": "its target-role is Stopped",
    "no-partner": "colocation constraint {id} pairs it with an instance of {detail}, and there is none for it",
    "on-fail": "{detail}",
    "failure": "{detail}",
    "removed": "{detail}",
    "multiple-active": "it is {detail}",
    "utilization": "{node} has not enough capacity left for it ({detail})",
    "remote": "{detail}",
    "container": "{detail}",
    "bundle": "an instance of {id} runs only inside its own container",
    "promotion-score": "promotion score {id} of {node}",
    "promotion-colocation": "colocation constraint {id} with {detail} for the promoted role",
    "promotion": "the promotion score of {id}",
}


def _colocation(change: Contribution, state: ClusterState, assignment: Assignment, banned: bool) -> str:
    cause = change.cause
    primary = state.by_id.get(cause.detail)
    what = cause.detail if primary is None else _primary(cause.id, primary, assignment)
    if cause.id.startswith("#"):
        return f"it must be with {what}"
    if cause.kind == "anticolocation":
        verb = "keeps it away from"
    else:
        verb = "binds it to" if banned else "relates it to"
    return f"colocation constraint {cause.id} {verb} {what}"


def _primary(constraint: str, primary: Resource, assignment: Assignment) -> str:
    """The primary of a colocation and where it is; in a role, only the instances in that role count."""
    role = next((c.primary_role for c in assignment.dependents[primary.index] if c.id == constraint), Role.UNKNOWN)
    if role is Role.UNKNOWN:
        return f"{primary.id}, which is {place_of(assignment, primary)}"
    nodes = {
        node
        for leaf in primary.leaves()
        if assignment.next_role[leaf.index] is role and (node := assignment.node[leaf.index]) is not None
    }
    in_role = f"{primary.id} in the role {ROLE_NAMES[role]}"
    return f"{in_role}, which is on {_names(nodes)}" if nodes else f"{in_role}, which is nowhere"


def node_state(node: Node, assignment: Assignment) -> str | None:
    """Why a node cannot be used by anything, if so."""
    i = node.index
    if assignment.unclean[i]:
        return f"{node.name} is unclean (it must be fenced first)"
    if not assignment.online[i]:
        return f"{node.name} is offline"
    if assignment.shutdown[i]:
        return f"{node.name} is shutting down"
    if node.pending:
        return f"{node.name} is joining the cluster"
    if node.standby:
        return f"{node.name} is in standby" + (" because of a failure" if node.standby_on_fail else "")
    return f"{node.name} is in maintenance mode" if node.maintenance else None


def _meant(node: Node, rsc: Primitive) -> str:
    return f"it is on {node.name} now" if node in rsc.active_nodes else f"{node.name} is where it is meant to be"


def why_chosen(choice: Choice, node: Node, rsc: Primitive) -> str:
    """What made this node win."""
    return {
        Choice.ONLY_USABLE: f"{node.name} is the only node it can use",
        Choice.BEST_SCORE: f"{node.name} has the highest score for it",
        Choice.STAYS: f"{node.name} is one of the best, and it is there already",
        Choice.WANTED: f"no node is better, and {_meant(node, rsc)}",
        Choice.CAPACITY: f"of the nodes with the highest score, {node.name} has most capacity left",
        Choice.LOAD: f"of the nodes with the highest score, {node.name} has the fewest resources assigned",
        Choice.NAME: f"{node.name} is one of the best and comes first by name",
    }.get(choice, f"{node.name} was chosen")
