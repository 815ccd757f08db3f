"""Ours and Pacemaker's own commands, side by side on the same file: the same exit code, the same configuration afterwards, the same answer.

Where ours deliberately differ (messages for people, a value added to the set that is there instead of to a new one) a command is not in this list.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from lxml import etree
from tools_cib import CIB, KEY, Bench, configuration_of, history, on_a_file, write

bench = on_a_file

THEIRS = Path("/usr/sbin")
ANSWERS = [
    "crm_attribute -n loc -N n1 -G",
    "crm_attribute -n loc -N n1 -Gq",
    "crm_attribute -n nope -N n1 -G",
    "crm_attribute -n nope -N n1 -G -d some -q",
    "crm_attribute -n t -N n1 -l reboot -G",
    "crm_attribute -n stonith-enabled -G",
    "crm_attribute -N n1 -G",
    "crm_attribute -N nx -n foo -G",
    "crm_attribute --promotion -v 5",
    "crm_attribute -x",
    "crm_standby -G -N n1",
    "crm_standby -G -N n2",
    "crm_standby -G -N nx",
    "crm_attribute -N n1 -i nodes-1-loc -G",
    "crm_failcount -r d1 -N n1 -G",
    "crm_failcount -r d1 -N n1 -n start -Gq",
    "crm_resource -l",
    "crm_resource -r d1 -W",
    "crm_resource -r d1 -W -Q",
    "crm_resource -r g -W",
    "crm_resource -r nope -W",
    "crm_resource -r st:0 -W",
    "crm_resource -r d1 -q",
    "crm_resource -r d1 -g fake",
    "crm_resource -r d1 -g target-role --meta",
    "crm_resource -O -r d1 -N n1",
    "crm_resource -r d1 -a",
    "crm_resource -r d1 -A",
    "crm_resource -r nope -A",
    "crm_resource -r d1 -G type",
    "crm_resource -r d1 -G nope",
    "crm_resource -r d1 --digests -N n1",
    "crm_resource -r d1 --digests -N n2 fake=y",
    "crm_resource -r d1 --digests -N n9",
    "crm_resource -r d1 --digests",
    "crm_resource -r g --digests -N n1",
    "crm_resource --list-agents ocf:pacemaker",
    "crm_resource --list-agents ocf:nope",
    "crm_resource --list-agents nope",
    "crm_resource --list-ocf-alternatives nope",
    "crm_resource --show-metadata ocf:pacemaker:Dummy",
    "crm_resource --show-metadata ocf:pacemaker:nope",
    "crm_resource --show-metadata nonsense",
    "crm_resource --validate --class ocf --provider pacemaker --agent Dummy",
    "crm_resource --validate --class ocf --provider pacemaker --agent nope",
    "crm_resource --validate --class ocf --provider pacemaker --agent Dummy -r d1",
    "crm_resource --validate -r d1",
    "crm_resource --validate",
    "crm_resource -r g --force-check",
    "crm_resource -r c --force-start",
    "crm_resource -r nope --force-check",
    "crm_resource -r g --restart",
    "crm_resource -r d1 --restart -N n2",
    "crm_resource -r d1 -F",
    "cibadmin -Q -o nodes",
    "cibadmin -Q -A //nvpair[@name='loc']",
    "cibadmin -Q -A //nope",
    "cibadmin -Q -A //nvpair[@name='loc'] -e",
    "cibadmin -Q -o nodes -n",
    "cibadmin -Q -A //primitive/@id",
    "cibadmin -Q -A //primitive -n",
    "cibadmin -Q -A //primitive/text()",
    "cibadmin -Q -o tags",
    "cibadmin -Q -U root -o nodes",
    "cibadmin -Q -S",
    "cibadmin -Q -U somebody -S=bogus",
    "cibadmin -5",
    "cibadmin -6",
    'cibadmin -5 -X <primitive/id="d1"/class="ocf"/>',
    'cibadmin -6 -X <primitive/id="d1"/class="ocf"/>',
    'cibadmin -6 -X <cib/epoch="1"/crm_feature_set="3.0.4"/>',
    'cibadmin -6 -X <cib/epoch="1"/crm_feature_set="3.0.5"/update-user="me"/>',
    "cibadmin -E",
    "cibadmin",
]
CHANGES = [
    "crm_attribute -N n1 -n foo -v 1",
    "crm_attribute -N n2 -n foo -v 1",
    "crm_attribute -N n2 -n foo -z -v 1",
    "crm_attribute -N n1 -n loc -v value++",
    "crm_attribute -N n1 -n num -v value++",
    "crm_attribute -N n1 -n loc -D",
    "crm_attribute -N n1 -n nope -D",
    "crm_attribute -N nx -n foo -v 1",
    "crm_attribute -n stonith-enabled -v true",
    "crm_attribute -n maintenance-mode -v true",
    "crm_attribute -n stonith-enabled -D",
    "crm_attribute -n R -s replication -v abc",
    "crm_standby -v on -N n2",
    "crm_master -r d1 -N n1 -v 5",
    "crm_standby -D -N n1",
    "crm_resource -r d1 -p fake -v y",
    "crm_resource -r d1 -p new -v y",
    "crm_resource -r g1 -p new -v y",
    "crm_resource -r st -p is-managed --meta -v false",
    "crm_resource -r d1 -p cpu -z -v 3",
    "crm_resource -r d1 -d fake",
    "crm_resource -r d1 -d nope",
    "crm_resource -r d1 -M -N n2",
    "crm_resource -r d1 -M -N n2 -f",
    "crm_resource -r d1 -M -N n1",
    "crm_resource -r d1 -M -N nx",
    "crm_resource -r d1 -M",
    "crm_resource -r d1 -B",
    "crm_resource -r c -B --promoted",
    "crm_resource -r c -M --promoted -N n2",
    "crm_resource -r g -B",
    "crm_resource -r st:0 -B -N n2",
    "crm_resource -r d1 -U",
    "crm_resource -U",
    "crm_resource -r d1 -D -t primitive",
    'cibadmin -M -X <nvpair/id="d1-instance_attributes-fake"/value="zz"/>',
    'cibadmin -M -X <nvpair/id="nope"/name="x"/value="zz"/>',
    'cibadmin -C -o constraints -X <rsc_location/id="l"/rsc="d1"/node="n1"/score="5"/>',
    'cibadmin -C -o resources -X <primitive/id="d1"/class="ocf"/provider="pacemaker"/type="Dummy"/>',
    'cibadmin -C -o resources -X <primitive/id="d9"/klass="ocf"/>',
    'cibadmin -D -X <primitive/id="g2"/>',
    'cibadmin -D -X <primitive/id="nope"/>',
    "cibadmin -D -A //nvpair[@name='standby']",
    "cibadmin -D -A //nope",
    "cibadmin -D -U somebody -A //nvpair[@name='standby']",
    "cibadmin -C -X nonsense",
    "cibadmin -B",
    "cibadmin -d -A //nvpair",
    "cibadmin -d -f -A //instance_attributes",
    'cibadmin -M -X <cib/admin_epoch="admin_epoch++"/>',
    'cibadmin -M -X <cib/epoch="1"/>',
    'cibadmin -M -c -o resources -X <primitive/id="new"/class="ocf"/provider="pacemaker"/type="Dummy"/>',
    "cibadmin -R -X <constraints/>",
    'cibadmin -R -o nodes -X <node/id="2"/uname="n2"/type="member"/>',
]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A second file of the same content, for Pacemaker's commands."""
    if not (THEIRS / "crm_attribute").exists():
        pytest.skip("pacemaker-cli-utils is not installed")
    return write(tmp_path / "theirs.xml")


