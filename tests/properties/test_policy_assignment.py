"""Assignment held against random small clusters: a slow literal version of gathering, and what must be true of every result."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.policy.assign import assign
from crm.policy.assign.criteria import apply_criteria
from crm.policy.assign.gather import gather, has_influence
from crm.policy.assign.implicit import add_implicit_constraints
from crm.policy.assign.quiet import Quiet
from crm.policy.assign.run import Run
from crm.policy.constraints.model import Colocation
from crm.policy.constraints.read import Constraints, read_constraints
from crm.policy.model import INFINITY, Assignment, Clone, ClusterState, Group, Node, Primitive, Resource, Role
from crm.policy.state import unpack
from crm.policy.values import add_scores

MARKER = -INFINITY - 1
SCORES = st.sampled_from((1, 5, 35, 100, 700, 5000, 500_000, "INFINITY", "-INFINITY", -1, -50, -700, -500_000))
SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- random clusters ----------------------------------------------------------------------------------------------------


def meta(owner: str, values: dict[str, str]) -> str:
    pairs = "".join(f'<nvpair id="{owner}.{name}" name="{name}" value="{value}"/>' for name, value in values.items())
    return f'<meta_attributes id="{owner}.meta">{pairs}</meta_attributes>'


def primitive(name: str, values: dict[str, str] | None = None, agent: str = "Dummy") -> str:
    return (
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="{agent}">{meta(name, values or {})}</primitive>'
    )


@st.composite
def clusters(draw: st.DrawFn, kinds: str = "pgcq") -> str:
    """A CIB: one to four nodes, up to five resources of these kinds (primitive, group, clone, promotable), constraints."""
    nodes = [f"n{i}" for i in range(1, draw(st.integers(1, 4)) + 1)]
    resources, names, history = [], [], dict.fromkeys(nodes, "")
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(kinds))
        name = f"{kind}{number}"
        values = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "resource-stickiness": st.sampled_from(("0", "10", "1000")),
                    "priority": st.sampled_from(("1", "5")),
                    "critical": st.just("false"),
                    "is-managed": st.sampled_from(("true", "true", "true", "false")),
                },
            )
        )
        leaves = [name]
        if kind == "p":
            resources.append(primitive(name, values))
        elif kind == "g":
            leaves = [f"{name}m{i}" for i in range(draw(st.integers(1, 3)))]
            resources.append(f'<group id="{name}">{meta(name, values)}{"".join(map(primitive, leaves))}</group>')
        else:
            leaves = [f"{name}x"]
            values |= draw(
                st.fixed_dictionaries(
                    {},
                    optional={"clone-max": st.sampled_from(("1", "2", "4")), "interleave": st.just("true")},
                )
            )
            agent = "Stateful" if kind == "q" else "Dummy"
            values |= {"promotable": "true"} if kind == "q" else {}
            resources.append(f'<clone id="{name}">{meta(name, values)}{primitive(leaves[0], agent=agent)}</clone>')
        names.append(name)
        for node in draw(st.lists(st.sampled_from(nodes), unique=True, max_size=1 if kind in "pg" else 4)):
            history[node] += "".join(map(started, leaves))
    constraints = "".join(
        f'<rsc_location id="l{i}" rsc="{rsc}" node="{node}" score="{score}"/>'
        for i, (rsc, node, score) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(nodes), SCORES), max_size=6))
        )
    )
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.sampled_from(names), SCORES, st.sampled_from(("", "", "site"))),
            max_size=6,
        )
    )
    for i, (dependent, primary, score, attribute) in enumerate(pairs):
        by = f' node-attribute="{attribute}"' if attribute else ""
        if dependent != primary:
            constraints += f'<rsc_colocation id="c{i}" rsc="{dependent}" with-rsc="{primary}" score="{score}"{by}/>'
    return cib_text(draw, nodes, "".join(resources), constraints, history, names)


def started(name: str) -> str:
    return (
        f'<lrm_resource id="{name}" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="{name}_last_0" '
        f'operation_key="{name}_start_0" operation="start" interval="0" call-id="1" rc-code="0" op-status="0" '
        'transition-magic="0:0;1:1:0:11111111-2222-3333-4444-555555555555"/></lrm_resource>'
    )


def cib_text(
    draw: st.DrawFn, nodes: list[str], resources: str, constraints: str, history: dict[str, str], names: list[str]
) -> str:
    strategy = draw(st.sampled_from(("default", "default", "default", "utilization", "balanced", "minimal")))
    node_list = status = ""
    for i, node in enumerate(nodes, 1):
        values = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "site": st.sampled_from(("x", "X", "y")),
                    "standby": st.sampled_from(("false", "false", "true")),
                    f"master-{names[0]}x": st.sampled_from(("5", "100", "-5")),
                    f"fail-count-{names[-1]}#start_0": st.just("INFINITY"),
                },
            )
        )
        pairs = "".join(f'<nvpair id="{node}.{name}" name="{name}" value="{text}"/>' for name, text in values.items())
        node_list += (
            f'<node id="{i}" uname="{node}"><instance_attributes id="{node}.a">{pairs}</instance_attributes></node>'
        )
        status += (
            f'<node_state id="{i}" uname="{node}" in_ccm="true" crmd="online" join="member" expected="member">'
            f'<lrm id="{i}"><lrm_resources>{history[node]}</lrm_resources></lrm></node_state>'
        )
    return (
        '<cib validate-with="pacemaker-3.9" crm_feature_set="3.19.0" have-quorum="1" epoch="1" num_updates="0" admin_epoch="0">'
        '<configuration><crm_config><cluster_property_set id="o">'
        f'<nvpair id="o1" name="stonith-enabled" value="false"/><nvpair id="o2" name="placement-strategy" value="{strategy}"/>'
        f"</cluster_property_set></crm_config><nodes>{node_list}</nodes><resources>{resources}</resources>"
        f"<constraints>{constraints}</constraints></configuration><status>{status}</status></cib>"
    )


def read(text: str) -> tuple[ClusterState, Constraints]:
    state = unpack(etree.fromstring(text), 1_700_000_000)
    return state, read_constraints(state)


def assigned(text: str) -> tuple[ClusterState, Assignment]:
    state, constraints = read(text)
    return state, assign(state, constraints.locations, constraints.colocations, show_scores=True)


# --- gathering, literally -------------------------------------------------------------------------------------------------


def exact_single(value: Fraction) -> Fraction:
    """Nearest number with 24 significant bits, ties to even."""
    if value == 0:
        return value
    scale, exponent = abs(value), 0
    while scale >= 1 << 24:
        scale, exponent = scale / 2, exponent + 1
    while scale < 1 << 23:
        scale, exponent = scale * 2, exponent - 1
    rounded = Fraction(round(scale)) * Fraction(2) ** exponent  # Python rounds halves to even
    return rounded if value > 0 else -rounded


class Literal:
    """Sections 10.3 and 10.4 as they are written: every path, every pair of nodes, exact fractions."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.busy: set[Resource] = set()

    def gather(
        self,
        source: Resource,
        target: Resource,
        table: dict[Node, int],
        c: Colocation,
        factor: Fraction,
        prune: bool,
        soft: bool,
    ) -> dict[Node, int]:
        if source in self.busy:
            return dict(table)
        self.busy.add(source)
        if isinstance(source, Group):
            work = self.gather(source.children[0], target, table, c, factor, prune, soft)
            self.busy.discard(source)
            return work
        work = self.merge(source, target, table, c, factor, soft)
        pruned = False
        if any(score >= 0 and self.run.available[node.index] for node, score in work.items()):
            for k in self.run.effective.of_primary(source):
                if has_influence(self.run, k, k.primary):
                    share = exact_single(exact_single(factor * k.score) / INFINITY)
                    work = self.gather(k.dependent, target, work, k, share, True, soft)
        elif prune:
            work, pruned = dict(table), True
        if soft and not pruned:
            work = {node: 1 if score == MARKER else score for node, score in work.items()}
        self.busy.discard(source)
        return work

    def merge(
        self, source: Resource, target: Resource, table: dict[Node, int], c: Colocation, factor: Fraction, soft: bool
    ) -> dict[Node, int]:
        own = dict(self.run.tables[source.index])
        group = source.parent
        if isinstance(group, Group) and c.explicit and source is c.dependent and source is not group.children[0]:
            for record in self.run.locations_of.get(group, ()):
                if record.role in (Role.UNKNOWN, self.run.next_role[source.index]):
                    for node, score in record.scores.items():
                        own[node] = add_scores(own[node], score) if node in own else score
        result = dict(table)
        for node, score in table.items():
            wanted = self.run.value(node, c.attribute, target)
            wish = max(
                (
                    mine
                    for other, mine in own.items()
                    if self.run.available[other.index] and self.run.value(other, c.attribute, source) == wanted
                ),
                default=-INFINITY,
            )
            if score == MARKER or (factor < 0 and wish < 0 and not self.may_push(c, wish)):
                continue
            share = exact_single(factor * wish)
            delta = int(share + Fraction(1, 2)) if share >= 0 else int(share - Fraction(1, 2))
            if delta == 0 and wish != 0:
                delta = 1 if factor > 0 else -1
            new = add_scores(delta, score)
            if soft and new < 0 and score > 0:
                new = MARKER
            elif soft and new < 0 and score == 0:
                new = 0
            result[node] = new
        return result

    def may_push(self, c: Colocation, wish: int) -> bool:
        places = [score for score in self.run.tables[c.dependent.index].values() if score >= 0]
        return c.primary.stickiness < -wish and has_influence(self.run, c, c.primary) and len(places) == 1


