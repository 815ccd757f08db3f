"""What an administrator reads who asks `crm why` in the situations in which people ask most."""

from __future__ import annotations

import pytest
from policy_cib import NOW, cib, clone, colocation, group, location, parsed, primitive
from policy_parts import monitored, runs_monitor

from crm.policy.digests import attribute_digest
from crm.policy.explain import explain_text
from crm.policy.schedule import schedule

NO_QUORUM = "this part of the cluster has no quorum (no-quorum-policy={})"


def why(text: str, resource: str = "web", node: str | None = None) -> str:
    return explain_text(parsed(text), resource, node, NOW)


def with_parameter(text: str, value: str) -> str:
    """The same primitive with a parameter that it was not started with."""
    parameter = (
        f'<instance_attributes id="ia"><nvpair id="ia-state" name="state" value="{value}"/></instance_attributes>'
    )
    return text.replace("</primitive>", f"{parameter}</primitive>")


def order(first: str, then: str) -> str:
    return f'<rsc_order id="{first}-then-{then}" first="{first}" then="{then}"/>'


def test_a_ban_names_its_constraint() -> None:
    text = cib(primitive("web"), constraints=(location("web", "n1", "-INFINITY"),))
    assert why(text, node="n1") == "web cannot run on n1: location constraint web-on-n1--INFINITY bans it from n1."


def test_stickiness_is_weighed_against_the_preference_it_outweighs() -> None:
    web = primitive("web", {"resource-stickiness": "100"})
    text = cib(web, constraints=(location("web", "n2", 50),), active={"n1": ("web",)})
    assert why(text, node="n2").splitlines() == [
        "web could run on n2, but n1 has the higher score (100 against 50).",
        "  score of web on n1: 100, made of",
        "          +100  resource-stickiness, because it is on n1 now",
        "  score of web on n2: 50, made of",
        "           +50  location constraint web-on-n2-50",
    ]


def test_what_moves_says_where_from_and_what_drives_it_away() -> None:
    web = primitive("web", {"migration-threshold": "2"})
    text = cib(web, active={"n1": ("web",)}, attributes={"n1": {"fail-count-web#monitor_10000": "2"}})
    said = why(text).splitlines()
    assert "  it leaves n1: failed 2 times there (migration-threshold 2)" in said
    assert said[-1] == "web moves from n1 to n2."


def test_what_failed_too_often_everywhere_says_so_for_each_node() -> None:
    counts = {"n1": {"fail-count-web#monitor_10000": "2"}, "n2": {"fail-count-web#start_0": "INFINITY"}}
    text = cib(primitive("web", {"migration-threshold": "2"}), nodes=2, attributes=counts)
    assert why(text).splitlines() == [
        "web cannot run anywhere:",
        "  n1: failed 2 times there (migration-threshold 2)",
        "  n2: failed fatally there (migration-threshold 2)",
    ]


def test_who_must_be_with_something_stopped_says_so_once_and_names_the_constraint() -> None:
    db = primitive("db", {"target-role": "Stopped"})
    text = cib(primitive("web"), db, nodes=2, constraints=(colocation("web", "db", "INFINITY"),))
    assert why(text).splitlines() == [
        "web cannot run anywhere:",
        "  n1: colocation constraint web-with-db binds it to db, which is stopped",
        "  n2: colocation constraint web-with-db binds it to db, which is stopped",
        "The constraint web-with-db leaves no node for web; without it, web could run:",
        "  web-with-db: colocation of web with db, score INFINITY",
    ]


@pytest.mark.parametrize(
    ("strategy", "colour", "reason"),
    [
        ("migrate-on-red", "red", "the health of n1 (#health-disk=red)"),
        ("progressive", "yellow", "the score there is -10, below 0 (-10 the health of n1 (#health-disk=yellow))"),
    ],
)
def test_bad_health_names_the_attribute(strategy: str, colour: str, reason: str) -> None:
    options = {"node-health-strategy": strategy, "node-health-yellow": "-10"}
    text = cib(primitive("web"), options=options, attributes={"n1": {"#health-disk": colour}})
    assert why(text, node="n1") == f"web cannot run on n1: {reason}."


