"""Applying one colocation to its dependent (section 9).

Theory of operation. Placing: the dependent's table is changed so that it goes where the primary went, or away from there.
Promoting: when the instances of a promotable clone are ranked, the same colocation changes an instance's priority instead.
Which of the two applies follows from what is settled and from the roles (9.1). `apply` returns the change of priority, 0 when it
placed. A change of the table that may be broken is discarded when it would leave no usable node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign.choice import best_node, sorted_nodes
from crm.policy.assign.settle import assign_to
from crm.policy.assign.utilization import is_promotable
from crm.policy.constraints.model import Colocation
from crm.policy.model import (
    INFINITY,
    Bundle,
    Cause,
    Clone,
    Contribution,
    Group,
    Node,
    NodeKind,
    Primitive,
    Resource,
    Role,
    Scores,
)
from crm.policy.values import add_scores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crm.policy.assign.run import Run


def apply(run: Run, colocation: Colocation, dependent: Resource, primary: Resource) -> int:
    """Apply a colocation between these two, which may be parts of those it names."""
    if isinstance(dependent, Group):
        if not dependent.colocated:
            return 0
        delta = apply(run, colocation, dependent.children[0], primary)
        run.priority[dependent.index] = add_scores(delta, run.priority[dependent.index])
        return delta
    if isinstance(primary, Primitive):
        return _with_primitive(run, colocation, dependent, primary)
    if not run.settled[primary.index]:
        return 0
    if isinstance(primary, Group):
        return _with_group(run, colocation, dependent, primary)
    if isinstance(primary, Clone):
        return _with_clone(run, colocation, dependent, primary)
    if isinstance(primary, Bundle):
        return _with_bundle(run, colocation, dependent, primary)
    return 0


def _cause(colocation: Colocation, stopped: Resource | None = None) -> Cause:
    """The colocation, and its primary as configured, or the part of it that is stopped."""
    kind = "colocation" if colocation.score > 0 else "anticolocation"
    return Cause(kind, colocation.id, (stopped or colocation.primary).id)


# --- with a primitive (9.1 - 9.3) -----------------------------------------------------------------------------------------


def _with_primitive(run: Run, colocation: Colocation, dependent: Resource, primary: Primitive) -> int:
    if not run.settled[primary.index]:
        return 0
    inside = run.inner_of.get(dependent, dependent)
    parent = inside.parent
    if (
        colocation.dependent_role >= Role.UNPROMOTED
        and parent is not None
        and is_promotable(parent)
        and run.settled[inside.index]
    ):
        return _change_priority(run, colocation, dependent, primary)
    if run.settled[dependent.index]:
        return 0
    wanted = colocation.dependent_role
    if wanted is not Role.UNKNOWN and wanted is not run.next_role_of(inside):
        return 0
    wanted = colocation.primary_role
    if wanted is not Role.UNKNOWN and wanted is not run.next_role_of(run.inner_of.get(primary, primary)):
        return 0
    _change_table(run, colocation, dependent, primary)
    return 0


def _change_table(run: Run, colocation: Colocation, dependent: Resource, primary: Primitive) -> None:
    """Location effect (9.2)."""
    table = run.tables[dependent.index]
    score = colocation.score
    node = run.node[primary.index]
    if node is None:
        if score < 0:
            return
        new = {n: add_scores(old, -score) for n, old in table.items()}
    elif run.by_identity(colocation.attribute, dependent, primary):
        new = _near(table, score, (node,))
    else:
        attribute = colocation.attribute
        wanted = run.value(node, attribute, primary)
        new = _near(table, score, {n for n in table if run.value(n, attribute, dependent) == wanted})
    if colocation.mandatory or run.has_room(new):
        before = run.before(dependent)
        if new != table:
            run.changing(dependent)
        run.tables[dependent.index] = new
        run.explain(dependent, before, _cause(colocation, primary if node is None else None))


def _near(table: Scores, score: int, matching: Iterable[Node]) -> Scores:
    """A table after a colocation whose primary is on one of the matching nodes."""
    if score >= INFINITY:
        new = dict.fromkeys(table, -INFINITY)
        for node in matching:
            if node in table:
                new[node] = table[node]
        return new
    new = dict(table)
    for node in matching:
        if node in table:
            new[node] = add_scores(table[node], score)
    return new


def _change_priority(run: Run, colocation: Colocation, dependent: Resource, primary: Primitive) -> int:
    """Role effect (9.3)."""
    mine = run.location(dependent)
    if mine is None:
        return 0
    node = run.node[primary.index]
    wanted = colocation.primary_role
    if (
        node is not None
        and wanted is not Role.UNKNOWN
        and wanted is not run.next_role_of(run.inner_of.get(primary, primary))
    ):
        return 0
    attribute, score = colocation.attribute, colocation.score
    if run.value(mine, attribute, dependent) != run.value(node, attribute, primary):
        if score < INFINITY or colocation.dependent_role is not Role.PROMOTED:
            return 0
        delta = -score
    else:
        delta = -score if colocation.dependent_role is Role.UNPROMOTED else score
    result = run.priority[dependent.index] = add_scores(delta, run.priority[dependent.index])
    if run.explaining and delta:
        cause = Cause("promotion-colocation", colocation.id, colocation.primary.id)
        run.result.contributions.append(Contribution(dependent, mine, delta, result, cause))
    return delta


# --- with a collective (9.4) ------------------------------------------------------------------------------------------------


def _with_group(run: Run, colocation: Colocation, dependent: Resource, group: Group) -> int:
    if group.colocated:
        member = group.children[-1 if colocation.score >= INFINITY else 0]
        return apply(run, colocation, dependent, member)
    if colocation.score >= INFINITY:
        return 0  # cannot be with all members of a group that is spread
    return sum(apply(run, colocation, dependent, member) for member in group.children)


def _with_clone(run: Run, colocation: Colocation, dependent: Resource, clone: Clone) -> int:
    settled = run.settled[dependent.index]
    if clone.promotable and colocation.primary_role is not Role.UNKNOWN:
        if not settled:
            _near_instances_in_role(run, colocation, dependent, clone)
            return 0
        if colocation.dependent_role is Role.PROMOTED:
            return _promote_beside(run, colocation, dependent, clone)
    if _interleaves(run, colocation.dependent, clone):
        instance = compatible(run, dependent, run.children[clone.index], Role.UNKNOWN, None)
        return _pair(run, colocation, dependent, instance)
    instances = run.children[clone.index]
    if colocation.score >= INFINITY:
        places = {run.location(instance) for instance in instances if not run.is_blocked(instance)}
        _only_on(run, colocation, dependent, places)
        return 0
    return sum(apply(run, colocation, dependent, instance) for instance in instances)


def _near_instances_in_role(run: Run, colocation: Colocation, dependent: Resource, clone: Clone) -> None:
    """A promotable clone's instances in the wanted role, before the dependent is placed (9.4, clone 1)."""
    hosts: dict[Node, int] = {}  # node -> score that the instance had there
    before = run.before(dependent)
    run.changing(dependent)
    table = run.tables[dependent.index]
    mandatory = colocation.score >= INFINITY
    for instance in run.children[clone.index]:
        node = run.location(instance)
        if node is None or run.next_role_of(instance) is not colocation.primary_role:
            continue
        hosts[node] = _score_when_assigned(run, instance, node)
        if not mandatory:
            attribute = colocation.attribute
            wanted = run.value(node, attribute, clone)
            for other in table:
                if other is node or run.value(other, attribute, clone) == wanted:
                    table[other] = add_scores(table[other], colocation.score)
    if mandatory and not (colocation.dependent_role is Role.PROMOTED and colocation.primary_role is Role.PROMOTED):
        for other, score in table.items():
            table[other] = add_scores(score, hosts[other]) if other in hosts else -INFINITY
    run.explain(dependent, before, _cause(colocation))


