"""crm_resource on a CIB file: what runs where, values, moves and bans."""

from __future__ import annotations

import calendar
import re
import time

import pytest
from lxml import etree
from tools_cib import Bench, on_a_file

from crm.cib import xml
from crm.policy.state import unpack
from crm.tools import crm_mon, exits
from crm.tools.command import parse
from crm.tools.crm_mon_text import report

bench = on_a_file


@pytest.mark.parametrize(
    ("resource", "places"),
    [
        ("d1", "resource d1 is running on: n1\n"),
        ("c", "resource c is running on: n1 Promoted\nresource c is running on: n2\n"),
        ("st", "resource st is running on: n1 Promoted\nresource st is running on: n2\n"),
        ("st:0", "resource st:0 is running on: n1 Promoted\n"),
    ],
)
def test_a_resource_is_located(bench: Bench, resource: str, places: str) -> None:
    ran = bench.run("crm_resource", "--locate", "-r", resource)
    assert (ran.code, ran.out) == (exits.OK, places)


def test_a_resource_that_does_not_run_or_does_not_exist(bench: Bench) -> None:
    ran = bench.run("crm_resource", "-W", "-r", "g")
    assert (ran.code, ran.out, ran.err) == (exits.OK, "", "crm_resource: resource g is NOT running\n")
    for command in ("-W", "-q", "-w", "-M", "-B", "-U", "-C", "-g x", "-p x -v 1", "-d x", "--why", "-a"):
        ran = bench.run("crm_resource", "-r", "nope", *command.split())
        assert ran.code == exits.NOSUCH, command
        assert "Resource 'nope' not found" in ran.err


def test_lists(bench: Bench) -> None:
    assert bench.run("crm_resource", "-l").out.split() == ["d1", "g1", "g2", "st:0", "st:1"]
    assert bench.run("crm_resource", "-Q", "-W", "-r", "d1").out == "n1\n"
    shown = bench.run("crm_resource").out
    assert shown.startswith("Full List of Resources:\n  * d1\t(ocf:pacemaker:Dummy):\t Started n1\n")
    assert "    * Promoted: [ n1 ]\n" in shown
    history = bench.run("crm_resource", "-O", "-r", "st", "-N", "n1").out.splitlines()
    assert len(history) == 1
    assert history[0].startswith("st\t(ocf:pacemaker:Stateful):\t Promoted: st_promote_0 (node=n1, call=5, rc=0, ")


def test_the_configuration_of_a_resource_is_shown(bench: Bench) -> None:
    shown = bench.run("crm_resource", "-r", "d1", "-q").out
    assert shown.startswith('d1\t(ocf:pacemaker:Dummy):\t Started n1\nResource XML:\n<primitive id="d1" ')
    assert bench.run("crm_resource", "-Q", "-r", "d1", "-w").out.startswith('<primitive id="d1" ')


def test_values_are_shown_set_and_deleted(bench: Bench) -> None:
    assert bench.run("crm_resource", "-r", "d1", "-g", "fake").out == "x\n"
    assert bench.run("crm_resource", "-r", "d1", "--meta", "-g", "target-role").out == "Started\n"
    ran = bench.run("crm_resource", "-r", "d1", "-g", "nope")
    assert (ran.code, ran.err) == (exits.NOSUCH, "crm_resource: Attribute 'nope' not found for 'd1'\n")
    ran = bench.run("crm_resource", "-r", "d1", "-p", "fake", "-v", "y")
    assert ran.out == "Set 'd1' option: id=d1-instance_attributes-fake name=fake value=y\n"
    assert bench.values("fake") == ["y"]
    ran = bench.run("crm_resource", "-r", "d1", "-d", "fake")
    assert ran.out == "Deleted 'd1' option: id=d1-instance_attributes-fake name=fake\n"
    assert bench.run("crm_resource", "-r", "d1", "-d", "fake").code == exits.OK
    assert bench.values("fake") == []
    assert bench.run("crm_resource", "-r", "d1", "-p", "fake").code == exits.USAGE


def test_an_agent_keeps_its_utilization_up_to_date(bench: Bench) -> None:
    assert bench.run("crm_resource", "-Q", "-r", "d1", "-z", "-g", "cpu").code == exits.NOSUCH
    assert bench.run("crm_resource", "-r", "d1", "-z", "-p", "cpu", "-v", "2").code == exits.OK
    assert bench.find("//primitive[@id='d1']/utilization[@id='d1-utilization']/nvpair") == [
        {"id": "d1-utilization-cpu", "name": "cpu", "value": "2"}
    ]
    assert bench.run("crm_resource", "-Q", "-r", "d1", "-z", "-g", "cpu").out == "2\n"
    assert bench.run("crm_resource", "--resource=d1", "--utilization", "--delete-parameter=cpu").code == exits.OK
    assert bench.values("cpu") == []


def test_meta_attributes_of_what_is_cloned_are_those_of_the_clone(bench: Bench) -> None:
    ran = bench.run("crm_resource", "-r", "st", "-m", "-p", "is-managed", "-v", "false")
    assert ran.out.startswith("Performing update of 'is-managed' on 'c', the parent of 'st'\n")
    assert bench.find("//clone[@id='c']/meta_attributes/nvpair[@name='is-managed']")[0]["value"] == "false"


