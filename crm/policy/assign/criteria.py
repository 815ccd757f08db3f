"""What makes a resource prefer or avoid a node, before colocations (sections 3.3 and 4).

Theory of operation. In this order: shutdown locks, location constraints (newest first, node health last of all), stickiness, and
then the two that overrule: failures past the threshold and exclusive discovery. Everything happens in the resources' tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.constraints.model import Location
from crm.policy.model import (
    INFINITY,
    Bundle,
    Cause,
    ClearFailCount,
    Clone,
    Contribution,
    Discovery,
    Group,
    Node,
    Primitive,
    Resource,
    Role,
    Scores,
)
from crm.policy.values import add_scores, parse_integer

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


def apply_criteria(run: Run) -> None:
    leaves = [rsc for rsc in run.state.all_resources if isinstance(rsc, Primitive)]
    if run.options.shutdown_lock:
        for leaf in leaves:
            _lock(run, leaf)
    for record in reversed(run.locations):
        _apply_location(run, record)
    for leaf in leaves:
        _stick(run, leaf)
    _ban_past_threshold(run, leaves)
    for top in run.state.resources:
        if run.result.exclusive[top.index] or any(run.result.exclusive[rsc.index] for rsc in _below(top)):
            _confine_to_exclusive(run, top)


# --- shutdown locks (4.5) -----------------------------------------------------------------------------------------------------


def _lock(run: Run, leaf: Primitive) -> None:
    """A resource whose node is shut down cleanly waits for that node."""
    parent = leaf.parent
    in_plain_group = isinstance(parent, Group) and parent.parent is None
    if leaf.is_connection or leaf.standard.lower() == "stonith" or not (parent is None or in_plain_group):
        return
    if not leaf.active_nodes:
        if leaf.lock_node is None:
            return
        node, since = leaf.lock_node, leaf.lock_time
    else:
        node = leaf.active_nodes[0]
        if len(leaf.active_nodes) > 1 or not node.shutdown or node.unclean:
            return
        since = parse_integer(node.attributes.get("shutdown")) or run.state.now
    run.result.locks[leaf] = (node, since)
    cause = Cause("shutdown-lock", leaf.id, f"locked to {node.name}, which is shut down")
    run.ban(leaf, [other for other in run.nodes if other is not node], cause)


# --- locations (3.3) ----------------------------------------------------------------------------------------------------------


def _apply_location(run: Run, record: Location) -> None:
    rsc = record.resource
    if not record.scores:
        return
    if isinstance(rsc, Primitive):
        _add_location(run, rsc, record, record.scores)
    elif isinstance(rsc, Group):
        _locate_group(run, rsc, record)
    elif isinstance(rsc, Clone):
        _locate_clone(run, rsc, record)
    elif isinstance(rsc, Bundle):
        _locate_bundle(run, rsc, record)


def _locate_group(run: Run, group: Group, record: Location) -> None:
    """The first member carries the score; the others only learn that the nodes exist."""
    _add_location(run, group, record, record.scores)
    nothing = dict.fromkeys(record.scores, 0)
    for number, member in enumerate(group.children):
        whole = number == 0 or not group.colocated
        _add_location(run, member, record, record.scores if whole else nothing)


def _locate_clone(run: Run, clone: Clone, record: Location) -> None:
    _add_location(run, clone, record, record.scores)
    for instance in clone.children:
        if isinstance(instance, Group):
            _locate_group(run, instance, record)
        else:
            _add_location(run, instance, record, record.scores)


def _locate_bundle(run: Run, bundle: Bundle, record: Location) -> None:
    _add_location(run, bundle, record, record.scores)
    for replica in bundle.replicas:
        _add_location(run, replica.container, record, record.scores)
        if replica.ip is not None:
            _add_location(run, replica.ip, record, record.scores)
    inner = bundle.inner_clone
    if inner is not None and record.role is Role.PROMOTED:
        _locate_clone(run, inner, record)
        run.locations_of.setdefault(inner, []).insert(0, record)


def _add_location(run: Run, rsc: Resource, record: Location, scores: Scores) -> None:
    """One resource's own table; a record for a role counts only while the resource itself is to have exactly that role."""
    if record.role is not Role.UNKNOWN and run.next_role[rsc.index] is not record.role:
        return
    table = run.tables[rsc.index]
    for node, score in scores.items():
        old = table.get(node)
        result = table[node] = score if old is None else add_scores(old, score)
        if run.explaining and score:
            run.result.contributions.append(Contribution(rsc, node, score, result, record.cause))
    if record.discovery is not Discovery.ALWAYS:
        for node in scores:
            run.raise_discovery(rsc, node, record.discovery)


# --- stickiness (4.2) ---------------------------------------------------------------------------------------------------------


def _stick(run: Run, leaf: Primitive) -> None:
    if leaf.stickiness < 1 or len(leaf.active_nodes) != 1 or not run.managed[leaf.index]:
        return
    node = leaf.active_nodes[0]
    if run.options.symmetric or node in run.tables[leaf.index]:
        run.add(leaf, node, leaf.stickiness, Cause("stickiness", leaf.id, "runs there"))


# --- failures (4.3) -----------------------------------------------------------------------------------------------------------


def _ban_past_threshold(run: Run, leaves: list[Primitive]) -> None:
    cleared = {(r.resource, r.node) for r in run.state.requests if isinstance(r, ClearFailCount)}
    for leaf in leaves:
        threshold = leaf.migration_threshold
        if threshold == 0 or leaf.failure_ignored:
            continue
        for node, count in _fail_counts(run, leaf).items():
            if count < threshold or (leaf, node) in cleared:
                continue
            run.over_threshold.setdefault(leaf, []).append(node)
            banned = leaf.top if not leaf.unique else leaf
            cause = Cause(
                "fail-count", leaf.id, f"failed {_times(count)} there (migration-threshold {_shown(threshold)})"
            )
            run.ban(banned, [node], cause)


def _fail_counts(run: Run, leaf: Primitive) -> dict[Node, int]:
    """Effective fail counts, with those of what the leaf launches (guest connections), except for containers of bundles."""
    launched = [] if leaf in run.inner_of or not leaf.launched else leaf.launched
    counts = dict(leaf.fail_counts) if launched else leaf.fail_counts
    for filler in launched:
        if isinstance(filler, Primitive):
            for node, count in filler.fail_counts.items():
                counts[node] = add_scores(counts.get(node, 0), count)
    return counts


def _times(count: int) -> str:
    return "fatally" if count >= INFINITY else "once" if count == 1 else f"{count} times"


def _shown(threshold: int) -> str:
    return "INFINITY" if threshold >= INFINITY else str(threshold)


# --- exclusive discovery (4.4) --------------------------------------------------------------------------------------------------


def _below(rsc: Resource) -> list[Resource]:
    return [found for child in rsc.children for found in (child, *_below(child))]


def _confine_to_exclusive(run: Run, rsc: Resource) -> None:
    """Where probing is exclusive to some nodes, so is running."""
    exclusive = run.result.exclusive
    if exclusive[rsc.index] or exclusive[rsc.top.index]:
        modes = run.result.discovery[rsc.index]
        before = run.before(rsc)
        table = run.tables[rsc.index]
        for node in table:
            if modes.get(node, Discovery.ALWAYS) is not Discovery.EXCLUSIVE:
                table[node] = -INFINITY
        run.explain(rsc, before, Cause("exclusive-discovery", rsc.id), replaces=True)
    for child in rsc.children:
        _confine_to_exclusive(run, child)
