"""Fencing and unfencing, quorum, tickets and shutdown locks: what is done to nodes, and what waits for it."""

from __future__ import annotations

import pytest
from planned import planned
from policy_cib import NOW, cib, clone, primitive
from policy_parts import DEVICE, FENCING, GONE, LOST, NO_PROBES, OFF, ban, transient, with_status

UNFENCING_DEVICE = (
    '<primitive id="F" class="stonith" type="fence_dummy"><meta_attributes id="F-meta">'
    '<nvpair id="F-provides" name="provides" value="unfencing"/></meta_attributes></primitive>'
)
STOPPED = {"target-role": "Stopped"}


# --- fencing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "shown"), [(None, "reboot"), ("off", "off"), ("poweroff", "off"), ("nonsense", "reboot")]
)
def test_a_lost_node_is_fenced_in_the_way_that_is_configured(action: str | None, shown: str) -> None:
    options = FENCING if action is None else {**FENCING, "stonith-action": action}
    plan = planned(cib(primitive("A"), DEVICE, active={"n1": ("A",)}, state=LOST, options=options))
    assert plan.changes[0] == f"Fence ({shown}) n1 'peer is no longer part of the cluster'"


def test_without_a_fence_device_a_lost_node_keeps_what_it_may_be_running() -> None:
    plan = planned(cib(primitive("A"), active={"n1": ("A",)}, state=LOST, options=FENCING))
    assert plan.real == [], "it may still run there, and nobody can make sure"


def test_a_watchdog_counts_as_a_fence_device() -> None:
    options = {**FENCING, "have-watchdog": "true"}
    plan = planned(cib(primitive("A"), active={"n1": ("A",)}, state=LOST, options=options))
    assert plan.real == ["start A on n2", "stonith on n1"]


def test_where_everything_is_unmanaged_nobody_is_fenced() -> None:
    unmanaged = DEVICE.replace(
        "/>", '><meta_attributes id="m"><nvpair id="m1" name="is-managed" value="false"/></meta_attributes></primitive>'
    )
    text = cib(primitive("A", {"is-managed": "false"}), unmanaged, active={"n1": ("A",)}, state=LOST, options=FENCING)
    assert planned(text).real == []


def test_fencing_can_be_asked_for_by_an_attribute() -> None:
    text = cib(primitive("A"), DEVICE, active={"n2": ("A",)}, options=FENCING)
    assert "Fence (reboot) n1 'fencing was requested'" in planned(transient(text, 1, terminate="true")).changes


def test_what_needs_only_quorum_waits_for_fencing_only_where_nobody_knows_whether_it_runs_there() -> None:
    """What needs fencing waits for it even when it was found not to run on the lost node."""
    quorum = primitive("Q", {"requires": "quorum"})
    unknown = planned(cib(quorum, DEVICE, state=LOST, options=FENCING))
    assert unknown.before("stonith on n1", "start Q")
    text = cib(primitive("A"), quorum, DEVICE, active={"n1": ("A", "Q")}, state=LOST, options=FENCING)
    probed = text.replace('operation="start"', 'operation="monitor"').replace('rc-code="0"', 'rc-code="7"')
    plan = planned(probed.replace("_start_0", "_monitor_0").replace("0:0;", "0:7;"))
    assert not plan.before("stonith on n1", "start Q")
    assert plan.before("stonith on n1", "start A")


def test_priority_fencing_delay_spares_the_half_that_has_more_to_lose() -> None:
    """In a split of two, the node that runs the valuable resource is fenced only after the delay."""
    options = {**FENCING, "priority-fencing-delay": "15s"}
    weighty = primitive("A", {"priority": "10"})
    valuable = planned(cib(weighty, DEVICE, nodes=2, active={"n1": ("A",)}, state=LOST, options=options))
    assert valuable.action("stonith on n1").get_meta("priority-fencing-delay") == "15"
    poor = planned(cib(weighty, DEVICE, nodes=2, active={"n2": ("A",)}, state=LOST, options=options))
    assert poor.action("stonith on n1").get_meta("priority-fencing-delay") == "0"


