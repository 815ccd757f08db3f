"""`crm status`: what is read from a CIB and from the daemon, and how it is drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lxml import etree

from crm.cib import xml
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar.statements import parse
from crm.shell.status.model import ClusterStatus, Level, State
from crm.shell.status.read import read
from crm.shell.status.render import ASCII, Style, render

NOW = 1_900_000_000
TEXT = """
node 1: n1
node 2: n2
primitive ip ocf:vigil:IPaddr params ip=10.0.0.1 op monitor interval=10s
primitive web ocf:vigil:WebServer op monitor interval=10s
group front ip web
primitive pages ocf:vigil:Dummy
clone everywhere pages
primitive data ocf:vigil:Stateful op monitor interval=10s role=Promoted
clone copies data meta promotable=true
primitive power stonith:fence_lab
"""
OVERVIEW: dict[str, Any] = {
    "node": "n1",
    "cluster": "demo",
    "dc": "n2",
    "busy": False,
    "transition": None,
    "quorum": {"quorate": True, "reason": "2 of 2 votes; majority"},
    "nodes": [
        {"name": "n1", "state": "online", "member": True, "crm": True},
        {"name": "n2", "state": "online", "member": True, "crm": True},
    ],
    "view": {"id": "7.1"},
    "controller": {"state": "S_IDLE"},
    "fencing": {"history": []},
    "policy_worker": 123,
}


def cib(text: str = TEXT) -> etree._Element:
    configuration = Configuration(xml.empty("demo"))
    configuration.apply(parse(text), Mode.CREATE)
    configuration.root.set("have-quorum", "1")
    status = xml.ensure_section(configuration.root, "status")
    for number in ("1", "2"):
        attributes = {
            "id": number,
            "uname": f"n{number}",
            "in_ccm": "true",
            "crmd": "online",
            "join": "member",
            "expected": "member",
        }
        node = etree.SubElement(status, "node_state", attributes)
        etree.SubElement(etree.SubElement(node, "lrm", id=number), "lrm_resources")
    return configuration.root


def happened(
    root: etree._Element,
    node: str,
    resource: str,
    operation: str,
    rc: int,
    *,
    interval: int = 0,
    status: int = 0,
    call: int = 1,
) -> None:
    """Puts one operation into a node's history."""
    resources = root.find(f"status/node_state[@id='{node}']/lrm/lrm_resources")
    assert resources is not None
    history = resources.find(f"lrm_resource[@id='{resource}']")
    if history is None:
        history = etree.SubElement(
            resources, "lrm_resource", {"id": resource, "class": "ocf", "provider": "vigil", "type": "Dummy"}
        )
    expected = 7 if operation == "monitor" and not interval else 0
    etree.SubElement(
        history,
        "lrm_rsc_op",
        {
            "id": f"{resource}_{operation}_{interval}", "operation": operation, "operation_key": f"{resource}_{operation}_{interval}",
            "call-id": str(call), "rc-code": str(rc), "op-status": str(status), "interval": str(interval),
            "transition-key": f"1:1:{expected}:00000000-0000-0000-0000-000000000000", "last-rc-change": str(NOW - 60),
            "exit-reason": "it broke" if rc not in (0, 7, 8) else "",
        },
    )  # fmt: skip


@pytest.fixture
def running() -> etree._Element:
    root = cib()
    for resource in ("ip", "web", "pages", "data", "power"):
        happened(root, "1", resource, "start", 0)
    happened(root, "2", "pages", "start", 0)
    happened(root, "2", "data", "start", 0)
    happened(root, "1", "data", "promote", 0, call=2)
    return root


def drawn(status: ClusterStatus, **style: Any) -> str:
    return "\n".join(line.plain.rstrip() for line in render(status, Style(**{"width": 100, **style})))


def section(text: str, title: str) -> str:
    """The lines below a title."""
    return text.split(f"\n{title}\n", 1)[1].split("\n\n", 1)[0]


def test_the_picture_of_a_healthy_cluster(running: etree._Element) -> None:
    text = drawn(read(running, OVERVIEW, NOW))
    assert text.splitlines()[0] == "demo · 2 of 2 nodes online · quorum · DC n2 · idle"
    assert section(text, "Nodes").splitlines() == [
        "  ● n1  online      this node, 5 resources",
        "  ● n2  online      DC, 2 resources",
    ]
    assert [line.split() for line in section(text, "Resources").splitlines()] == [
        ["front", "group"],
        ["●", "ip", "Started", "n1", "ocf:vigil:IPaddr"],
        ["●", "web", "Started", "n1", "ocf:vigil:WebServer"],
        ["everywhere", "clone", "ocf:vigil:Dummy"],
        ["●", "Started", "n1", "n2"],
        ["copies", "clone", "ocf:vigil:Stateful", "(promotable)"],
        ["★", "Promoted", "n1"],
        ["●", "Unpromoted", "n2"],
        ["●", "power", "Started", "n1", "stonith:fence_lab"],
    ]
    assert "Failures" not in text
    assert read(running, OVERVIEW, NOW).good


