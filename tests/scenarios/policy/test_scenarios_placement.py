"""Where things go: one small cluster for each rule of placing (part 2 of the scheduler specification)."""

from __future__ import annotations

import pytest
from policy_cib import cib, clone, colocation, group, location, placed, primitive

from crm.policy.model import INFINITY, Role

INF = INFINITY
STOPPED = {"target-role": "Stopped"}


# --- colocations ----------------------------------------------------------------------------------------------------------


def test_an_optional_colocation_with_a_stopped_primary_lowers_every_node() -> None:
    found = placed(
        cib(
            primitive("A"),
            primitive("B", STOPPED),
            constraints=(location("A", "n1", 500), colocation("A", "B", 200)),
        )
    )
    assert found.scores("B") == (-INF, -INF, -INF)
    assert found.scores("A") == (300, -200, -200)
    assert found.node("A") == "n1"


def test_an_optional_colocation_that_would_leave_no_node_is_dropped() -> None:
    found = placed(cib(primitive("A"), primitive("B", STOPPED), constraints=(colocation("A", "B", 200),)))
    assert found.scores("A") == (0, 0, 0)
    assert found.node("A") == "n1"


def test_a_mandatory_colocation_with_a_stopped_primary_stops_the_dependent() -> None:
    found = placed(cib(primitive("A"), primitive("B", STOPPED), constraints=(colocation("A", "B", "INFINITY"),)))
    assert found.scores("A") == (-INF, -INF, -INF)
    assert found.node("A") is None
    assert found.role("A") is Role.STOPPED


def test_a_mandatory_anticolocation_with_a_stopped_primary_means_nothing() -> None:
    found = placed(cib(primitive("A"), primitive("B", STOPPED), constraints=(colocation("A", "B", "-INFINITY"),)))
    assert found.scores("A") == (0, 0, 0)


def test_a_negative_colocation_keeps_resources_apart() -> None:
    found = placed(
        cib(primitive("A"), primitive("B"), constraints=(location("B", "n1", 10), colocation("A", "B", -50)))
    )
    assert found.scores("B") == (10, 0, 0)
    assert found.scores("A") == (-50, 0, 0)
    assert (found.node("A"), found.node("B")) == ("n2", "n1")


def test_a_primary_makes_way_for_a_dependent_that_avoids_it_and_has_one_place_left() -> None:
    found = placed(
        cib(
            primitive("A"),
            primitive("B"),
            constraints=(
                location("A", "n2", "-INFINITY"),
                location("A", "n3", "-INFINITY"),
                location("B", "n1", 10),
                colocation("A", "B", -50),
            ),
        )
    )
    assert found.scores("B") == (10, 50, 50)
    assert (found.node("A"), found.node("B")) == ("n1", "n2")


@pytest.mark.parametrize(
    ("primary_on", "optional", "mandatory"),
    [("n2", (30, 30, 0, 0), (0, 0, -INF, -INF)), ("n4", (0, 0, 0, 30), (-INF, -INF, -INF, 0))],
)
def test_colocation_by_node_attribute_ignores_case_and_takes_missing_for_equal(
    primary_on: str, optional: tuple[int, ...], mandatory: tuple[int, ...]
) -> None:
    found = placed(
        cib(
            primitive("B"),
            primitive("A"),
            primitive("C"),
            nodes=4,
            attributes={"n1": {"site": "x"}, "n2": {"site": "X"}, "n3": {"site": "y"}},
            constraints=(
                location("B", primary_on, "INFINITY"),
                colocation("A", "B", 30, node_attribute="site"),
                colocation("C", "B", "INFINITY", node_attribute="site"),
            ),
        )
    )
    assert found.scores("A") == optional
    assert found.scores("C") == mandatory


def test_several_lists_of_colocations_merge_with_the_first_one_repeated() -> None:
    """A known defect of the original that real configurations rely on: Y counts twice, Z is lost."""
    found = placed(
        cib(
            group("g", primitive("m1"), primitive("m2")),
            *(primitive(name) for name in "XYZ"),
            constraints=(
                colocation("X", "m2", "INFINITY"),
                colocation("Y", "g", "INFINITY"),
                colocation("Z", "g", "INFINITY"),
                location("X", "n1", 11),
                location("Y", "n2", 13),
                location("Z", "n3", 17),
            ),
        )
    )
    assert found.scores("m1") == (11, 26, 0)


