"""A CIB of two nodes that Pacemaker's own commands accept too, and a way to run ours on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from lxml import etree

KEY = "1:1:{rc}:aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


def entry(resource: str, task: str, rc: int = 0, call: int = 5) -> str:
    key = KEY.format(rc=rc)
    return (
        f'<lrm_rsc_op id="{resource}_last_0" operation_key="{resource}_{task}_0" operation="{task}" '
        f'crm-debug-origin="test" crm_feature_set="3.16.1" transition-key="{key}" transition-magic="0:{rc};{key}" '
        f'call-id="{call}" rc-code="{rc}" op-status="0" interval="0" last-rc-change="1700000000" exec-time="10" '
        'queue-time="0" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"/>'
    )


def history(resource: str, agent: str, task: str, rc: int = 0) -> str:
    return (
        f'<lrm_resource id="{resource}" class="ocf" provider="pacemaker" type="{agent}">'
        f"{entry(resource, task, rc)}</lrm_resource>"
    )


def node_state(number: int, attributes: str, *histories: str) -> str:
    return (
        f'<node_state id="{number}" uname="n{number}" in_ccm="true" crmd="online" join="member" expected="member">'
        f'{attributes}<lrm id="{number}"><lrm_resources>{"".join(histories)}</lrm_resources></lrm></node_state>'
    )


TRANSIENT = """<transient_attributes id="1"><instance_attributes id="status-1">
<nvpair id="status-1-t" name="t" value="5"/></instance_attributes></transient_attributes>"""
CIB = f"""\
<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="5" num_updates="3" admin_epoch="0" have-quorum="1" dc-uuid="1">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="false"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
      <node id="1" uname="n1">
        <instance_attributes id="nodes-1">
          <nvpair id="nodes-1-loc" name="loc" value="office"/>
          <nvpair id="nodes-1-standby" name="standby" value="off"/>
        </instance_attributes>
      </node>
      <node id="2" uname="n2"/>
    </nodes>
    <resources>
      <primitive id="d1" class="ocf" provider="pacemaker" type="Dummy">
        <instance_attributes id="d1-instance_attributes">
          <nvpair id="d1-instance_attributes-fake" name="fake" value="x"/>
        </instance_attributes>
        <meta_attributes id="d1-meta_attributes">
          <nvpair id="d1-meta_attributes-target-role" name="target-role" value="Started"/>
        </meta_attributes>
        <operations><op id="d1-monitor" name="monitor" interval="10s"/></operations>
      </primitive>
      <group id="g">
        <primitive id="g1" class="ocf" provider="pacemaker" type="Dummy"/>
        <primitive id="g2" class="ocf" provider="pacemaker" type="Dummy"/>
      </group>
      <clone id="c">
        <meta_attributes id="c-meta_attributes">
          <nvpair id="c-meta_attributes-promotable" name="promotable" value="true"/>
        </meta_attributes>
        <primitive id="st" class="ocf" provider="pacemaker" type="Stateful"/>
      </clone>
    </resources>
    <constraints/>
    <rsc_defaults>
      <meta_attributes id="rsc_defaults-options">
        <nvpair id="rsc_defaults-options-resource-stickiness" name="resource-stickiness" value="1"/>
      </meta_attributes>
    </rsc_defaults>
  </configuration>
  <status>
    {node_state(1, TRANSIENT, history("d1", "Dummy", "start"), history("st", "Stateful", "promote"))}
    {node_state(2, "", history("d1", "Dummy", "monitor", 7), history("st", "Stateful", "start"))}
  </status>
</cib>
"""


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(slots=True)
class Bench:
    """A CIB in a file, and the commands that work on it."""

    path: Path
    capture: pytest.CaptureFixture[str]

    def run(self, command: str, *words: str) -> Ran:
        self.capture.readouterr()
        code = import_module(f"crm.tools.{command}").main(list(words))
        said = self.capture.readouterr()
        return Ran(code, said.out, said.err)

    def document(self) -> etree._Element:
        return etree.parse(self.path).getroot()

    def find(self, xpath: str) -> list[dict[str, str]]:
        """The attributes of what an XPath selects."""
        found = self.document().xpath(xpath)
        assert isinstance(found, list)
        return [
            {str(name): str(value) for name, value in each.attrib.items()}
            for each in found
            if isinstance(each, etree._Element)
        ]

    def values(self, name: str) -> list[str]:
        return [pair["value"] for pair in self.find(f"//nvpair[@name='{name}']")]


def write(path: Path) -> Path:
    path.write_text(CIB, encoding="utf-8")
    return path


@pytest.fixture
def on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Commands that work on a file; what an agent's environment would say is not set."""
    path = write(tmp_path / "cib.xml")
    monkeypatch.setenv("CIB_file", str(path))
    for name in ("OCF_RESOURCE_INSTANCE", "OCF_RESKEY_CRM_meta_on_node"):
        monkeypatch.delenv(name, raising=False)
    return Bench(path, capsys)


def configuration_of(text: str) -> Sequence[str]:
    """The configuration's lines, in a form in which order of attributes and white space say nothing."""
    parser = etree.XMLParser(remove_blank_text=True)
    root = etree.fromstring(text.encode(), parser)
    part = root.find("configuration")
    assert part is not None
    for element in part.iter():
        ordered = sorted(element.attrib.items())
        element.attrib.clear()
        element.attrib.update(ordered)
    return etree.tostring(part, pretty_print=True, encoding="unicode").splitlines()
