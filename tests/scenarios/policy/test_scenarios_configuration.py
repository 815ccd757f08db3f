"""How a configuration is read: sets and their precedence, inheritance, templates, operations, options, old syntax (part 1, sections 2 to 8, 23)."""

from __future__ import annotations

import pytest
from history_cib import DEVICE, Cluster, dummy, entry, history, read, state
from policy_cib import NOW, clone, group, pairs

from crm.policy.model import INFINITY, Needs, Role
from crm.policy.state import effective_now

EMPTY = [state(), state()]


def sets(*given: tuple[str, str, str]) -> str:
    """meta_attributes of (id and score, name, value)."""
    found = ""
    for index, (score, name, value) in enumerate(given):
        extra = f' score="{score}"' if score else ""
        found += f'<meta_attributes id="s{index}"{extra}><nvpair id="s{index}-{name}" name="{name}" value="{value}"/></meta_attributes>'
    return found


def primitive(body: str, name: str = "r", **attributes: str) -> str:
    extra = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy"{extra}>{body}</primitive>'


def defaults(body: str) -> str:
    return f"<rsc_defaults>{body}</rsc_defaults>"


def priority(found: Cluster, name: str = "r") -> int:
    return found.state.by_id[name].priority


# --- sets -------------------------------------------------------------------------------------------------------------


def test_the_set_with_the_higher_score_wins_and_of_equals_the_later() -> None:
    equal = read([primitive(sets(("", "priority", "1"), ("", "priority", "2")))], EMPTY)
    scored = read([primitive(sets(("5", "priority", "1"), ("", "priority", "2")))], EMPTY)
    assert (priority(equal), priority(scored)) == (2, 1)


def test_within_a_set_the_first_pair_wins() -> None:
    both = '<nvpair id="a" name="priority" value="1"/><nvpair id="b" name="priority" value="2"/>'
    assert priority(read([primitive(f'<meta_attributes id="s">{both}</meta_attributes>')], EMPTY)) == 1


def test_the_value_default_leaves_a_name_to_the_defaults() -> None:
    own = sets(("", "priority", "#default"), ("9", "priority", "7"))
    found = read([primitive(own)], EMPTY, more=defaults(sets(("", "priority", "3")).replace("s0", "d0")))
    assert priority(found) == 3


def test_inside_a_resource_a_reference_reaches_no_other_resource() -> None:
    first = primitive(sets(("", "priority", "4")), "a")
    second = primitive('<meta_attributes id-ref="s0"/>', "b")
    found = read([first, second], EMPTY)
    assert (priority(found, "a"), priority(found, "b")) == (4, 0)


def test_a_pair_may_be_taken_from_anywhere() -> None:
    first = primitive(sets(("", "priority", "4")), "a")
    second = primitive('<meta_attributes id="t"><nvpair id-ref="s0-priority"/></meta_attributes>', "b")
    assert priority(read([first, second], EMPTY), "b") == 4


def test_a_set_whose_rule_fails_does_not_apply_and_the_change_is_noted() -> None:
    rule = '<rule id="x"><date_expression id="y" operation="gt" start="2023-12-01"/></rule>'
    body = sets(("", "priority", "4")).replace("<nvpair", f"{rule}<nvpair")
    found = read([primitive(body)], EMPTY)
    assert priority(found) == 0
    assert min(found.state.recheck_candidates) == 1_701_388_801
    assert priority(read([primitive(body)], EMPTY, now=1_701_388_801)) == 4


def test_defaults_can_be_limited_to_an_agent() -> None:
    rule = '<rule id="x"><rsc_expression id="y" type="Dummy"/></rule>'
    body = defaults(sets(("", "priority", "4")).replace("<nvpair", f"{rule}<nvpair"))
    found = read([dummy("r"), dummy("s", agent="Stateful"), group("g", dummy("m"))], EMPTY, more=body)
    assert [priority(found, name) for name in ("r", "s", "m", "g")] == [4, 0, 4, 0]


def test_meta_attributes_are_inherited_from_the_nearest_parent_before_the_defaults() -> None:
    resources = [group("g", dummy("own", meta={"priority": "1"}), dummy("inherits"), meta={"priority": "2"})]
    found = read(resources, EMPTY, more=defaults(sets(("", "priority", "3"))))
    assert [priority(found, name) for name in ("own", "inherits", "g")] == [1, 2, 2]


def test_instances_of_a_clone_stick_a_little_unless_something_says_otherwise() -> None:
    found = read([clone("c", dummy("a")), dummy("b")], EMPTY)
    assert [found.state.by_id[name].stickiness for name in ("a:0", "b")] == [1, 0]
    told = read([clone("c", dummy("a"))], EMPTY, more=defaults(sets(("", "resource-stickiness", "5"))))
    assert told.state.by_id["a:1"].stickiness == 5


