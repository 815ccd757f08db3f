"""What was ordered by a DC that is gone and is still under way: the next one decides on it as on what it is, not as on something foreign."""

from __future__ import annotations

from lxml import etree

from crm.cib import xml
from crm.controller import status
from crm.controller.graph import parse
from crm.policy.schedule import schedule

NOW = 1_700_000_000
CIB = """<cib crm_feature_set="3.20.5" validate-with="pacemaker-4.0" epoch="5" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1">
<configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
<resources><primitive id="web" class="ocf" provider="vigil" type="Dummy"><instance_attributes id="p"><nvpair id="p1" name="state" value="here"/>
</instance_attributes><operations><op id="m" name="monitor" interval="10s"/></operations></primitive></resources><constraints/></configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/></status></cib>"""
UUID = "00000000-0000-4000-8000-000000000001"


def _decided(document: etree._Element) -> dict[str, str]:
    """The actions on resources that are decided, by key, with the node."""
    graph = etree.fromstring(schedule(document, NOW, masked=False).to_xml())
    return {str(each.get("operation_key")): str(each.get("on_node")) for each in graph.iter("rsc_op")}


def _probed(document: etree._Element) -> None:
    for number in (1, 2):
        state = document.find(f".//node_state[@id='{number}']")
        assert state is not None
        key = f"1:1:7:{UUID}"
        state.append(
            etree.fromstring(
                f'<lrm id="{number}"><lrm_resources><lrm_resource id="web" class="ocf" provider="vigil" type="Dummy"><lrm_rsc_op id="web_last_0" '
                f'operation_key="web_monitor_0" operation="monitor" transition-key="{key}" transition-magic="0:7;{key}" on_node="n{number}" '
                f'call-id="1" rc-code="7" op-status="0" interval="0" last-rc-change="{NOW}"/></lrm_resource></lrm_resources></lrm>'
            )
        )


def test_a_start_under_way_is_not_taken_for_one_with_other_parameters() -> None:
    document = xml.parse(CIB)
    _probed(document)
    ordered = parse(schedule(document, NOW, masked=False).to_xml())
    start = next(each.action for each in ordered.synapses if each.action.task == "start")
    pending = status.pending(start, f"{start.id}:1:0:{UUID}")
    assert pending is not None
    status.apply(document, [pending])
    assert set(_decided(document)) <= {"web_start_0", "web_monitor_10000"}, "no stop"

    changed = xml.parse(xml.to_bytes(document))
    value = changed.find(".//nvpair[@id='p1']")
    assert value is not None
    value.set("value", "elsewhere")
    assert "web_stop_0" in _decided(changed), "a real change is seen all the same"
