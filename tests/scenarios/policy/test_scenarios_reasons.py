"""Why a resource is where it is, or is not: the answers of `crm why` on small clusters."""

from __future__ import annotations

import pytest
from policy_cib import NOW, cib, clone, colocation, group, location, parsed, placed, primitive

from crm.policy.conflict import Conflict
from crm.policy.explain import Explanation, explain_text
from crm.policy.model import Assignment


def explained(text: str) -> Explanation:
    return Explanation.of(parsed(text), NOW)


def conflict_of(text: str, name: str) -> Conflict | None:
    explanation = explained(text)
    return explanation.conflict(explanation.resource(name))


def test_a_score_names_everything_it_is_made_of() -> None:
    text = cib(
        primitive("web", {"resource-stickiness": "100"}),
        primitive("db"),
        constraints=(location("web", "n2", 50), location("db", "n2", "INFINITY"), colocation("web", "db", 7)),
        active={"n2": ("web",)},
    )
    assert explain_text(parsed(text), "web", "n2", NOW).splitlines() == [
        "web stays on n2: n2 has the highest score for it.",
        "  score of web on n2: 157, made of",
        "           +50  location constraint web-on-n2-50",
        "          +100  resource-stickiness, because it is on n2 now",
        "            +7  colocation constraint web-with-db relates it to db, which is on n2",
    ]


def test_the_causes_of_an_answer_can_be_read_by_programs() -> None:
    explanation = explained(cib(primitive("web"), constraints=(location("web", "n2", 50),)))
    answer = explanation.why_here(explanation.resource("web"))
    assert [(cause.kind, cause.id) for cause in answer.causes] == [("location", "web-on-n2-50")]


def test_a_node_with_a_lower_score_is_compared_with_the_chosen_one() -> None:
    text = cib(primitive("web"), constraints=(location("web", "n2", 50), location("web", "n1", 20)))
    said = explain_text(parsed(text), "web", "n1", NOW)
    assert said.startswith("web could run on n1, but n2 has the higher score (50 against 20).")


def test_a_tie_names_what_decided_it() -> None:
    text = cib(primitive("first"), primitive("second"), nodes=2)
    assert explain_text(parsed(text), "second", "n1", NOW) == (
        "second could run on n1 just as well: when it was placed, n2 had 0 resources assigned and n1 1."
    )


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"standby": "true"}, "n1 is in standby"),
        ({"maintenance": "true"}, "n1 is in maintenance mode"),
        ({"shutdown": "1"}, "n1 is shutting down"),
        ({"fail-count-web#monitor_10000": "3"}, "failed 3 times there (migration-threshold 3)"),
        ({"fail-count-web#start_0": "INFINITY"}, "failed fatally there (migration-threshold 3)"),
    ],
)
def test_a_node_that_cannot_be_used_says_why(attributes: dict[str, str], reason: str) -> None:
    text = cib(primitive("web", {"migration-threshold": "3"}), attributes={"n1": attributes})
    assert explain_text(parsed(text), "web", "n1", NOW) == f"web cannot run on n1: {reason}."


def test_an_offline_node_says_so() -> None:
    text = cib(
        primitive("web"), state={"n1": {"in_ccm": "false", "crmd": "offline", "join": "down", "expected": "down"}}
    )
    assert explain_text(parsed(text), "web", "n1", NOW) == "web cannot run on n1: n1 is offline."


def test_what_keeps_a_follower_away_is_named_as_the_root_of_a_ban() -> None:
    text = cib(
        group("g", primitive("m1"), primitive("m2", {"migration-threshold": "1"})),
        active={"n1": ("m1", "m2")},
        attributes={"n1": {"fail-count-m2#monitor_10000": "1"}},
    )
    assert explain_text(parsed(text), "m1", "n1", NOW) == (
        "m1 cannot run on n1: m2, which must be with it, cannot run there (failed once there (migration-threshold 1))."
    )


def test_a_stopped_resource_names_its_target_role() -> None:
    text = cib(primitive("web", {"target-role": "Stopped"}))
    assert explain_text(parsed(text), "web", None, NOW) == "web is stopped because its target-role is Stopped."


def test_without_a_fencing_device_a_resource_is_not_started_and_says_so() -> None:
    text = cib(primitive("web"), options={"stonith-enabled": "true"})
    assert explain_text(parsed(text), "web", None, NOW).startswith(
        "web is not started because fencing is enabled and there is no fencing device"
    )


def test_a_colocation_with_a_role_says_where_that_role_is() -> None:
    text = cib(
        clone("ms", primitive("x", stateful=True), {"promotable": "true"}),
        primitive("ip"),
        constraints=(colocation("ip", "ms", "INFINITY", with_rsc_role="Promoted"),),
    )
    assert explain_text(parsed(text), "ip", "n1", NOW) == (
        "ip cannot run on n1: colocation constraint ip-with-ms binds it to ms in the role Promoted, which is nowhere."
    )


