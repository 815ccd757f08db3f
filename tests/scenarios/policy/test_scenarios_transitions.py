"""What is done, and in which order: one small cluster for each rule of planning (part 3 of the scheduler specification)."""

from __future__ import annotations

from planned import planned
from policy_cib import cib, clone, colocation, group, location, primitive

STOPPED = {"target-role": "Stopped"}
NO_PROBES = {"enable-startup-probes": "false"}
FENCING = {"stonith-enabled": "true", **NO_PROBES}
DEVICE = '<primitive id="F" class="stonith" type="fence_dummy"/>'
LOST = {"n1": {"in_ccm": "false", "crmd": "offline"}}


def order(first: str, then: str, kind: str = "Mandatory", **extra: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in extra.items())
    return f'<rsc_order id="{first}-{then}-{kind}" first="{first}" then="{then}" kind="{kind}"{more}/>'


def ban(rsc: str, node: str) -> str:
    return location(rsc, node, "-INFINITY")


# --- probes -----------------------------------------------------------------------------------------------------------


def test_a_new_resource_is_probed_everywhere_before_it_starts() -> None:
    plan = planned(cib(primitive("A"), nodes=2))
    assert plan.real == ["monitor A on n1", "monitor A on n2", "start A on n1"]
    assert plan.before("monitor A on n1", "start A")
    assert plan.before("monitor A on n2", "start A")
    assert plan.action("monitor A on n2").get_meta("op_target_rc") == "7"


def test_without_startup_probes_nothing_is_asked() -> None:
    assert planned(cib(primitive("A"), options=NO_PROBES)).real == ["start A on n1"]


def test_one_instance_of_an_anonymous_clone_is_probed_on_each_node() -> None:
    plan = planned(cib(clone("C", primitive("A")), nodes=2))
    assert sorted(name for name in plan.real if name.startswith("monitor")) == [
        "monitor A:0 on n1",
        "monitor A:1 on n2",
    ]


def test_nothing_is_stopped_for_a_restart_before_what_causes_it_has_been_probed() -> None:
    text = cib(primitive("A"), primitive("B"), constraints=(order("A", "B"),), active={"n1": ("B",)}, nodes=2)
    plan = planned(text)
    assert plan.before("monitor A on n1", "stop B")
    assert plan.before("monitor A on n2", "stop B")


# --- moving, restarting -----------------------------------------------------------------------------------------------


def test_a_resource_that_moves_is_stopped_before_it_starts_elsewhere() -> None:
    plan = planned(cib(primitive("A"), constraints=(ban("A", "n1"),), active={"n1": ("A",)}, options=NO_PROBES))
    assert plan.changes == ["Move A ( n1 -> n2 )"]
    assert plan.before("stop A on n1", "start A on n2")


def test_a_mandatory_ordering_restarts_what_comes_after() -> None:
    plan = planned(
        cib(
            primitive("A"),
            primitive("B"),
            constraints=(order("A", "B"), ban("A", "n1")),
            active={"n1": ("A", "B")},
            options=NO_PROBES,
        )
    )
    assert plan.changes == ["Move A ( n1 -> n2 )", "Restart B ( n1 ) due to required A start"]
    assert plan.before("stop B", "stop A") and plan.before("start A", "start B")


def test_an_optional_ordering_restarts_nothing() -> None:
    plan = planned(
        cib(
            primitive("A"),
            primitive("B"),
            constraints=(order("A", "B", "Optional"), ban("A", "n1")),
            active={"n1": ("A", "B")},
            options=NO_PROBES,
        )
    )
    assert plan.changes == ["Move A ( n1 -> n2 )"]


def test_what_cannot_start_stops_what_must_come_after() -> None:
    plan = planned(
        cib(
            primitive("A", STOPPED),
            primitive("B"),
            constraints=(order("A", "B"),),
            active={"n1": ("A", "B")},
            options=NO_PROBES,
        )
    )
    assert plan.changes == ["Stop A ( n1 ) due to node availability", "Stop B ( n1 ) due to required A start"]
    assert plan.before("stop B", "stop A")


def test_an_asymmetric_ordering_leaves_alone_what_already_runs() -> None:
    plan = planned(
        cib(
            primitive("A", STOPPED),
            primitive("B"),
            constraints=(order("A", "B", symmetrical="false"),),
            active={"n1": ("A", "B")},
            options=NO_PROBES,
        )
    )
    assert plan.changes == ["Stop A ( n1 ) due to node availability"]


def test_serialized_starts_wait_for_each_other_and_need_nothing_of_each_other() -> None:
    both = (order("A", "B", "Serialize"),)
    plan = planned(cib(primitive("A"), primitive("B"), constraints=both, options=NO_PROBES))
    assert plan.before("start A", "start B")
    assert planned(cib(primitive("A", STOPPED), primitive("B"), constraints=both, options=NO_PROBES)).real == [
        "start B on n1"
    ]


