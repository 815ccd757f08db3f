"""Operations of resources: recurring ones, what cancels them, and what a changed definition leads to."""

from __future__ import annotations

import pytest
from planned import planned
from policy_cib import NOW, cib, clone, group, parsed, primitive
from policy_parts import NO_PROBES, ban, monitored, op, order, runs_monitor, with_ops, with_parameters

from crm.policy.digests import attribute_digest
from crm.policy.schedule import schedule


def test_a_recurring_monitor_begins_once_the_resource_has_started() -> None:
    plan = planned(cib(monitored("A"), options=NO_PROBES))
    assert plan.real == ["monitor=10000 A on n1", "start A on n1"]
    assert plan.before("start A", "monitor=10000 A")


def test_what_runs_and_is_monitored_is_left_in_peace() -> None:
    text = cib(monitored("A"), options=NO_PROBES, active={"n1": ("A",)})
    assert planned(runs_monitor(text, 1, "A")).real == []
    assert planned(text).real == ["monitor=10000 A on n1"], "a monitor that nobody has seen run is begun"


@pytest.mark.parametrize("twice", ["10s", "10", "10000ms"])
def test_two_definitions_with_the_same_name_and_interval_disable_each_other(twice: str) -> None:
    text = with_ops(primitive("A"), op("monitor", "10s", of="A"), f'<op id="x" name="monitor" interval="{twice}"/>')
    assert planned(cib(text, options=NO_PROBES)).real == ["start A on n1"]


@pytest.mark.parametrize("why", ["removed", "disabled"])
def test_a_monitor_that_is_not_configured_any_more_is_cancelled(why: str) -> None:
    resource = primitive("A") if why == "removed" else monitored("A", enabled="false")
    plan = planned(runs_monitor(cib(resource, options=NO_PROBES, active={"n1": ("A",)}), 1, "A"))
    assert [(a.task, a.get_meta("operation"), a.get_meta("call-id")) for a in plan.transition.synapses] == [
        ("cancel", "monitor", "77")
    ]


def test_cancelling_may_be_switched_off() -> None:
    options = {**NO_PROBES, "stop-orphan-actions": "false"}
    assert planned(runs_monitor(cib(primitive("A"), options=options, active={"n1": ("A",)}), 1, "A")).real == []


def test_maintenance_cancels_monitors_and_does_nothing_else() -> None:
    options = {**NO_PROBES, "maintenance-mode": "true"}
    text = cib(monitored("A"), constraints=(ban("A", "n1"),), options=options, active={"n1": ("A",)})
    plan = planned(runs_monitor(text, 1, "A"))
    assert [action.task for action in plan.transition.synapses] == ["cancel"]


def test_an_unmanaged_resource_is_still_monitored_and_its_failure_only_shown() -> None:
    text = cib(monitored("A", meta={"is-managed": "false"}), options=NO_PROBES, active={"n1": ("A",)})
    assert planned(text).real == ["monitor=10000 A on n1"]
    assert planned(runs_monitor(text, 1, "A", rc=1)).real == []


def test_each_role_has_the_monitors_that_name_it() -> None:
    ops = (op("monitor", "10s", of="x", role="Promoted"), op("monitor", "11s", of="x", role="Unpromoted"))
    text = cib(
        clone("ms", with_ops(primitive("x", stateful=True), *ops), {"promotable": "true"}),
        nodes=2,
        options=NO_PROBES,
        attributes={"n1": {"master-x": "10"}},
        active={"n1": ("x unpromoted",), "n2": ("x unpromoted",)},
    )
    plan = planned(text)
    assert plan.real == ["monitor=10000 x:0 on n1", "monitor=11000 x:1 on n2", "promote x:0 on n1"]
    assert plan.action("monitor=10000 x:0").get_meta("op_target_rc") == "8"
    assert plan.before("promote x:0", "monitor=10000 x:0")


