"""The assignment in the making, and the few questions that every rule asks of it.

Theory of operation. A `Run` lives for one call of `assign`. It owns the `Assignment` that is being filled (tables, nodes, roles)
and what only assigning needs: which resources are settled or in progress, how many were put on each node, what capacity is
left, the colocation lists. The rules themselves are functions in the sibling modules that take a run and a resource; a run calls
back into them through `assign`, which dispatches on the resource's kind.

Changes of tables are explained after the fact: a rule takes `before = run.before(rsc)`, edits the table, and calls
`run.explain(rsc, before, cause)`. Unless explanations were asked for, `before` is None and nothing is recorded.

Sections are those of part 2 of the scheduler specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from crm.policy.assign.effective import EffectiveColocations
from crm.policy.assign.quiet import Quiet
from crm.policy.constraints.model import Colocation, Location, Locations
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
    Discovery,
    Kind,
    Needs,
    Node,
    NodeKind,
    Primitive,
    Resource,
    Role,
    Scores,
)
from crm.policy.render.scores import table_lines
from crm.policy.tableorder import slot_order
from crm.policy.values import add_scores

Procedure = Callable[["Run", Resource, Node | None, bool], Node | None]

UNAME = "#uname"


def begin(state: ClusterState) -> Assignment:
    """The assignment as far as the state alone decides it."""
    everything = state.all_resources
    return Assignment(
        node=[None] * len(everything),
        assigned_score=[0] * len(everything),
        next_role=[rsc.next_role for rsc in everything],
        managed=[rsc.managed for rsc in everything],
        blocked=[rsc.blocked for rsc in everything],
        tables=[dict(rsc.table) for rsc in everything],
        discovery=[dict(rsc.discovery) for rsc in everything],
        children=[rsc.children for rsc in everything],
        priority=[rsc.priority for rsc in everything],
        promotion={},
        online=[node.online for node in state.nodes],
        unclean=[node.unclean for node in state.nodes],
        shutdown=[node.shutdown for node in state.nodes],
        resource_order=list(state.resources),
        score_lines=[],
        contributions=list(state.contributions),
        role=[rsc.role for rsc in everything],
        exclusive=[rsc.exclusive_discovery for rsc in everything],
    )


class Run:
    """One assignment under way. Lists are indexed by `Resource.index` or `Node.index`."""

    def __init__(
        self,
        state: ClusterState,
        locations: Locations,
        colocations: Iterable[Colocation],
        procedures: Mapping[Kind, Procedure],
        *,
        explain: bool = False,
        show_scores: bool = False,
        show_utilization: bool = False,
    ) -> None:
        self.state = state
        self.options = state.options
        self.strategy = state.options.placement_strategy
        self.nodes = state.nodes
        self.procedures = procedures
        self.explaining = explain
        self.show_scores = show_scores
        self.show_utilization = show_utilization

        self.result = result = begin(state)
        self.node = result.node
        self.assigned_score = result.assigned_score
        self.next_role = result.next_role
        self.role = result.role
        self.managed = result.managed
        self.blocked = result.blocked
        self.tables = result.tables
        self.children = result.children
        self.priority = result.priority
        for _, rsc in locations.exclusive:
            result.exclusive[rsc.index] = True

        count = len(state.all_resources)
        self.settled = [False] * count
        self.busy = [False] * count  # being assigned further up the stack
        self.quiet: Quiet | None = None  # from when tables are complete but for assigning itself
        self.gathering = bytearray(count)  # on the current path of 10.3
        self.counts: dict[Resource, dict[Node, int]] = {}  # instances of a collective on a node
        self.over_threshold: dict[Resource, list[Node]] = {}  # where failures ban a leaf (4.3)
        self.unpaired: dict[Resource, Colocation] = {}  # instances for which an interleaved primary has no partner
        self.assigned_count = [0] * len(state.nodes)  # leaves put on a node so far
        self.capacity: list[dict[str, int]] = [dict(node.utilization) for node in state.nodes]
        self.available = [result.available(node) for node in state.nodes]
        self.all_available = all(self.available)

        self.locations = locations.records
        self.locations_of: dict[Resource, list[Location]] = {}  # newest first
        for record in reversed(locations.records):
            self.locations_of.setdefault(record.resource, []).append(record)
        self.effective = EffectiveColocations(self, count)
        for colocation in colocations:
            self.effective.add(colocation)
        result.dependents = self.effective.as_primary

        self.inner_of: dict[Resource, Primitive] = {}  # container -> the instance inside
        for top in state.resources:
            if isinstance(top, Bundle):
                for replica in top.replicas:
                    if replica.inner is not None:
                        self.inner_of[replica.container] = replica.inner
        self._values: dict[str, list[str | None]] = {}
        names = self.values(UNAME)
        self.distinct_names = None not in names and len(set(names)) == len(names)
        self._plain: dict[Resource, bool] = {}

    def changing(self, rsc: Resource) -> None:
        """The table of a resource, or the colocations that count for it, will not stay as they are."""
        if self.quiet is not None:
            self.quiet.end(rsc)

    # --- procedures ----------------------------------------------------------------------------------------------------

    def assign(self, rsc: Resource, prefer: Node | None = None, final: bool = True) -> Node | None:
        """Assign a resource of any kind, and before it what it depends on; each is processed once."""
        return self.procedures[rsc.kind](self, rsc, prefer, final)

    # --- nodes ---------------------------------------------------------------------------------------------------------

    def refresh_available(self, node: Node) -> None:
        self.available[node.index] = self.result.available(node)
        self.all_available = all(self.available)

    def current_node(self, rsc: Resource) -> Node | None:
        """The node to which "where it is now" refers (1.7)."""
        nodes = rsc.active_nodes
        if not nodes:
            return None
        if isinstance(rsc, Primitive) and rsc.partial_migration_source in nodes:
            return rsc.partial_migration_source
        if rsc.needs is Needs.FENCING or rsc.needs is Needs.UNFENCING:
            return nodes[0]
        online, unclean = self.result.online, self.result.unclean
        for node in nodes:
            if online[node.index] and not unclean[node.index]:
                return node
        return nodes[0]

    def assigned_nodes(self, rsc: Resource) -> list[Node]:
        """The distinct nodes to which the leaves of a resource are assigned."""
        if isinstance(rsc, Primitive):
            node = self.node[rsc.index]
            return [] if node is None else [node]
        found: list[Node] = []
        for child in self.children[rsc.index]:
            found += [node for node in self.assigned_nodes(child) if node not in found]
        return found

    def location(self, rsc: Resource) -> Node | None:
        """The node of a resource, defined when all its assigned leaves share one (1.7)."""
        if isinstance(rsc, Primitive):
            return self.node[rsc.index]
        nodes = self.assigned_nodes(rsc)
        return nodes[0] if len(nodes) == 1 else None

    def host_of(self, node: Node, assigned: bool = True) -> Node | None:
        """The node that hosts a guest or bundle node: where its launcher is assigned, or where it is now."""
        launcher = node.connection.launcher if isinstance(node.connection, Primitive) else None
        if launcher is None:
            return None
        if assigned:
            return self.location(launcher)
        return launcher.active_nodes[0] if launcher.active_nodes else None

    def promotion_tickets(self, clone: Clone) -> list[str]:
        """Tickets that this clone needs for promotion and does not have (13.4)."""
        return self.state.missing_promotion_tickets.get(clone, [])

    # --- roles and marks -----------------------------------------------------------------------------------------------

    def role_of(self, rsc: Resource) -> Role:
        """Current role; the highest among the children for groups and clones (1.2)."""
        return self._highest(rsc, self.role)

    def next_role_of(self, rsc: Resource) -> Role:
        """Next role; the highest among the children for groups and clones (1.2)."""
        return self._highest(rsc, self.next_role)

    def _highest(self, rsc: Resource, roles: list[Role]) -> Role:
        if isinstance(rsc, Primitive):
            return roles[rsc.index]
        if isinstance(rsc, Bundle):
            return Role.UNKNOWN
        return max((self._highest(child, roles) for child in self.children[rsc.index]), default=Role.UNKNOWN)

    def is_blocked(self, rsc: Resource) -> bool:
        """Blocked itself or anywhere below."""
        return self.blocked[rsc.index] or any(self.is_blocked(child) for child in self.children[rsc.index])

    # --- attributes of nodes, as a resource sees them (1.8) --------------------------------------------------------------

    def is_plain(self, rsc: Resource) -> bool:
        """Whether a resource reads every node's own attributes, never those of a host."""
        plain = self._plain.get(rsc)
        if plain is None:
            on_host = rsc.meta.get("container-attribute-target", "").lower() == "host"
            plain = self._plain[rsc] = not on_host and not self._inside_bundle(rsc)
        return plain

    def _inside_bundle(self, rsc: Resource) -> bool:
        top = rsc.top
        return isinstance(top, Clone) and isinstance(top.parent, Bundle)

    def values(self, attribute: str) -> list[str | None]:
        """The nodes' own values of an attribute, folded for comparison, by node index."""
        found = self._values.get(attribute)
        if found is None:
            # A guest that has never been up has no #uname attribute. To the field's engine all such nodes are one, and it tears
            # colocated resources apart; here every node has its own name.
            texts = [node.attributes.get(attribute, node.name if attribute == UNAME else None) for node in self.nodes]
            found = self._values[attribute] = [None if text is None else text.lower() for text in texts]
        return found

    def value(self, node: Node | None, attribute: str, rsc: Resource) -> str | None:
        """An attribute's value as colocations compare it: folded, None when missing."""
        if node is None:
            return None
        if not self.is_plain(rsc):
            within = node.kind is NodeKind.BUNDLE and self._inside_bundle(rsc)
            if within or (node.is_guest and rsc.meta.get("container-attribute-target", "").lower() == "host"):
                host = self.host_of(node)
                return None if host is None else self.values(attribute)[host.index]
        return self.values(attribute)[node.index]

    def by_identity(self, attribute: str, *resources: Resource) -> bool:
        """Whether two nodes have the same value for these resources only when they are the same node."""
        return attribute == UNAME and self.distinct_names and all(self.is_plain(rsc) for rsc in resources)

    # --- tables --------------------------------------------------------------------------------------------------------

    def in_table_order(self, table: Scores) -> list[Node]:
        """The nodes of a table as the field's tables list them; it shows where capacities are compared (19.4)."""
        by_id = {node.id: node for node in table}
        return [by_id[key] for key in slot_order(tuple(by_id))]

    def has_room(self, table: Scores) -> bool:
        """Whether at least one entry is usable (1.4)."""
        available = self.available
        for node, score in table.items():  # noqa: SIM110 - asked more often than anything else
            if score >= 0 and available[node.index]:
                return True
        return False

    def ban(self, rsc: Resource, nodes: Iterable[Node], cause: Cause) -> None:
        """Minus infinity for a resource and everything below it; missing entries are created (1.6)."""
        before = self.before(rsc)
        self.changing(rsc)
        table = self.tables[rsc.index]
        for node in nodes:
            table[node] = -INFINITY
        self.explain(rsc, before, cause)
        for child in self.children[rsc.index]:
            self.ban(child, nodes, cause)

    def ban_everywhere(self, rsc: Resource, cause: Cause) -> None:
        self.ban(rsc, self.nodes, cause)

    def add(self, rsc: Resource, node: Node, score: int, cause: Cause) -> None:
        """Add to one entry of a resource's own table, creating it from the node's base score."""
        self.changing(rsc)
        table = self.tables[rsc.index]
        result = table[node] = add_scores(table.get(node, node.base_score), score)
        if self.explaining:
            self.result.contributions.append(Contribution(rsc, node, score, result, cause))

    def raise_discovery(self, rsc: Resource, node: Node, discovery: Discovery) -> None:
        modes = self.result.discovery[rsc.index]
        if modes.get(node, Discovery.ALWAYS) < discovery:
            modes[node] = discovery
            if discovery is Discovery.EXCLUSIVE:
                self.result.exclusive[rsc.index] = True

    # --- explanations --------------------------------------------------------------------------------------------------

    def before(self, rsc: Resource) -> Scores | None:
        """A copy of the table to compare with later, when explanations are wanted."""
        return dict(self.tables[rsc.index]) if self.explaining else None

    def explain(self, rsc: Resource, before: Scores | None, cause: Cause, replaces: bool = False) -> None:
        """Record how a table differs from what it was."""
        if before is None:
            return
        for node, result in self.tables[rsc.index].items():
            old = before.get(node)
            if old == result:
                continue
            whole = replaces or abs(result) >= INFINITY
            change = result if whole else result - (old or 0)
            self.result.contributions.append(Contribution(rsc, node, change, result, cause, replaces))

    def decide(self, rsc: Resource, node: Node | None, choice: Choice) -> None:
        """Record how a leaf got its node."""
        if self.explaining:
            self.result.decisions[rsc] = Decision(node, choice, tuple(self.assigned_count))

    def withdraw(self, rsc: Resource, mark: int) -> None:
        """Forget what was recorded for a resource (and below it) since `mark`: its table was restored."""
        if self.explaining:
            recorded = self.result.contributions
            undone = {rsc, *rsc.leaves()}
            recorded[mark:] = [item for item in recorded[mark:] if item.resource not in undone]

    # --- output --------------------------------------------------------------------------------------------------------

    def show(self, rsc: Resource, label: str) -> None:
        """Print a table and those below it, when scores are shown (18.1)."""
        if self.show_scores:
            self.result.score_lines += table_lines(rsc, label, self.nodes, self.tables, self.children)