def test_a_new_set_of_a_group_comes_before_its_members(bench: Bench) -> None:
    assert bench.run("crm_resource", "-r", "g", "-m", "-p", "is-managed", "-v", "false").code == exits.OK
    group = bench.document().find(".//group")
    assert group is not None
    assert [child.tag for child in group] == ["meta_attributes", "primitive", "primitive"]


def constraints(bench: Bench) -> list[dict[str, str]]:
    return bench.find("//constraints/rsc_location")


def prefer(resource: str, node: str, role: str = "Started") -> dict[str, str]:
    return {"id": f"cli-prefer-{resource}", "rsc": resource, "role": role, "node": node, "score": "INFINITY"}


def ban(resource: str, node: str, role: str = "Started") -> dict[str, str]:
    identity = f"cli-ban-{resource}-on-{node}"
    return {"id": identity, "rsc": resource, "role": role, "node": node, "score": "-INFINITY"}


def test_a_move_is_a_preference_and_replaces_an_earlier_one_and_the_ban(bench: Bench) -> None:
    assert bench.run("crm_resource", "-r", "d1", "-B", "-N", "n2").code == exits.OK
    assert constraints(bench) == [ban("d1", "n2")]
    assert bench.run("crm_resource", "-r", "d1", "-M", "-N", "n2").code == exits.OK
    assert constraints(bench) == [prefer("d1", "n2")]
    assert bench.run("crm_resource", "-r", "d1", "-M", "-N", "n2", "-f").code == exits.OK
    assert constraints(bench) == [prefer("d1", "n2"), ban("d1", "n1")]