def _score_when_assigned(run: Run, instance: Resource, node: Node) -> int:
    for leaf in instance.leaves():
        if run.node[leaf.index] is node:
            return run.assigned_score[leaf.index]
    return 0


def _promote_beside(run: Run, colocation: Colocation, dependent: Resource, clone: Clone) -> int:
    """A settled dependent that wants to be promoted where an instance in the wanted role is (9.4, clone 1)."""
    found = compatible(run, dependent, run.children[clone.index], colocation.primary_role, colocation.attribute)
    if found is not None:
        run.priority[dependent.index] = add_scores(colocation.score, run.priority[dependent.index])
        return colocation.score
    if colocation.score >= INFINITY:
        run.priority[dependent.index] = -INFINITY
    return 0


def _interleaves(run: Run, dependent: Resource, primary: Clone) -> bool:
    """Whether instances of the configured dependent pair with those of the primary, one by one."""
    if isinstance(dependent, Clone) and dependent.interleave:
        return dependent.clone_node_max == primary.clone_node_max
    if isinstance(dependent, Bundle) and dependent.interleave:
        return dependent.replicas_per_host == primary.clone_node_max
    return False


def _pair(run: Run, colocation: Colocation, dependent: Resource, partner: Resource | None) -> int:
    if partner is not None:
        return apply(run, colocation, dependent, partner)
    if colocation.score >= INFINITY and isinstance(dependent, Primitive):
        assign_to(run, dependent, None, final=True)
        run.unpaired[dependent] = colocation
    return 0