def test_a_group_colocation_counts_as_often_as_its_list_is_long_when_a_member_has_one_too() -> None:
    found = placed(
        cib(
            *(primitive(name) for name in "XYZ"),
            group("g", primitive("m1"), primitive("m2")),
            constraints=(
                location("X", "n1", "INFINITY"),
                location("Y", "n2", "INFINITY"),
                location("Z", "n3", "INFINITY"),
                colocation("m1", "X", 10),
                colocation("g", "Y", 100),
                colocation("g", "Z", 1000),
            ),
        )
    )
    assert found.scores("m1") == (10, 200, 0)


def test_an_uncritical_dependent_does_not_move_an_active_primary() -> None:
    def primary_scores(critical: str) -> tuple[int, ...]:
        return placed(
            cib(
                primitive("A", {"critical": critical}),
                primitive("B"),
                constraints=(colocation("A", "B", "INFINITY"), location("A", "n2", 40)),
                active={"n1": ("B",)},
            )
        ).scores("B")

    assert primary_scores("true") == (0, 40, 0)
    assert primary_scores("false") == (0, 0, 0)


def test_a_mandatory_dependent_takes_the_bans_of_all_that_must_be_with_it_to_its_primary() -> None:
    found = placed(
        cib(
            *(primitive(name) for name in "ABC"),
            constraints=(
                colocation("A", "B", "INFINITY"),
                colocation("B", "C", "INFINITY"),
                location("A", "n1", "-INFINITY"),
            ),
        )
    )
    assert found.scores("C") == (-INF, 0, 0)
    assert {found.node(name) for name in "ABC"} == {"n2"}


def test_colocation_sets_place_each_member_with_the_one_before_it() -> None:
    refs = "".join(f'<resource_ref id="{name}"/>' for name in "ABC")
    constraint = (
        f'<rsc_colocation id="set" score="INFINITY"><resource_set id="s">{refs}</resource_set></rsc_colocation>'
    )
    found = placed(cib(*(primitive(name) for name in "ABC"), constraints=(constraint, location("A", "n3", 5))))
    assert [found.node(name) for name in "ABC"] == ["n3", "n3", "n3"]


def test_a_colocation_with_what_does_not_exist_is_reported_and_does_nothing() -> None:
    found = placed(cib(primitive("A"), constraints=(colocation("A", "nothing", "INFINITY"),)))
    assert found.node("A") == "n1"
    assert [(item.code, item.id, item.attribute) for item in found.state.problems] == [
        ("unknown-resource", "A-with-nothing", "with-rsc")
    ]


# --- locations --------------------------------------------------------------------------------------------------------------


def test_location_scores_apply_newest_first_and_clamping_makes_that_visible() -> None:
    def score(*scores: int) -> int:
        constraints = tuple(
            f'<rsc_location id="l{i}" rsc="A" node="n1" score="{score}"/>' for i, score in enumerate(scores)
        )
        return placed(cib(primitive("A"), constraints=constraints, nodes=1)).scores("A")[0]

    assert score(600_000, 600_000, -600_000) == 600_000
    assert score(-600_000, 600_000, 600_000) == INF


def test_exclusive_discovery_bans_every_other_node() -> None:
    found = placed(
        cib(
            primitive("A"),
            clone("c", primitive("x")),
            constraints=(
                location("A", "n1", 5, resource_discovery="exclusive"),
                location("A", "n2", 50),
                location("c", "n3", 1, resource_discovery="exclusive"),
            ),
        )
    )
    assert found.scores("A") == (5, -INF, -INF)
    assert found.scores("x:0", "clone") == (-INF, -INF, 1)
    assert found.nodes("c") == ["n3"]


def test_an_opt_in_cluster_uses_only_nodes_that_a_location_names() -> None:
    found = placed(
        cib(
            primitive("A"),
            constraints=(location("A", "n1", 5), location("A", "n3", -5)),
            options={"symmetric-cluster": "false"},
        )
    )
    assert found.scores("A") == (5, -5)
    assert found.node("A") == "n1"