@SLOW
@given(clusters(), st.booleans(), st.booleans(), st.booleans())
def test_gathering_gives_what_its_literal_description_gives(text: str, prune: bool, soft: bool, quiet: bool) -> None:
    state, constraints = read(text)
    run = Run(state, constraints.locations, constraints.colocations, {})
    apply_criteria(run)
    add_implicit_constraints(run)
    run.quiet = Quiet(run) if quiet else None
    literal = Literal(run)
    for rsc in state.all_resources:
        for c in run.effective.of_primary(rsc):
            table = run.tables[rsc.index]
            factor = exact_single(Fraction(c.score, INFINITY))
            expected = literal.gather(c.dependent, rsc, table, c, factor, prune, soft)
            assert gather(run, c.dependent, rsc, table, c, c.factor, prune=prune, soft=soft) == expected


# --- what must be true of every assignment ----------------------------------------------------------------------------------


@SLOW
@given(clusters())
def test_nothing_that_is_managed_gets_a_node_that_is_not_available(text: str) -> None:
    state, found = assigned(text)
    for rsc in state.all_resources:
        node = found.node[rsc.index]
        if node is not None and found.managed[rsc.index]:
            assert found.available(node)
            assert found.tables[rsc.index][node] >= 0


@SLOW
@given(clusters())
def test_mandatory_colocations_of_managed_primitives_hold(text: str) -> None:
    state, constraints = read(text)
    found = assign(state, constraints.locations, constraints.colocations)
    for c in constraints.colocations:
        ends = (c.dependent, c.primary)
        if not all(isinstance(end, Primitive) and found.managed[end.index] for end in ends) or not c.mandatory:
            continue
        here, there = (found.node[end.index] for end in ends)
        if here is None or c.attribute != "#uname" or looped(constraints, c):
            continue
        assert (here is there) if c.score > 0 else (here is not there)


