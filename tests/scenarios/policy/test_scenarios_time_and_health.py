"""What depends on the time, on the health of nodes, and on their capacity."""

from __future__ import annotations

import pytest
from planned import planned
from policy_cib import NOW, cib, location, pairs, placed, primitive
from policy_parts import NO_PROBES, op, with_ops

HOUR_S = 3600
BEGIN = "2023-11-14T22:13:20Z"  # NOW, 1700000000


def rule(body: str, score: str = "-INFINITY", boolean: str = "and") -> str:
    """Where A may not be while the rule is true."""
    return (
        f'<rsc_location id="l" rsc="A"><rule id="r" score="{score}" boolean-op="{boolean}">{body}</rule></rsc_location>'
    )


def on_n1(*conditions: str) -> str:
    return rule('<expression id="e" attribute="#uname" operation="eq" value="n1"/>' + "".join(conditions))


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "holds", "until"),
    [
        ('operation="lt" end="2023-11-14T23:13:20Z"', True, NOW + HOUR_S),
        ('operation="lt" end="2023-11-14T21:13:20Z"', False, None),
        ('operation="gt" start="2023-11-14T21:13:20Z"', True, None),
        ('operation="gt" start="2023-11-14T23:13:20Z"', False, NOW + HOUR_S + 1),
        ('operation="in_range" start="2023-11-14T21:13:20Z" end="2023-11-14T23:13:20Z"', True, NOW + HOUR_S + 1),
        ('operation="in_range" start="2023-11-14T23:13:20Z" end="2023-11-15T23:13:20Z"', False, NOW + HOUR_S),
    ],
)
def test_a_placement_can_depend_on_the_time_and_the_plan_says_when_to_look_again(
    condition: str, holds: bool, until: int | None
) -> None:
    text = cib(
        primitive("A"), constraints=(on_n1(f'<date_expression id="d" {condition}/>'),), nodes=2, options=NO_PROBES
    )
    plan = planned(text)
    assert plan.real == [f"start A on {'n2' if holds else 'n1'}"]
    assert plan.transition.recheck_by == until


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ('hours="22"', True),
        ('hours="9-17"', False),
        ('weekdays="2"', True),  # a Tuesday
        ('weekdays="6-7"', False),
        ('monthdays="14" months="11" years="2023"', True),
        ('hours="20-23" weekdays="1-5"', True),
        ('hours="20-23" weekdays="6"', False),
    ],
)
def test_a_date_specification_holds_while_all_of_it_does(spec: str, holds: bool) -> None:
    condition = f'<date_expression id="d" operation="date_spec"><date_spec id="s" {spec}/></date_expression>'
    plan = planned(cib(primitive("A"), constraints=(on_n1(condition),), nodes=2, options=NO_PROBES))
    assert plan.real == [f"start A on {'n2' if holds else 'n1'}"]


def test_a_range_may_be_given_by_its_length() -> None:
    condition = (
        '<date_expression id="d" operation="in_range" start="2023-11-14T22:00:00Z">'
        '<duration id="s" {}/></date_expression>'
    )
    for length, holds in (('hours="1"', True), ('minutes="10"', False), ('days="1" hours="2"', True)):
        text = cib(primitive("A"), constraints=(on_n1(condition.format(length)),), nodes=2, options=NO_PROBES)
        assert planned(text).real == [f"start A on {'n2' if holds else 'n1'}"]


def test_a_meta_attribute_can_depend_on_the_time() -> None:
    """At night the resource sticks to its node, by day it may go home."""
    night = (
        '<rule id="r" score="0"><date_expression id="d" operation="date_spec">'
        '<date_spec id="ds" hours="{}"/></date_expression></rule>'
    )
    sets = '<meta_attributes id="m" score="9">{}<nvpair id="m1" name="resource-stickiness" value="INFINITY"/></meta_attributes>'
    for hours, node in (("20-23", "n1"), ("8-17", "n2")):
        resource = primitive("A").replace("</primitive>", f"{sets.format(night.format(hours))}</primitive>")
        text = cib(resource, constraints=(location("A", "n2", 100),), nodes=2, options=NO_PROBES, active={"n1": ("A",)})
        assert placed(text).node("A") == node


def test_an_operation_can_depend_on_the_resource_agent_and_the_node() -> None:
    """Operation defaults for one agent."""
    defaults = (
        '<op_defaults><meta_attributes id="od"><rule id="r" score="0"><rsc_expression id="re" class="ocf" provider="pacemaker" '
        'type="Dummy"/></rule><nvpair id="od1" name="timeout" value="99s"/></meta_attributes></op_defaults>'
    )
    text = cib(with_ops(primitive("A"), op("monitor", "10s", of="A")), nodes=1, options=NO_PROBES)
    plan = planned(text.replace("</configuration>", f"{defaults}</configuration>"))
    assert plan.action("monitor=10000 A").get_meta("timeout") == "99000"


def test_conditions_of_a_rule_may_be_alternatives() -> None:
    either = "".join(f'<expression id="e{n}" attribute="#uname" operation="eq" value="n{n}"/>' for n in (1, 2))
    text = cib(primitive("A"), constraints=(rule(either, boolean="or"),), options=NO_PROBES)
    assert planned(text).real == ["start A on n3"]
    assert planned(cib(primitive("A"), constraints=(rule(either),), options=NO_PROBES)).real == ["start A on n1"]


