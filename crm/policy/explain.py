"""Why: a cluster's decisions about one resource, in sentences.

Theory of operation. Nothing here decides anything. An `Explanation` runs the policy engine once more with explanations switched on
and reads what it recorded: every change of a score with its cause (`Contribution`), what decided between equal nodes
(`Decision`), the reasons of actions. Each answer is an `Answer`: sentences for people, causes for programs.

When a resource fits nowhere, `conflict` finds a minimal set of constraints that keeps it off: constraints are taken away one at a
time, and each without which the resource still fits nowhere is left out for good. What remains is minimal: without any one of
them the resource would find a place. This assigns the cluster once for each constraint concerned, which is why it is only done for
those who ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crm.policy.assign import assign
from crm.policy.conflict import Conflict, find_conflict
from crm.policy.constraints.read import read_constraints
from crm.policy.happenings import Happenings
from crm.policy.model import (
    INFINITY,
    Assignment,
    Bundle,
    Cause,
    Choice,
    Clone,
    ClusterState,
    Contribution,
    Decision,
    FenceNode,
    Node,
    NodeKind,
    Primitive,
    Resource,
    Role,
)
from crm.policy.render.hands_off import why_hands_off
from crm.policy.render.reasons import describe, listed, node_state, place_of, signed, why_chosen
from crm.policy.schedule import plan_transition
from crm.policy.state import unpack
from crm.policy.values import ROLE_NAMES, show_score

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.constraints.model import Colocation, Locations


@dataclass(slots=True, frozen=True)
class Answer:
    """What was asked, the sentences that answer it, and the causes they rest on."""

    question: str
    sentences: tuple[str, ...]
    causes: tuple[Cause, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.sentences)


@dataclass(slots=True, frozen=True)
class NodeView:
    """One node as a leaf sees it: its score, what that is made of, and why the node cannot be used, if so."""

    node: Node
    score: int | None  # None: not allowed at all
    contributions: tuple[Contribution, ...]
    obstacle: str | None


@dataclass(slots=True)
class _Answering:
    """Sentences and causes as they gather."""

    question: str
    sentences: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)

    def say(self, sentence: str, *causes: Cause) -> None:
        self.sentences.append(sentence)
        self.causes += causes

    def include(self, other: Answer) -> None:
        self.sentences += other.sentences
        self.causes += other.causes

    def done(self) -> Answer:
        """Sentences once; the details below them as often as they come, since what two scores are made of may be the same."""
        once: dict[str, None] = {}
        kept = []
        for sentence in self.sentences:
            if sentence.startswith(" ") or sentence not in once:
                kept.append(sentence)
            once[sentence] = None
        return Answer(self.question, tuple(kept), tuple(self.causes))


_FOR_ROLES = frozenset(("promotion-location", "promotion-colocation"))
# Kinds of causes that have a cause of their own.
_CONSEQUENCES = frozenset(("no-slot", "collective", "dependent", "colocation", "anticolocation"))


class Explanation:
    """Answers about one scheduling run. Unknown names raise `KeyError`; `explain_text` turns them into a sentence."""

    def __init__(
        self,
        state: ClusterState,
        locations: Locations,
        colocations: list[Colocation],
        assignment: Assignment,
        happenings: Happenings,
    ) -> None:
        self.state = state
        self.locations = locations
        self.colocations = colocations
        self.assignment = assignment
        self._happenings = happenings
        self._contributions: dict[tuple[Resource, Node], list[Contribution]] = {}
        for change in assignment.contributions:
            self._contributions.setdefault((change.resource, change.node), []).append(change)

    @classmethod
    def of(cls, cib: _Element, now: int) -> Explanation:
        """Schedule a CIB as the cluster itself does, nothing hidden, and keep the reasons."""
        state = unpack(cib, now, masked=False)
        constraints = read_constraints(state)
        assignment = assign(state, constraints.locations, constraints.colocations, explain=True)
        happenings = Happenings(plan_transition(state, constraints, assignment), constraints)
        return cls(state, constraints.locations, constraints.colocations, assignment, happenings)

    # --- looking up ------------------------------------------------------------------------------------------------------

    def resource(self, name: str) -> Resource:
        """A resource by its id; the name of what is cloned means the clone."""
        found = self.state.by_id.get(name)
        if found is not None:
            return found
        for rsc in self.state.all_resources:
            if isinstance(rsc, Primitive) and (rsc.config_id == name or rsc.history_name == name):
                return rsc.top
            if isinstance(rsc, Clone) and rsc.child_name == name:
                return rsc
        raise KeyError(name)

    def node(self, name: str) -> Node:
        return self.state.nodes_by_name[name.lower()]

    def leaf_node(self, leaf: Primitive) -> Node | None:
        return self.assignment.node[leaf.index]

    def view(self, leaf: Resource, node: Node) -> NodeView:
        """One node as a resource sees it."""
        score = self.assignment.tables[leaf.index].get(node)
        changes = tuple(self._contributions.get((leaf, node), ()))
        return NodeView(node, score, changes, self._obstacle(leaf, node, score, changes))

    def views(self, leaf: Resource) -> list[NodeView]:
        """All nodes as a resource sees them, in name order."""
        return [self.view(leaf, node) for node in self.state.nodes]

    def _obstacle(self, leaf: Resource, node: Node, score: int | None, changes: tuple[Contribution, ...]) -> str | None:
        if score is None:
            if self.state.options.symmetric:
                return f"{leaf.id} is not allowed on {node.name}"
            return f"the cluster is opt-in (symmetric-cluster=false) and no location constraint allows {node.name}"
        down = None if node.is_guest else self._node_state(node)
        if score >= 0:
            return down
        ban = next((change for change in changes if change.result <= -INFINITY), None)
        if ban is None and node.kind is NodeKind.BUNDLE:
            return f"{node.name} is the inside of a container and takes only what belongs there"
        if ban is None:
            parts = [f"{signed(change.change)} {self._describe(change)}" for change in changes if change.change]
            made_of = f" ({', '.join(parts)})" if parts else ""
            return down or f"the score there is {show_score(score)}, below 0{made_of}"
        if down is not None and ban.cause.kind in _CONSEQUENCES:
            return down
        reason = self._root(ban)
        return reason if down is None else f"{reason}; besides, {down}"

    def _node_state(self, node: Node) -> str | None:
        """Why nothing can use the node, if so; of an unclean one why it must be fenced."""
        down = node_state(node, self.assignment)
        if down is None or not self.assignment.unclean[node.index]:
            return down
        reasons = (each.reason for each in self.state.requests if isinstance(each, FenceNode) and each.node is node)
        reason = next(reasons, None)
        return down if reason is None else f"{node.name} is unclean and must be fenced first ({reason})"

    def _root(self, ban: Contribution) -> str:
        """A ban in words; where a dependent brought it, what keeps the dependent away."""
        if ban.cause.kind == "dependent":
            for follower in self._followers(ban.cause.detail):
                for change in self._contributions.get((follower, ban.node), ()):
                    if change.result <= -INFINITY and change.cause.kind not in _CONSEQUENCES:
                        return f"{follower.id}, which must be with it, cannot run there ({self._describe(change)})"
        if ban.cause.kind == "collective" and ban.cause.id in self.state.by_id:
            for change in self._contributions.get((self.state.by_id[ban.cause.id], ban.node), ()):
                if change.result <= -INFINITY:
                    return self._root(change)
        return self._describe(ban)

    def _followers(self, name: str) -> list[Resource]:
        """A dependent with all its parts, and what in turn must be with it."""
        found: dict[Resource, None] = {}
        todo = [self.state.by_id[name]] if name in self.state.by_id else []
        while todo:
            rsc = todo.pop(0)
            if rsc not in found:
                found[rsc] = None
                todo += rsc.children
                todo += [c.dependent for c in self.assignment.dependents[rsc.index] if c.score >= INFINITY]
        return list(found)

    def _describe(self, change: Contribution) -> str:
        return describe(change, self.state, self.assignment)

    # --- why is it here --------------------------------------------------------------------------------------------------

    def why_here(self, rsc: Resource) -> Answer:
        """What put a resource, or the parts of it that have a node, where they are."""
        said = _Answering(f"why is {rsc.id} here")
        for leaf in rsc.leaves():
            node = self.leaf_node(leaf)
            if node is not None:
                self._say_here(said, leaf, node)
        return said.done() if said.sentences else self.why_stopped(rsc)

    def _say_here(self, said: _Answering, leaf: Primitive, node: Node) -> None:
        decision = self.assignment.decisions.get(leaf)
        choice = decision.choice if decision is not None else Choice.BEST_SCORE
        role = self.assignment.next_role[leaf.index]
        as_role = f" as {ROLE_NAMES[role]}" if role in (Role.PROMOTED, Role.UNPROMOTED) else ""
        view = self.view(leaf, node)
        if choice is Choice.UNMANAGED:
            said.say(f"{leaf.id} stays on {node.name}: {why_hands_off(self.state, leaf)}.")
            return
        if self._happenings.runs_after(leaf):
            verb = "stays" if node in leaf.active_nodes else "will run"
            said.say(f"{leaf.id} {verb} on {node.name}{as_role}: {why_chosen(choice, node, leaf)}.")
        else:
            self._say_not_started(said, leaf)
            said.say(f"  Its node would be {node.name}: {why_chosen(choice, node, leaf)}.")
        self._say_score(said, leaf, view)
        for left in leaf.active_nodes:
            if left is not node:
                said.say(f"  it leaves {left.name}: {self._why_left(leaf, left, view)}")
        self._say_role(said, leaf, node)
        if choice is Choice.ONLY_USABLE:
            for other in self.views(leaf):
                inside = other.node.kind is NodeKind.BUNDLE and not leaf.exclusive_discovery
                if other.node is not node and other.obstacle is not None and not inside:
                    said.say(f"  not {other.node.name}: {other.obstacle}")

    def _say_not_started(self, said: _Answering, leaf: Primitive) -> None:
        reason = self._happenings.why_not_started(leaf)
        verb = "is to stop" if leaf.active_nodes else "is not started"
        said.say(f"{leaf.id} {verb}{f': {reason}' if reason else ''}.")

    def _why_left(self, leaf: Primitive, left: Node, chosen: NodeView) -> str:
        """Why a node where it is active is not the one that it gets."""
        view = self.view(leaf, left)
        if view.obstacle is not None:
            return view.obstacle
        if view.score is not None and chosen.score is not None and view.score < chosen.score:
            return (
                f"{chosen.node.name} has the higher score ({show_score(chosen.score)} against {show_score(view.score)})"
            )
        if len(leaf.active_nodes) == 1 and not leaf.stickiness:
            return f"{chosen.node.name} is as good, and no resource-stickiness keeps it where it is"
        return f"it is to be active on one node, and that is {chosen.node.name}"

    def _say_score(self, said: _Answering, leaf: Resource, view: NodeView) -> None:
        if view.score is None:
            return
        parts = [change for change in view.contributions if change.change and change.cause.kind not in _FOR_ROLES]
        if not parts:
            said.say(f"  score of {leaf.id} on {view.node.name}: {show_score(view.score)}")
            return
        said.say(f"  score of {leaf.id} on {view.node.name}: {show_score(view.score)}, made of")
        for change in parts:
            amount = f"= {show_score(change.result)}" if change.replaces else signed(change.change)
            said.say(f"    {amount:>10}  {self._describe(change)}", change.cause)

    def _say_role(self, said: _Answering, leaf: Primitive, node: Node) -> None:
        """Why an instance is promoted, or is not (part 2, 13)."""
        instance = next((rsc for rsc in (leaf, *_ancestors(leaf)) if rsc in self.assignment.promotion), None)
        if instance is None:
            return
        score = self.assignment.promotion[instance]
        promoted = self.assignment.next_role[leaf.index] is Role.PROMOTED
        if promoted:
            said.say(f"  promoted, because its promotion score, {show_score(score)}, is among the highest")
        elif score < 0:
            said.say(f"  not promoted: its promotion score is {show_score(score)}, which is below 0")
        else:
            said.say(f"  not promoted: its promotion score is {show_score(score)}, and others come first")
        for change in self._contributions.get((instance, node), ()):
            if change.cause.kind in _FOR_ROLES:
                said.say(f"    {signed(change.change):>10}  {self._describe(change)}", change.cause)

    # --- why not there ---------------------------------------------------------------------------------------------------

    def why_not(self, rsc: Resource, node: Node) -> Answer:
        """Why a resource does not run on a node; if it does, why it does."""
        said = _Answering(f"why is {rsc.id} not on {node.name}")
        leaves = rsc.leaves()
        if any(self.leaf_node(leaf) is node for leaf in leaves):
            for leaf in leaves:
                if self.leaf_node(leaf) is node:
                    self._say_here(said, leaf, node)
        elif isinstance(rsc, Clone | Bundle):
            self._say_instances_not(said, rsc, node)
        else:
            for leaf in leaves:
                self._say_not(said, leaf, node)
        return said.done()

    def _say_not(self, said: _Answering, leaf: Primitive, node: Node) -> None:
        view = self.view(leaf, node)
        if view.obstacle is not None:
            bans = [change.cause for change in view.contributions if change.result <= -INFINITY]
            said.say(f"{leaf.id} cannot run on {node.name}: {view.obstacle}.", *bans[:1])
            return
        chosen, decision = self.leaf_node(leaf), self.assignment.decisions.get(leaf)
        if chosen is None or decision is None:
            said.say(f"{leaf.id} could run on {node.name}, but it is stopped.")
            said.include(self.why_stopped(leaf))
            return
        best = self.view(leaf, chosen)
        if decision.choice is not Choice.UNMANAGED and not self._happenings.runs_after(leaf):
            self._say_not_started(said, leaf)
        if decision.choice is Choice.UNMANAGED:
            said.say(f"{leaf.id} stays on {chosen.name}: {why_hands_off(self.state, leaf)}.")
        elif best.score is not None and view.score is not None and best.score > view.score:
            said.say(
                f"{leaf.id} could run on {node.name}, but {chosen.name} has the higher score "
                f"({show_score(best.score)} against {show_score(view.score)})."
            )
            self._say_score(said, leaf, best)
            self._say_score(said, leaf, view)
        else:
            said.say(f"{leaf.id} could run on {node.name} just as well: {self._between(leaf, decision, chosen, node)}.")

    def _between(self, leaf: Primitive, decision: Decision, chosen: Node, other: Node) -> str:
        """What made the chosen node win against one with the same score."""
        load = decision.load
        if decision.choice in (Choice.LOAD, Choice.NAME) and load[chosen.index] != load[other.index]:
            return (
                f"when it was placed, {chosen.name} had {load[chosen.index]} resources assigned "
                f"and {other.name} {load[other.index]}"
            )
        return why_chosen(decision.choice, chosen, leaf)

    def _say_instances_not(self, said: _Answering, rsc: Clone | Bundle, node: Node) -> None:
        """A clone has no instance there: the clone's own score forbids it, or each instance has its reason."""
        down = self._node_state(node)
        if down is not None:
            said.say(f"No instance of {rsc.id} can run on {node.name}: {down}.")
            return
        view = self.view(rsc, node)
        if view.score is None or view.score < 0:
            bans = [change.cause for change in view.contributions if change.result <= -INFINITY]
            said.say(f"No instance of {rsc.id} can run on {node.name}: {view.obstacle}.", *bans[:1])
            return
        unplaced = [leaf for leaf in rsc.leaves() if self.leaf_node(leaf) is None]
        if not unplaced:
            number, where = (
                (rsc.clone_max, place_of(self.assignment, rsc)) if isinstance(rsc, Clone) else self._replicas(rsc)
            )
            said.say(f"All instances that {rsc.id} may have ({number}) are placed: {where}.")
        for leaf in unplaced[:1]:
            self._say_not(said, leaf, node)

    def _replicas(self, bundle: Bundle) -> tuple[int, str]:
        """How many there are, and where their containers are."""
        nodes = (self.leaf_node(replica.container) for replica in bundle.replicas)
        names = sorted({node.name for node in nodes if node is not None})
        return len(bundle.replicas), f"on {listed(names)}"

    # --- why is it stopped -----------------------------------------------------------------------------------------------

    def why_stopped(self, rsc: Resource) -> Answer:
        """Why a resource, or parts of it, will not run."""
        said = _Answering(f"why is {rsc.id} stopped")
        idle = [leaf for leaf in rsc.leaves() if self.leaf_node(leaf) is None]
        for leaf in idle:
            self._say_stopped(said, leaf)
        self._say_blocked(said, rsc)
        if not said.sentences:
            said.say(f"{rsc.id} is not stopped: it is {place_of(self.assignment, rsc)}.")
        return said.done()

    def _say_stopped(self, said: _Answering, leaf: Primitive) -> None:
        index, options = leaf.index, self.state.options
        for item in (leaf, *_ancestors(leaf)):
            if item.meta.get("target-role", "").lower() == "stopped":
                said.say(f"{leaf.id} is stopped because its target-role is Stopped.", Cause("target-role", item.id))
                return
        if options.stop_all_resources:
            said.say(f"{leaf.id} is stopped because of the cluster option stop-all-resources.")
        elif options.fencing_enabled and not self.state.has_fence_device:
            said.say(
                f"{leaf.id} is not started because fencing is enabled and there is no fencing device: "
                "configure one, or set the cluster option fencing-enabled to false."
            )
        elif not self.assignment.managed[index] or self.assignment.blocked[index]:
            said.say(f"{leaf.id} is not active and stays stopped: {why_hands_off(self.state, leaf)}.")
        else:
            self._say_no_node(said, leaf)

    def _say_no_node(self, said: _Answering, leaf: Primitive) -> None:
        said.say(f"{leaf.id} cannot run anywhere:")
        for view in self.views(leaf):
            if view.node.kind is NodeKind.BUNDLE and not leaf.exclusive_discovery:
                continue
            bans = [change.cause for change in view.contributions if change.result <= -INFINITY]
            said.say(f"  {view.node.name}: {view.obstacle or 'nothing forbids it'}", *bans[:1])

    def _say_blocked(self, said: _Answering, rsc: Resource) -> None:
        """What has a node but is not started there, for a reason of its actions."""
        for leaf in rsc.leaves():
            if self.leaf_node(leaf) is not None and not self._happenings.runs_after(leaf):
                said.sentences += self._happenings.sentences(leaf)

    def changes(self, rsc: Resource) -> bool:
        """Whether the transition does anything to a resource."""
        return any(self._happenings.of(leaf) for leaf in rsc.leaves())

    # --- why does it restart ---------------------------------------------------------------------------------------------

    def why_restarts(self, rsc: Resource) -> Answer:
        """What the transition does to a resource, and for which reason."""
        said = _Answering(f"why does {rsc.id} restart")
        for leaf in rsc.leaves():
            said.sentences += self._happenings.sentences(leaf)
        if not said.sentences:
            said.say(f"Nothing is going to happen to {rsc.id}.")
        return said.done()

    # --- what is in conflict ---------------------------------------------------------------------------------------------

    def conflict(self, rsc: Resource) -> Conflict | None:
        """The minimal set of constraints that leaves a resource no node; None when it has one, or no constraint is to blame."""
        return find_conflict(self.state, self.locations, self.colocations, rsc)