def test_who_may_not_read_everything_is_told_so_and_nothing_that_would_follow_from_what_is_missing() -> None:
    part = xml.parse(
        '<cib validate-with="pacemaker-4.0"><configuration><resources>'
        '<primitive id="web" class="ocf" provider="vigil" type="Dummy"/></resources></configuration></cib>'
    )
    (notice,) = read(part, {**OVERVIEW, "restricted": True}, NOW).notices
    assert "what the access control lists let you read" in notice.text


def test_who_changed_the_configuration_is_told_as_far_as_it_is_known(running: etree._Element) -> None:
    running.set("cib-last-written", "Sat Nov 21 16:22:06 2026")
    for name, value, expected in (
        ("origin", "n1", "2026 on n1"),
        ("client", "cibadmin", "2026 by cibadmin on n1"),
        ("user", "tony", "2026 by tony (cibadmin) on n1"),
    ):
        running.set(f"update-{name}", value)
        assert read(running, OVERVIEW, NOW).written.endswith(expected)


def test_a_health_attribute_that_is_not_good_is_shown_where_it_counts(running: etree._Element) -> None:
    state = running.find("status/node_state[@id='2']")
    assert state is not None
    values = etree.SubElement(etree.SubElement(state, "transient_attributes", id="2"), "instance_attributes", id="s")
    for number, value in enumerate(("green", "red", "yellow", "-5")):
        etree.SubElement(values, "nvpair", id=f"h{number}", name=f"#health-{number}", value=value)
    assert read(running, OVERVIEW, NOW).nodes[1].notes == ()
    options = xml.ensure_section(running, "crm_config")
    holder = etree.SubElement(options, "cluster_property_set", id="health")
    etree.SubElement(holder, "nvpair", id="strategy", name="node-health-strategy", value="only-green")
    assert read(running, OVERVIEW, NOW).nodes[1].notes == ("#health-1=red", "#health-2=yellow", "#health-3=-5")


def test_the_same_picture_from_a_file_needs_no_daemon(running: etree._Element) -> None:
    text = drawn(read(running, None, NOW))
    assert "from a file" in text
    assert "Daemons" not in text
    assert "Started" in text


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(running: etree._Element, width: int) -> None:
    happened(running, "2", "web", "start", 1)
    lines = drawn(read(running, OVERVIEW, NOW), width=width).splitlines()
    longest = max(len(word) for line in lines for word in line.split())
    assert all(len(line) <= max(width, longest + 12) for line in lines)
    if width >= 60:
        assert all(len(line) <= width for line in lines)


def test_a_narrow_terminal_loses_the_agent_but_no_resource(running: etree._Element) -> None:
    text = drawn(read(running, OVERVIEW, NOW), width=50)
    assert "ocf:vigil" not in text
    for name in ("ip", "web", "everywhere", "copies", "power"):
        assert name in text


def test_plain_characters_where_the_terminal_knows_no_others(running: etree._Element) -> None:
    assert drawn(read(running, OVERVIEW, NOW), glyphs=ASCII).isascii()


def test_without_a_fencing_device_it_says_why_nothing_starts() -> None:
    root = cib(TEXT.replace("primitive power stonith:fence_lab", ""))
    status = read(root, OVERVIEW, NOW)
    assert status.notices[0].level is Level.ERROR
    text = drawn(status)
    assert "Nothing is started: fencing-enabled is true, and no fencing device is configured." in text
    assert "crm configure primitive NAME stonith:AGENT" in text
    assert not status.good


def test_without_resources_there_is_nothing_to_complain_about() -> None:
    assert read(cib("node 1: n1"), OVERVIEW, NOW).notices == ()


def test_fencing_that_is_switched_off_is_noted(running: etree._Element) -> None:
    Configuration.apply(edited := Configuration(running), parse("property stonith-enabled=false"), Mode.CREATE)
    assert any("Fencing is switched off" in notice.text for notice in read(edited.root, OVERVIEW, NOW).notices)


def test_no_quorum_says_why_and_what_follows(running: etree._Element) -> None:
    overview = {**OVERVIEW, "quorum": {"quorate": False, "reason": "1 of 3 votes"}, "dc": None}
    text = drawn(read(running, overview, NOW))
    assert "NO QUORUM" in text
    assert "No quorum: 1 of 3 votes. no-quorum-policy=stop: all resources are stopped." in text
    assert "There is no DC" in text