@pytest.mark.parametrize(
    ("expression", "node"),
    [
        ('operation="eq" value="blue"', "n2"),
        ('operation="ne" value="blue"', "n1"),
        ('operation="defined"', "n2"),
        ('operation="not_defined"', "n1"),
    ],
)
def test_a_rule_can_ask_for_node_attributes(expression: str, node: str) -> None:
    """Only n1 has the attribute, and it is blue; where the rule holds, A may not be."""
    constraint = rule(f'<expression id="e" attribute="colour" {expression}/>')
    text = cib(
        primitive("A"), constraints=(constraint,), nodes=2, options=NO_PROBES, attributes={"n1": {"colour": "blue"}}
    )
    assert placed(text).node("A") == node


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "red", "yellow", "green"),
    [
        ("none", 0, 0, 0),
        ("migrate-on-red", -1_000_000, 0, 0),
        ("only-green", -1_000_000, -1_000_000, 0),
        ("progressive", -100, -10, 5),
        ("custom", -100, -10, 5),
        ("nonsense", 0, 0, 0),
    ],
)
def test_what_the_colours_of_health_are_worth(strategy: str, red: int, yellow: int, green: int) -> None:
    options = {
        "node-health-strategy": strategy,
        "node-health-red": "-100",
        "node-health-yellow": "-10",
        "node-health-green": "5",
    }
    colours = {"n1": {"#health-a": "red"}, "n2": {"#health-a": "yellow"}, "n3": {"#health-a": "green"}}
    assert placed(cib(primitive("A"), options=options, attributes=colours)).scores("A") == (red, yellow, green)


def test_health_adds_up_over_attributes_and_numbers_count_as_they_are() -> None:
    options = {"node-health-strategy": "progressive", "node-health-yellow": "-10", "node-health-base": "100"}
    attributes = {"n1": {"#health-disk": "yellow", "#health-cpu": "-25"}}
    assert placed(cib(primitive("A"), options=options, attributes=attributes)).scores("A") == (65, 100, 100)


# --- utilization ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "nodes"),
    [
        ("default", ["n1", "n2", "n1"]),  # capacity counts for nothing: fewest resources, then name
        ("utilization", ["n1", "n2", "n2"]),  # only where there is room, spread by number
        ("minimal", ["n1", "n2", "n2"]),  # as few nodes as have room
        ("balanced", ["n2", "n2", "n1"]),  # where most room is left
    ],
)
def test_how_placement_strategies_spread_three_equal_resources(strategy: str, nodes: list[str]) -> None:
    """n1 has room for one of them, n2 for three."""
    resources = [primitive(name, utilization="cpu=2") for name in "ABC"]
    capacity = {"n1": {"cpu": "3"}, "n2": {"cpu": "6"}}
    found = placed(cib(*resources, nodes=2, capacity=capacity, options={"placement-strategy": strategy}))
    assert [found.node(name) for name in "ABC"] == nodes


def test_what_weighs_most_is_placed_first_and_priority_goes_before_weight() -> None:
    small, large = primitive("A", utilization="cpu=1"), primitive("B", utilization="cpu=4")
    options = {"placement-strategy": "balanced"}
    by_weight = placed(cib(small, large, nodes=1, capacity={"n1": {"cpu": "4"}}, options=options))
    assert (by_weight.node("A"), by_weight.node("B")) == ("n1", None)
    important = primitive("B", {"priority": "5"}, utilization="cpu=4")
    by_priority = placed(cib(small, important, nodes=1, capacity={"n1": {"cpu": "4"}}, options=options))
    assert (by_priority.node("A"), by_priority.node("B")) == (None, "n1")


def test_a_start_waits_until_what_leaves_the_node_has_made_room() -> None:
    resources = (primitive("A", utilization="cpu=4"), primitive("B", utilization="cpu=4"))
    constraints = (location("A", "n2", "INFINITY"), location("B", "n1", "INFINITY"))
    options = {**NO_PROBES, "placement-strategy": "utilization"}
    capacity = {"n1": {"cpu": "4"}, "n2": {"cpu": "4"}}
    plan = planned(
        cib(*resources, constraints=constraints, nodes=2, capacity=capacity, options=options, active={"n1": ("A",)})
    )
    assert plan.before("stop A on n1", "start B on n1")


def test_the_pairs_of_a_set_that_no_rule_allows_leave_the_next_set_to_decide() -> None:
    never = '<rule id="r" score="0"><date_expression id="d" operation="lt" end="2000-01-01"/></rule>'
    first = f'<meta_attributes id="m1" score="9">{never}<nvpair id="x1" name="target-role" value="Stopped"/></meta_attributes>'
    resource = primitive("A").replace(
        "</primitive>", f"{first}{pairs('meta_attributes', 'A', {'priority': '3'})}</primitive>"
    )
    found = placed(cib(resource))
    assert found.node("A") == "n1" and found.state.by_id["A"].priority == 3