def looped(constraints: Constraints, c: Colocation) -> bool:
    """Whether the primary is in turn placed relative to the dependent; then one of both must give way."""
    seen, todo = set(), [c.primary]
    while todo:
        rsc = todo.pop()
        if rsc is c.dependent:
            return True
        if rsc not in seen:
            seen.add(rsc)
            todo += [other.primary for other in constraints.colocations if other.dependent.top is rsc.top]
    return False


@SLOW
@given(clusters("cq"))
def test_an_anonymous_clone_is_at_most_once_on_a_node_and_promotes_within_its_limits(text: str) -> None:
    state, found = assigned(text)
    for rsc in state.resources:
        if isinstance(rsc, Clone) and all(found.managed[leaf.index] for leaf in rsc.leaves()):
            nodes = [found.node[leaf.index] for leaf in rsc.leaves() if found.node[leaf.index] is not None]
            assert len(nodes) == len(set(nodes)) <= rsc.clone_max
            promoted = [leaf for leaf in rsc.leaves() if found.next_role[leaf.index] is Role.PROMOTED]
            assert len(promoted) <= rsc.promoted_max


@SLOW
@given(clusters())
def test_the_same_cluster_gives_the_same_lines_and_explaining_changes_nothing(text: str) -> None:
    state, constraints = read(text)
    first = assign(state, constraints.locations, constraints.colocations, show_scores=True)
    again = assign(state, constraints.locations, constraints.colocations, show_scores=True, explain=True)
    assert first.score_lines == again.score_lines
    assert first.node == again.node
    assert first.next_role == again.next_role


def test_a_chain_of_colocations_may_be_as_long_as_the_configuration() -> None:
    names = [f"p{i}" for i in range(2500)]
    resources = "".join(map(primitive, names))
    constraints = "".join(
        f'<rsc_colocation id="c{i}" rsc="p{i}" with-rsc="p{i + 1}" score="INFINITY"/>' for i in range(len(names) - 1)
    )
    text = (
        '<cib validate-with="pacemaker-3.9" have-quorum="1"><configuration><crm_config/>'
        '<nodes><node id="1" uname="n1"/></nodes>'
        f"<resources>{resources}</resources><constraints>{constraints}</constraints></configuration>"
        '<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>'
    )
    state, found = assigned(text.replace("<crm_config/>", NO_FENCING))
    assert {found.node[rsc.index] for rsc in state.all_resources} == {state.nodes[0]}


NO_FENCING = (
    '<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/>'
    "</cluster_property_set></crm_config>"
)