def _with_bundle(run: Run, colocation: Colocation, dependent: Resource, bundle: Bundle) -> int:
    containers: list[Resource] = [replica.container for replica in bundle.replicas]
    if isinstance(colocation.dependent, Clone | Bundle):
        return _pair(run, colocation, dependent, _compatible_container(run, dependent, containers))
    if colocation.score < INFINITY:
        return sum(apply(run, colocation, dependent, container) for container in containers)
    places: set[Node | None] = set()
    for container in containers:
        if run.is_blocked(container):
            continue
        inner = run.inner_of.get(container)
        if colocation.primary_role is Role.PROMOTED and (
            inner is None or run.next_role[inner.index] is not Role.PROMOTED
        ):
            continue
        places.add(run.node[container.index])
    _only_on(run, colocation, dependent, places)
    return 0


def _only_on(run: Run, colocation: Colocation, dependent: Resource, places: set[Node | None]) -> None:
    """Ban the dependent from every node but these. Node identity only: attribute and role are not consulted."""
    before = run.before(dependent)
    run.changing(dependent)
    table = run.tables[dependent.index]
    for node in table:
        if node not in places:
            table[node] = -INFINITY
    run.explain(dependent, before, _cause(colocation))


# --- partners (9.5) ---------------------------------------------------------------------------------------------------------


def compatible(
    run: Run, dependent: Resource, children: list[Resource], role: Role, attribute: str | None
) -> Resource | None:
    """The child that belongs to the dependent: on its node, or on the best of its nodes that has one.

    `role` UNKNOWN means any; with an attribute, nodes match by its value, otherwise by identity.
    """
    where: dict[Node, Resource] = {}
    for child in children:
        node = run.location(child)
        if node is None or node in where or run.is_blocked(child):
            continue
        if role is Role.UNKNOWN or run.next_role_of(child) is role:
            where[node] = child
    mine = run.location(dependent)
    table = run.tables[dependent.index]
    if attribute is None or run.by_identity(attribute, *children):
        best = mine if mine is not None else best_node(run, dependent, table, where)
        return where.get(best) if best is not None else None
    for candidate in [mine] if mine is not None else sorted_nodes(run, dependent, table):
        for node, child in where.items():
            if node is candidate or run.value(node, attribute, child) == run.value(candidate, attribute, child):
                return child
    return None


def _compatible_container(run: Run, dependent: Resource, containers: list[Resource]) -> Resource | None:
    """As `compatible`, where the dependent may be on bundle nodes: those stand for their hosts."""
    where: dict[Node, Resource] = {}
    for container in containers:
        node = run.location(container)
        if node is not None and node not in where and not run.is_blocked(container):
            where[node] = container
    mine = run.location(dependent)
    for candidate in [mine] if mine is not None else sorted_nodes(run, dependent, run.tables[dependent.index]):
        host = run.host_of(candidate) if candidate.kind is NodeKind.BUNDLE else candidate
        if host in where:
            return where[host]
    return None
