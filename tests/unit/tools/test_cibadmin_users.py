"""`cibadmin --user` and `--show-access`: what the access control lists of a CIB let a user see and do, without being that user."""

from __future__ import annotations

import os
import subprocess

import pytest
from tools_cib import Bench, on_a_file

bench = on_a_file
THEIRS = "/usr/sbin/cibadmin"
LISTS = """<acls><acl_role id="r"><acl_permission id="p1" kind="read" xpath="/cib"/>
<acl_permission id="p2" kind="deny" reference="d1-instance_attributes-fake"/>
<acl_permission id="p3" kind="write" xpath="//nvpair[@name='target-role']"/><acl_permission id="p4" kind="write" reference="g"/>
</acl_role><acl_target id="somebody"><role id="r"/></acl_target></acls></configuration>"""
TARGET_ROLE = '<nvpair id="d1-meta_attributes-target-role" value="Stopped"/>'


@pytest.fixture
def guarded(bench: Bench) -> Bench:
    text = bench.path.read_text().replace("</configuration>", LISTS)
    enabled = '<nvpair id="acl" name="enable-acl" value="true"/></cluster_property_set>'
    bench.path.write_text(text.replace("</cluster_property_set>", enabled))
    return bench


def test_another_user_sees_what_that_user_may_read(guarded: Bench) -> None:
    seen = guarded.run("cibadmin", "-Q", "-U", "somebody")
    assert seen.code == 0 and 'id="d1-meta_attributes-target-role"' in seen.out
    assert 'name="fake"' not in seen.out
    nobody = guarded.run("cibadmin", "-Q", "-U", "stranger")
    assert (nobody.code, nobody.out) == (4, "") and "read nothing" in nobody.err
    assert 'name="fake"' in guarded.run("cibadmin", "-Q", "-U", "hacluster").out


def test_another_user_changes_what_that_user_may_write(guarded: Bench) -> None:
    assert guarded.run("cibadmin", "-M", "-U", "somebody", "-X", TARGET_ROLE).code == 0
    assert guarded.values("target-role") == ["Stopped"]
    for words in (
        ("-M", "-X", '<nvpair id="d1-instance_attributes-fake" value="y"/>'),
        ("-D", "-X", '<primitive id="d1"/>'),
        ("-B",),
        ("-E", "-f"),
        ("-d", "-f", "-A", "//nvpair"),
    ):
        before = guarded.path.read_text()
        refused = guarded.run("cibadmin", *words, "-U", "somebody")
        assert refused.code == 4 and "permission" in refused.err
        assert guarded.path.read_text() == before


@pytest.mark.parametrize("form", ["text", "namespace", "color"])
def test_access_is_shown_as_pacemaker_shows_it(guarded: Bench, form: str) -> None:
    words = ["-Q", "-U", "somebody", f"--show-access={form}"]
    environment = {"PATH": os.environ["PATH"], "CIB_file": str(guarded.path), "LC_ALL": "C"}
    theirs = subprocess.run([THEIRS, *words], env=environment, capture_output=True, text=True, check=True, timeout=30)
    ours = guarded.run("cibadmin", *words)
    assert (ours.code, ours.out) == (0, theirs.stdout)


def test_access_to_a_part_is_that_of_the_whole_document(guarded: Bench) -> None:
    shown = guarded.run("cibadmin", "-Q", "-U", "somebody", "-S", "-A", "//group").out.splitlines()
    assert shown[1:3] == ["vvv---[ WRITABLE ]---vvv", '<group id="g">']


def test_lists_that_are_off_can_be_tried_and_root_has_none(guarded: Bench) -> None:
    guarded.path.write_text(guarded.path.read_text().replace('name="enable-acl" value="true"', 'name="x" value="y"'))
    tried = guarded.run("cibadmin", "-Q", "-U", "somebody", "-S")
    assert tried.code == 0 and "~DENIED~" in tried.out and "not in force" in tried.err
    assert guarded.run("cibadmin", "-Q", "-U", "root", "-S").code == 78