@pytest.mark.parametrize("startup_fencing", [True, False])
def test_a_node_that_was_never_seen_is_fenced_unless_startup_fencing_is_off(startup_fencing: bool) -> None:
    options = {**FENCING, "startup-fencing": str(startup_fencing).lower()}
    text = cib(primitive("A"), DEVICE, nodes=2, options=options)
    begin = text.index('<node_state id="2"')
    text = text[:begin] + text[text.index("</node_state>", begin) + len("</node_state>") :]
    assert ("stonith on n2" in planned(text).real) == startup_fencing


def test_a_stop_that_failed_costs_the_node_its_life_and_the_resource_is_recovered() -> None:
    text = cib(primitive("A"), DEVICE, active={"n1": ("A",)}, options=FENCING)
    text = text.replace('operation="start"', 'operation="stop"').replace('rc-code="0"', 'rc-code="1"')
    plan = planned(text.replace("A_start_0", "A_stop_0").replace("0:0;", "0:1;"))
    assert "Fence (reboot) n1 'A failed there'" in plan.changes
    assert plan.before("stonith on n1", "start A on n2")


def test_the_other_instances_are_told_what_a_fenced_node_took_with_it() -> None:
    ms = clone("c", primitive("x"), {"notify": "true"})
    plan = planned(cib(ms, DEVICE, nodes=2, active={"n1": ("x",), "n2": ("x",)}, state=LOST, options=FENCING))
    told = [a for a in plan.transition.synapses if a.task == "notify" and a.node is not None and a.node.name == "n2"]
    post = [plan.transition.attributes(a) for a in told if a.get_meta("notify_type") == "post"]
    assert [(each["CRM_meta_notify_operation"], each["CRM_meta_notify_stop_uname"]) for each in post] == [
        ("stop", "n1")
    ]


# --- unfencing --------------------------------------------------------------------------------------------------------


def test_a_node_is_unfenced_before_anything_of_it_is_probed_or_started() -> None:
    plan = planned(cib(primitive("A"), UNFENCING_DEVICE, nodes=1, options={"stonith-enabled": "true"}))
    unfence = plan.action("stonith on n1")
    assert unfence.get_meta("stonith_action") == "on"
    assert plan.before("stonith on n1", "monitor A on n1") and plan.before("stonith on n1", "start A on n1")


def test_a_node_that_is_unfenced_already_is_left_alone() -> None:
    text = cib(primitive("A"), UNFENCING_DEVICE, nodes=1, options={"stonith-enabled": "true"})
    assert "stonith on n1" not in planned(transient(text, 1, **{"#node-unfenced": str(NOW)})).real


def test_a_resource_may_do_without_unfencing() -> None:
    text = cib(primitive("A", {"requires": "quorum"}), UNFENCING_DEVICE, nodes=1, options=FENCING)
    plan = planned(text)
    assert "stonith on n1" in plan.real, "the device itself needs it"
    assert not plan.before("stonith on n1", "start A")


def test_when_the_device_changed_the_node_is_unfenced_again_and_what_needs_that_restarts() -> None:
    text = cib(primitive("A"), UNFENCING_DEVICE, nodes=1, options=FENCING, active={"n1": ("A",)})
    attributes = {
        "#node-unfenced": str(NOW),
        "#digests-all": "F:fence_dummy:0123,",
        "#digests-secure": "F:fence_dummy:0123,",
    }
    plan = planned(transient(text, 1, **attributes))
    assert plan.action("stonith on n1").get_meta("stonith_action") == "on"
    assert plan.before("stop A", "stonith on n1") and plan.before("stonith on n1", "start A")


