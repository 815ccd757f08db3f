"""Old syntax becomes what it meant, in current syntax; what has no meaning any more is dropped with a warning."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.cib import schema, xml
from crm.cib.operations import Applied, Kind, Operation, Refusal, apply
from crm.cib.report import Severity
from crm.cib.verify import check_changes, verify


def _document(since: str, **sections: str) -> etree._Element:
    fixed = {"crm_config": "", "nodes": "", "resources": "", "constraints": ""} | sections
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in fixed.items())
    return xml.parse(
        f'<cib validate-with="{since}" admin_epoch="0" epoch="1" num_updates="0">'
        f"<configuration>{inner}</configuration><status/></cib>"
    )


def _upgraded(since: str, **sections: str) -> etree._Element:
    """The upgraded configuration; it verifies without an error or old syntax."""
    document = _document(since, **sections)
    before = xml.to_bytes(document)
    upgraded = schema.upgrade(document)
    assert xml.to_bytes(document) == before
    configuration = document.find("configuration")
    assert configuration is not None
    document.replace(configuration, upgraded.configuration)
    document.set("validate-with", upgraded.schema)
    assert [item for item in verify(document) if item.severity is not Severity.WARNING] == []
    again = schema.upgrade(document)
    assert xml.to_bytes(again.configuration) == xml.to_bytes(upgraded.configuration)
    assert again.notes == ()
    return upgraded.configuration


def _text(root: etree._Element, path: str) -> list[str]:
    found = root.xpath(path)
    assert isinstance(found, list)
    return [xml.to_text(element, pretty=False) for element in found if isinstance(element, etree._Element)]


def _names(root: etree._Element, section: str) -> dict[str, str]:
    return {p.get("name", ""): p.get("value", "") for p in root.iterfind(f"{section}//nvpair")}


PRIMITIVE = '<primitive id="p" class="ocf" provider="heartbeat" type="Dummy"/>'


def test_a_current_document_stays_as_it_is() -> None:
    configuration = _upgraded("pacemaker-4.0", resources=PRIMITIVE)
    assert _text(configuration, "resources") == [f"<resources>{PRIMITIVE}</resources>"]


def test_a_master_becomes_a_promotable_clone_whatever_its_own_attributes_say() -> None:
    old = f'<master id="m"><meta_attributes id="mm"><nvpair id="x" name="master-max" value="2"/></meta_attributes>{PRIMITIVE}</master>'
    configuration = _upgraded("pacemaker-2.10", resources=old)
    assert _text(configuration, "resources/*") == [
        '<clone id="m"><meta_attributes id="m-promotable" score="INFINITY"><nvpair id="m-promotable-promotable" '
        'name="promotable" value="true"/></meta_attributes><meta_attributes id="mm"><nvpair id="x" name="promoted-max" '
        f'value="2"/></meta_attributes>{PRIMITIVE}</clone>'
    ]


def test_roles_get_their_current_names() -> None:
    constraints = '<rsc_colocation id="c" rsc="p" with-rsc="p" rsc-role="Master" with-rsc-role="slave"/>'
    resource = PRIMITIVE.replace(
        "/>", '><operations><op id="o" name="monitor" interval="1" role="Master"/></operations></primitive>'
    )
    configuration = _upgraded("pacemaker-3.6", resources=resource, constraints=constraints)
    assert _text(configuration, "constraints/*") == [
        '<rsc_colocation id="c" rsc="p" with-rsc="p" rsc-role="Promoted" with-rsc-role="Unpromoted"/>'
    ]
    assert _text(configuration, "//op") == ['<op id="o" name="monitor" interval="1" role="Promoted"/>']


def test_cluster_properties_of_the_first_schemas_move_to_where_they_belong() -> None:
    pairs = {
        "no_quorum_policy": "ignore",
        "default-resource-stickiness": "100",
        "is_managed_default": "false",
        "default-action-timeout": "30s",
        "default_resource_failure_stickiness": "-INFINITY",
        "transition-idle-timeout": "90s",
        "expected-quorum-votes": "2",
        "crmd-transition-delay": "2s",
        "stonith-action": "poweroff",
    }
    text = "".join(f'<nvpair id="o{i}" name="{n}" value="{v}"/>' for i, (n, v) in enumerate(pairs.items()))
    configuration = _upgraded("pacemaker-1.2", crm_config=f'<cluster_property_set id="s">{text}</cluster_property_set>')
    assert _names(configuration, "crm_config") == {
        "no-quorum-policy": "ignore", "cluster-delay": "90s", "transition-delay": "2s", "stonith-action": "off",
    }  # fmt: skip
    assert _names(configuration, "rsc_defaults") == {
        "resource-stickiness": "100", "is-managed": "false", "migration-threshold": "1",
    }  # fmt: skip
    assert _names(configuration, "op_defaults") == {"timeout": "30s"}


def test_options_of_operations_find_their_place() -> None:
    resource = PRIMITIVE.replace(
        "/>",
        '><operations><op id="s" name="start" interval="0" requires="quorum"/><op id="m" name="monitor" interval="5">'
        '<instance_attributes id="i"><nvpair id="i1" name="timeout" value="3"/><nvpair id="i2" name="own" value="4"/>'
        "</instance_attributes></op></operations></primitive>",
    )
    configuration = _upgraded("pacemaker-2.3", resources=resource)
    assert _names(configuration, "resources/primitive/meta_attributes") == {"requires": "quorum"}
    assert _text(configuration, "//op[@id='m']/*") == [
        '<instance_attributes id="i"><nvpair id="i2" name="own" value="4"/></instance_attributes>',
        '<meta_attributes id="m-meta_attributes"><nvpair id="i1" name="timeout" value="3"/></meta_attributes>',
    ]


def test_fencing_parameters_are_renamed() -> None:
    old = (
        '<primitive id="f" class="stonith" type="x"><instance_attributes id="i">'
        '<nvpair id="n" name="pcmk_reboot_cmd" value="off"/></instance_attributes></primitive>'
    )
    assert _names(_upgraded("pacemaker-2.0", resources=old), "resources") == {"pcmk_reboot_action": "off"}


def test_access_lists_of_the_first_schemas() -> None:
    old = (
        '<acl_role id="r"><write id="w" xpath="//nodes" attribute="x"/><read id="d" ref="p"/></acl_role>'
        '<acl_user id="tony"><role_ref id="r"/><deny id="n" tag="nvpair"/></acl_user>'
    )
    configuration = _upgraded("pacemaker-1.2", acls=old, resources=PRIMITIVE)
    assert _text(configuration, "acls/*") == [
        '<acl_role id="r"><acl_permission id="w" kind="write" xpath="//nodes" attribute="x"/>'
        '<acl_permission id="d" kind="read" reference="p"/></acl_role>',
        '<acl_role id="tony-permissions"><acl_permission id="n" kind="deny" object-type="nvpair"/></acl_role>',
        '<acl_target id="tony"><role id="r"/><role id="tony-permissions"/></acl_target>',
    ]


def test_a_ping_node_becomes_a_ban() -> None:
    configuration = _upgraded("pacemaker-3.0", nodes='<node id="9" uname="gw" type="ping"/>')
    assert _text(configuration, "nodes/*") == ['<node id="9" uname="gw" type="member"/>']
    assert _text(configuration, "constraints/*") == [
        '<rsc_location id="ping-ban-gw" rsc-pattern=".*" node="gw" score="-INFINITY" resource-discovery="never"/>'
    ]


def test_several_rules_become_several_constraints() -> None:
    rules = "".join(
        f'<rule id="r{n}" score="{n}"><expression id="e{n}" attribute="a" operation="defined"/></rule>' for n in (1, 2)
    )
    configuration = _upgraded(
        "pacemaker-3.9", resources=PRIMITIVE, constraints=f'<rsc_location id="l" rsc="p">{rules}</rsc_location>'
    )
    assert [(c.get("id"), c.get("rsc"), len(c)) for c in configuration.iterfind("constraints/*")] == [
        ("l", "p", 1),
        ("l-r2", "p", 1),
    ]


def test_a_lifetime_becomes_a_condition_of_the_rule() -> None:
    until = '<lifetime><rule id="t"><date_expression id="d" operation="lt" end="2030-01-01"/></rule></lifetime>'
    constraints = f'<rsc_location id="l" rsc="p" node="n1" score="-INFINITY">{until}</rsc_location>'
    configuration = _upgraded("pacemaker-3.0", resources=PRIMITIVE, constraints=constraints)
    assert _text(configuration, "constraints/*") == [
        '<rsc_location id="l" rsc="p"><rule id="l-rule-lifetime" boolean-op="and" score="-INFINITY"><rule id="l-rule">'
        '<expression id="l-rule-expression" attribute="#uname" operation="eq" value="n1"/></rule>'
        '<rule id="t"><date_expression id="d" operation="lt" end="2030-01-01"/></rule></rule></rsc_location>'
    ]


def test_unsupported_agents_go_and_what_concerned_them_too() -> None:
    old = '<group id="g"><primitive id="n" class="nagios" type="x"/></group>' + PRIMITIVE
    constraints = (
        '<rsc_location id="l" rsc="g" node="n1" score="1"/>'
        '<rsc_order id="o"><resource_set id="s"><resource_ref id="n"/></resource_set></rsc_order>'
        '<rsc_location id="stays" rsc="p" node="n1" score="1"/>'
    )
    document = _document("pacemaker-3.9", resources=old, constraints=constraints)
    dropped = [n.element for n in schema.upgrade(document).notes if n.severity is Severity.WARNING]
    assert dropped == ["primitive n", "group g", "resource_set s", "rsc_location l", "rsc_order o"]
    configuration = _upgraded("pacemaker-3.9", resources=old, constraints=constraints)
    assert [c.get("id") for c in configuration.iterfind("constraints/*")] == ["stays"]


def test_pairs_that_never_counted_go() -> None:
    resource = PRIMITIVE.replace(
        "/>",
        '><instance_attributes id="i"><nvpair id="1a" name="a" value="1"/><nvpair id="2a" name="a" value="2"/>'
        '<nvpair id="b" name="b"/><nvpair id-ref="x" name="c"/></instance_attributes><meta_attributes id="m">'
        '<nvpair id="x" name="y" value="v"/></meta_attributes></primitive>',
    ).replace('id="1a"', 'id="a1"').replace('id="2a"', 'id="a2"')  # fmt: skip
    assert _names(_upgraded("pacemaker-3.0", resources=resource), "resources/primitive/instance_attributes") == {
        "a": "1",
        "c": "v",
    }


@pytest.mark.parametrize(("text", "since"), [("none", (1, 0)), ("pacemaker-1.2", (1, 2)), ("pacemaker-3.10", (3, 10))])
def test_the_declared_schema(text: str, since: tuple[int, int]) -> None:
    assert schema.declared(_document(text)) == since


@pytest.mark.parametrize("text", ["pacemaker-9.9", "whatever"])
def test_an_unknown_schema_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"newer than pacemaker-4\.0|expected a schema"):
        schema.upgrade(_document(text))


def test_the_upgrade_operation_changes_configuration_and_schema_as_one_change() -> None:
    document = _document("pacemaker-2.10", resources=f'<master id="m">{PRIMITIVE}</master>')
    result = apply(document, Operation(Kind.UPGRADE), check=check_changes)
    assert isinstance(result, Applied)
    assert (str(result.version), document.get("validate-with")) == ("0.2.0", "pacemaker-4.0")
    assert [note.code for note in result.warnings] == ["upgraded"]
    again = apply(document, Operation(Kind.UPGRADE), check=check_changes)
    assert isinstance(again, Applied)
    assert (again.version, again.sections) == (result.version, frozenset())


def test_an_upgrade_that_would_not_verify_is_refused_and_changes_nothing() -> None:
    document = _document("pacemaker-2.10", resources='<master id="m"><primitive id="p" class="x" type="y"/></master>')
    before = xml.to_bytes(document)
    result = apply(document, Operation(Kind.UPGRADE), check=check_changes)
    assert isinstance(result, Refusal)
    assert xml.to_bytes(document) == before