def test_a_monitor_of_the_stopped_role_watches_where_the_resource_must_not_be() -> None:
    plan = planned(cib(monitored("A", role="Stopped"), nodes=3, options=NO_PROBES))
    assert plan.real == ["monitor=10000 A on n2", "monitor=10000 A on n3", "start A on n1"]
    assert plan.action("monitor=10000 A on n2").get_meta("op_target_rc") == "7"


def test_a_monitor_with_an_origin_begins_at_the_next_of_its_times() -> None:
    """Every 24 hours from 03:00: at 22:13:20 that is in 4 h 46 min 40 s."""
    resource = monitored("A", "24h", interval_origin="2023-01-01T03:00:00Z")
    plan = planned(cib(resource, nodes=1, options=NO_PROBES))
    assert plan.transition.attributes(plan.action("monitor=86400000 A"))["CRM_meta_start_delay"] == str(17200 * 1000)


def test_limits_for_the_one_who_carries_it_out_are_in_the_graph() -> None:
    options = {**NO_PROBES, "batch-limit": "7", "migration-limit": "2", "cluster-delay": "90s"}
    text = planned(cib(primitive("A"), options=options)).transition.to_xml()
    assert 'batch-limit="7"' in text and 'migration-limit="2"' in text and 'cluster-delay="90s"' in text


# --- definitions that changed ---------------------------------------------------------------------------------------------


def started_with(text: str, name: str, value: str, **digests: str) -> str:
    """The text of a CIB whose started resources had one parameter, with a digest of that and whatever is given."""
    extra = "".join(f' {key.replace("_", "-")}="{text}"' for key, text in digests.items())
    return text.replace(
        'op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"', f'op-digest="{attribute_digest({name: value})}"{extra}'
    )


def test_a_changed_parameter_that_the_agent_can_reload_is_reloaded() -> None:
    """The agent said, when it started, which parameters need a restart: an empty list here."""
    resource = with_parameters(primitive("A"), "A", fake="new")
    text = cib(
        resource,
        primitive("B", {"resource-stickiness": "1"}),
        constraints=(order("A", "B"),),
        options=NO_PROBES,
        active={"n1": ("A", "B")},
    )
    text = text.replace('<lrm_resource id="B"', '<lrm_resource_b id="B"', 1)
    head, mark, tail = text.partition("<lrm_resource_b")
    head = started_with(head, "fake", "old", op_force_restart=" state ", op_restart_digest=attribute_digest({}))
    plan = planned((head + mark + tail).replace("lrm_resource_b", "lrm_resource"))
    assert plan.changes == ["Reload A ( n1 )"]
    assert plan.real == ["reload-agent A on n1"], "what is ordered after it is not restarted"


def test_a_changed_parameter_that_needs_a_restart_restarts_with_all_that_follows() -> None:
    resource = with_parameters(primitive("A"), "A", state="new")
    text = cib(
        resource,
        primitive("B", {"resource-stickiness": "1"}),
        constraints=(order("A", "B"),),
        options=NO_PROBES,
        active={"n1": ("A", "B")},
    )
    plan = planned(text)
    assert plan.changes == [
        "Restart A ( n1 ) due to resource definition change",
        "Restart B ( n1 ) due to required A start",
    ]
    assert plan.before("stop B", "stop A") and plan.before("start A", "start B")


def test_a_changed_monitor_is_scheduled_anew_without_a_restart() -> None:
    text = cib(monitored("A", timeout="60s"), options=NO_PROBES, active={"n1": ("A",)})
    assert planned(runs_monitor(text, 1, "A")).real == ["monitor=10000 A on n1"]


def test_a_monitor_with_another_interval_replaces_the_one_that_runs() -> None:
    text = runs_monitor(cib(monitored("A", "20s"), options=NO_PROBES, active={"n1": ("A",)}), 1, "A")
    assert sorted(action.task for action in planned(text).transition.synapses) == ["cancel", "monitor"]


