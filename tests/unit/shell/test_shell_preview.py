"""What the cluster would do, shown instead of done: on a CIB in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm.cib import xml
from crm.shell import tree, versions
from crm.shell.session import LiveSession, ShellError
from crm.shell.shell import Shell

CIB = """<cib validate-with="pacemaker-3.9" epoch="5" num_updates="0" admin_epoch="0" have-quorum="1" execution-date="1700000000"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources>
<primitive id="web" class="ocf" provider="vigil" type="Dummy"><operations><op id="m" name="monitor" interval="10s"/></operations></primitive>
</resources><constraints/></configuration><status>
<node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources>
<lrm_resource id="web" type="Dummy" class="ocf" provider="vigil"><lrm_rsc_op id="web_last_0" operation_key="web_start_0" operation="start"
 transition-key="1:1:0:a" transition-magic="0:0;1:1:0:a" call-id="5" rc-code="0" op-status="0" interval="0" on_node="n1"/></lrm_resource>
</lrm_resources></lrm></node_state>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="2"><lrm_resources>
<lrm_resource id="web" type="Dummy" class="ocf" provider="vigil"><lrm_rsc_op id="web_last_0" operation_key="web_monitor_0" operation="monitor"
 transition-key="1:1:7:a" transition-magic="0:7;1:1:7:a" call-id="5" rc-code="7" op-status="0" interval="0" on_node="n2"/></lrm_resource>
</lrm_resources></lrm><transient_attributes id="2"><instance_attributes id="status-2"><nvpair id="x" name="standby" value="on"/>
</instance_attributes></transient_attributes></node_state></status></cib>"""


@pytest.fixture
def cib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cib.xml"
    path.write_text(CIB)
    monkeypatch.setenv("CIB_file", str(path))
    monkeypatch.setenv("CRM_SHADOW_DIR", str(tmp_path / "shadows"))
    monkeypatch.delenv("CIB_shadow", raising=False)
    return path


def crm(words: str) -> int:
    return tree.run(words.split(), Shell())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--preview resource stop web", "* Stop web ( n1 ) due to node availability"),
        ("--preview node standby n1", "* Stop web ( n1 )"),
        ("--preview configure property maintenance-mode=true", "The cluster would do nothing."),
        (
            "--preview configure primitive db ocf:vigil:Dummy",
            "* Start db ( n1 ) also begin 1 recurring monitor, run 2 probes",
        ),
    ],
)
def test_a_change_is_shown_and_not_made(
    cib: Path, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    before = cib.read_text()
    assert crm(words) == 0
    assert expected in " ".join(capsys.readouterr().out.split())
    assert cib.read_text() == before


def test_ending_a_standby_is_shown_wherever_it_was_set(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure location l web inf: n2") == 0
    capsys.readouterr()
    assert crm("--preview node online n2") == 0
    assert "* Move       web     ( n1 -> n2 )" in capsys.readouterr().out


def test_maintenance_goes_on_and_off_for_everything_a_resource_or_a_node(
    cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ("", " web", " n1"):
        assert crm(f"maintenance on{what}") == 0
        assert crm("resource stop web") == 0
        capsys.readouterr()
        assert crm(f"maintenance off{what} --preview") == 0
        assert "* Stop       web" in capsys.readouterr().out
        assert crm(f"maintenance off{what}") == 0
        assert "* Stop       web" in capsys.readouterr().out
        assert crm("resource start web") == 0
        capsys.readouterr()
        assert crm(f"maintenance off{what}") == 1
        assert "is not in maintenance" in capsys.readouterr().err
    assert crm("maintenance on nothing") == 1
    assert "no resource or node" in capsys.readouterr().err


def test_a_preview_never_reaches_a_cluster_with_a_change(tmp_path: Path) -> None:
    session = LiveSession(str(tmp_path))
    session.read_only = True
    for method in ("node.fence", "cib.apply", "attribute.update", "shutdown"):
        with pytest.raises(ShellError, match="nothing was done"):
            session.call(method)
        with pytest.raises(ShellError, match="nothing was done"):
            session.call_patiently(method)


def test_what_changed_between_two_versions_is_named(cib: Path) -> None:
    old, new = xml.parse(CIB), xml.parse(CIB.replace('value="false"', 'value="true"').replace("n2", "nx"))
    resources = new.find("configuration/resources")
    assert resources is not None
    resources.append(xml.parse_fragment('<primitive id="db" class="ocf" provider="vigil" type="Dummy"/>'))
    resources.remove(resources[0])
    assert versions.changed_objects(old, new) == ["+nx", "+db", "o", "-n2", "-web"]
    assert "+primitive db ocf:vigil:Dummy" in versions.difference(old, new, ("1", "2"))
    assert versions.difference(old, old, ("1", "1")) == []


def test_a_shadow_is_made_of_a_file_too(
    cib: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crm("cib new trial") == 0
    monkeypatch.setenv("CIB_shadow", "trial")
    assert crm("configure primitive db ocf:vigil:Dummy") == 0
    capsys.readouterr()
    assert crm("configure show") == 0
    assert "primitive db" in capsys.readouterr().out
    assert "primitive db" not in cib.read_text()
    monkeypatch.setenv("CIB_shadow", "missing")
    assert crm("configure show") == 1
    assert "there is no shadow 'missing'" in capsys.readouterr().err
    monkeypatch.setenv("CIB_shadow", "../etc")
    assert crm("configure show") == 1
