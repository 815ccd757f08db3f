"""Ordering constraints: kinds, roles, sets, templates and tags; and what a promotable clone and notifications add to them."""

from __future__ import annotations

import pytest
from planned import Planned, planned
from policy_cib import cib, clone, colocation, group, location, primitive
from policy_parts import NO_PROBES, ban, order

STOPPED = {"target-role": "Stopped"}
KEPT = {"resource-stickiness": "1"}


def ordered(*constraints: str, names: str = "ABCD", active: str = "", **meta: dict[str, str]) -> Planned:
    """Primitives A to D on one node, none active unless named."""
    resources = [primitive(name, meta.get(name)) for name in names]
    running = {"n1": tuple(active)} if active else {}
    return planned(cib(*resources, constraints=constraints, nodes=1, options=NO_PROBES, active=running))


def ordered_set(*sets: str, **extra: str) -> str:
    """A constraint of sets, each `A B` or `A B|sequential=false`."""
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in extra.items())
    parts = []
    for number, text in enumerate(sets):
        names, *settings = text.split("|")
        attributes = "".join(f' {key}="{value}"' for key, value in (item.split("=") for item in settings))
        members = "".join(f'<resource_ref id="{name}"/>' for name in names.split())
        parts.append(f'<resource_set id="s{number}"{attributes}>{members}</resource_set>')
    return f'<rsc_order id="sets"{more}>{"".join(parts)}</rsc_order>'


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "holds_stop_back", "keeps_from_starting"),
    [
        ('kind="Mandatory"', True, True),
        ('kind="Optional"', True, False),
        ('score="0"', True, False),
        ('score="5"', True, True),
        ("", True, True),
        ('symmetrical="false"', False, True),
        ('kind="nonsense"', True, True),
    ],
)
def test_kind_score_and_symmetry_decide_what_an_ordering_demands(
    attributes: str, holds_stop_back: bool, keeps_from_starting: bool
) -> None:
    constraint = f'<rsc_order id="o" first="A" then="B" {attributes}/>'
    stopping = ordered(constraint, names="AB", active="AB", A=STOPPED, B=STOPPED)
    assert stopping.before("stop B", "stop A") == holds_stop_back
    starting = ordered(constraint, names="AB", A=STOPPED)
    assert ("start B on n1" not in starting.real) == keeps_from_starting


def test_an_ordering_may_be_about_other_actions_than_starts() -> None:
    """B may only start once A has stopped."""
    plan = ordered(order("A", "B", first_action="stop", then_action="start"), names="AB", active="A", A=STOPPED)
    assert plan.before("stop A", "start B")


def test_what_is_unknown_in_an_ordering_is_reported_and_ignored() -> None:
    plan = ordered(order("A", "nobody"), names="A")
    assert plan.real == ["start A on n1"]
    assert [(item.code, item.element, item.id) for item in plan.transition.problems] == [
        ("unknown-resource", "rsc_order", "A-then-nobody")
    ]


# --- sets -------------------------------------------------------------------------------------------------------------


def pairs_of(plan: Planned, task: str = "start", names: str = "ABCD") -> set[str]:
    """The pairs that are ordered, of a task: `AB` for A before B."""
    return {f"{x}{y}" for x in names for y in names if x != y and plan.before(f"{task} {x}", f"{task} {y}")}


def test_members_of_a_set_start_one_after_the_other() -> None:
    assert pairs_of(ordered(ordered_set("A B C D"))) == {"AB", "AC", "AD", "BC", "BD", "CD"}


def test_members_of_a_set_that_is_not_sequential_do_not_wait_for_each_other_but_the_sets_do() -> None:
    plan = ordered(ordered_set("A B|sequential=false", "C D|sequential=false"))
    assert pairs_of(plan) == {"AC", "AD", "BC", "BD"}


def test_sets_stop_in_reverse() -> None:
    plan = ordered(ordered_set("A B", "C D"), active="ABCD", A=STOPPED, B=STOPPED, C=STOPPED, D=STOPPED)
    assert pairs_of(plan, "stop") == {"DC", "DB", "DA", "CB", "CA", "BA"}


def test_one_of_a_set_is_enough_where_not_all_are_required() -> None:
    constraint = ordered_set("A B|sequential=false|require-all=false", "C|sequential=false")
    plan = ordered(constraint, names="ABC", A=STOPPED)
    assert "start C on n1" in plan.real and plan.before("start B", "start C")
    neither = ordered(constraint, names="ABC", A=STOPPED, B=STOPPED)
    assert "start C on n1" not in neither.real


def test_all_of_a_set_is_needed_otherwise() -> None:
    plan = ordered(ordered_set("A B|sequential=false", "C|sequential=false"), names="ABC", A=STOPPED)
    assert "start C on n1" not in plan.real


def test_a_set_of_one_demands_nothing() -> None:
    assert ordered(ordered_set("A")).real == [f"start {name} on n1" for name in "ABCD"]


# --- templates and tags -----------------------------------------------------------------------------------------------

TEMPLATE = '<template id="T" class="ocf" provider="pacemaker" type="Dummy"/>'
TAGS = '<tags><tag id="both"><obj_ref id="A"/><obj_ref id="B"/></tag></tags>'