def test_a_move_without_a_node_is_a_ban_from_where_it_is(bench: Bench) -> None:
    ran = bench.run("crm_resource", "-r", "d1", "-M")
    assert ran.out.startswith("WARNING: Creating rsc_location constraint 'cli-ban-d1-on-n1' with a score of -INFINITY")
    assert constraints(bench) == [ban("d1", "n1")]
    assert bench.run("crm_resource", "-Q", "-r", "c", "-B", "--promoted").out == ""
    assert constraints(bench)[1:] == [ban("c", "n1", "Promoted")]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("-r d1 -M -N n1", exits.EXISTS, "Requested item already exists"),
        ("-r d1 -M -N nx", exits.NOSUCH, "Node 'nx' not found"),
        ("-r g -B", exits.USAGE, "Resource 'g' not moved: active in 0 locations."),
        ("-r st:0 -B -N n2", exits.INVALID_PARAM, "Cannot operate on clone resource instance 'st:0'"),
        ("-r d1 -B -N n2 --promoted", exits.INVALID_PARAM, "d1 is no promotable clone"),
        ("-r d1 -M -N n2 -u soon", exits.USAGE, "Invalid duration specified: soon"),
        ("-M -N n2", exits.USAGE, "Must supply a resource id with -r"),
        ("-W", exits.USAGE, "Must supply a resource id with -r"),
        ("-U", exits.USAGE, "Must supply a resource id with -r"),
        ("-r d1 -D", exits.USAGE, "You need to specify a resource type with -t"),
        ("--wait", exits.DISCONNECT, "needs a running cluster"),
        ("-r d1 -C", exits.DISCONNECT, "needs a running cluster"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(bench: Bench, words: str, code: int, complaint: str) -> None:
    before = bench.path.read_bytes()
    ran = bench.run("crm_resource", *words.split())
    assert ran.code == code
    assert complaint in ran.err
    assert bench.path.read_bytes() == before


def test_a_lifetime_becomes_a_rule_that_ends(bench: Bench) -> None:
    ran = bench.run("crm_resource", "-r", "d1", "-M", "-N", "n2", "-u", "PT1H")
    assert ran.out.startswith("Migration will take effect until: ")
    (rule,) = bench.find("//rsc_location[@id='cli-prefer-d1']/rule")
    assert rule == {"id": "cli-prefer-d1-rule", "score": "INFINITY", "boolean-op": "and"}
    (date,) = bench.find("//rsc_location[@id='cli-prefer-d1']/rule/date_expression")
    assert date["operation"] == "lt"
    end = calendar.timegm(time.strptime(date["end"].removesuffix("Z"), "%Y-%m-%d %H:%M:%S"))
    assert abs(end - time.time() - 3600) < 600
    assert bench.run("crm_resource", "-r", "d1", "-U", "--expired").out == ""
    assert len(constraints(bench)) == 1


def test_clear_takes_back_what_is_meant(bench: Bench) -> None:
    for words in ("-r d1 -B -N n1", "-r d1 -B -N n2", "-r c -B -N n2 --promoted", "-r c -B -N n1"):
        assert bench.run("crm_resource", *words.split()).code == exits.OK
    assert bench.run("crm_resource", "-r", "d1", "-U", "-N", "n2").out == "Removing constraint: cli-ban-d1-on-n2\n"
    assert bench.run("crm_resource", "-r", "c", "-U", "--promoted").out == "Removing constraint: cli-ban-c-on-n2\n"
    assert constraints(bench) == [ban("d1", "n1"), ban("c", "n1")]
    assert "Node n1 (score=-INFINITY, id=cli-ban-d1-on-n1, rsc=d1)" in bench.run("crm_resource", "-a", "-r", "d1").out
    assert bench.run("crm_resource", "-r", "d1", "-U").code == exits.OK
    assert bench.run("crm_resource", "-r", "c", "--clear").code == exits.OK
    assert constraints(bench) == []


def test_a_resource_is_deleted_from_the_configuration(bench: Bench) -> None:
    assert bench.run("crm_resource", "-r", "g2", "-D", "-t", "primitive").code == exits.OK
    assert bench.find("//primitive[@id='g2']") == []
    assert bench.run("crm_resource", "-r", "g2", "-D", "-t", "primitive").code == exits.OK
    assert bench.run("crm_resource", "-r", "g1", "-D", "-t", "thing").code == exits.USAGE


def test_why_is_answered_in_sentences(bench: Bench) -> None:
    assert "d1" in bench.run("crm_resource", "--why", "-r", "d1").out
    assert "g1" in bench.run("crm_resource", "--why").out


def test_the_monitor_shows_the_cluster_once(bench: Bench) -> None:
    shown = bench.run("crm_mon", "-1rfA").out
    for line in (
        "  * Current DC: n1 (version unknown) - partition with quorum",
        "  * 2 nodes configured",
        "  * 5 resource instances configured",
        "  * Online: [ n1 n2 ]",
        "Full List of Resources:",
        "    * Unpromoted: [ n2 ]",
        "    * loc                             \t: office    ",
        "Migration Summary:",
    ):
        assert line in shown.splitlines()
    ran = bench.run("crm_mon", "-s")
    assert (ran.code, ran.out) == (exits.OK, "CLUSTER OK: 2 nodes online, 5 resource instances configured\n")
    for words in ("-w", "--output-as=html", "-d"):
        assert bench.run("crm_mon", words).code == exits.UNIMPLEMENTED


def test_agents_of_databases_find_the_promoted_node_in_the_monitors_xml(bench: Bench) -> None:
    shown = bench.run("crm_mon", "-1", "--output-as=xml").out
    assert re.search('<resource id="st" .* role="Promoted".* active="true".* orphaned="false".* failed="false"', shown)
    assert re.search('<node name="n1" .* online="true"', shown)
    assert etree.fromstring(shown).find("status").attrib == {"code": "0", "message": "OK"}
    assert bench.run("crm_mon", "-1X").out.startswith("<crm_mon version=")


def test_the_monitor_shows_failures_and_their_counts(bench: Bench) -> None:
    bench.run("crm_attribute", "-N", "n1", "-l", "reboot", "-n", "fail-count-d1#monitor_10000", "-v", "2")
    text = bench.path.read_text().replace(
        'operation="start" crm-debug', 'operation="start" exit-reason="it broke" crm-debug'
    )
    bench.path.write_text(text.replace('call-id="5" rc-code="0"', 'call-id="5" rc-code="1"', 1))
    shown = bench.run("crm_mon", "-1f").out
    assert "    * d1: migration-threshold=1000000 fail-count=2\n" in shown
    assert re.search(r"  \* d1 start on n1 returned 'error' \(it broke\) at .* 2023 after 10ms\n", shown)
    assert re.search(r"d1_start_0 on n1 'error' \(1\): call=5, status='complete'", bench.run("crm_mon", "-1R").out)


@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_a_section_that_there_is_not_is_refused_with_those_that_there_are(bench: Bench, option: str) -> None:
    ran = bench.run("crm_mon", "-1", f"{option}=nodes,nope")
    assert ran.code == exits.USAGE
    assert "attributes, bans, counts, dc" in ran.err and ran.out == ""


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], ["Failed Fencing Actions:", "Pending Fencing Actions:"]),
        (["-m2"], ["Failed Fencing Actions:", "Fencing History:", "Pending Fencing Actions:"]),
        (["-m", "0"], []),
        (["-U", "fencing"], []),
        (["-I", "none,fencing-succeeded"], ["Fencing History:"]),
    ],
)
def test_the_monitor_shows_what_was_fenced_as_far_as_it_is_asked_for(
    bench: Bench, options: list[str], shown: list[str]
) -> None:
    document = xml.parse(bench.path.read_bytes())
    state = unpack(document, 1_700_000_000)
    given = parse(crm_mon.TABLE, options)
    record = {"target": "n2", "action": "off", "device": "power", "reason": "", "text": "", "began": 1, "ended": 2}
    history = [{**record, "outcome": outcome} for outcome in ("done", "failed", "pending")]
    lines = report(state, crm_mon.view_of(given, crm_mon.chosen_sections(given), state), history)
    assert [line for line in lines if "Fencing" in line] == shown
    assert sum("off of n2" in line for line in lines) == len(shown)
