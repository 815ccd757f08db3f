"""Whatever a CIB says, reading it ends with a state, deciding with a transition, asking with an answer: nothing is raised, the input is not
changed, and twice gives the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.policy.explain import Explanation
from crm.policy.render.status import header_lines, status_lines
from crm.policy.schedule import schedule
from crm.policy.state import unpack

NOW = 1_700_000_000

_OP = (
    '<lrm_rsc_op id="{0}_{1}_0" operation_key="{0}_{1}_0" operation="{1}" call-id="{2}" rc-code="{3}" op-status="0" interval="0" '
    'last-rc-change="1699999000" transition-key="1:1:0:11111111-2222-3333-4444-555555555555" '
    'transition-magic="0:{3};1:1:0:11111111-2222-3333-4444-555555555555" migrate_source="n1" migrate_target="n2" on_node="n1"/>'
)


def _records(rsc: str, agent: str) -> str:
    ops = "".join(
        _OP.format(rsc, task, call, rc)
        for call, (task, rc) in enumerate(
            (("monitor", 7), ("start", 0), ("migrate_to", 0), ("promote", 1), ("stop", 1)), 1
        )
    )
    return f'<lrm_resource id="{rsc}" class="ocf" provider="pacemaker" type="{agent}" shutdown-lock="5">{ops}</lrm_resource>'


_CONSTRAINTS = (
    '<rsc_ticket id="rt" rsc="p" ticket="T" loss-policy="freeze"/>'
    '<rsc_location id="lo" rsc="p"><rule id="lr" score="5"><expression id="le" attribute="#uname" operation="eq" value="n1"/></rule></rsc_location>'
    '<rsc_location id="lp" rsc-pattern="^g" node="n2" score="INFINITY" resource-discovery="exclusive"/>'
    '<rsc_colocation id="co" rsc="c" with-rsc="B" score="10" rsc-role="Promoted" node-attribute="site-name"/>'
    '<rsc_colocation id="cs" score="INFINITY"><resource_set id="cs1" sequential="false"><resource_ref id="g"/><resource_ref id="rem"/>'
    '</resource_set><resource_set id="cs2" role="Started"><resource_ref id="cl"/></resource_set></rsc_colocation>'
    '<rsc_order id="or" first="cl" then="g" first-action="promote" then-action="start"/>'
    '<rsc_order id="back" first="g" then="cl" then-action="promote"/>'
    '<rsc_order id="os" kind="Serialize"><resource_set id="os1" require-all="false"><resource_ref id="p"/><resource_ref id="tag"/>'
    '</resource_set><resource_set id="os2"><resource_ref id="B"/></resource_set></rsc_order>'
)


def _whole() -> etree._Element:
    """A CIB with a bit of everything that reading knows."""
    nodes = "".join(
        f'<node id="{i}" uname="n{i}"><instance_attributes id="na{i}"><nvpair id="nb{i}" name="site-name" value="s"/>'
        "</instance_attributes></node>"
        for i in (1, 2)
    )
    states = "".join(
        f'<node_state id="{i}" uname="n{i}" in_ccm="true" crmd="online" join="member" expected="member">'
        f'<transient_attributes id="{i}"><instance_attributes id="ta{i}"><nvpair id="tb{i}" name="fail-count-p#start_0" value="1"/>'
        f'<nvpair id="tc{i}" name="last-failure-p#start_0" value="1699999000"/></instance_attributes></transient_attributes>'
        f'<lrm id="{i}"><lrm_resources>{_records("p", "Dummy")}{_records("c", "Stateful")}{_records("B-docker-0", "docker")}'
        f"{_records('old', 'remote')}</lrm_resources></lrm></node_state>"
        for i in (1, 2)
    )
    return etree.fromstring(
        '<cib validate-with="pacemaker-3.9" have-quorum="1" dc-uuid="1" crm_feature_set="3.19.0" execution-date="1700000000">'
        '<configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="shutdown-lock" value="true"/>'
        '<nvpair id="o2" name="node-health-strategy" value="custom"/></cluster_property_set></crm_config>'
        f"<nodes>{nodes}</nodes><resources>"
        '<template id="t" class="ocf" provider="pacemaker" type="Dummy"><operations id="to"><op id="to1" name="monitor" interval="10s"/>'
        "</operations></template>"
        '<primitive id="p" template="t"><meta_attributes id="pm" score="1"><rule id="pr"><date_expression id="pd" operation="in_range" '
        'start="2020-01-01"><duration id="du" months="3"/></date_expression></rule><nvpair id="pm1" name="failure-timeout" value="60s"/>'
        '</meta_attributes><meta_attributes id="pn"><nvpair id="pn1" name="remote-node" value="guest"/></meta_attributes></primitive>'
        '<clone id="cl"><meta_attributes id="cm"><nvpair id="cm1" name="promotable" value="true"/><nvpair id="cm2" name="clone-max" '
        'value="2"/></meta_attributes><primitive id="c" class="ocf" provider="pacemaker" type="Stateful"/></clone>'
        '<bundle id="B"><docker image="i" replicas="1"/><network ip-range-start="10.0.0.1"/>'
        '<primitive id="b" class="ocf" provider="pacemaker" type="Dummy"/></bundle>'
        '<group id="g"><primitive id="g1" class="systemd" type="x"><utilization id="u"><nvpair id="u1" name="cpu" value="1"/>'
        "</utilization></primitive></group>"
        '<primitive id="rem" class="ocf" provider="pacemaker" type="remote"/></resources>'
        f"<constraints>{_CONSTRAINTS}</constraints>"
        '<tags><tag id="tag"><obj_ref id="p"/></tag></tags>'
        '<rsc_defaults><meta_attributes id="rd"><nvpair id="rd1" name="priority" value="1"/></meta_attributes></rsc_defaults>'
        f"</configuration><status>{states}</status></cib>"
    )


_VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "-1",
                "0",
                "1",
                "INFINITY",
                "-INFINITY",
                "true",
                "r:5",
                ":",
                "P1Y",
                "P",
                "#default",
                "n1",
                "node²",
                "٣",
            ),
            *(
                "9" * 25,
                "9" * 5000,
                "2020-99-99",
                "Promoted",
                "Stopped",
                ";:;",
                "1:2:3",
                "%1",
                "a b",
                "0x10",
                "block",
                "fence",
            ),
        ]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=6
    ),
)


@st.composite
def _damaged(draw: st.DrawFn) -> etree._Element:
    root = _whole()
    for _ in range(draw(st.integers(1, 8))):
        elements = list(root.iter("*"))
        element = elements[draw(st.integers(0, len(elements) - 1))]
        kind = draw(st.sampled_from(("set", "set", "set", "drop", "remove", "double", "move")))
        names = sorted(str(name) for name in element.attrib)
        parent = element.getparent()
        if kind == "set" and names:
            element.set(draw(st.sampled_from(names)), draw(_VALUES))
        elif kind == "drop" and names:
            del element.attrib[draw(st.sampled_from(names))]
        elif kind == "remove" and parent is not None:
            parent.remove(element)
        elif kind == "double" and parent is not None and len(elements) < 500:
            parent.append(etree.fromstring(etree.tostring(element)))
        elif kind == "move" and len(elements) < 500:
            elements[draw(st.integers(0, len(elements) - 1))].append(etree.fromstring(etree.tostring(element)))
    return root


def _read(root: etree._Element) -> list[str]:
    state = unpack(root, NOW)
    requests = [type(request).__name__ for request in state.requests]
    return [*header_lines(state), *status_lines(state), *requests, *(item.message for item in state.problems)]


def test_the_undamaged_cib_is_read_in_full() -> None:
    state = unpack(_whole(), NOW)
    assert {node.name for node in state.nodes} == {"n1", "n2", "guest", "rem", "B-0", "old"}
    assert [rsc.id for rsc in state.resources] == ["p", "cl", "B", "g", "rem", "guest", "old"]


@settings(max_examples=120, deadline=None)
@given(_damaged())
def test_no_damage_makes_reading_fail(root: etree._Element) -> None:
    before = etree.tostring(root)
    first = _read(root)
    assert etree.tostring(root) == before
    assert _read(root) == first


@settings(max_examples=60, deadline=None)
@given(_VALUES, st.sampled_from(("clone-max", "priority", "failure-timeout", "requires", "target-role", "container")))
def test_no_value_of_a_meta_attribute_makes_reading_fail(value: str, name: str) -> None:
    root = _whole()
    pair = next(pair for pair in root.iter("nvpair") if pair.get("id") == "cm2")
    pair.set("name", name)
    pair.set("value", value)
    _read(root)


def _decide(root: etree._Element) -> list[str]:
    transition = schedule(root, NOW, explain=True, show_scores=True)
    explanation = Explanation.of(root, NOW)
    said = []
    for rsc in explanation.state.resources:
        said += [explanation.why_here(rsc), explanation.why_stopped(rsc), explanation.why_restarts(rsc)]
        said += [explanation.why_not(rsc, node) for node in explanation.state.nodes]
    return [transition.to_xml(), *transition.summary.lines(), *transition.contradictions, *map(str, said)]


@settings(max_examples=30, deadline=None)
@given(_damaged())
def test_no_damage_makes_deciding_or_explaining_fail(root: etree._Element) -> None:
    before = etree.tostring(root)
    first = _decide(root)
    assert etree.tostring(root) == before
    assert _decide(root) == first


@pytest.mark.parametrize(
    ("constraint", "problem"),
    [
        ('<rsc_location id="x" rsc="nobody" node="n1" score="1"/>', ("unknown-resource", "rsc_location", "x", "rsc")),
        ('<rsc_location id="x" rsc="p" node="nowhere" score="1"/>', ("unknown-node", "rsc_location", "x", "node")),
        ('<rsc_location id="x" rsc="p" node="n1" score="much"/>', ("invalid-score", "rsc_location", "x", "score")),
        (
            '<rsc_colocation id="x" rsc="p" with-rsc="nobody" score="1"/>',
            ("unknown-resource", "rsc_colocation", "x", "with-rsc"),
        ),
        (
            '<rsc_colocation id="x" rsc="p" with-rsc="g" score="much"/>',
            ("invalid-score", "rsc_colocation", "x", "score"),
        ),
        ('<rsc_order id="x" first="p" then="nobody"/>', ("unknown-resource", "rsc_order", "x", "then")),
        ('<rsc_order id="x" first="p" then="g" kind="much"/>', ("invalid-kind", "rsc_order", "x", "kind")),
        ('<rsc_ticket id="x" rsc="nobody" ticket="T"/>', ("unknown-resource", "rsc_ticket", "x", "rsc")),
        (
            '<rsc_ticket id="x" rsc="p" ticket="T" loss-policy="much"/>',
            ("loss-policy", "rsc_ticket", "x", "loss-policy"),
        ),
    ],
)
def test_what_a_constraint_says_wrongly_is_reported_with_element_id_and_attribute(
    constraint: str, problem: tuple[str, str, str, str]
) -> None:
    root = _whole()
    section = root.find("configuration/constraints")
    assert section is not None
    section.append(etree.fromstring(constraint))
    found = [
        (item.code, item.element, item.id, item.attribute) for item in schedule(root, NOW).problems if item.id == "x"
    ]
    assert found[0] == problem


def test_a_loop_of_constraints_is_named() -> None:
    transition = schedule(_loop(), NOW)
    assert any("contradict" in sentence for sentence in transition.contradictions)


def _loop() -> etree._Element:
    """Each of two resources is to start after the other."""
    resources = "".join(f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy"/>' for name in "AB")
    orders = '<rsc_order id="o1" first="A" then="B"/><rsc_order id="o2" first="B" then="A"/>'
    return etree.fromstring(
        '<cib have-quorum="1"><configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" '
        f'value="false"/></cluster_property_set></crm_config><nodes><node id="1" uname="n1"/></nodes><resources>{resources}</resources>'
        f'<constraints>{orders}</constraints></configuration><status><node_state id="1" uname="n1" in_ccm="true" crmd="online" '
        'join="member" expected="member"><lrm id="1"><lrm_resources/></lrm></node_state></status></cib>'
    )
