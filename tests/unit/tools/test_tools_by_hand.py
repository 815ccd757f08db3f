"""crm_resource past the cluster: agents run by hand, with what the cluster would give them; and attributes of a resource's element."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from tools_cib import Bench, on_a_file

from crm.tools import exits

bench = on_a_file

AGENT = """#!/bin/sh
env | grep ^OCF_ | sort > {folder}/said.$1
case $1 in
monitor) echo "looked" ; echo "ocf-exit-reason:gone fishing" >&2; exit 7;;
start) sleep ${{OCF_RESKEY_nap:-0}};;
esac
exit 0
"""


@pytest.fixture
def agent(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`d1` and the clone `c` are run by an agent that writes down its environment; the folder where it does."""
    path = tmp_path / "ocf" / "test" / "Teller"
    path.parent.mkdir(parents=True)
    path.write_text(AGENT.format(folder=tmp_path))
    path.chmod(0o755)
    monkeypatch.setenv("VIGIL_OCF_PATH", str(tmp_path / "ocf"))
    monkeypatch.setenv("HA_RSCTMP", str(tmp_path / "rsctmp"))
    text = bench.path.read_text().replace('provider="pacemaker" type="Dummy"', 'provider="test" type="Teller"')
    bench.path.write_text(text.replace('provider="pacemaker" type="Stateful"', 'provider="test" type="Teller"'))
    return tmp_path


def said(folder: Path, action: str) -> dict[str, str]:
    lines = (folder / f"said.{action}").read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_agent_gets_what_the_cluster_would_give_it(bench: Bench, agent: Path) -> None:
    ran = bench.run("crm_resource", "-r", "d1", "--force-stop")
    assert (ran.code, ran.out) == (exits.OK, "Operation force-stop for d1 (ocf:test:Teller) returned 0 (ok)\n")
    environment = said(agent, "stop")
    assert environment["OCF_RESOURCE_INSTANCE"] == "d1"
    assert environment["OCF_RESKEY_fake"] == "x"
    assert environment["OCF_RESKEY_CRM_meta_timeout"] == "20000"
    bench.run("crm_resource", "-r", "c", "--force-stop")
    environment = said(agent, "stop")
    assert environment["OCF_RESOURCE_INSTANCE"] == "st", "instances of anonymous clones share the name"
    assert (environment["OCF_RESKEY_CRM_meta_clone_max"], environment["OCF_RESKEY_CRM_meta_notify"]) == ("2", "false")


def test_parameters_are_changed_for_one_run(bench: Bench, agent: Path) -> None:
    before = bench.path.read_text()
    ran = bench.run("crm_resource", "-r", "d1", "--force-start", "fake=y", "more=1")
    assert ran.out.splitlines()[:2] == [
        "Overriding the cluster configuration for 'd1' with 'fake' = 'y'",
        "Overriding the cluster configuration for 'd1' with 'more' = '1'",
    ]
    environment = said(agent, "start")
    assert (environment["OCF_RESKEY_fake"], environment["OCF_RESKEY_more"]) == ("y", "1")
    assert bench.path.read_text() == before


def test_what_the_agent_finds_is_the_exit_code_and_its_words_are_shown(bench: Bench, agent: Path) -> None:
    ran = bench.run("crm_resource", "-r", "d1", "--force-check=10")
    assert ran.code == 7
    assert ran.out.startswith("Operation force-check for d1 (ocf:test:Teller) returned 7 (not running: gone fishing)\n")
    assert "looked\n" in ran.out
    assert ran.err == "crm_resource: Error performing operation: Not running\n"
    assert said(agent, "monitor")["OCF_CHECK_LEVEL"] == "10"
    assert bench.run("crm_resource", "-r", "d1", "--force-check=deep").code == exits.USAGE


def test_an_agent_that_takes_too_long_is_ended(bench: Bench, agent: Path) -> None:
    ran = bench.run("crm_resource", "-r", "d1", "--force-start", "nap=60", "-T", "200ms")
    assert ran.code == exits.ERROR
    assert "could not be executed (Timed Out: " in ran.err


