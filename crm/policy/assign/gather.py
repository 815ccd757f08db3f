"""Taking the preferences of colocated resources into account (section 10).

Theory of operation. When a resource is placed, those that will have to follow it should find a place too. So before a node is
chosen, the tables of the resource's dependents are merged into its own, each scaled by the share that its colocation's score has of
INFINITY, and so on along the dependents of the dependents. A merge that would leave no usable node is dropped with all that
hangs on it (`prune`): dependents may ask, not forbid. For clones (`soft`) a dependent cannot ban a node that had a score either.

Shares are computed in IEEE single precision, which is observable in the results (10.4).

Cost. Nearly all tables are flat: all zero, with every node available. Merging such a table changes nothing, so it is
recognised before any node is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.constraints.model import Colocation, single
from crm.policy.model import INFINITY, Cause, Group, Node, Primitive, Resource, Role, Scores
from crm.policy.values import add_scores

if TYPE_CHECKING:
    from crm.policy.assign.run import Run

MARKER = -INFINITY - 1  # "unusable for now" in a soft merge


def has_influence(run: Run, colocation: Colocation, primary: Resource) -> bool:
    """Whether the dependent's wishes count for where the primary goes (10.2)."""
    dependent = colocation.dependent
    if (
        isinstance(dependent, Primitive)
        and dependent.is_connection
        and dependent.launcher is not None
        and dependent.launcher in run.inner_of
        and not primary.failed
        and len(primary.active_nodes) == 1
    ):
        return False
    return colocation.influence or not primary.active_nodes


def absorb(run: Run, rsc: Resource, colocation: Colocation, soft: bool = False) -> None:
    """Merge the wishes of one dependent into the table of the primary that is being assigned (10.1)."""
    if not has_influence(run, colocation, colocation.primary):
        return
    table = run.tables[rsc.index]
    merged = gather(run, colocation.dependent, rsc, table, colocation, colocation.factor, prune=True, soft=soft)
    if merged is table:
        return
    before = run.before(rsc)
    run.changing(rsc)
    run.tables[rsc.index] = merged
    run.explain(rsc, before, Cause("dependent", colocation.id, colocation.dependent.id))


def gather(
    run: Run,
    source: Resource,
    target: Resource,
    table: Scores,
    colocation: Colocation,
    factor: float,
    *,
    prune: bool,
    soft: bool,
) -> Scores:
    """`table` with the preferences of `source`, and of what depends on it, merged in; the same object when nothing changes."""
    gathering = run.gathering
    guard = source.index
    if gathering[guard]:
        return table
    if run.quiet is not None and run.quiet.quiet[guard]:
        short = _gather_quiet(run, source, target, table, colocation, factor, prune, soft)
        if short is not None:
            return short
    gathering[guard] = 1
    result = table
    if isinstance(source, Group):
        result = gather(run, source.children[0], target, table, colocation, factor, prune=prune, soft=soft)
    else:
        work = merge(run, source, target, table, colocation, factor, soft)
        wishes = run.effective.of_primary(source)
        room = run.has_room(work) if prune or wishes else True
        if room:
            for wish in wishes:
                if has_influence(run, wish, wish.primary):
                    share = single(single(factor * wish.score) / INFINITY)
                    work = gather(run, wish.dependent, target, work, wish, share, prune=True, soft=soft)
        if room or not prune:
            result = work
            if soft and MARKER in result.values():
                result = {node: 1 if score == MARKER else score for node, score in result.items()}
    gathering[guard] = 0
    return result


def _gather_quiet(
    run: Run, source: Resource, target: Resource, table: Scores, c: Colocation, factor: float, prune: bool, soft: bool
) -> Scores | None:
    """The same for a source that is indifferent with all that follows it; None when it has to be done the long way."""
    while isinstance(source, Group):
        source = source.children[0]
        if run.gathering[source.index]:
            return table
    if not (run.by_identity(c.attribute, source, target) and table.keys() <= run.tables[source.index].keys()):
        return None
    if run.all_available:
        return table
    if not (prune and factor == 1.0 and run.quiet is not None and run.quiet.mandatory[source.index]):
        return None
    work = merge(run, source, target, table, c, factor, soft)
    if not run.has_room(work):
        return table
    if soft and MARKER in work.values():
        return {node: 1 if score == MARKER else score for node, score in work.items()}
    return work


def own_scores(run: Run, source: Resource, colocation: Colocation) -> Scores:
    """The source's table; a later group member's also gets the group's locations, which only the first member has (10.4)."""
    table = run.tables[source.index]
    group = source.parent
    if not (
        isinstance(group, Group)
        and colocation.explicit
        and source is colocation.dependent
        and source is not group.children[0]
    ):
        return table
    next_role = run.next_role_of(source)
    for record in run.locations_of.get(group, ()):
        if record.role is not Role.UNKNOWN and record.role is not next_role:
            continue
        if table is run.tables[source.index]:
            table = dict(table)
        for node, score in record.scores.items():
            table[node] = add_scores(table[node], score) if node in table else score
    return table


def best_matches(run: Run, source: Resource, target: Resource, scores: Scores, attribute: str, table: Scores) -> Scores:
    """For each entry of `table` the best available score of the source on a node with the same attribute value."""
    best: dict[str | None, int] = {}
    available = run.available
    for node, score in scores.items():
        if available[node.index]:
            value = run.value(node, attribute, source)
            if score > best.get(value, MARKER):
                best[value] = score
    return {node: best.get(run.value(node, attribute, target), -INFINITY) for node in table}


def merge(
    run: Run, source: Resource, target: Resource, table: Scores, colocation: Colocation, factor: float, soft: bool
) -> Scores:
    """One source's scores, scaled, added to the entries of a table (10.4); the same object when nothing changes."""
    scores = own_scores(run, source, colocation)
    if run.by_identity(colocation.attribute, source, target):
        if run.all_available:
            if not any(scores.values()) and scores.keys() >= table.keys():
                return table
            matches = scores
        else:
            available = run.available
            matches = {node: score for node, score in scores.items() if available[node.index]}
    else:
        matches = best_matches(run, source, target, scores, colocation.attribute, table)
    defers: bool | None = None
    changed: dict[Node, int] = {}
    for node, score in table.items():
        wish = matches.get(node, -INFINITY)
        if not wish or score == MARKER:
            continue
        if factor < 0 and wish < 0:
            if defers is None:
                defers = _may_push_away(run, colocation)
            if not (defers and colocation.primary.stickiness < -wish):
                continue
        new = add_scores(scaled(wish, factor), score)
        if soft and new < 0:
            if score > 0:
                changed[node] = MARKER
                continue
            if score == 0:
                continue
        if new != score:
            changed[node] = new
    return {**table, **changed} if changed else table


def scaled(score: int, factor: float) -> int:
    """A share of a score, rounded in single precision as the field does; never 0 unless the score is (10.4)."""
    if factor == 1.0:
        return score
    if factor == -1.0:
        return -score
    share = single(factor * score)
    delta = int(share + (0.5 if share >= 0 else -0.5))
    if delta == 0 and score != 0:
        return 1 if factor > 0 else -1
    return delta


def _may_push_away(run: Run, colocation: Colocation) -> bool:
    """Two negatives: a dependent that repels the primary and has a single place left may claim it (10.4)."""
    if not has_influence(run, colocation, colocation.primary):
        return False
    return sum(score >= 0 for score in run.tables[colocation.dependent.index].values()) == 1
