"""Choosing which instances of a promotable clone are promoted (section 13).

Theory of operation. Agents publish promotion scores as node attributes. Before placing, they raise the node scores of
the instances they belong to. After placing, each instance gets a priority (its promotion score, changed by locations and
colocations for the promoted role), the clone's own table adds what the clone and its dependents prefer, and the best are
promoted as long as the limits allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.assign import colocate, gather
from crm.policy.assign.choice import merge_sort
from crm.policy.assign.instances import InstanceOrder
from crm.policy.model import INFINITY, Cause, Clone, Contribution, Node, Primitive, Resource, Role
from crm.policy.render.scores import promotion_line
from crm.policy.values import add_scores, base_name, parse_score

if TYPE_CHECKING:
    from crm.policy.assign.run import Run


# --- promotion scores (13.1) ------------------------------------------------------------------------------------------------


class PromotionScores:
    """What node attributes say about the instances of one clone."""

    def __init__(self, run: Run, clone: Clone) -> None:
        self.run = run
        self.holder: dict[tuple[str, Node], Primitive] = {}  # first instance active on a node, by definition id
        self.known: set[tuple[str, Node]] = set()
        for leaf in clone.leaves():
            for node in leaf.active_nodes:
                self.holder.setdefault((leaf.config_id, node), leaf)
            self.known.update((leaf.config_id, node) for node in leaf.known_on)

    def of(self, rsc: Resource, node: Node) -> tuple[int, bool]:
        """The score of an instance on a node, and whether there is one at all."""
        if not isinstance(rsc, Primitive):
            found = [self.of(child, node) for child in rsc.children]
            return sum(score for score, _ in found), any(is_set for _, is_set in found)
        if not self._applies(rsc, node):
            return 0, False
        text = self._attribute(rsc, node, f"master-{rsc.history_name or rsc.id}")
        if text is None and not rsc.unique:
            text = self._attribute(rsc, node, f"master-{base_name(rsc.id)}")
        if text is None:
            return 0, False
        return parse_score(text) or 0, True

    def _applies(self, rsc: Primitive, node: Node) -> bool:
        if self.run.tables[rsc.index].get(node, -INFINITY) < 0:
            return False
        if not rsc.unique:
            holder = self.holder.get((rsc.config_id, node))
            if holder is rsc or (holder is None and (rsc.config_id, node) in self.known):
                return True
        if not rsc.active_nodes and not rsc.known_on:
            return True
        return node in rsc.known_on or node in rsc.active_nodes

    def _attribute(self, rsc: Primitive, node: Node, name: str) -> str | None:
        if node.is_guest and rsc.meta.get("container-attribute-target", "").lower() == "host":
            host = self.run.host_of(node, assigned=self.run.settled[rsc.index])
            return None if host is None else host.attributes.get(name)
        return node.attributes.get(name)


def add_promotion_scores(run: Run, clone: Clone) -> None:
    """Raise node scores and priorities of the instances by positive promotion scores."""
    scores = PromotionScores(run, clone)
    for instance in run.children[clone.index]:
        for node in list(run.tables[instance.index]):
            if not run.available[node.index]:
                continue
            score, _ = scores.of(instance, node)
            if score > 0:
                run.add(instance, node, score, Cause("promotion-score", f"master-{base_name(instance.id)}"))
                run.priority[instance.index] = max(run.priority[instance.index], score)


# --- ranking (13.3, 13.4) ---------------------------------------------------------------------------------------------------


def choose_promoted(run: Run, clone: Clone) -> None:
    """Rank the placed instances and give each its role."""
    run.counts[clone] = {}
    rank: dict[Resource, int] = {}
    scores = PromotionScores(run, clone)
    for instance in run.children[clone.index]:
        _set_priority(run, clone, instance, scores, rank)
    _set_promotion(run, clone, rank)
    run.result.promotion.update(rank)
    order = InstanceOrder(run, clone)

    def compare(a: Resource, b: Resource) -> int:
        if rank[a] != rank[b]:
            return -1 if rank[a] > rank[b] else 1
        role_a, role_b = run.role_of(a), run.role_of(b)
        if role_a is not role_b:
            return -1 if role_a > role_b else 1
        return order.compare(a, b)

    run.children[clone.index] = merge_sort(run.children[clone.index], compare)
    _set_roles(run, clone, rank)


def _set_priority(
    run: Run, clone: Clone, instance: Resource, scores: PromotionScores, rank: dict[Resource, int]
) -> None:
    """How much an instance deserves to be promoted, before the clone's own table counts (13.3)."""
    index = instance.index
    if run.role_of(instance) is Role.STARTED:
        for leaf in instance.leaves():
            if run.role[leaf.index] is Role.STARTED:
                run.role[leaf.index] = Role.UNPROMOTED
    node = run.location(instance)
    rank[instance] = 0
    if node is None:
        return
    role = run.next_role_of(instance)
    if role is Role.STARTED or role is Role.UNKNOWN:
        score, is_set = scores.of(instance, node)
        run.priority[index] = score if is_set else -1
    elif role is not Role.PROMOTED:
        run.priority[index] = -INFINITY
    for holder in (instance, clone):
        for record in run.locations_of.get(holder, ()):
            if record.role is Role.PROMOTED and node in record.scores:
                result = run.priority[index] = add_scores(run.priority[index], record.scores[node])
                if run.explaining:
                    cause = Cause("promotion-location", record.cause.id, record.cause.detail)
                    run.result.contributions.append(Contribution(instance, node, record.scores[node], result, cause))
    for colocation in run.effective.of_dependent(instance):
        colocate.apply(run, colocation, instance, colocation.primary)
    rank[instance] = INFINITY if role is Role.PROMOTED else run.priority[index]