def test_without_quorum_what_runs_is_to_stop_and_what_does_not_run_is_not_started() -> None:
    text = cib(primitive("web"), primitive("db"), quorate=False, active={"n1": ("web",)})
    assert why(text).startswith(f"web is to stop: {NO_QUORUM.format('stop')}.")
    assert why(text, "db").startswith(f"db is not started: {NO_QUORUM.format('stop')}.")


def test_a_frozen_cluster_keeps_what_runs_and_starts_nothing() -> None:
    options = {"no-quorum-policy": "freeze"}
    text = cib(primitive("web"), primitive("db"), quorate=False, options=options, active={"n1": ("web",)})
    assert why(text).startswith("web stays on n1")
    assert why(text, "db").startswith(f"db is not started: {NO_QUORUM.format('freeze')}: nothing new is started.")


@pytest.mark.parametrize(
    ("meta", "options", "attributes", "reason"),
    [
        ({"is-managed": "false"}, {}, {}, "web is unmanaged (meta-attribute is-managed)"),
        ({"maintenance": "true"}, {}, {}, "web is in maintenance mode (meta-attribute maintenance)"),
        ({}, {"maintenance-mode": "true"}, {}, "the cluster is in maintenance mode (cluster option maintenance-mode)"),
        ({}, {}, {"n1": {"maintenance": "true"}}, "n1 is in maintenance mode"),
    ],
)
def test_what_the_cluster_leaves_alone_says_who_told_it_to(
    meta: dict[str, str], options: dict[str, str], attributes: dict[str, dict[str, str]], reason: str
) -> None:
    text = cib(primitive("web", meta), options=options, attributes=attributes, active={"n1": ("web",)})
    assert why(text) == why(text, node="n2") == f"web stays on n1: {reason}."


def test_what_is_blocked_names_the_failure_and_the_way_out() -> None:
    stop = '<operations><op id="web-stop" name="stop" interval="0" on-fail="block"/></operations></primitive>'
    text = cib(primitive("web").replace("</primitive>", stop), active={"n1": ("web",)})
    text = text.replace('operation="start"', 'operation="stop"').replace('rc-code="0"', 'rc-code="1"')
    assert why(text.replace("0:0;", "4:1;")) == (
        "web stays on n1: it is blocked: stop failed on n1 (rc=1); `crm resource cleanup web` once that is dealt with."
    )


def test_a_changed_parameter_restarts_and_whoever_is_ordered_after_it_says_why_it_restarts_too() -> None:
    text = cib(
        with_parameter(primitive("web"), "/new"),
        primitive("db"),
        constraints=(order("web", "db"),),
        active={"n1": ("web",), "n2": ("db",)},
    )
    changed = "the parameters of web or its operations have changed since it was started"
    assert why(text).splitlines()[-1] == f"web restarts on n1: {changed}."
    assert why(text, "db").splitlines()[-1] == (
        f"db restarts on n2: web restarts (ordering constraint web-then-db), because {changed}."
    )


def test_who_waits_for_something_that_cannot_start_names_the_ordering() -> None:
    db = primitive("db", {"target-role": "Stopped"})
    text = cib(primitive("web"), db, constraints=(order("db", "web"),))
    assert why(text).splitlines()[0] == (
        "web is not started: it must wait until db starts (ordering constraint db-then-web), "
        "which is not possible now (see `crm why db`)."
    )


def test_constraints_that_contradict_each_other_are_named_together() -> None:
    apart = '<rsc_colocation id="apart" rsc="web" with-rsc="db" score="-INFINITY"/>'
    text = cib(primitive("web"), primitive("db"), constraints=(colocation("web", "db", "INFINITY"), apart))
    assert (
        "The constraints web-with-db and apart together leave no node for web; without any one of them it could run:"
        in why(text).splitlines()
    )


def test_a_ticket_that_is_not_granted_is_named_with_its_constraint() -> None:
    text = cib(primitive("web"), constraints=('<rsc_ticket id="t" rsc="web" ticket="siteA" loss-policy="stop"/>',))
    assert why(text, node="n1") == "web cannot run on n1: ticket siteA is not granted (ticket constraint t)."


def test_a_node_that_must_be_fenced_says_why() -> None:
    device = primitive("F").replace('class="ocf" provider="pacemaker" type="Dummy"', 'class="stonith" type="fence_x"')
    lost = {"n1": {"in_ccm": "false", "crmd": "offline"}}
    text = cib(primitive("web"), device, options={"stonith-enabled": "true"}, state=lost, active={"n1": ("web",)})
    assert why(text, node="n1") == (
        "web cannot run on n1: n1 is unclean and must be fenced first (peer is no longer part of the cluster)."
    )