def test_a_changed_parameter_restarts_and_the_reason_says_so() -> None:
    text = cib(primitive("A"), active={"n1": ("A",)}, options=NO_PROBES)
    changed = text.replace(
        'type="Dummy"></primitive>',
        'type="Dummy"><instance_attributes id="i"><nvpair id="ix" name="x" value="1"/></instance_attributes></primitive>',
    )
    assert planned(text).real == []
    assert planned(changed).changes == ["Restart A ( n1 ) due to resource definition change"]


# --- groups and clones ------------------------------------------------------------------------------------------------


def test_members_of_a_group_start_in_order_and_stop_in_reverse() -> None:
    members = (primitive("a"), primitive("b"), primitive("c"))
    starting = planned(cib(group("G", *members), options=NO_PROBES))
    assert starting.before("start a", "start b") and starting.before("start b", "start c")
    stopping = planned(cib(group("G", *members, meta=STOPPED), active={"n1": ("a", "b", "c")}, options=NO_PROBES))
    assert stopping.before("stop c", "stop b") and stopping.before("stop b", "stop a")


def test_members_of_an_unordered_group_do_not_wait_for_each_other() -> None:
    plan = planned(cib(group("G", primitive("a"), primitive("b"), meta={"ordered": "false"}), options=NO_PROBES))
    assert not plan.before("start a", "start b")


def test_ordering_after_a_group_means_after_all_of_it() -> None:
    plan = planned(
        cib(
            group("G", primitive("a"), primitive("b")),
            primitive("Z"),
            constraints=(order("G", "Z"),),
            options=NO_PROBES,
        )
    )
    assert plan.before("start b", "start Z")


def test_interleaved_clones_wait_only_for_their_partner() -> None:
    pair = {"interleave": "true"}
    plan = planned(
        cib(
            clone("C1", primitive("x")),
            clone("C2", primitive("y"), pair),
            constraints=(order("C1", "C2"),),
            nodes=2,
            options=NO_PROBES,
        )
    )
    on = {
        action.node.name: action.rsc.id
        for action in plan.transition.synapses
        if action.rsc and action.task == "start" and action.node
    }
    assert set(on) == {"n1", "n2"}
    y_n1 = next(
        a
        for a in plan.transition.synapses
        if a.task == "start" and a.rsc and a.rsc.id.startswith("y") and a.node and a.node.name == "n1"
    )
    inputs = [f.rsc.id for f in plan.transition.inputs[y_n1.synapse] if f.rsc is not None and f.rsc.id.startswith("x")]
    assert len(inputs) == 1


def test_an_interleaved_instance_without_a_partner_does_not_start() -> None:
    plan = planned(
        cib(
            clone("C1", primitive("x")),
            clone("C2", primitive("y"), {"interleave": "true"}),
            constraints=(order("C1", "C2"), ban("C1", "n2")),
            nodes=2,
            options=NO_PROBES,
        )
    )
    assert sorted(name.partition(" on ")[2] for name in plan.real if name.startswith("start y")) == ["n1"]


def test_clone_min_starts_what_follows_once_enough_instances_run() -> None:
    enough = {"clone-min": "2"}
    text = cib(
        clone("C", primitive("x"), enough), primitive("Z"), constraints=(order("C", "Z"),), nodes=3, options=NO_PROBES
    )
    assert "start Z on n1" in planned(text).real
    lonely = cib(
        clone("C", primitive("x"), enough),
        primitive("Z"),
        constraints=(order("C", "Z"), ban("C", "n2"), ban("C", "n3")),
        nodes=3,
        options=NO_PROBES,
    )
    plan = planned(lonely)
    assert not [name for name in plan.real if name.startswith("start Z")]
    assert any("unrunnable clone-one-or-more:C-Z-Mandatory (blocked)" in change for change in plan.changes)


def test_a_cloned_groups_start_counts_towards_the_minimum_only_if_all_of_it_can_run() -> None:
    child = group("G", primitive("x"), primitive("y"))
    text = cib(
        clone("C", child, STOPPED),
        primitive("Z"),
        constraints=(order("C", "Z", require_all="false"),),
        options=NO_PROBES,
    )
    assert planned(text).real == []


# --- migration --------------------------------------------------------------------------------------------------------


def test_a_resource_that_can_migrates_instead_of_stopping() -> None:
    plan = planned(
        cib(
            primitive("A", {"allow-migrate": "true"}),
            constraints=(ban("A", "n1"),),
            active={"n1": ("A",)},
            options=NO_PROBES,
        )
    )
    assert plan.changes == ["Migrate A ( n1 -> n2 )"]
    assert plan.real == ["migrate_from A on n2", "migrate_to A on n1", "stop A on n1"]
    assert plan.before("migrate_to A", "migrate_from A") and plan.before("migrate_from A", "stop A")


def test_what_must_follow_it_makes_a_migration_a_move() -> None:
    plan = planned(
        cib(
            primitive("A"),
            primitive("B", {"allow-migrate": "true"}),
            constraints=(order("A", "B"), ban("A", "n1"), ban("B", "n1")),
            active={"n1": ("A", "B")},
            nodes=2,
            options=NO_PROBES,
        )
    )
    assert "Move B ( n1 -> n2 ) due to unmigrateable A stop" in plan.changes