def test_a_lost_node_is_named_with_what_to_do(running: etree._Element) -> None:
    state = running.find("status/node_state[@id='2']")
    assert state is not None
    state.set("in_ccm", "false")
    state.set("crmd", "offline")
    text = drawn(read(running, OVERVIEW, NOW))
    assert "n2  UNCLEAN" in text
    assert "crm node clearstate n2" in text


def test_standby_and_maintenance_of_nodes(running: etree._Element) -> None:
    configuration = Configuration(running)
    configuration.apply(parse("node n1 attributes standby=on\nnode n2 attributes maintenance=true"), Mode.CREATE)
    text = section(drawn(read(configuration.root, OVERVIEW, NOW)), "Nodes")
    assert "n1  standby" in text
    assert "still has resources" in text
    assert "n2  maintenance" in text


def test_a_failure_is_shown_with_its_reason_count_and_remedy(running: etree._Element) -> None:
    happened(running, "1", "web", "monitor", 1, interval=10000, call=3)
    state = running.find("status/node_state[@id='1']")
    assert state is not None
    transient = etree.SubElement(
        etree.SubElement(state, "transient_attributes", id="1"), "instance_attributes", id="status-1"
    )
    etree.SubElement(transient, "nvpair", id="x", name="fail-count-web#monitor_10000", value="2")
    etree.SubElement(transient, "nvpair", id="y", name="last-failure-web#monitor_10000", value=str(NOW - 60))
    status = read(running, OVERVIEW, NOW)
    text = section(drawn(status), "Failures")
    assert "web monitor every 10 s on n1: error (1), it broke" in text
    assert "web has failed 2 times on n1" in text
    assert "crm resource cleanup" in text
    assert not status.good


def test_a_failure_that_somebody_declared_is_told_as_one(running: etree._Element) -> None:
    happened(running, "1", "web", "asyncmon", 1, call=3)
    text = section(drawn(read(running, OVERVIEW, NOW)), "Failures")
    assert "web on n1: declared failed by somebody" in text and "asyncmon" not in text


def test_what_is_under_way_is_shown_as_such(running: etree._Element) -> None:
    happened(running, "2", "ip", "start", 193, status=-1)
    history = running.find("status/node_state[@id='1']/lrm/lrm_resources/lrm_resource[@id='ip']")
    assert history is not None
    parent = history.getparent()
    assert parent is not None
    parent.remove(history)
    overview = {**OVERVIEW, "transition": {"number": 12, "in_flight": ["ip_start_0 on n2"], "aborted": None}}
    status = read(running, overview, NOW)
    assert status.resources[0].children[0].state is State.STARTING
    assert status.resources[0].children[0].nodes == ("n2",)
    assert status.activity == "transition 12: ip_start_0 on n2"


def test_disabled_unmanaged_and_maintenance_are_flags_of_what_has_them(running: etree._Element) -> None:
    configuration = Configuration(running)
    text = "group front ip web meta target-role=Stopped\nprimitive power stonith:fence_lab meta is-managed=false"
    configuration.apply(parse(text), Mode.UPDATE)
    front, *_, power = read(configuration.root, OVERVIEW, NOW).resources
    assert front.flags == ("disabled",)
    assert front.children[0].flags == ()
    assert power.flags == ("unmanaged",)


def test_a_resource_that_failed_everywhere_says_so(running: etree._Element) -> None:
    root = cib()
    happened(root, "1", "web", "start", 5, call=2)
    happened(root, "2", "web", "start", 5, call=2)
    for node in ("1", "2"):
        happened(root, node, "web", "stop", 0, call=3)
        state = root.find(f"status/node_state[@id='{node}']")
        assert state is not None
        holder = etree.SubElement(
            etree.SubElement(state, "transient_attributes", id=node), "instance_attributes", id=f"status-{node}"
        )
        etree.SubElement(holder, "nvpair", id=f"f{node}", name="fail-count-web#start_0", value="INFINITY")
    text = drawn(read(root, OVERVIEW, NOW))
    assert "failed too often on n1, n2; crm resource cleanup web allows it again" in text
    assert "not installed (5)" in text
    assert "web has failed on each of n1, n2 so that it is not tried again; it may not run there" in text


def test_moves_and_bans_are_always_shown(running: etree._Element) -> None:
    configuration = Configuration(running)
    configuration.apply(
        parse("location cli-prefer-front front inf: n2\nlocation cli-ban-web-on-n1 web -inf: n1"), Mode.CREATE
    )
    text = section(drawn(read(configuration.root, OVERVIEW, NOW)), "Moves and bans")
    assert "front is to run on n2, until it is cleared" in text
    assert "web must not run on n1, until it is cleared" in text


