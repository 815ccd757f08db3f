"""Failed operations, as displays list them."""

from __future__ import annotations

from crm.cib import xml
from crm.policy.state import unpack


def entry(identity: str, operation: str, rc: int, interval: int = 0) -> str:
    magic = f'transition-key="1:1:0:u" transition-magic="0:{rc};1:1:0:u"'
    return (
        f'<lrm_rsc_op id="{identity}" operation="{operation}" operation_key="web_{operation}_{interval}" interval="{interval}" '
        f'call-id="4" rc-code="{rc}" op-status="0" last-rc-change="100" on_node="n1" {magic}/>'
    )


def test_what_failed_once_is_listed_once_although_history_has_it_twice() -> None:
    entries = entry("web_last_0", "start", 1) + entry("web_last_failure_0", "start", 1)
    document = xml.parse(
        f"""<cib validate-with="pacemaker-3.9" have-quorum="1"><configuration><crm_config/><nodes><node id="1" uname="n1"/></nodes>
        <resources><primitive id="web" class="ocf" provider="vigil" type="Dummy"/></resources><constraints/></configuration>
        <status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources>
        <lrm_resource id="web" class="ocf" provider="vigil" type="Dummy">{entries}</lrm_resource></lrm_resources></lrm></node_state></status></cib>"""
    )
    assert [(each.resource.id, each.entry.operation) for each in unpack(document, 200).failed_ops] == [("web", "start")]