# --- fencing and shutdown ---------------------------------------------------------------------------------------------


def test_nothing_of_a_lost_node_starts_elsewhere_before_it_is_fenced() -> None:
    plan = planned(cib(primitive("A"), DEVICE, active={"n1": ("A",)}, state=LOST, options=FENCING))
    assert plan.changes[0] == "Fence (reboot) n1 'peer is no longer part of the cluster'"
    assert plan.before("stonith on n1", "start A")
    assert "stop A on n1" not in plan.real


def test_fencing_runs_one_after_the_other_when_it_must() -> None:
    lost = {"n2": LOST["n1"], "n3": LOST["n1"]}
    serial = planned(
        cib(primitive("A"), DEVICE, nodes=5, state=lost, options={**FENCING, "concurrent-fencing": "false"})
    )
    assert serial.before("stonith on n2", "stonith on n3")
    parallel = planned(cib(primitive("A"), DEVICE, nodes=5, state=lost, options=FENCING))
    assert not parallel.before("stonith on n2", "stonith on n3")


def test_a_node_shuts_down_when_everything_on_it_has_stopped() -> None:
    leaving = cib(primitive("A"), active={"n1": ("A",)}, options=NO_PROBES).replace(
        '<lrm id="1">',
        '<transient_attributes id="1"><instance_attributes id="s"><nvpair id="s1" name="shutdown" value="1"/>'
        '</instance_attributes></transient_attributes><lrm id="1">',
    )
    plan = planned(leaving)
    assert plan.before("stop A on n1", "do_shutdown on n1")
    assert "start A on n2" in plan.real


def test_without_quorum_nothing_starts() -> None:
    plan = planned(cib(primitive("A"), quorate=False, options=NO_PROBES))
    assert plan.real == []
    assert plan.changes == ["Start A ( n1 ) due to no quorum (blocked)"]


# --- what goes beyond: every transition comes to its end --------------------------------------------------------------


def test_contradictory_optional_orderings_lose_their_weakest_link_which_is_named() -> None:
    plan = planned(
        cib(
            primitive("A"),
            primitive("B"),
            constraints=(order("A", "B"), order("B", "A", "Optional")),
            options=NO_PROBES,
        )
    )
    assert plan.real == ["start A on n1", "start B on n2"]
    assert plan.before("start A", "start B")
    assert [str(dropped) for dropped in plan.transition.plan.dropped] == [
        "optional ordering of B_start_0 before A_start_0 contradicts others and was dropped"
    ]


def test_contradictory_mandatory_orderings_start_neither_and_hold_up_nobody_else() -> None:
    plan = planned(
        cib(
            primitive("A"),
            primitive("B"),
            primitive("C"),
            constraints=(order("A", "B"), order("B", "A")),
            options=NO_PROBES,
        )
    )
    assert plan.real == ["start C on n3"]
    assert {unreachable.action.key for unreachable in plan.transition.plan.unreachable} == {"A_start_0", "B_start_0"}
    assert "Start A ( n1 ) due to contradictory B start (blocked)" in plan.changes


def test_an_optional_ordering_does_not_void_the_mandatory_one_beside_it() -> None:
    plan = planned(
        cib(
            primitive("A", STOPPED),
            primitive("B"),
            constraints=(order("A", "B", "Optional"), order("A", "B")),
            options=NO_PROBES,
        )
    )
    assert plan.real == []


def test_a_clone_with_an_instance_that_cannot_start_does_not_restart_what_follows_it_for_ever() -> None:
    first = primitive("P", STOPPED)
    text = cib(
        first,
        clone("C", primitive("x")),
        primitive("Z"),
        constraints=(order("C", "Z"), order("P", "C", kind="Mandatory")),
        active={"n1": ("x", "Z")},
        nodes=2,
        options=NO_PROBES,
    )
    plan = planned(text)
    following = plan.next()
    assert following.real == []


def test_a_new_guest_is_a_place_of_its_own_before_it_has_ever_been_up() -> None:
    guests = (primitive("V1", {"remote-node": "g1"}), primitive("V2", {"remote-node": "g2"}))
    child = group("G", primitive("x"), primitive("y"))
    plan = planned(cib(*guests, clone("C", child), nodes=2, options=NO_PROBES))
    where = {name.split()[1]: name.rpartition(" ")[2] for name in plan.real if name.startswith("start")}
    for number in range(4):
        assert where[f"x:{number}"] == where[f"y:{number}"]


# --- several plans in a row -------------------------------------------------------------------------------------------


def test_after_the_plan_is_carried_out_nothing_is_left_to_do() -> None:
    text = cib(
        primitive("A"),
        group("G", primitive("a"), primitive("b")),
        clone("C", primitive("x", stateful=True), {"promotable": "true", "notify": "true"}),
        constraints=(order("C", "G"), colocation("G", "C", "INFINITY")),
    )
    assert planned(text).next().real == []