# --- quorum -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "real"),
    [
        ("stop", ["stop A on n1"]),
        ("freeze", []),
        ("ignore", ["start B on n2"]),
        ("demote", ["stop A on n1"]),
        ("nonsense", ["stop A on n1"]),
    ],
)
def test_what_happens_without_quorum(policy: str, real: list[str]) -> None:
    """A runs, B does not."""
    options = {**NO_PROBES, "no-quorum-policy": policy}
    assert (
        planned(cib(primitive("A"), primitive("B"), quorate=False, options=options, active={"n1": ("A",)})).real == real
    )


def test_with_the_demote_policy_promoted_instances_only_step_down() -> None:
    ms = clone("ms", primitive("x", stateful=True), {"promotable": "true"})
    options = {**NO_PROBES, "no-quorum-policy": "demote"}
    active = {"n1": ("x promoted",), "n2": ("x unpromoted",)}
    text = cib(ms, nodes=2, quorate=False, options=options, active=active, attributes={"n1": {"master-x": "10"}})
    assert planned(text).real == ["demote x:0 on n1"]


def test_without_quorum_a_lost_node_is_not_fenced() -> None:
    plan = planned(cib(primitive("A"), DEVICE, quorate=False, active={"n1": ("A",)}, state=LOST, options=FENCING))
    assert "stonith on n1" not in plan.real and "start A on n2" not in plan.real


# --- tickets ----------------------------------------------------------------------------------------------------------


def ticket(policy: str, role: str = "", rsc: str = "A") -> str:
    more = f' rsc-role="{role}"' if role else ""
    return f'<rsc_ticket id="t" rsc="{rsc}" ticket="site" loss-policy="{policy}"{more}/>'


def state_of_ticket(text: str, **state: str) -> str:
    more = "".join(f' {name}="{value}"' for name, value in state.items())
    return with_status(text, f'<tickets><ticket_state id="site"{more}/></tickets>')


def test_what_needs_a_ticket_starts_when_it_is_granted_and_not_before() -> None:
    text = cib(primitive("A"), constraints=(ticket("stop"),), options=NO_PROBES)
    assert planned(text).real == []
    assert planned(state_of_ticket(text, granted="false")).real == []
    assert planned(state_of_ticket(text, granted="true")).real == ["start A on n1"]


def test_a_ticket_in_standby_stops_nothing_that_loss_would_not_but_lets_nothing_start() -> None:
    text = cib(primitive("A"), constraints=(ticket("freeze"),), options=NO_PROBES)
    assert planned(state_of_ticket(text, granted="true", standby="true")).real == []


@pytest.mark.parametrize(("policy", "real"), [("stop", ["stop A on n1"]), ("freeze", []), ("fence", ["stop A on n1"])])
def test_what_a_lost_ticket_costs_without_fencing(policy: str, real: list[str]) -> None:
    text = cib(primitive("A"), constraints=(ticket(policy),), options=NO_PROBES, active={"n1": ("A",)})
    assert planned(state_of_ticket(text, granted="false")).real == real


def test_a_lost_ticket_may_cost_the_node_its_life() -> None:
    text = cib(primitive("A"), DEVICE, constraints=(ticket("fence"),), options=FENCING, active={"n1": ("A",)})
    plan = planned(state_of_ticket(text, granted="false"))
    assert "Fence (reboot) n1 'deadman ticket was lost'" in plan.changes


@pytest.mark.parametrize(("granted", "real"), [("true", ["promote x:0 on n1"]), ("false", [])])
def test_a_ticket_for_the_promoted_role_leaves_the_other_role_alone(granted: str, real: list[str]) -> None:
    ms = clone("ms", primitive("x", stateful=True), {"promotable": "true"})
    constraints = (ticket("demote", "Promoted", "ms"),)
    text = cib(
        ms,
        constraints=constraints,
        nodes=1,
        options=NO_PROBES,
        active={"n1": ("x unpromoted",)},
        attributes={"n1": {"master-x": "10"}},
    )
    assert planned(state_of_ticket(text, granted=granted)).real == real