@pytest.mark.parametrize(
    ("meta", "field", "value"),
    [
        ({"is-managed": "default"}, "managed", True),
        ({"is-managed": "perhaps"}, "managed", False),
        ({"maintenance": "yes"}, "managed", False),
        ({"migration-threshold": "-3"}, "migration_threshold", INFINITY),
        ({"migration-threshold": "0"}, "migration_threshold", 0),
        ({"failure-timeout": "PT2M"}, "failure_timeout_s", 120),
        ({"resource-stickiness": "default"}, "stickiness", 0),
        ({"priority": "10abc"}, "priority", 10),
        ({"critical": "false"}, "critical", False),
        ({"target-role": "stopped"}, "next_role", Role.STOPPED),
        ({"target-role": "Slave"}, "next_role", Role.UNKNOWN),
        ({"target-role": "Started"}, "next_role", Role.UNKNOWN),
        ({"requires": "quorum"}, "needs", Needs.QUORUM),
        ({"requires": "unfencing"}, "needs", Needs.QUORUM),
        ({}, "needs", Needs.QUORUM),
    ],
)
def test_what_meta_attributes_say(meta: dict[str, str], field: str, value: object) -> None:
    assert getattr(read([dummy("r", meta=meta)], EMPTY).state.by_id["r"], field) == value


def test_what_a_resource_needs_follows_from_fencing_and_what_it_is() -> None:
    found = read([DEVICE, dummy("r"), dummy("rem", agent="remote")], EMPTY, options={"fencing-enabled": "true"})
    needs = [found.state.by_id[name].needs for name in ("fencer", "r", "rem")]
    assert needs == [Needs.QUORUM, Needs.FENCING, Needs.QUORUM]
    ignoring = read([dummy("r")], EMPTY, options={"no-quorum-policy": "ignore"})
    assert ignoring.state.by_id["r"].needs is Needs.NOTHING


# --- templates --------------------------------------------------------------------------------------------------------


def from_template(template: str, own: str) -> Cluster:
    whole = f'<template id="t" class="ocf" provider="pacemaker" type="Stateful">{template}</template>'
    return read([whole, f'<primitive id="r" template="t">{own}</primitive>'], EMPTY)


def test_a_primitive_takes_its_agent_from_the_template_and_wins_over_its_sets() -> None:
    found = from_template(sets(("", "priority", "1")), sets(("", "priority", "2")).replace("s0", "o0"))
    rsc = found.state.by_id["r"]
    assert (rsc.agent, rsc.priority) == ("ocf:pacemaker:Stateful", 2)  # type: ignore[attr-defined]
    assert found.state.templates == {"t": ["r"]}


def test_a_template_set_with_a_higher_score_wins_over_the_primitive() -> None:
    found = from_template(sets(("5", "priority", "1")), sets(("", "priority", "2")).replace("s0", "o0"))
    assert priority(found) == 1


def test_operations_merge_by_name_and_role_whatever_their_interval() -> None:
    template = '<operations><op id="1" name="monitor" interval="10s"/><op id="2" name="monitor" interval="20s" role="Stopped"/></operations>'
    own = '<operations><op id="3" name="monitor" interval="30s"/></operations>'
    rsc = from_template(template, own).state.by_id["r"]
    assert [(op.interval_ms, op.xml.get("role")) for op in rsc.ops] == [(30_000, None), (20_000, "Stopped")]  # type: ignore[attr-defined]


def test_a_primitive_without_its_template_is_left_out_and_reported() -> None:
    found = read(['<primitive id="r" template="t"/>', dummy("s")], EMPTY)
    assert list(found.state.by_id) == ["s"]
    assert [(item.code, item.id) for item in found.state.problems] == [("template-missing", "r")]


# --- operations -------------------------------------------------------------------------------------------------------


def meta_of(found: Cluster, task: str, interval: int = 0) -> dict[str, str]:
    return found.state.operations.meta(found.state.by_id["r"], task, interval)[1]


def test_a_probe_without_a_timeout_takes_that_of_the_shortest_monitor_before_the_defaults() -> None:
    rsc = dummy("r", "monitor 20s timeout=44s", "monitor 10s timeout=33s", "monitor 5s enabled=false timeout=1s")
    found = read([rsc], EMPTY, more=f"<op_defaults>{sets(('', 'timeout', '77s'))}</op_defaults>")
    assert meta_of(found, "monitor")["timeout"] == "33000"
    assert meta_of(found, "start")["timeout"] == "77000"
    assert meta_of(found, "monitor", 20_000)["timeout"] == "44000"


def test_attributes_of_an_op_override_its_sets() -> None:
    op = f'<operations><op id="o" name="monitor" interval="10s" timeout="5s">{sets(("", "timeout", "9s"))}</op></operations>'
    meta = meta_of(read([primitive(op)], EMPTY), "monitor", 10_000)
    assert (meta["timeout"], meta["interval"], meta["name"]) == ("5000", "10000", "monitor")
    assert "id" not in meta


