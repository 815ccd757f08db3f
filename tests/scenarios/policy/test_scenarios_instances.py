"""Clones, promotion and capacity: one small cluster for each rule (part 2 of the scheduler specification, sections 12, 13, 16)."""

from __future__ import annotations

from policy_cib import cib, clone, colocation, group, location, placed, primitive

from crm.policy.model import INFINITY, Role

INF = INFINITY


def test_instances_of_a_unique_clone_spread_once_a_node_has_its_share() -> None:
    found = placed(
        cib(
            clone("c", primitive("x"), {"globally-unique": "true", "clone-max": "4", "clone-node-max": "2"}),
            nodes=2,
            active={"n1": ("x:0", "x:1", "x:2")},
        )
    )
    assert found.scores("x:0") == (1, 0)
    assert found.scores("x:2") == (-INF, 0)
    assert [found.node(f"x:{i}") for i in range(4)] == ["n1", "n1", "n2", "n2"]


def test_an_instance_is_kept_unless_a_better_node_is_not_needed_by_others() -> None:
    """Each try prints its scores: two for x:0 (given up), two for x:1 (kept), and x:0 again in the second pass."""
    found = placed(
        cib(
            clone("c", primitive("x"), {"clone-max": "2"}),
            constraints=(location("c", "n2", 5), location("c", "n3", 10)),
            active={"n1": ("x",), "n2": ("x",)},
        )
    )
    assert found.all_scores("x:0") == [(1, 5, 10), (1, 5, -INF), (1, -INF, 10)]
    assert found.all_scores("x:1") == [(0, 6, 10), (0, 6, -INF)]
    assert (found.node("x:0"), found.node("x:1")) == ("n3", "n2")


def test_an_anonymous_clone_runs_once_on_a_node() -> None:
    found = placed(
        cib(clone("c", primitive("x"), {"clone-max": "5", "clone-node-max": "3", "globally-unique": "false"}))
    )
    assert found.nodes("c") == ["n1", "n2", "n3"]


def test_interleaved_clones_pair_up_and_others_need_every_instance() -> None:
    def dependents(interleave: str) -> list[str]:
        return placed(
            cib(
                clone("a", primitive("x"), {"interleave": interleave}),
                clone("b", primitive("y")),
                constraints=(colocation("a", "b", "INFINITY"), location("b", "n2", "-INFINITY")),
            )
        ).nodes("a")

    assert dependents("true") == ["n1", "n3"]
    assert dependents("false") == ["n1", "n3"]


def test_the_promoted_instance_is_the_one_with_the_highest_promotion_score() -> None:
    found = placed(
        cib(
            clone("c", primitive("x", stateful=True), {"promotable": "true"}),
            primitive("V"),
            attributes={"n1": {"master-x": "10"}, "n2": {"master-x": "20"}},
            constraints=(
                location("c", "n2", 50),
                location("c", "n3", 100, role="Promoted"),
                location("V", "n1", 7),
                colocation("V", "c", "INFINITY", with_rsc_role="Promoted"),
            ),
            options={"stonith-enabled": "false"},
            active={"n1": ("x promoted",), "n2": ("x unpromoted",), "n3": ("x unpromoted",)},
        )
    )
    assert found.scores("c", "clone") == (7, 50, 0)
    assert found.promotion("x:2") == 99  # -1 for no promotion score, +100 for the location
    assert found.role("x:2") is Role.PROMOTED
    assert [found.role(name) for name in ("x:0", "x:1")] == [Role.UNPROMOTED, Role.UNPROMOTED]
    assert found.node("V") == "n3"


def test_without_a_promotion_score_nothing_is_promoted() -> None:
    found = placed(cib(clone("c", primitive("x", stateful=True), {"promotable": "true"})))
    assert found.promotion("x:0") == -1
    assert all(found.role(f"x:{i}") is Role.UNPROMOTED for i in range(3))


def test_a_cloned_group_moves_as_one() -> None:
    found = placed(
        cib(
            clone("c", group("g", primitive("m1"), primitive("m2")), {"clone-max": "2"}),
            constraints=(location("c", "n1", "-INFINITY"),),
        )
    )
    assert found.nodes("g:0") == ["n2", "n2"]
    assert found.nodes("g:1") == ["n3", "n3"]


def test_a_node_without_capacity_is_left_out_after_the_scores_are_shown() -> None:
    found = placed(
        cib(
            primitive("A", utilization="cpu=3"),
            primitive("B", utilization="cpu=2"),
            options={"placement-strategy": "utilization"},
            capacity={"n1": {"cpu": "4"}, "n2": {"cpu": "2"}, "n3": {"cpu": "1"}},
        )
    )
    assert found.scores("A") == (0, 0, 0)
    assert (found.node("A"), found.node("B")) == ("n1", "n2")


def test_what_must_be_together_needs_room_together() -> None:
    found = placed(
        cib(
            primitive("A", utilization="cpu=2"),
            primitive("B", utilization="cpu=2"),
            constraints=(colocation("A", "B", "INFINITY"),),
            options={"placement-strategy": "utilization"},
            capacity={"n1": {"cpu": "3"}, "n2": {"cpu": "3"}, "n3": {"cpu": "4"}},
        )
    )
    assert (found.node("A"), found.node("B")) == ("n3", "n3")


def test_balanced_placement_fills_the_node_with_most_room() -> None:
    found = placed(
        cib(
            *(primitive(name, utilization="cpu=2") for name in "ABC"),
            options={"placement-strategy": "balanced"},
            capacity={"n1": {"cpu": "4"}, "n2": {"cpu": "9"}, "n3": {"cpu": "6"}},
        )
    )
    assert [found.node(name) for name in "ABC"] == ["n2", "n2", "n3"]


def test_minimal_placement_fills_the_first_node_that_has_room() -> None:
    found = placed(
        cib(
            *(primitive(name, utilization="cpu=2") for name in "ABC"),
            options={"placement-strategy": "minimal"},
            capacity={f"n{i}": {"cpu": "4"} for i in (1, 2, 3)},
        )
    )
    assert [found.node(name) for name in "ABC"] == ["n1", "n1", "n2"]