def test_a_promoted_instance_that_loses_its_ticket_is_demoted_and_goes_on_running() -> None:
    ms = clone("ms", primitive("x", stateful=True), {"promotable": "true"})
    constraints = (ticket("demote", "Promoted", "ms"),)
    text = cib(
        ms,
        constraints=constraints,
        nodes=1,
        options=NO_PROBES,
        active={"n1": ("x promoted",)},
        attributes={"n1": {"master-x": "10"}},
    )
    assert planned(state_of_ticket(text, granted="false")).real == ["demote x:0 on n1"]


def test_a_ticket_constraint_of_a_set_is_about_all_its_members() -> None:
    refs = "".join(f'<resource_ref id="{name}"/>' for name in "AB")
    constraint = (
        f'<rsc_ticket id="t" ticket="site" loss-policy="stop"><resource_set id="s">{refs}</resource_set></rsc_ticket>'
    )
    text = cib(primitive("A"), primitive("B"), primitive("C"), constraints=(constraint,), nodes=1, options=NO_PROBES)
    assert planned(text).real == ["start C on n1"]


# --- shutdown and its locks -------------------------------------------------------------------------------------------

LOCK = {**NO_PROBES, "shutdown-lock": "true"}


@pytest.mark.parametrize(
    ("locked", "real"),
    [(True, ["do_shutdown on n1", "stop A on n1"]), (False, ["do_shutdown on n1", "start A on n2", "stop A on n1"])],
)
def test_what_runs_on_a_node_that_shuts_down_waits_for_it_if_it_is_locked(locked: bool, real: list[str]) -> None:
    text = cib(primitive("A"), options=LOCK if locked else NO_PROBES, active={"n1": ("A",)})
    assert planned(transient(text, 1, shutdown=str(NOW))).real == real


def down_and_locked(since: int, limit: str = "0") -> str:
    """n1 was shut down properly; its history remembers the lock."""
    text = cib(primitive("A"), options={**LOCK, "shutdown-lock-limit": limit}, active={"n1": ("A",)}, state={"n1": OFF})
    text = text.replace('operation="start"', 'operation="stop"').replace("A_start_0", "A_stop_0")
    return text.replace('<lrm_resource id="A"', f'<lrm_resource id="A" shutdown-lock="{since}"')


def test_a_lock_holds_while_the_node_is_down() -> None:
    assert planned(down_and_locked(NOW - 1000)).real == []


def test_a_lock_ends_at_its_limit_and_says_when_that_will_be() -> None:
    waiting = planned(down_and_locked(NOW - 100, "10min"))
    assert waiting.real == [] and waiting.transition.recheck_by == NOW + 500 + 1
    over = planned(down_and_locked(NOW - 1000, "10min"))
    assert over.real == ["lrm_delete A on n1", "start A on n2"]


def test_a_node_in_standby_is_emptied_and_stays() -> None:
    text = cib(primitive("A"), DEVICE, options=FENCING, active={"n1": ("A", "F")}, attributes={"n1": {"standby": "on"}})
    plan = planned(text.replace('type="Dummy"><lrm_rsc_op id="F', 'type="fence_dummy"><lrm_rsc_op id="F'))
    assert not [name for name in plan.real if name.startswith(("stonith", "do_shutdown"))]
    assert "start A on n2" in plan.real


def test_clones_and_fence_devices_are_never_locked() -> None:
    text = cib(clone("c", primitive("x")), constraints=(ban("c", "n3"),), options=LOCK, active={"n1": ("x",)})
    plan = planned(transient(text, 1, shutdown=str(NOW)))
    assert [name.split(" on ")[1] for name in plan.real if name.startswith("start")] == ["n2"]


def test_a_lost_node_is_no_node_that_shuts_down() -> None:
    """Its resources are recovered after fencing, lock or not."""
    options = {**FENCING, "shutdown-lock": "true"}
    plan = planned(cib(primitive("A"), DEVICE, active={"n1": ("A",)}, state={"n1": GONE}, options=options))
    assert plan.before("stonith on n1", "start A on n2")