def test_a_ban_that_is_over_is_shown_as_expired(running: etree._Element) -> None:
    rule = 'rule -inf: #uname eq n1 and date lt "2020-01-01 00:00:00Z"'
    configuration = Configuration(running)
    configuration.apply(parse(f"location cli-ban-web-on-n1 web {rule}"), Mode.CREATE)
    (ban,) = read(configuration.root, OVERVIEW, NOW).bans
    assert ban.expired
    assert ban.node == "n1"


def test_fencing_history_and_what_is_pending(running: etree._Element) -> None:
    history = [
        {"target": "n2", "action": "reboot", "outcome": "done", "reason": "it was lost", "device": "power", "text": "", "began": NOW - 9, "ended": NOW - 8},
        {"target": "n3", "action": "off", "outcome": "failed", "reason": "", "device": "power", "text": "no answer", "began": NOW - 5, "ended": NOW},
    ]  # fmt: skip
    text = section(drawn(read(running, {**OVERVIEW, "fencing": {"history": history}}, NOW)), "Fencing")
    assert "n2 reboot: done by power, because it was lost" in text
    assert "n3 off: failed by power (no answer)" in text


def test_a_fencing_that_fails_again_and_again_is_one_line(running: etree._Element) -> None:
    failed = {
        "target": "n3",
        "action": "off",
        "outcome": "failed",
        "reason": "",
        "device": "power",
        "text": "no answer",
    }
    history = [{**failed, "began": NOW - 9 + number, "ended": NOW - 8 + number} for number in range(4)]
    history.append({**failed, "text": "wrong password", "began": NOW, "ended": NOW})
    text = drawn(read(running, {**OVERVIEW, "fencing": {"history": history}}, NOW))
    lines = section(text, "Fencing").splitlines()
    assert len(lines) == 2 and "failed 4 times by power (no answer)" in lines[0] and "wrong password" in lines[1]


def test_maintenance_mode_is_said_before_all_else(running: etree._Element) -> None:
    configuration = Configuration(running)
    configuration.apply(parse("property maintenance-mode=true"), Mode.CREATE)
    text = drawn(read(configuration.root, OVERVIEW, NOW))
    assert text.index("Maintenance mode") < text.index("Nodes")


def test_the_answer_for_programs_holds_the_same(running: etree._Element) -> None:
    answer = json.loads(json.dumps(read(running, OVERVIEW, NOW).to_json()))
    assert answer["good"] is True
    assert answer["resources"][0]["children"][1] == {
        "id": "web", "kind": "primitive", "agent": "ocf:vigil:WebServer", "state": "Started", "nodes": ["n1"], "flags": [],
        "reason": "", "children": [],
    }  # fmt: skip


def test_colours_are_left_out_where_they_are_not_wanted(
    running: etree._Element, monkeypatch: pytest.MonkeyPatch
) -> None:
    from io import StringIO

    from rich.console import Console

    monkeypatch.setenv("NO_COLOR", "1")
    output = StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    for line in render(read(running, OVERVIEW, NOW), Style()):
        console.print(line)
    assert "\x1b[3" not in output.getvalue()


def many(count: int) -> etree._Element:
    """A cluster in which so many groups of two run, one of them not as it should."""
    root = cib()
    resources = root.find("configuration/resources")
    assert resources is not None
    for child in list(resources):
        resources.remove(child)
    for number in range(count):
        group = etree.SubElement(resources, "group", id=f"site{number:02d}")
        for kind in ("ip", "web"):
            name = f"site{number:02d}-{kind}"
            etree.SubElement(group, "primitive", {"id": name, "class": "ocf", "provider": "vigil", "type": "Dummy"})
            happened(root, "1" if number % 2 else "2", name, "start", 0)
    happened(root, "1", "site01-web", "monitor", 7, interval=5000, call=2)
    single = {"id": "alone", "class": "ocf", "provider": "vigil", "type": "Dummy"}
    etree.SubElement(resources, "primitive", single)
    happened(root, "1", "alone", "start", 0)
    return root


def test_of_many_resources_only_those_that_are_not_well_keep_lines_of_their_own() -> None:
    status = read(many(20), None, NOW)
    text = drawn(status, width=80)
    assert "site01-web" in section(text, "Resources") and "site00" not in section(text, "Resources")
    by_node = section(text, "Started, by node (crm status --full has a line for each)").splitlines()
    assert [line.split()[1] for line in by_node if "●" in line] == ["n1", "n2"]
    words = " ".join(by_node)
    assert "alone" in words and "site00 (2)" in words and "site01" not in words
    assert all(f"site{number:02d}" in text for number in range(20)), "nothing is left out"
    assert max(len(line) for line in text.splitlines()) <= 80


def test_full_has_a_line_for_each_and_so_have_few_resources() -> None:
    assert "by node" not in drawn(read(many(20), None, NOW), full=True)
    assert drawn(read(many(20), None, NOW), full=True).count("site") > 60
    assert "by node" not in drawn(read(many(5), None, NOW))
