"""cibadmin and crm_verify on files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tools_cib import CIB, Bench, on_a_file

from crm.tools import exits

bench = on_a_file

LOCATION = '<rsc_location id="l" rsc="d1" node="n1" score="5"/>'


def test_queries_print_what_was_asked_for(bench: Bench) -> None:
    assert bench.run("cibadmin", "-Q").out.startswith("<cib ")
    nodes = bench.run("cibadmin", "--query", "--scope", "nodes").out
    assert nodes.startswith("<nodes>\n") and 'uname="n2"' in nodes
    assert bench.run("cibadmin", "-Q", "-o", "nodes", "-n").out == "<nodes/>\n"
    pair = '<nvpair id="nodes-1-loc" name="loc" value="office"/>\n'
    assert bench.run("cibadmin", "-Q", "-A", "//nvpair[@name='loc']").out == pair
    both = bench.run("cibadmin", "-Q", "--xpath", "//nvpair[@name='loc']|//nvpair[@name='standby']").out
    assert both.startswith("<xpath-query>\n  <nvpair ")
    path = "/cib/configuration/nodes/node[@id='1']/instance_attributes[@id='nodes-1']/nvpair[@id='nodes-1-loc']\n"
    assert bench.run("cibadmin", "-Q", "-A", "//nvpair[@name='loc']", "-e").out == path
    assert bench.run("cibadmin", "-Q", "-A", "//nope").code == exits.NOSUCH
    assert bench.run("cibadmin", "-Q", "-A", "//[").code == exits.USAGE
    assert bench.run("cibadmin", "--empty").out.startswith("<cib ")


def test_objects_are_created_modified_replaced_and_deleted(bench: Bench) -> None:
    assert bench.run("cibadmin", "-C", "-o", "constraints", "-X", LOCATION).code == exits.OK
    assert bench.run("cibadmin", "-C", "-o", "constraints", "-X", LOCATION).code == exits.EXISTS
    assert bench.run("cibadmin", "-M", "-X", '<rsc_location id="l" score="6"/>').code == exits.OK
    assert bench.find("//rsc_location")[0]["score"] == "6"
    assert bench.run("cibadmin", "-R", "-X", LOCATION).code == exits.OK
    assert bench.find("//rsc_location")[0]["score"] == "5"
    assert bench.run("cibadmin", "-D", "-X", '<rsc_location id="l"/>').code == exits.OK
    assert bench.run("cibadmin", "-D", "-X", '<rsc_location id="l"/>').code == exits.OK
    assert bench.find("//rsc_location") == []
    assert bench.run("cibadmin", "-D", "-A", "//nope").code == exits.OK


def test_modify_creates_only_where_that_is_allowed(bench: Bench) -> None:
    pair = '<cluster_property_set id="mine"><nvpair id="mine-x" name="x" value="1"/></cluster_property_set>'
    assert bench.run("cibadmin", "-M", "-o", "crm_config", "-X", pair).code == exits.NOSUCH
    assert bench.run("cibadmin", "-M", "-c", "-o", "crm_config", "-X", pair).code == exits.OK
    assert bench.values("x") == ["1"]


def test_xml_comes_from_a_file_or_standard_input(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "location.xml"
    source.write_text(LOCATION)
    assert bench.run("cibadmin", "-C", "-o", "constraints", "-x", str(source)).code == exits.OK
    monkeypatch.setattr("sys.stdin", io.StringIO('<rsc_location id="l" score="7"/>'))
    assert bench.run("cibadmin", "-M", "-p").code == exits.OK
    assert bench.find("//rsc_location")[0]["score"] == "7"
    ran = bench.run("cibadmin", "-C", "-x", str(tmp_path / "nope"))
    assert (ran.code, ran.err) == (
        exits.NOINPUT,
        f"cibadmin: Couldn't read {tmp_path}/nope: No such file or directory\n",
    )


def test_versions_are_bumped_and_raised(bench: Bench) -> None:
    assert bench.run("cibadmin", "-B").code == exits.OK
    assert bench.run("cibadmin", "-M", "-X", '<cib admin_epoch="admin_epoch++"/>').code == exits.OK
    (root,) = bench.find("/cib")
    assert (root["admin_epoch"], root["epoch"]) == ("1", "6")


@pytest.mark.parametrize("words", [("-E",), ("-u",), ("-d", "-A", "//nvpair")])
def test_what_is_dangerous_needs_force(bench: Bench, words: tuple[str, ...]) -> None:
    before = bench.path.read_bytes()
    ran = bench.run("cibadmin", *words)
    assert ran.code == exits.UNSAFE
    assert "the --force flag is required" in ran.err
    assert bench.path.read_bytes() == before
    assert bench.run("cibadmin", "-f", *words).code in (exits.OK, exits.CONFIG)


def test_erasing_leaves_the_status(bench: Bench) -> None:
    assert bench.run("cibadmin", "-E", "--force").code == exits.OK
    assert bench.find("//primitive") == []
    assert len(bench.find("//node_state")) == 2


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("-C",), exits.USAGE, "--create needs XML"),
        (("-C", "-o", "resources", "-X", '<primitive id="d9"'), exits.CONFIG, "not well-formed"),
        (("-C", "-o", "resources", "-X", '<primitive id="d9" klass="ocf"/>'), exits.CONFIG, "did you mean class?"),
        (("-C", "-o", "nowhere", "-X", LOCATION), exits.USAGE, "there is no section 'nowhere'"),
        (("-M", "-X", '<nvpair id="nope" value="1"/>'), exits.NOSUCH, "there is no nvpair nope"),
        ((), exits.USAGE, "nothing to do"),
        (("--md5-sum",), exits.USAGE, "supply XML"),
        (("--md5-sum", "-X", "<a>"), exits.CONFIG, "Couldn't parse"),
        (("-M", "-A", "//primitive", "-X", '<primitive type="x"/>'), exits.USAGE, "elements; expected one"),
        (("-S",), exits.USAGE, "nothing to do"),
        (("-B", "-S", "-U", "bob"), exits.USAGE, "goes with --query"),
        (("--empty", "pacemaker-9"), exits.USAGE, "expected a schema"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    bench: Bench, words: tuple[str, ...], code: int, complaint: str
) -> None:
    before = bench.path.read_bytes()
    ran = bench.run("cibadmin", *words)
    assert ran.code == code
    assert complaint in ran.err
    assert bench.path.read_bytes() == before


def test_a_damaged_file_is_named_with_its_place(bench: Bench) -> None:
    bench.path.write_text(CIB[:200])
    ran = bench.run("cibadmin", "-Q")
    assert ran.code == exits.DATAERR
    assert str(bench.path) in ran.err
    bench.path.unlink()
    assert bench.run("cibadmin", "-Q").code == exits.NOINPUT


def test_verify_is_silent_about_a_good_configuration(bench: Bench) -> None:
    ran = bench.run("crm_verify", "-x", str(bench.path))
    assert (ran.code, ran.out, ran.err) == (exits.OK, "", "")
    assert bench.run("crm_verify", "-X", CIB).code == exits.OK


def test_verify_tells_everything_that_is_wrong_with_its_line(bench: Bench) -> None:
    text = CIB.replace('value="false"', 'value="maybe"').replace('provider="pacemaker" type="Stateful"', "", 1)
    bench.path.write_text(text)
    ran = bench.run("crm_verify", "-x", str(bench.path))
    assert ran.code == exits.CONFIG
    assert f"error: {bench.path}:5: nvpair cib-bootstrap-options-stonith-enabled: " in ran.err
    assert "primitive st: " in ran.err
    assert ran.err.endswith("crm_verify: Errors found during check: config not valid\n")
    quiet = bench.run("crm_verify", "-q", "-x", str(bench.path))
    assert (quiet.code, quiet.err) == (exits.CONFIG, "")


def test_verify_knows_what_is_well_formed_and_will_not_work(bench: Bench) -> None:
    bench.path.write_text(CIB.replace('name="stonith-enabled" value="false"', 'name="stonith-enabled" value="true"'))
    ran = bench.run("crm_verify", "-L")
    assert ran.code == exits.CONFIG
    assert "there is no fence device" in ran.err


def test_verify_refuses_what_is_no_xml(bench: Bench, tmp_path: Path) -> None:
    assert bench.run("crm_verify", "-X", "<cib").code == exits.DATAERR
    assert bench.run("crm_verify", "-x", str(tmp_path / "nope")).code == exits.NOINPUT