def test_a_node_that_is_too_small_says_what_is_lacking() -> None:
    text = cib(
        primitive("web", utilization="cpu=4 memory=1"),
        capacity={"n1": {"cpu": "2", "memory": "8"}},
        options={"placement-strategy": "utilization"},
    )
    assert (
        why(text, node="n1") == "web cannot run on n1: n1 has not enough capacity left for it (cpu: 4 needed, 2 left)."
    )


def test_members_after_a_stopped_one_say_whom_they_must_be_with() -> None:
    text = cib(group("g", primitive("a"), primitive("b", {"target-role": "Stopped"}), primitive("c")), nodes=1)
    assert why(text, "g").splitlines()[2:] == [
        "b is stopped because its target-role is Stopped.",
        "c cannot run anywhere:",
        "  n1: it must be with b, which is stopped",
        "a starts on n1.",
    ]


def test_the_reasons_are_those_of_the_cluster_itself_which_hides_no_parameter() -> None:
    """In a CIB file for others' eyes a difference in private parameters alone says nothing; the cluster acts on it, and says so."""
    text = cib(with_parameter(primitive("web"), "secret"), active={"n1": ("web",)})
    private = f'op-secure-params="state" op-secure-digest="{attribute_digest({})}" op-digest='
    text = text.replace("op-digest=", private)
    assert schedule(parsed(text), NOW, masked=False).summary.lines() != schedule(parsed(text), NOW).summary.lines()
    assert why(text).splitlines()[-1].startswith("web restarts on n1: the parameters of web")


def test_what_failed_and_is_recovered_says_what_failed() -> None:
    text = runs_monitor(cib(monitored("web"), nodes=2, active={"n1": ("web",)}), 1, "web", rc=1)
    assert why(text).splitlines()[-1] == "web restarts on n1: its monitor failed on n1 (rc=1)."


def test_two_members_with_the_same_preference_both_tell_it() -> None:
    constraint = '<rsc_location id="l" rsc-pattern="a|b" node="n1" score="5"/>'
    said = why(cib(primitive("a"), primitive("b"), group("g", primitive("x")), constraints=(constraint,)), "a")
    assert "            +5  location constraint l" in said.splitlines()
    text = cib(
        clone("c", primitive("y"), {"clone-max": "2"}),
        nodes=2,
        constraints=(location("c", "n1", 5), location("c", "n2", 5)),
    )
    assert why(text, "c").count("made of") == why(text, "c").count("            +5  location constraint") == 2


def test_a_resource_that_was_removed_says_so() -> None:
    assert why(cib(active={"n1": ("old",)}, nodes=1), "old").splitlines() == [
        "old cannot run anywhere:",
        "  n1: it is no longer configured",
        "old stops on n1.",
    ]


# --- for programs ---------------------------------------------------------------------------------------------------------


def reasons(text: str) -> dict[str, tuple[str, str]]:
    return {f"{r.task} {r.resource} {r.node}": (r.fate, r.text) for r in schedule(parsed(text), NOW).reasons()}


def test_every_action_that_is_required_has_a_reason() -> None:
    text = cib(primitive("web"), nodes=2, constraints=(location("web", "n1", "-INFINITY"),), active={"n1": ("web",)})
    assert reasons(text) == {
        "monitor web n2": ("required", "the state of web on n2 is not known and must be asked for"),
        "stop web n1": ("required", "web is to run on n2"),
        "start web n2": ("required", "web is to run on n2"),
    }


def test_an_action_that_is_blocked_says_by_what() -> None:
    text = cib(primitive("web"), nodes=1, quorate=False, options={"enable-startup-probes": "false"})
    assert reasons(text) == {"start web n1": ("blocked", "no quorum")}


def test_an_action_that_was_dropped_says_what_it_would_have_waited_for() -> None:
    constraints = (order("web", "db"), order("db", "web"))
    options = {"enable-startup-probes": "false"}
    found = reasons(cib(primitive("web"), primitive("db"), nodes=1, constraints=constraints, options=options))
    assert found == {
        "start web n1": ("dropped", "contradictory db start"),
        "start db n1": ("dropped", "contradictory web start"),
    }