def words_of(line: str) -> list[str]:
    """XML is written without blanks in the lists above."""
    words = line.split()
    return [word[:-2].replace("/", " ") + "/>" if word.startswith("<") else word for word in words]


def run_theirs(line: str, path: Path) -> subprocess.CompletedProcess[str]:
    command, *words = words_of(line)
    # Some of theirs are scripts that call others: theirs, not ours of an activated environment.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CIB_file": str(path), "LC_ALL": "C"}
    environment |= {"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}
    return subprocess.run(
        [str(THEIRS / command), *words], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("line", ANSWERS)
def test_the_same_answer(bench: Bench, theirs: Path, line: str) -> None:
    expected = run_theirs(line, theirs)
    command, *words = words_of(line)
    ran = bench.run(command, *words)
    assert ran.code == expected.returncode
    if expected.returncode == 0:
        assert ran.out == expected.stdout


@pytest.mark.parametrize("line", CHANGES)
def test_the_same_change(bench: Bench, theirs: Path, line: str) -> None:
    expected = run_theirs(line, theirs)
    command, *words = words_of(line)
    ran = bench.run(command, *words)
    assert ran.code == expected.returncode, expected.stderr
    assert configuration_of(bench.path.read_text()) == configuration_of(theirs.read_text())


def primitive(identity: str, agent: str = "Dummy", **meta: str) -> str:
    pairs = "".join(
        f'<nvpair id="{identity}-{name}" name="{name.replace("_", "-")}" value="{value}"/>'
        for name, value in meta.items()
    )
    own = f'<meta_attributes id="{identity}-m">{pairs}</meta_attributes>' if pairs else ""
    return f'<primitive id="{identity}" class="ocf" provider="pacemaker" type="{agent}">{own}</primitive>'


def clone(identity: str, inner: str, **meta: str) -> str:
    pairs = "".join(f'<nvpair id="{identity}-{n}" name="{n.replace("_", "-")}" value="{v}"/>' for n, v in meta.items())
    return f'<clone id="{identity}"><meta_attributes id="{identity}-m">{pairs}</meta_attributes>{inner}</clone>'


RESOURCES = (
    primitive("starting")
    + primitive("failed")
    + primitive("unmanaged", is_managed="false", target_role="Stopped")
    + clone("unique", primitive("u"), globally_unique="true")
    + clone("groups", f'<group id="cg">{primitive("cg1")}{primitive("cg2")}</group>', interleave="true")
)
PENDING = history("starting", "Dummy", "start").replace('rc-code="0" op-status="0"', 'rc-code="193" op-status="-1"')
FAILURE = (
    f'<lrm_rsc_op id="failed_last_failure_0" operation_key="failed_monitor_10000" operation="monitor" '
    f'crm-debug-origin="test" crm_feature_set="3.16.1" transition-key="{KEY.format(rc=0)}" '
    f'transition-magic="0:1;{KEY.format(rc=0)}" call-id="21" rc-code="1" op-status="0" interval="10000" '
    'last-rc-change="1700000100" exec-time="10" queue-time="2" exit-reason="it broke" op-digest="x"/></lrm_resource>'
)
HISTORIES = (
    history("orphan", "Dummy", "start")
    + PENDING.replace(f"0:0;{KEY.format(rc=0)}", f"-1:193;{KEY.format(rc=0)}")
    + history("failed", "Dummy", "start").replace("</lrm_resource>", FAILURE)
    + history("u:0", "Dummy", "start")
    + history("cg1", "Dummy", "start")
    + history("unmanaged", "Dummy", "start")
)
RICH = (
    CIB.replace("</resources>", RESOURCES + "</resources>")
    .replace("</lrm_resources>", HISTORIES + "</lrm_resources>", 1)
    .replace(
        "<constraints/>", '<constraints><rsc_location id="no" rsc="d1" node="n2" score="-INFINITY"/></constraints>'
    )
    .replace(
        '<node id="2" uname="n2"/>',
        '<node id="2" uname="n2"><instance_attributes id="nodes-2">'
        '<nvpair id="nodes-2-m" name="maintenance" value="true"/></instance_attributes></node><node id="3" uname="n3"/>',
    )
    .replace(
        '<nvpair id="status-1-t"',
        '<nvpair id="status-1-f" name="fail-count-failed#monitor_10000" value="2"/>'
        '<nvpair id="status-1-l" name="last-failure-failed#monitor_10000" value="1700000100"/><nvpair id="status-1-t"',
    )
)


def section(text: str, name: str) -> list[str]:
    """A section's lines, attributes sorted; the feature set is each cluster's own."""
    found = etree.fromstring(text.encode(), etree.XMLParser(remove_blank_text=True)).find(name)
    for element in found.iter() if found is not None else ():
        ordered = sorted((key, value) for key, value in element.attrib.items() if key != "feature_set")
        element.attrib.clear()
        element.attrib.update(ordered)
    return [] if found is None else etree.tostring(found, pretty_print=True, encoding="unicode").splitlines()


@pytest.mark.parametrize(
    "part", ["nodes", "resources", "node_attributes", "node_history", "failures", "bans", "status"]
)
def test_the_same_status_as_xml(bench: Bench, theirs: Path, part: str) -> None:
    for path in (bench.path, theirs):
        path.write_text(RICH)
    expected = run_theirs("crm_mon -1 --output-as=xml", theirs)
    assert expected.returncode == 0, expected.stderr
    assert section(bench.run("crm_mon", "-1", "--output-as=xml").out, part) == section(expected.stdout, part)


MONITORS = [
    "-1",
    "-1r",
    "-1rR",
    "-1n",
    "-1nr",
    "-1nR",
    "-1b",
    "-1br",
    "-1nb",
    "-1D",
    "-1Q",
    "-1f",
    "-1rfALc",
    "-1o",
    "-1t",
    "-1R",
    "-1 -I none,attributes",
    "-1 -I none -I failures",
    "-1 -U resources,nodes",
    "-1 -U all -I bans",
    "-1 -I bans:other",
    "-1 -L other",
    "-1 --include=none,counts,maint-mode",
    "-1r --node=n2",
    "-1 --node=nope",
    "-1r --resource=g",
    "-1r --resource=d1 -f",
    "-1r --resource=nope",
    "-1 --output-as=text",
    "-1 --output-as=console",
]


@pytest.mark.parametrize("options", MONITORS)
def test_the_same_status_as_text(bench: Bench, theirs: Path, options: str) -> None:
    for path in (bench.path, theirs):
        path.write_text(RICH)
    expected = run_theirs(f"crm_mon {options}", theirs)
    ran = bench.run("crm_mon", *options.split())
    assert (ran.code, lasting(ran.out)) == (expected.returncode, lasting(expected.stdout))


def lasting(text: str) -> list[str]:
    """The lines without the moment at which they were printed, in Pacemaker 3's words; the last ones may be empty."""
    newer = text.rstrip().replace("Unpromoted n2 (unmanaged)", "Unpromoted n2 (maintenance)")
    newer = newer.replace("Unpromoted (unmanaged)", "Unpromoted (maintenance)")
    return [line for line in newer.splitlines() if "Last updated" not in line]
