"""The defaults that the reference page tells are those that the code has: to write one down changes no decision."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from lxml import etree

from crm.cib import options
from crm.cib.options import Option
from crm.controller import properties
from crm.policy.schedule import schedule

NOW = 1_795_275_700
PROPERTIES = (
    properties.dc_deadtime_ms,
    properties.recheck_interval_ms,
    properties.shutdown_escalation_ms,
    properties.crm_restart_grace_ms,
    properties.watchdog_timeout_ms,
    properties.fencing_enabled,
    properties.start_failure_is_fatal,
    properties.node_action_limit,
    properties.load_threshold_percent,
    properties.fencing_max_attempts,
    *(lambda document, name=name: properties.input_series_max(document, name) for name in ("error", "warn", "input")),
)
NOT_AS_WRITTEN = {"interval"}
"""An operation without an interval is another operation, not the same one with a default."""

NODE = """<node_state id="{0}" uname="n{0}" in_ccm="true" crmd="online" join="member" expected="member">
<transient_attributes id="{0}"><instance_attributes id="t{0}"><nvpair id="t{0}-f" name="fail-count-failed#monitor_5000" value="1"/>
<nvpair id="t{0}-l" name="last-failure-failed#monitor_5000" value="1795275000"/></instance_attributes></transient_attributes>
<lrm id="{0}"><lrm_resources>{1}</lrm_resources></lrm></node_state>"""
RAN = """<lrm_resource id="{0}" class="ocf" provider="vigil" type="Dummy"><lrm_rsc_op id="{0}_last_0" operation_key="{0}_start_0"
operation="start" transition-key="1:1:0:u" transition-magic="0:0;1:1:0:u" call-id="1" rc-code="0" op-status="0" interval="0"/>
<lrm_rsc_op id="{0}_last_failure_0" operation_key="{0}_monitor_5000" operation="monitor" transition-key="2:1:0:u"
transition-magic="0:7;2:1:0:u" call-id="2" rc-code="7" op-status="0" interval="5000" last-rc-change="1795275000"/></lrm_resource>"""


def primitive(name: str, extra: str = "", operation: str = "") -> str:
    return (
        f'<primitive id="{name}" class="ocf" provider="vigil" type="Dummy">{extra}<operations>'
        f'<op id="{name}-m" name="monitor" interval="5s" {operation}/></operations></primitive>'
    )


def meta(owner: str, pair: tuple[str, str] | None) -> str:
    if pair is None:
        return ""
    return f'<meta_attributes id="{owner}-x"><nvpair id="{owner}-x1" name="{pair[0]}" value="{pair[1]}"/></meta_attributes>'


def cib(
    *,
    prop: tuple[str, str] | None = None,
    resource: tuple[str, str] | None = None,
    clone: tuple[str, str] | None = None,
    group: tuple[str, str] | None = None,
    operation: tuple[str, str] | None = None,
) -> etree._Element:
    """Two nodes; a primitive that runs, one that failed on both, a group, a clone with a colocation and an order; fencing."""
    written = "" if prop is None else f'<nvpair id="p1" name="{prop[0]}" value="{prop[1]}"/>'
    op = "" if operation is None else f'{operation[0]}="{operation[1]}"'
    resources = (
        '<primitive id="power" class="stonith" type="fence_vigil_lab"/>'
        + primitive("web", meta("web", resource), op)
        + primitive("failed", meta("failed", resource), op)
        + f'<group id="site">{meta("site", group)}{primitive("ip")}{primitive("db")}</group>'
        + f'<clone id="all">{meta("all", clone)}{primitive("each")}</clone>'
    )
    constraints = (
        '<rsc_colocation id="c" rsc="web" with-rsc="site" score="100"/><rsc_order id="o" first="all" then="web"/>'
        '<rsc_location id="l" rsc="web" node="n2" score="10"/>'
    )
    status = NODE.format(1, RAN.format("web") + RAN.format("failed")) + NODE.format(2, RAN.format("failed"))
    return etree.fromstring(
        f'<cib have-quorum="1" dc-uuid="1" validate-with="pacemaker-3.9"><configuration><crm_config><cluster_property_set id="o1">{written}'
        f'</cluster_property_set></crm_config><nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources>{resources}'
        f"</resources><constraints>{constraints}</constraints></configuration><status>{status}</status></cib>"
    )


def decided(document: etree._Element) -> str:
    """The graph, but for what is only handed on to agents."""
    transition = schedule(document, NOW)
    assert {item.code for item in transition.problems} <= {"dropped"}, "but for options that have no effect any more"
    return re.sub(r' CRM_meta_\w+="[^"]*"| config-version="[^"]*"', "", transition.to_xml())


def with_default(table: dict[str, Option]) -> Iterator[Option]:
    for option in table.values():
        if option.default and option.type.accepts(option.default) and option.name not in NOT_AS_WRITTEN:
            yield option


CASES = [
    (kind, option.name, option.default)
    for kind, table in (
        ("prop", options.CLUSTER_PROPERTIES),
        ("resource", options.RESOURCE_META),
        ("clone", options.CLONE_META),
        ("group", options.GROUP_META),
        ("operation", options.OPERATION_META),
    )
    for option in with_default(table)
]


@pytest.fixture(scope="module")
def plain() -> str:
    return decided(cib())


@pytest.mark.parametrize(("kind", "name", "default"), CASES, ids=lambda value: str(value))
def test_to_write_down_the_default_changes_no_decision(kind: str, name: str, default: str, plain: str) -> None:
    document = cib(**{kind: (name, default)})
    assert decided(document) == plain
    if kind == "prop":
        found: list[Callable[[etree._Element], object]] = list(PROPERTIES)
        assert [read(document) for read in found] == [read(cib()) for read in found]


@pytest.mark.parametrize(
    ("kind", "name", "other"),
    [
        ("prop", "stop-all-resources", "true"),
        ("prop", "symmetric-cluster", "false"),
        ("resource", "target-role", "Stopped"),
        ("resource", "migration-threshold", "1"),
        ("clone", "clone-max", "1"),
        ("operation", "on-fail", "ignore"),
        ("operation", "enabled", "false"),
    ],
)
def test_this_cluster_would_show_another_value(kind: str, name: str, other: str, plain: str) -> None:
    assert decided(cib(**{kind: (name, other)})) != plain
