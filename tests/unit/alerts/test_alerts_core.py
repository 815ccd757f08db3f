"""Alerts: who is told of what, in which words, in which order, and what a slow agent costs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from lxml import etree

from crm.alerts.configuration import Call, Configuration, Kind
from crm.alerts.core import MAX_RUNNING, MAX_WAITING, Alerts, Effect, Run, Tell
from crm.alerts.happenings import timestamp

AT_US = 1_795_275_674_377_922
IDS = {"n1": "1", "n2": "2"}


def document(alerts: str) -> etree._Element:
    return etree.fromstring(
        f"<cib><configuration><crm_config/><nodes/><resources/><constraints/><alerts>{alerts}</alerts></configuration></cib>"
    )


def alerting(xml: str, *, joined: bool = True) -> Alerts:
    alerts = Alerts("0.1.0")
    alerts.configure(Configuration(document(xml)))
    if joined:
        assert alerts.joined(AT_US) == []
    return alerts


def record(event: str, cause: str = "view-7.1", **fields: Any) -> dict[str, Any]:
    return {"event": event, "node": "n1", "cause": cause, "time_ms": AT_US // 1000, **fields}


def operation(
    name: str = "start", *, interval_ms: int = 0, rc: int = 0, target_rc: int = 0, **more: Any
) -> dict[str, Any]:
    fields = {"resource": "web", "status": 0, "exec_ms": 12, "ok": rc == target_rc, **more}
    return record("action_result", operation=name, interval_ms=interval_ms, rc=rc, target_rc=target_rc, **fields)


def view(joined: list[str], left: list[str], stayed: tuple[str, ...] = ()) -> dict[str, Any]:
    return record("view", joined=joined, left=left, stayed=list(stayed))


FENCED = record("fenced", target="n2", action="off", text="n2 was fenced by power")
ATTRIBUTE = record("attributes", values=[["n2", "pingd", "100"], ["n2", "site", None]])


def told(alerts: Alerts, *records: dict[str, Any]) -> list[dict[str, str]]:
    """The environments of all agents that are run for these, each ending at once."""
    found: list[dict[str, str]] = []
    waiting: list[Effect] = []
    for each in records:
        waiting += alerts.on_record(each, IDS, AT_US)
        while waiting:
            effect = waiting.pop(0)
            assert isinstance(effect, Run)
            found.append(dict(effect.environment))
            waiting += alerts.on_ended(effect.token, True, "")
    return found


def brief(environment: dict[str, str]) -> tuple[str, ...]:
    names = ("kind", "node", "rsc", "task", "attribute_name", "desc")
    return tuple(environment[f"CRM_alert_{name}"] for name in names if f"CRM_alert_{name}" in environment)


PLAIN = '<alert id="a" path="/bin/agent"/>'


def test_without_a_selection_an_alert_tells_of_nodes_fencing_and_resources() -> None:
    found = told(alerting(PLAIN), view(["n2"], []), FENCED, operation(), ATTRIBUTE)
    assert [each["CRM_alert_kind"] for each in found] == ["node", "fencing", "resource"]


@pytest.mark.parametrize(
    ("select", "kinds"),
    [
        ("<select_nodes/>", ["node"]),
        ("<select_fencing/>", ["fencing"]),
        ("<select_resources/>", ["resource"]),
        ("<select_attributes/>", ["attribute", "attribute"]),
        ('<select_attributes><attribute id="x" name="site"/></select_attributes>', ["attribute"]),
        ("<select_nodes/><select_attributes/>", ["node", "attribute", "attribute"]),
        ("", ["node", "fencing", "resource"]),
    ],
)
def test_a_selection_says_which_kinds_and_which_attributes(select: str, kinds: list[str]) -> None:
    alerts = alerting(f'<alert id="a" path="/bin/agent"><select>{select}</select></alert>')
    found = told(alerts, view(["n2"], []), FENCED, operation(), ATTRIBUTE)
    assert [each["CRM_alert_kind"] for each in found] == kinds


def test_the_environment_of_a_resource_alert_is_pacemakers() -> None:
    (found,) = told(alerting(PLAIN), operation("monitor", interval_ms=5000, rc=7))
    expected = {
        "kind": "resource",
        "node": "n1",
        "rsc": "web",
        "task": "monitor",
        "interval": "5000",
        "rc": "7",
        "target_rc": "0",
        "status": "0",
        "exec_time": "12",
        "desc": "not running",
        "recipient": "",
        "node_sequence": "1",
        "timestamp_epoch": "1795275674",
        "timestamp_usec": "377922",
        "version": "0.1.0",
        "cause": "view-7.1",
    }
    assert expected.items() <= {key.removeprefix("CRM_alert_"): value for key, value in found.items()}.items()
    assert found["CRM_alert_timestamp"].endswith(".377922")
    assert found["CRM_notify_desc"] == "not running"


def test_the_environment_of_the_other_kinds() -> None:
    alerts = alerting(
        '<alert id="a" path="/x"><select><select_nodes/><select_fencing/><select_attributes/></select></alert>'
    )
    lost, fenced, changed, deleted = told(alerts, view([], ["n2"]), FENCED, ATTRIBUTE)
    assert (lost["CRM_alert_node"], lost["CRM_alert_nodeid"], lost["CRM_alert_desc"]) == ("n2", "2", "lost")
    assert (fenced["CRM_alert_node"], fenced["CRM_alert_task"], fenced["CRM_alert_rc"]) == ("n2", "off", "0")
    assert fenced["CRM_alert_desc"] == "Operation off of n2 by n1 for crm@n1: OK"
    assert (changed["CRM_alert_attribute_name"], changed["CRM_alert_attribute_value"]) == ("pingd", "100")
    assert (deleted["CRM_alert_attribute_name"], deleted["CRM_alert_attribute_value"]) == ("site", "")


def test_a_fencing_that_another_node_asked_for_is_told_too_also_when_it_failed() -> None:
    known = record("fencing_known", target="n3", action="reboot", ok=False, text="no device", by="n2")
    (found,) = told(alerting(PLAIN), known)
    assert (found["CRM_alert_rc"], found["CRM_alert_desc"]) == (
        "1",
        "Operation reboot of n3 by n2 for crm@n2: failed: no device",
    )


def test_a_timeout_is_told_as_one() -> None:
    (found,) = told(alerting(PLAIN), operation(rc=1, status=2, ok=False))
    assert (found["CRM_alert_status"], found["CRM_alert_desc"]) == ("2", "Timed Out")


def test_probes_that_found_what_was_expected_notifications_and_cancelled_operations_are_no_news() -> None:
    quiet = [
        operation("monitor", rc=7, target_rc=7),
        operation("notify"),
        operation("cancel"),
        operation("monitor", interval_ms=5000, status=1, rc=1, ok=False),
    ]
    loud = [operation("monitor", rc=0, target_rc=7), operation("monitor", interval_ms=5000), operation("stop")]
    assert len(told(alerting(PLAIN), *quiet, *loud)) == 3


def test_a_node_that_restarted_is_lost_and_a_member_again_one_that_was_elsewhere_is_no_news() -> None:
    found = told(alerting(PLAIN), view(["n1", "n2"], ["n1", "n2"], stayed=("n1",)))
    assert [brief(each) for each in found] == [("node", "n2", "lost"), ("node", "n2", "member")]


def test_nodes_are_told_of_once_the_clusters_configuration_is_there() -> None:
    alerts = Alerts("0.1.0")
    assert alerts.on_record(view(["n1", "n2"], []), IDS, AT_US) == []
    alerts.configure(Configuration(document(PLAIN)))
    first = alerts.joined(AT_US + 5_000_000)
    assert isinstance(first[0], Run) and first[0].environment["CRM_alert_node"] == "n1"
    assert first[0].environment["CRM_alert_timestamp_epoch"] == "1795275674", "the time when it happened"
    second = alerts.on_ended(first[0].token, True, "")
    assert isinstance(second[0], Run) and second[0].environment["CRM_alert_node"] == "n2"


RECIPIENTS = """
<alert id="a" path="mail">
  <meta_attributes id="m"><nvpair id="m1" name="timeout" value="5s"/><nvpair id="m2" name="timestamp-format" value="%s"/></meta_attributes>
  <instance_attributes id="i"><nvpair id="i1" name="smtp" value="one"/><nvpair id="i2" name="from" value="us"/></instance_attributes>
  <recipient id="r1" value="ops"/>
  <recipient id="r2" value="night">
    <meta_attributes id="n"><nvpair id="n1" name="timeout" value="1min"/></meta_attributes>
    <instance_attributes id="j"><nvpair id="j1" name="smtp" value="two"/></instance_attributes>
  </recipient>
  <recipient id="r3" value="off"><meta_attributes id="o"><nvpair id="o1" name="enabled" value="false"/></meta_attributes></recipient>