def test_in_an_opt_in_cluster_being_active_somewhere_does_not_allow_that_node() -> None:
    found = placed(
        cib(
            primitive("A", {"resource-stickiness": "100"}),
            constraints=(location("A", "n1", 5),),
            options={"symmetric-cluster": "false"},
            active={"n3": ("A",)},
        )
    )
    assert found.scores("A") == (5,)
    assert found.node("A") == "n1"


def test_a_location_for_a_group_scores_its_first_member_only() -> None:
    found = placed(cib(group("g", primitive("m1"), primitive("m2")), constraints=(location("g", "n2", 70),)))
    assert found.scores("m1", "group") == (0, 70, 0)
    assert found.scores("m2", "group") == (0, 0, 0)
    assert found.nodes("g") == ["n2", "n2"]


def test_a_rule_scores_every_node_it_is_true_for() -> None:
    rule = (
        '<rsc_location id="l" rsc="A"><rule id="r" score="25">'
        '<expression id="e" attribute="rack" operation="eq" value="left"/></rule></rsc_location>'
    )
    found = placed(
        cib(primitive("A"), constraints=(rule,), attributes={"n2": {"rack": "left"}, "n3": {"rack": "LEFT"}})
    )
    assert found.scores("A") == (0, 25, 25)


def test_a_pattern_places_every_resource_it_is_found_in() -> None:
    constraint = '<rsc_location id="l" rsc-pattern="^web" node="n3" score="9"/>'
    found = placed(cib(primitive("web1"), primitive("db"), primitive("web2"), constraints=(constraint,)))
    assert [found.scores(name)[2] for name in ("web1", "db", "web2")] == [9, 0, 9]


# --- health, stickiness, failures -------------------------------------------------------------------------------------------


def test_node_health_adds_up_and_counts_for_a_group_once() -> None:
    found = placed(
        cib(
            primitive("A"),
            group("g", primitive("m1"), primitive("m2")),
            constraints=(location("A", "n1", 1000), location("A", "n3", "INFINITY")),
            options={
                "node-health-strategy": "progressive",
                "node-health-base": "-10",
                "node-health-yellow": "-7",
                "node-health-red": "-300",
            },
            attributes={"n1": {"#health_x": "yellow"}, "n2": {"#health_x": "red", "#healthy": "5"}},
        )
    )
    assert found.scores("A") == (983, -305, INF)
    assert found.scores("m1", "group") == (-17, -305, -10)
    assert found.scores("m2", "group") == (0, 0, 0)
    assert found.scores("m2") == (-INF, -INF, -INF)


def test_a_resource_may_allow_unhealthy_nodes() -> None:
    found = placed(
        cib(
            primitive("A"),
            primitive("B", {"allow-unhealthy-nodes": "true"}),
            options={"node-health-strategy": "migrate-on-red"},
            attributes={"n1": {"#health-smart": "red"}},
        )
    )
    assert found.scores("A") == (-INF, 0, 0)
    assert found.scores("B") == (0, 0, 0)


def test_equal_positive_scores_keep_an_active_resource_where_it_is() -> None:
    sticky = tuple(location(name, node, 1) for name in "ABC" for node in ("n1", "n2"))
    names = [primitive(name) for name in "ABC"]
    stays = placed(cib(*names, constraints=sticky, nodes=2, active={"n2": ("A", "B", "C")}))
    moves = placed(cib(*names, nodes=2, active={"n2": ("A", "B", "C")}))
    assert [stays.node(name) for name in "ABC"] == ["n2", "n2", "n2"]
    assert sorted(filter(None, (moves.node(name) for name in "ABC"))) == ["n1", "n2", "n2"]


def test_negative_stickiness_is_ignored() -> None:
    found = placed(cib(primitive("A", {"resource-stickiness": "-50"}), active={"n1": ("A",)}))
    assert found.scores("A") == (0, 0, 0)


def test_a_member_past_its_failure_threshold_takes_its_group_away() -> None:
    found = placed(
        cib(
            group("g", primitive("m1"), primitive("m2", {"migration-threshold": "2"})),
            active={"n1": ("m1", "m2")},
            attributes={"n1": {"fail-count-m2#monitor_10000": "2"}},
        )
    )
    assert found.scores("m2", "group") == (-INF, 0, 0)
    assert found.scores("m1") == (-INF, 0, 0)
    assert found.nodes("g") == ["n2", "n2"]