def test_a_clone_that_is_active_is_not_started_again_unless_forced(bench: Bench, agent: Path) -> None:
    for command in ("--force-start", "--force-promote", "--force-demote"):
        ran = bench.run("crm_resource", "-r", "c", command)
        assert (ran.code, ran.out) == (exits.UNSAFE, "")
        assert "the cluster claims it is already active" in ran.err
    assert not (agent / "said.start").exists()
    assert bench.run("crm_resource", "-r", "c", "--force-start", "-f").code == exits.OK


def test_a_primitive_that_is_active_on_another_node_is_not_started_here_unless_forced(
    bench: Bench, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCF_RESKEY_CRM_meta_on_node", "n2")
    ran = bench.run("crm_resource", "-r", "d1", "--force-start")
    assert ran.code == exits.UNSAFE
    assert "already active on n1" in ran.err
    assert bench.run("crm_resource", "-r", "d1", "--force-start", "--force").code == exits.OK
    monkeypatch.setenv("OCF_RESKEY_CRM_meta_on_node", "n1")
    assert bench.run("crm_resource", "-r", "d1", "--force-start").code == exits.OK, "it is here anyway"


def test_parameters_can_be_validated_without_a_resource(bench: Bench, agent: Path) -> None:
    words = ("--validate", "--class", "ocf", "--provider", "test", "--agent", "Teller")
    ran = bench.run("crm_resource", *words, "--option", "a=1", "--option", "b=2 3")
    assert (ran.code, ran.out) == (exits.OK, "Operation validate (ocf:test:Teller) returned 0 (ok)\n")
    environment = said(agent, "validate-all")
    assert (environment["OCF_RESKEY_a"], environment["OCF_RESKEY_b"]) == ("1", "2 3")


def test_constraints_are_followed_from_resource_to_resource(bench: Bench) -> None:
    root = etree.parse(bench.path).getroot()
    constraints = root.find("configuration/constraints")
    assert constraints is not None
    for tag, attributes in (
        ("rsc_location", {"id": "l1", "rsc": "d1", "node": "n2", "score": "7"}),
        ("rsc_colocation", {"id": "c1", "rsc": "g", "with-rsc": "d1", "score": "INFINITY"}),
        ("rsc_colocation", {"id": "c2", "rsc": "c", "with-rsc": "g", "score": "-5"}),
    ):
        etree.SubElement(constraints, tag, attributes)
    bench.path.write_bytes(etree.tostring(root))
    near = ["Locations:", "  * Node n2 (score=7, id=l1, rsc=d1)"]
    near += ["Resources colocated with d1:", "  * g (score=INFINITY, id=c1)"]
    assert bench.run("crm_resource", "-a", "-r", "d1").out.splitlines() == near
    far = ["    * Resources colocated with g:", "      * c (score=-5, id=c2)"]
    assert bench.run("crm_resource", "-A", "-r", "d1").out.splitlines() == near + far
    assert bench.run("crm_resource", "-a", "-r", "c").out.splitlines() == [
        "Resources c is colocated with:",
        "  * g (score=-5, id=c2)",
    ]


def test_attributes_of_the_element_are_shown_set_and_deleted(bench: Bench) -> None:
    assert bench.run("crm_resource", "-r", "d1", "--element", "-g", "class").out == "ocf\n"
    assert bench.run("crm_resource", "-r", "d1", "--element", "-g", "nope").code == exits.NOSUCH
    ran = bench.run("crm_resource", "-r", "d1", "-t", "primitive", "-S", "description", "-v", "the first")
    assert ran.code == exits.OK
    assert bench.find("//primitive[@id='d1']")[0]["description"] == "the first"
    assert bench.run("crm_resource", "-r", "d1", "--element", "-d", "description").code == exits.OK
    assert "description" not in bench.find("//primitive[@id='d1']")[0]
    assert len(bench.find("//primitive[@id='d1']//nvpair")) == 2, "all else is as it was"
    assert bench.run("crm_resource", "-r", "d1", "--element", "-p", "id", "-v", "other").code == exits.USAGE
    assert bench.run("crm_resource", "-r", "d1", "-t", "group", "-S", "description", "-v", "x").code == exits.NOSUCH