</alert>"""


def test_what_a_recipient_says_goes_before_what_the_alert_says() -> None:
    first, second = Configuration(document(RECIPIENTS)).calls(0)
    assert (first.recipient, first.timeout_ms, dict(first.environment)) == ("ops", 5000, {"smtp": "one", "from": "us"})
    assert (second.recipient, second.timeout_ms, dict(second.environment)) == (
        "night",
        60_000,
        {"smtp": "two", "from": "us"},
    )


def test_a_parameter_of_the_alert_cannot_pass_for_a_fact() -> None:
    xml = '<alert id="a" path="/x"><instance_attributes id="i"><nvpair id="i1" name="CRM_alert_rc" value="0"/></instance_attributes></alert>'
    (found,) = told(alerting(xml), operation(rc=1))
    assert found["CRM_alert_rc"] == "1"


def test_an_alert_may_be_disabled_as_a_whole_or_by_a_rule_of_the_moment() -> None:
    def enabled(rule: str) -> str:
        pair = '<nvpair id="e" name="enabled" value="false"/>'
        return f'<alert id="a" path="/x"><meta_attributes id="m">{rule}{pair}</meta_attributes></alert>'

    assert Configuration(document(enabled(""))).calls(0) == []
    rule = '<rule id="r" score="0"><date_expression id="d" operation="lt" end="2026-01-01"/></rule>'
    configuration = Configuration(document(enabled(rule)))
    assert configuration.calls(1_700_000_000) == []
    assert len(configuration.calls(1_800_000_000)) == 1


def test_nonsense_in_meta_attributes_counts_as_not_given() -> None:
    pairs = '<nvpair id="t" name="timeout" value="soon"/><nvpair id="f" name="timestamp-format" value=""/>'
    xml = f'<alert id="a" path="/x"><meta_attributes id="m">{pairs}</meta_attributes></alert>'
    (call,) = Configuration(document(xml)).calls(0)
    assert (call.timeout_ms, call.timestamp_format) == (30_000, "%H:%M:%S.%06N")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%H:%M:%S.%06N", "12:04:31.012345"),
        ("%s.%3N %Y", f"{int(datetime(2026, 11, 21, 12, 4, 31).timestamp())}.012 2026"),
        ("%N", "012345000"),
        ("100%% %F", "100% 2026-11-21"),
        ("%%6N", "%6N"),
    ],
)
def test_a_timestamp_is_written_as_date_does(form: str, text: str) -> None:
    assert timestamp(datetime(2026, 11, 21, 12, 4, 31, 12345), form) == text


def runs(effects: list[Effect]) -> list[Run]:
    return [effect for effect in effects if isinstance(effect, Run)]


def test_one_recipient_is_told_in_order_one_after_the_other_and_no_recipient_waits_for_another() -> None:
    alerts = alerting(
        '<alert id="a" path="/x"><recipient id="slow" value="s"/><recipient id="quick" value="q"/></alert>'
    )
    slow, quick = runs(alerts.on_record(operation("start"), IDS, AT_US))
    assert runs(alerts.on_record(operation("stop"), IDS, AT_US)) == []
    (second,) = runs(alerts.on_ended(quick.token, True, ""))
    assert (second.call.recipient, second.environment["CRM_alert_task"]) == ("q", "stop")
    (late,) = runs(alerts.on_ended(slow.token, True, ""))
    assert (late.call.recipient, late.environment["CRM_alert_task"]) == ("s", "stop")
    assert int(late.environment["CRM_alert_node_sequence"]) == int(slow.environment["CRM_alert_node_sequence"]) + 1


def test_only_so_many_agents_run_at_a_time() -> None:
    many = "".join(f'<recipient id="r{number}" value="{number}"/>' for number in range(MAX_RUNNING + 5))
    alerts = alerting(f'<alert id="a" path="/x">{many}</alert>')
    begun = runs(alerts.on_record(operation(), IDS, AT_US))
    assert len(begun) == MAX_RUNNING and alerts.waiting == 5
    assert len(runs(alerts.on_ended(begun[0].token, True, ""))) == 1


def test_what_a_slow_agent_cannot_take_is_dropped_counted_and_told() -> None:
    alerts = alerting(PLAIN)
    (first,) = runs(alerts.on_record(operation(), IDS, AT_US))
    for _ in range(MAX_WAITING + 3):
        alerts.on_record(operation(), IDS, AT_US)
    assert (alerts.waiting, alerts.dropped) == (MAX_WAITING, 3)
    effects = alerts.on_ended(first.token, True, "")
    assert [effect.fields["count"] for effect in effects if isinstance(effect, Tell)] == [3]
    assert len(runs(effects)) == 1


def test_a_storm_of_alerts_makes_no_storm_of_records() -> None:
    alerts = alerting(PLAIN)
    (running,) = runs(alerts.on_record(operation(), IDS, AT_US))
    told_of: list[int] = []
    for _ in range(MAX_WAITING * 3):
        for _ in range(3):
            alerts.on_record(operation(), IDS, AT_US)
        effects = alerts.on_ended(running.token, True, "")
        told_of += [effect.fields["count"] for effect in effects if isinstance(effect, Tell)]
        (running,) = runs(effects)
    while alerts.waiting:
        effects = alerts.on_ended(running.token, True, "")
        told_of += [effect.fields["count"] for effect in effects if isinstance(effect, Tell)]
        (running,) = runs(effects)
    effects = alerts.on_ended(running.token, True, "")
    told_of += [effect.fields["count"] for effect in effects if isinstance(effect, Tell)]
    assert sum(told_of) == alerts.dropped > 2 * MAX_WAITING and len(told_of) < 10
    assert told_of[0] <= 3, "the first is told at once"


def test_a_failure_is_told_with_its_reason_and_the_next_alert_goes_out() -> None:
    alerts = alerting(PLAIN)
    (first,) = runs(alerts.on_record(operation(), IDS, AT_US))
    alerts.on_record(operation("stop"), IDS, AT_US)
    tell, run = alerts.on_ended(first.token, False, "connection refused")
    assert isinstance(tell, Tell) and (tell.name, tell.cause) == ("alert_failed", "view-7.1")
    assert tell.fields["text"] == "connection refused" and isinstance(run, Run)


def test_the_same_failure_is_told_once_until_an_alert_gets_through() -> None:
    alerts = alerting(PLAIN)
    told_of = []
    for text in ("refused", "refused", "timed out", "", "timed out"):
        (run,) = runs(alerts.on_record(operation(), IDS, AT_US))
        effects = alerts.on_ended(run.token, not text, text)
        told_of.append([effect.fields["text"] for effect in effects if isinstance(effect, Tell)])
    assert told_of == [["refused"], [], ["timed out"], [], ["timed out"]]
    assert alerts.sent == {True: 1, False: 4}


def test_what_waits_is_sent_as_it_was_to_be_when_the_configuration_changes() -> None:
    alerts = alerting(PLAIN)
    (first,) = runs(alerts.on_record(operation(), IDS, AT_US))
    alerts.on_record(operation("stop"), IDS, AT_US)
    alerts.configure(Configuration(document("")))
    (second,) = runs(alerts.on_ended(first.token, True, ""))
    assert second.call.path == "/bin/agent"
    assert alerts.on_record(operation(), IDS, AT_US) == []
    assert alerts.on_ended(second.token, True, "") == [] and alerts.idle


def test_the_kinds_have_pacemakers_names() -> None:
    assert {str(kind) for kind in Kind} == {"node", "fencing", "resource", "attribute"}
    call = Call(("a", ""), "a", "/x", "", frozenset((Kind.ATTRIBUTE,)), frozenset(("pingd",)), 1, "%s", ())
    assert call.wants(Kind.ATTRIBUTE, "pingd") and not call.wants(Kind.ATTRIBUTE, "site") and not call.wants(Kind.NODE)