def test_migration_may_be_configured_as_one_operation() -> None:
    rsc = dummy("r", "migrate 0 timeout=99s", meta={"allow-migrate": "true"})
    assert meta_of(read([rsc], EMPTY), "migrate_to")["timeout"] == "99000"


def test_parameters_depend_on_the_node_where_a_rule_says_so() -> None:
    rule = '<rule id="x"><expression id="y" attribute="#uname" operation="eq" value="n2"/></rule>'
    body = (
        f'<instance_attributes id="p1" score="9">{rule}<nvpair id="p1-a" name="a" value="there"/></instance_attributes>'
        '<instance_attributes id="p2"><nvpair id="p2-a" name="a" value="elsewhere"/></instance_attributes>'
    )
    found = read([primitive(body)], EMPTY)
    parameters, (n1, n2) = found.state.operations.parameters, found.state.nodes
    rsc = found.state.by_id["r"]
    assert [parameters(rsc, node)["a"] for node in (n1, n2, None)] == ["elsewhere", "there", "elsewhere"]


def test_on_fail_that_an_operation_cannot_have_is_reported_and_dropped() -> None:
    found = read([dummy("r", "stop 0 on-fail=standby", "start 0 on-fail=demote", "promote 0 on-fail=demote")], EMPTY)
    assert "on-fail" not in meta_of(found, "stop")
    assert "on-fail" not in meta_of(found, "start")
    assert meta_of(found, "promote")["on-fail"] == "demote"
    assert [item.code for item in found.state.problems] == ["on-fail", "on-fail"]


# --- cluster options --------------------------------------------------------------------------------------------------


def test_the_current_name_of_an_option_wins_and_an_invalid_value_means_the_default() -> None:
    both = read([dummy("r")], EMPTY, options={"stonith-enabled": "false", "fencing-enabled": "true"})
    assert both.state.options.fencing_enabled
    alias = read([dummy("r")], EMPTY, options={"stop-orphan-resources": "false"})
    assert not alias.state.options.stop_removed_resources
    invalid = read([dummy("r")], EMPTY, options={"fencing-enabled": "maybe", "stonith-enabled": "false"})
    assert invalid.state.options.fencing_enabled
    assert [(item.code, item.id) for item in invalid.state.problems] == [("invalid-option", "fencing-enabled")]


def test_of_two_sections_none_counts() -> None:
    found = read([dummy("r")], EMPTY, more="<crm_config/>")
    assert found.state.options.fencing_enabled, "the default"


@pytest.mark.parametrize(
    ("attribute", "argument", "expected"),
    [
        ("", None, (NOW, "clock")),
        ('execution-date="1400000000"', None, (1_400_000_000, "execution-date")),
        ('execution-date="1400000000"', "2014-05-07 00:28:00", (1_399_422_480, "argument")),
        ("", "nonsense", (NOW, "clock")),
    ],
)
def test_what_time_it_is(attribute: str, argument: str | None, expected: tuple[int, str]) -> None:
    cib = read([], EMPTY, root=attribute).state.cib
    assert effective_now(cib, argument, NOW) == expected


def test_old_syntax_is_understood() -> None:
    old = {"stonith_enabled": "false", "no_quorum_policy": "ignore", "default-resource-stickiness": "7"}
    master = (
        f'<master id="m">{pairs("meta_attributes", "m", {"master-max": "2"})}{dummy("s", agent="Stateful")}</master>'
    )
    found = read([dummy("r"), master], EMPTY, options=old, schema="pacemaker-1.2")
    assert (found.state.options.fencing_enabled, found.state.options.no_quorum_policy) == (False, "ignore")
    assert found.state.by_id["r"].stickiness == 7
    clone_ = found.state.by_id["m"]
    assert (clone_.promotable, clone_.promoted_max) == (True, 2)  # type: ignore[attr-defined]


# --- digests ----------------------------------------------------------------------------------------------------------


def change(parameters: str, **stored: str) -> str:
    rsc = dummy("r", "monitor 10s", parameters=parameters)
    found = read([rsc], [state(history("r", entry("start", like=stored)))])
    primitive_ = found.state.by_id["r"]
    node = found.state.nodes[0]
    record = primitive_.history[node].entries[0]  # type: ignore[attr-defined]
    return found.state.digests.compare(primitive_, node, record).value  # type: ignore[arg-type]


def test_unchanged_parameters_change_nothing() -> None:
    assert change("") == "none"
    assert change("a=1") == "other"


def test_a_changed_parameter_that_can_be_reloaded_is_no_restart() -> None:
    stored = {"op_restart_digest": "f2317cad3d54cec5d7d7aa7d0bf35cf8", "op_force_restart": " b "}
    assert change("a=1", **stored) == "other"
    assert change("b=1", **stored) == "restart"


def test_a_private_parameter_may_differ() -> None:
    stored = {"op_secure_digest": "f2317cad3d54cec5d7d7aa7d0bf35cf8", "op_secure_params": " password "}
    assert change("password=x", **stored) == "private"
    assert change("user=x", **stored) == "other"