def test_an_unavailable_node_keeps_its_score_and_gets_nothing() -> None:
    found = placed(
        cib(
            primitive("A"),
            nodes=4,
            constraints=(location("A", "n1", 100), location("A", "n2", 50), location("A", "n3", 20)),
            attributes={"n1": {"standby": "true"}, "n2": {"shutdown": "1"}, "n3": {"maintenance": "true"}},
        )
    )
    assert found.scores("A") == (100, 50, 20, 0)
    assert found.node("A") == "n4"


def test_nodes_that_nothing_tells_apart_are_taken_in_byte_order_of_their_names() -> None:
    found = placed(cib(*(primitive(name) for name in "ABC"), nodes=10))
    assert [found.node(name) for name in "ABC"] == ["n1", "n10", "n2"]


def test_without_a_fence_device_nothing_may_change() -> None:
    found = placed(cib(primitive("A"), primitive("B"), options={"stonith-enabled": "true"}, active={"n2": ("A",)}))
    assert (found.node("A"), found.node("B")) == ("n2", None)


def test_stop_all_resources_stops_all() -> None:
    found = placed(cib(primitive("A"), options={"stop-all-resources": "true"}, active={"n2": ("A",)}))
    assert found.node("A") is None
    assert found.role("A") is Role.STOPPED


def test_a_lifetime_limits_a_location_to_its_time() -> None:
    def score(end: str) -> int:
        constraint = (
            '<rsc_location id="l" rsc="A" node="n2" score="30"><lifetime><rule id="r">'
            f'<date_expression id="d" operation="lt" end="{end}"/></rule></lifetime></rsc_location>'
        )
        return placed(cib(primitive("A"), constraints=(constraint,))).scores("A")[1]

    assert score("2100-01-01") == 30
    assert score("2001-01-01") == 0


def test_a_pattern_may_use_posix_classes_and_be_turned_round() -> None:
    def scores(pattern: str) -> list[int]:
        constraint = f'<rsc_location id="l" rsc-pattern="{pattern}" node="n1" score="9"/>'
        found = placed(cib(primitive("web1"), primitive("db"), constraints=(constraint,)))
        return [found.scores(name)[0] for name in ("web1", "db")]

    assert scores("[[:digit:]]$") == [9, 0]
    assert scores("!^web") == [0, 9]


def test_a_rule_may_be_a_reference_to_another_constraints_rule() -> None:
    rule = '<rule id="r" score="40"><expression id="e" attribute="#uname" operation="eq" value="n2"/></rule>'
    constraints = (
        f'<rsc_location id="l1" rsc="A">{rule}</rsc_location>',
        '<rsc_location id="l2" rsc="B"><rule id-ref="r"/></rsc_location>',
    )
    found = placed(cib(primitive("A"), primitive("B"), constraints=constraints))
    assert found.scores("B") == (0, 40, 0)


def test_a_score_may_come_from_a_node_attribute() -> None:
    rule = (
        '<rsc_location id="l" rsc="A"><rule id="r" score-attribute="weight">'
        '<expression id="e" attribute="weight" operation="defined"/></rule></rsc_location>'
    )
    found = placed(
        cib(primitive("A"), constraints=(rule,), attributes={"n1": {"weight": "7"}, "n2": {"weight": "heavy"}})
    )
    assert found.scores("A") == (7, 0, 0)


def test_every_problem_of_a_constraint_is_reported_at_once_and_loses_nothing_else() -> None:
    constraints = (
        '<rsc_location id="bad" rsc="A" node="n9" score="many"/>',
        '<rsc_colocation id="worse" rsc="A" with-rsc="B" score="INFINITY" with-rsc-role="Boss"/>',
        location("A", "n3", 5),
    )
    found = placed(cib(primitive("A"), primitive("B"), constraints=constraints))
    assert found.node("A") == "n3"
    assert [(item.element, item.id, item.attribute) for item in found.state.problems] == [
        ("rsc_location", "bad", "score"),
        ("rsc_location", "bad", "node"),
        ("rsc_colocation", "worse", "with-rsc-role"),
    ]