def test_a_clone_without_a_place_on_a_node_says_what_bans_it_there() -> None:
    text = cib(clone("c", primitive("x")), constraints=(location("c", "n2", "-INFINITY"),))
    assert explain_text(parsed(text), "c", "n2", NOW) == (
        "No instance of c can run on n2: location constraint c-on-n2--INFINITY bans it from n2."
    )


def test_naming_what_is_cloned_means_the_clone() -> None:
    text = cib(clone("c", primitive("x")))
    assert explain_text(parsed(text), "x", "n1", NOW) == explain_text(parsed(text), "c", "n1", NOW)


def test_unknown_names_get_a_sentence() -> None:
    text = cib(primitive("web"))
    assert explain_text(parsed(text), "wbe", None, NOW) == "There is no resource 'wbe'."
    assert explain_text(parsed(text), "web", "n9", NOW) == "There is no node 'n9'."


def test_a_planned_recovery_says_what_happens() -> None:
    text = cib(primitive("web"), active={"n1": ("web",)}, attributes={"n1": {"standby": "true"}})
    explanation = explained(text)
    assert explanation.why_restarts(explanation.resource("web")).sentences == ("web moves from n1 to n2.",)


# --- conflicts --------------------------------------------------------------------------------------------------------------

PINNED_APART = (
    location("db", "n2", "-INFINITY"),
    location("db", "n3", "-INFINITY"),
    location("web", "n1", "-INFINITY"),
    colocation("web", "db", "INFINITY"),
    location("web", "n2", 100),
)


def test_a_conflict_is_minimal_and_leaves_out_what_does_not_matter() -> None:
    text = cib(primitive("web"), primitive("db"), constraints=(*PINNED_APART, location("other", "n1", 5)))
    found = conflict_of(text, "web")
    assert found is not None
    assert found.constraints == (
        "db-on-n2--INFINITY",
        "db-on-n3--INFINITY",
        "web-on-n1--INFINITY",
        "web-with-db",
    )


@pytest.mark.parametrize("left_out", range(4))
def test_without_any_one_constraint_of_a_conflict_the_resource_runs(left_out: int) -> None:
    constraints = tuple(each for i, each in enumerate(PINNED_APART[:4]) if i != left_out)
    assert conflict_of(cib(primitive("web"), primitive("db"), constraints=constraints), "web") is None


def test_a_resource_that_runs_has_no_conflict() -> None:
    assert conflict_of(cib(primitive("web"), constraints=(location("web", "n1", "-INFINITY"),)), "web") is None


def test_a_resource_that_would_not_run_without_constraints_either_has_no_conflict() -> None:
    text = cib(primitive("web", {"target-role": "Stopped"}), constraints=(location("web", "n1", "-INFINITY"),))
    assert conflict_of(text, "web") is None


def test_nodes_that_are_down_are_named_beside_the_constraints_of_a_conflict() -> None:
    text = cib(
        primitive("web"),
        nodes=2,
        constraints=(location("web", "n1", "-INFINITY"),),
        attributes={"n2": {"standby": "on"}},
    )
    assert str(conflict_of(text, "web")).splitlines() == [
        "The constraint web-on-n1--INFINITY leaves no node for web; without it, web could run:",
        "  web-on-n1--INFINITY: location of web: n1 -INFINITY",
        "  n1: location constraint web-on-n1--INFINITY bans it from n1",
        "  n2: n2 is in standby",
    ]


def test_explaining_changes_no_decision() -> None:
    text = cib(primitive("web"), primitive("db"), clone("c", primitive("x")), constraints=PINNED_APART[1:])
    silent, told = placed(text).assignment, explained(text).assignment
    assert silent.contributions == []
    assert told.contributions != []
    assert names(silent) == names(told)


def names(assignment: Assignment) -> list[str | None]:
    return [None if node is None else node.name for node in assignment.node]


def test_an_instance_says_why_it_is_promoted_or_not() -> None:
    text = cib(
        clone("ms", primitive("x", stateful=True), {"promotable": "true"}),
        constraints=(location("ms", "n3", 100, role="Promoted"),),
        attributes={"n1": {"master-x": "10"}},
        active={"n1": ("x promoted",), "n2": ("x unpromoted",), "n3": ("x unpromoted",)},
    )
    lines = explain_text(parsed(text), "ms", None, NOW).splitlines()
    assert "  promoted, because its promotion score, 99, is among the highest" in lines
    assert "          +100  location constraint ms-on-n3-100 for the promoted role" in lines
    assert "  not promoted: its promotion score is 10, and others come first" in lines
    assert "  not promoted: its promotion score is -1, which is below 0" in lines
