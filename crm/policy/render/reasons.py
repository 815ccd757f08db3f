"""Causes in words: one score change, one node's state, one choice, as a part of a sentence.

The words are Pacemaker's; a constraint, attribute or resource is always named by its id, so that the reader finds it.
"""

from __future__ import annotations

from crm.policy.model import INFINITY, Assignment, Choice, ClusterState, Contribution, Node, Primitive, Resource
from crm.policy.values import show_score


def signed(score: int) -> str:
    text = show_score(score)
    return text if text.startswith("-") else f"+{text}"


def place_of(assignment: Assignment, rsc: Resource) -> str:
    """`on n1`, `on n1 and n2`, or `stopped`."""
    names: dict[str, None] = {}
    for leaf in rsc.leaves():
        node = assignment.node[leaf.index]
        if node is not None:
            names[node.name] = None
    return f"on {' and '.join(names)}" if names else "stopped"


def describe(change: Contribution, state: ClusterState, assignment: Assignment) -> str:
    """What changed a score, without the amount: `location constraint l1`."""
    cause, node = change.cause, change.node.name
    banned = change.result <= -INFINITY
    if cause.kind == "location":
        return f"location constraint {cause.id}" + (f" bans it from {node}" if banned else "")
    if cause.kind == "promotion-location":
        return f"location constraint {cause.id} for the promoted role"
    if cause.kind == "colocation":
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
    "fail-count": "{detail}",
    "no-slot": "{id} has no place for another instance on {node}, or the node cannot be used",
    "clone-max": "all instances of {id} that may run are placed ({detail})",
    "exclusive-discovery": "probing of {id} is exclusive to other nodes (resource-discovery=exclusive)",
    "shutdown-lock": "{detail}",
    "ticket": "ticket {id} is not granted",
    "target-role": "its target-role is Stopped",
    "utilization": "{node} has not enough capacity left for it",
    "remote": "{detail}",
    "container": "{detail}",
    "bundle": "an instance of {id} runs only inside its own container",
    "promotion-score": "promotion score {id} of {node}",
    "promotion": "the promotion score of {id}",
}


def _colocation(change: Contribution, state: ClusterState, assignment: Assignment, banned: bool) -> str:
    cause = change.cause
    primary = state.by_id.get(cause.detail)
    where = f", which is {place_of(assignment, primary)}" if primary is not None else ""
    if cause.id.startswith("#"):
        return f"it must be with {cause.detail}{where}"
    verb = "binds it to" if banned else "relates it to"
    return f"colocation constraint {cause.id} {verb} {cause.detail}{where}"


def node_state(node: Node, assignment: Assignment) -> str | None:
    """Why a node cannot be used by anything, if so."""
    i = node.index
    if assignment.unclean[i]:
        return f"{node.name} is unclean (it must be fenced first)"
    if not assignment.online[i]:
        return f"{node.name} is offline"
    if assignment.shutdown[i]:
        return f"{node.name} is shutting down"
    if node.standby:
        return f"{node.name} is in standby" + (" because of a failure" if node.standby_on_fail else "")
    return f"{node.name} is in maintenance mode" if node.maintenance else None


def why_chosen(choice: Choice, node: Node, rsc: Primitive) -> str:
    """What made this node win."""
    return {
        Choice.ONLY_USABLE: f"{node.name} is the only node it can use",
        Choice.BEST_SCORE: f"{node.name} has the highest score for it",
        Choice.STAYS: f"{node.name} is one of the best, and it is there already",
        Choice.WANTED: f"no node is better, and {node.name} is where it is meant to be",
        Choice.CAPACITY: f"of the nodes with the highest score, {node.name} has most capacity left",
        Choice.LOAD: f"of the nodes with the highest score, {node.name} has the fewest resources assigned",
        Choice.NAME: f"nothing tells the best nodes apart, and {node.name} comes first by name",
        Choice.UNMANAGED: f"{rsc.id} is unmanaged and stays on {node.name}, where it is",
    }.get(choice, f"{node.name} was chosen")
