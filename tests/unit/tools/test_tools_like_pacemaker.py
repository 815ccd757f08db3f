"""Ours and Pacemaker's own commands, side by side on the same file: the same exit code, the same configuration afterwards, the same answer.

Where ours deliberately differ (messages for people, a value added to the set that is there instead of to a new one) a command is not in this list.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tools_cib import Bench, configuration_of, on_a_file, write

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
    "cibadmin -Q -o nodes",
    "cibadmin -Q -A //nvpair[@name='loc']",
    "cibadmin -Q -A //nope",
    "cibadmin -Q -A //nvpair[@name='loc'] -e",
    "cibadmin -Q -o nodes -n",
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
    environment = {"PATH": os.environ["PATH"], "CIB_file": str(path), "LC_ALL": "C"}
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