# --- for people ---------------------------------------------------------------------------------------------------------


def explain_text(cib: _Element, resource: str, node: str | None, now: int) -> str:
    """What `crm why RESOURCE [NODE]` prints: where the resource is and why, or why not on that node."""
    explanation = Explanation.of(cib, now)
    try:
        rsc = explanation.resource(resource)
    except KeyError:
        return f"There is no resource '{resource}'."
    if node is not None:
        try:
            where = explanation.node(node)
        except KeyError:
            return f"There is no node '{node}'."
        return str(explanation.why_not(rsc, where))
    parts = [str(explanation.why_here(rsc))]
    if any(explanation.leaf_node(leaf) is None for leaf in rsc.leaves()):
        parts.append(str(explanation.why_stopped(rsc)))
        conflict = explanation.conflict(rsc)
        if conflict is not None:
            parts.append(str(conflict))
    if explanation.changes(rsc):
        parts.append(str(explanation.why_restarts(rsc)))
    lines = parts[0].splitlines()
    for part in parts[1:]:
        lines += [line for line in part.splitlines() if line not in lines]
    return "\n".join(lines)


def _ancestors(rsc: Resource) -> list[Resource]:
    found = []
    above = rsc.parent
    while above is not None:
        found.append(above)
        above = above.parent
    return found