def tagged(*constraints: str, resources: tuple[str, ...] = (primitive("A"), primitive("B"), primitive("C"))) -> Planned:
    text = cib(*resources, constraints=constraints, nodes=2, options=NO_PROBES)
    return planned(text.replace("</configuration>", f"{TAGS}</configuration>"))


def test_a_tag_in_an_ordering_stands_for_all_that_bear_it() -> None:
    plan = tagged(order("both", "C"))
    assert pairs_of(plan, names="ABC") == {"AC", "BC"}


def test_a_tag_in_a_location_and_in_a_colocation_stands_for_all_that_bear_it() -> None:
    plan = tagged(ban("both", "n1"))
    assert "start A on n2" in plan.real and "start B on n2" in plan.real
    plan = tagged(location("C", "n2", "INFINITY"), colocation("both", "C", "INFINITY"))
    assert plan.real == ["start A on n2", "start B on n2", "start C on n2"]


def test_a_template_in_a_constraint_stands_for_all_that_are_made_from_it() -> None:
    made = tuple(f'<primitive id="{name}" template="T"/>' for name in "AB")
    plan = tagged(order("T", "C"), ban("T", "n1"), resources=(TEMPLATE, *made, primitive("C")))
    assert pairs_of(plan, names="ABC") == {"AC", "BC"}
    assert "start A on n2" in plan.real and "start B on n2" in plan.real


# --- promotable clones ------------------------------------------------------------------------------------------------


def promotable(*more: str, constraints: tuple[str, ...] = (), **running: tuple[str, ...]) -> Planned:
    ms = clone("ms", primitive("x", stateful=True), {"promotable": "true"})
    scores = {"n1": {"master-x": "10"}, "n2": {"master-x": "5"}}
    return planned(
        cib(ms, *more, constraints=constraints, nodes=2, options=NO_PROBES, attributes=scores, active=running)
    )


def test_an_instance_is_promoted_after_all_have_started() -> None:
    plan = promotable()
    assert plan.real == ["promote x:0 on n1", "start x:0 on n1", "start x:1 on n2"]
    assert plan.before("start x:1", "promote x:0")


def test_when_the_role_moves_the_old_one_is_demoted_first() -> None:
    plan = promotable(n1=("x unpromoted",), n2=("x promoted",))
    assert plan.real == ["demote x:1 on n2", "promote x:0 on n1"]
    assert plan.before("demote x:1", "promote x:0")


def test_an_ordering_by_promotion_waits_for_the_role_and_a_colocation_follows_it() -> None:
    constraints = (
        order("ms", "ip", first_action="promote", then_action="start"),
        colocation("ip", "ms", "INFINITY", with_rsc_role="Promoted"),
    )
    plan = promotable(primitive("ip"), constraints=constraints)
    assert "start ip on n1" in plan.real
    assert plan.before("promote x:0", "start ip")


def test_a_demotion_waits_for_what_needs_the_role() -> None:
    constraints = (order("ms", "ip", first_action="promote", then_action="start"), ban("ip", "n2"))
    plan = promotable(primitive("ip"), constraints=constraints, n1=("x unpromoted", "ip"), n2=("x promoted",))
    assert plan.before("stop ip", "demote x:1")


# --- notifications ----------------------------------------------------------------------------------------------------


def test_instances_are_told_before_and_after_what_happens_to_others() -> None:
    text = cib(clone("c", primitive("x"), {"notify": "true"}), nodes=2, options=NO_PROBES, active={"n1": ("x",)})
    plan = planned(text)
    tasks = [
        (action.rsc.id, action.get_meta("notify_type"), action.get_meta("notify_operation"))
        for action in plan.transition.synapses
        if action.task == "notify" and action.node is not None and action.rsc is not None
    ]
    assert sorted(tasks) == [("x:0", "post", "start"), ("x:0", "pre", "start"), ("x:1", "post", "start")]
    pre = next(
        a for a in plan.transition.synapses if a.key == "x:0_pre_notify_start_0" or a.key == "x_pre_notify_start_0"
    )
    attributes = plan.transition.attributes(pre)
    assert attributes["CRM_meta_notify_start_resource"] == "x:1"
    assert attributes["CRM_meta_notify_start_uname"] == "n2"
    assert attributes["CRM_meta_notify_active_uname"] == "n1"


def test_nobody_is_told_where_nothing_happens() -> None:
    text = cib(clone("c", primitive("x"), {"notify": "true"}), nodes=1, options=NO_PROBES, active={"n1": ("x",)})
    assert planned(text).real == []


# --- groups and clones among each other --------------------------------------------------------------------------------


def test_what_follows_a_clone_waits_for_every_instance_of_it() -> None:
    text = cib(clone("c", primitive("x")), primitive("Z"), constraints=(order("c", "Z"),), nodes=2, options=NO_PROBES)
    plan = planned(text)
    assert plan.before("start x:0", "start Z") and plan.before("start x:1", "start Z")


def test_a_group_that_follows_another_waits_for_its_last_member() -> None:
    first, then = group("g", primitive("a"), primitive("b")), group("h", primitive("c"), primitive("d"))
    plan = planned(cib(first, then, constraints=(order("g", "h"),), nodes=1, options=NO_PROBES))
    assert plan.before("start b", "start c") and plan.before("start c", "start d")