def test_another_agent_under_the_same_name_is_stopped_cleaned_up_and_started() -> None:
    text = cib(primitive("A"), options=NO_PROBES, active={"n1": ("A",)})
    plan = planned(
        text.replace(
            '<lrm_resource id="A" class="ocf" provider="pacemaker" type="Dummy"',
            '<lrm_resource id="A" class="ocf" provider="pacemaker" type="Other"',
        )
    )
    assert plan.real == ["delete A on n1", "start A on n1", "stop A on n1"]
    assert plan.before("stop A", "delete A") and plan.before("delete A", "start A")


def test_a_difference_in_private_parameters_counts_only_where_nothing_is_hidden() -> None:
    resource = with_parameters(primitive("A"), "A", passwd="new")
    private = {"op_secure_params": " passwd ", "op_secure_digest": attribute_digest({})}
    text = started_with(cib(resource, options=NO_PROBES, active={"n1": ("A",)}), "passwd", "old", **private)
    assert schedule(parsed(text), NOW, masked=True).idle
    assert not schedule(parsed(text), NOW, masked=False).idle


def test_tracing_restarts_nothing_in_the_cluster_whose_executor_leaves_it_out_of_its_digests() -> None:
    """For a CIB file nobody knows whose executor wrote its histories; Pacemaker's digests contain the parameter, and it restarts."""
    resource = with_parameters(primitive("A"), "A", trace_ra="1")
    text = cib(resource, options=NO_PROBES, active={"n1": ("A",)})
    assert schedule(parsed(text), NOW, masked=False).idle
    assert not schedule(parsed(text), NOW, masked=True).idle


# --- removed, failed, active twice ---------------------------------------------------------------------------------------


def test_a_resource_that_was_removed_stops_and_is_forgotten() -> None:
    plan = planned(cib(options=NO_PROBES, active={"n1": ("A",)}))
    assert plan.real == ["delete A on n1", "stop A on n1"]
    assert plan.before("stop A", "delete A")


def test_a_failed_monitor_recovers_in_place_until_the_threshold_sends_it_away() -> None:
    text = cib(monitored("A", meta={"migration-threshold": "2"}), options=NO_PROBES, active={"n1": ("A",)})
    failed = runs_monitor(text, 1, "A", rc=1)
    assert planned(failed).changes == ["Recover A ( n1 )"]
    count = '<nvpair id="fc" name="fail-count-A#monitor_10000" value="2"/>'
    often = failed.replace(
        '<lrm id="1">',
        f'<transient_attributes id="1"><instance_attributes id="t">{count}</instance_attributes></transient_attributes><lrm id="1">',
    )
    assert planned(often).changes == ["Recover A ( n1 -> n2 )"]


@pytest.mark.parametrize(
    ("policy", "real"),
    [
        ("stop_start", ["start A on n1", "stop A on n1", "stop A on n2"]),
        ("stop_only", ["stop A on n1", "stop A on n2"]),
        ("stop_unexpected", ["stop A on n2"]),
        ("block", []),
    ],
)
def test_what_is_active_twice_is_dealt_with_as_multiple_active_says(policy: str, real: list[str]) -> None:
    resource = primitive("A", {"multiple-active": policy, "resource-stickiness": "1"})
    constraints = ('<rsc_location id="l" rsc="A" node="n1" score="10"/>',)
    text = cib(resource, constraints=constraints, options=NO_PROBES, active={"n1": ("A",), "n2": ("A",)})
    assert [name for name in planned(text).real if not name.startswith("start") or policy != "stop_unexpected"] == real


def test_members_after_a_changed_one_restart_and_those_before_it_do_not() -> None:
    members = (primitive("a"), with_parameters(primitive("b"), "b", state="new"), primitive("c"))
    plan = planned(cib(group("g", *members), options=NO_PROBES, active={"n1": ("a", "b", "c")}))
    assert plan.real == ["start b on n1", "start c on n1", "stop b on n1", "stop c on n1"]