def _set_promotion(run: Run, clone: Clone, rank: dict[Resource, int]) -> None:
    """The final promotion scores (13.4)."""
    run.gathering[clone.index] = 1
    run.effective.sorting_roles.add(clone)
    run.effective.forget(clone)
    for instance in run.children[clone.index]:
        node = run.location(instance)
        if node is not None and rank[instance] >= 0:
            run.add(clone, node, rank[instance], Cause("promotion", instance.id))
    for colocation in run.effective.of_primary(clone):
        if colocation.primary_role is Role.PROMOTED:
            gather.absorb(run, clone, colocation, soft=True)
    for ticket in run.promotion_tickets(clone):
        run.ban_everywhere(clone, Cause("ticket", ticket, f"ticket {ticket} does not allow the promoted role"))
    table = run.tables[clone.index]
    for instance in run.children[clone.index]:
        node = run.location(instance)
        if not run.managed[instance.index] and run.next_role_of(instance) is Role.PROMOTED:
            rank[instance] = INFINITY
        elif node is None:
            rank[instance] = -INFINITY
        elif rank[instance] >= 0:
            rank[instance] = table.get(node, -INFINITY)
    run.gathering[clone.index] = 0


# --- roles (13.5, 13.6) -----------------------------------------------------------------------------------------------------


def _set_roles(run: Run, clone: Clone, rank: dict[Resource, int]) -> None:
    promoted = 0
    frozen = not run.state.quorate and run.options.no_quorum_policy == "freeze"
    for instance in run.children[clone.index]:
        place = run.location(instance)
        if run.show_scores:
            run.result.score_lines.append(promotion_line(instance, place, rank[instance]))
        node = None
        if rank[instance] >= 0 and (promoted < clone.promoted_max or not run.managed[clone.index]):
            node = _node_to_promote_on(run, clone, instance)
        if node is None or (frozen and run.role_of(instance) < Role.PROMOTED):
            _override_role(run, instance)
            continue
        counts = run.counts[clone]
        counts[node] = counts.get(node, 0) + 1
        for rsc in (instance, *instance.leaves()):
            if run.next_role[rsc.index] is Role.UNKNOWN:
                run.next_role[rsc.index] = Role.PROMOTED
        promoted += 1


def _override_role(run: Run, instance: Resource) -> None:
    """Not promoted: unpromoted, or stopped without a node."""
    role = Role.UNPROMOTED if run.assigned_nodes(instance) else Role.STOPPED
    for rsc in (instance, *instance.leaves()):
        run.next_role[rsc.index] = role


def _node_to_promote_on(run: Run, clone: Clone, rsc: Resource) -> Node | None:
    for member in () if isinstance(rsc, Primitive) else rsc.children:
        if _node_to_promote_on(run, clone, member) is None:
            return None
    node = run.location(rsc)
    if node is None:
        return None
    managed = run.managed[rsc.index]
    if not managed:
        if run.role_of(rsc) is not Role.PROMOTED:
            return None
    elif run.priority[rsc.index] < 0 or not run.available[node.index] or (node.is_guest and run.host_of(node) is None):
        return None
    if node not in run.tables[clone.index]:
        return None
    if managed and run.counts[clone].get(node, 0) >= clone.promoted_node_max:
        return None
    return node
