"""What is wrong with a configuration is said all at once, with the place and what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.cib import xml
from crm.cib.editor import IdIndex
from crm.cib.operations import Applied, Kind, Operation, Refusal, apply
from crm.cib.report import ReportItem, Severity
from crm.cib.verify import check_changes, verify

GOOD = """
<cib validate-with="pacemaker-3.9" epoch="5" num_updates="3" admin_epoch="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="o1" name="stonith-enabled" value="false"/>
        <nvpair id="o2" name="no-quorum-policy" value="freeze"/>
      </cluster_property_set>
    </crm_config>
    <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
    <resources>
      <primitive id="a" class="ocf" provider="heartbeat" type="Dummy">
        <meta_attributes id="a-meta"><nvpair id="a-meta-x" name="target-role" value="Started"/></meta_attributes>
        <operations><op id="a-m" name="monitor" interval="10s" timeout="20"/></operations>
      </primitive>
      <group id="g"><primitive id="b" class="lsb" type="x"/><primitive id="c" class="systemd" type="y"/></group>
      <clone id="cl"><primitive id="d" template="t"/></clone>
      <template id="t" class="ocf" provider="vigil" type="Stateful"/>
    </resources>
    <constraints>
      <rsc_location id="l1" rsc="a" node="n1" score="INFINITY"/>
      <rsc_location id="l2" rsc="g">
        <rule id="r" score="100"><expression id="e" attribute="#uname" operation="eq" value="n1"/></rule>
      </rsc_location>
      <rsc_colocation id="c1" rsc="a" with-rsc="g" score="-200"/>
      <rsc_order id="o" first="cl" then="a" kind="Optional"/>
      <rsc_order id="oo"><resource_set id="s"><resource_ref id="a"/><resource_ref id="b"/></resource_set></rsc_order>
    </constraints>
    <tags><tag id="tag"><obj_ref id="a"/><obj_ref id="l1"/></tag></tags>
    <rsc_defaults><meta_attributes id="rd"><nvpair id="rdx" name="resource-stickiness" value="1"/></meta_attributes></rsc_defaults>
  </configuration>
  <status/>
</cib>
"""


def _errors(document: etree._Element) -> list[ReportItem]:
    return [item for item in verify(document) if item.severity is Severity.ERROR]


def _with(old: str, new: str) -> list[ReportItem]:
    assert old in GOOD
    return verify(xml.parse(GOOD.replace(old, new, 1)))


def test_a_good_configuration_has_nothing_to_report() -> None:
    assert verify(xml.parse(GOOD)) == []
    assert verify(xml.empty("demo")) == []


@pytest.mark.parametrize(
    ("old", "new", "element", "attribute", "message"),
    [
        ('class="ocf" provider="heartbeat"', 'class="ofc" provider="heartbeat"', "primitive a", "class",
         "class: expected one of ocf, lsb, systemd, service, stonith, heartbeat, upstart, nagios, got 'ofc' (did you mean ocf?)"),
        ('class="ocf" provider="heartbeat"', 'class="ocf"', "primitive a", "provider", "an ocf agent needs a provider"),
        ('class="lsb"', 'class="lsb" provider="p"', "primitive b", "provider", "agents of class lsb have no provider"),
        ('class="lsb" type="x"', 'class="lsb"', "primitive b", "template", "expected template or type, none of them is given"),
        ('template="t"', 'template="tt"', "primitive d", "template", "there is no template 'tt'"),
        ('template="t"', 'template="a"', "primitive d", "template", "expected the id of a template, but a is a primitive"),
        ('rsc="a" node', 'rsc="zz" node', "rsc_location l1", "rsc", "rsc: there is no element 'zz'"),
        ('node="n1" score="INFINITY"', 'node="n1" score="infinity"', "rsc_location l1", "score",
         "score: expected a score: an integer, INFINITY or -INFINITY, got 'infinity'"),
        ('node="n1" score="INFINITY"', 'node="n1"', "rsc_location l1", "score", "a node needs a score"),
        ('node="n1" score="INFINITY"', "", "rsc_location l1", "node", "expected node or <rule>, none of them is given"),
        ('with-rsc="g"', "", "rsc_colocation c1", "with-rsc", "expected with-rsc or <resource_set>"),
        ('kind="Optional"', 'kind="Sometimes"', "rsc_order o", "kind", "expected one of Optional, Mandatory, Serialize"),
        ('kind="Optional"', 'kind="Optional" score="1"', "rsc_order o", "kind", "expected kind or score, both are given"),
        ('<resource_ref id="b"/>', '<resource_ref id="zz"/>', "resource_set s", "id", "there is no element 'zz'"),
        ('interval="10s"', 'interval="ten"', "op a-m", "interval", "expected a time such as 10, 30s"),
        ('interval="10s" ', "", "op a-m", "interval", "the attribute interval is missing"),
        ('name="monitor" ', 'nmae="monitor" ', "op a-m", "nmae", "(did you mean name?)"),
        ('value="freeze"', 'value="perhaps"', "nvpair o2", "value", "no-quorum-policy: expected one of stop, freeze"),
        ('name="stonith-enabled" value="false"', 'name="fencing-enabled" value="maybe"', "nvpair o1", "value",
         "fencing-enabled: expected true or false, got 'maybe'"),
        ('value="Started"', 'value="started!"', "nvpair a-meta-x", "value", "target-role: expected one of Started"),
        ('operation="eq"', 'operation="equals"', "expression e", "operation", "expected one of lt, gt, lte"),
        ('<obj_ref id="l1"/>', '<obj_ref id="zz"/>', "tag tag", "id", "there is no element 'zz'"),
        ('uname="n2"', 'uname="N1"', "node 2", "uname", "another node has the same uname"),
        ('<group id="g">', '<group id="1g">', "group 1g", "id", "expected an id: a letter or underscore"),
        ('epoch="5"', 'epoch="five"', "cib", "epoch", "expected a number that is not negative"),
        ('validate-with="pacemaker-3.9"', 'validate-with="pcmk"', "cib", "validate-with", "expected a schema such as"),
        ('<primitive id="b" class="lsb" type="x"/><primitive id="c" class="systemd" type="y"/>', "", "group g", "",
         "expected at least 1 <primitive>, there is none"),
        ('<primitive id="d" template="t"/>', "", "clone cl", "primitive", "expected <primitive> or <group>"),
        ("<tags>", '<tgas/><tags>', "tgas", "", "(did you mean tags?)"),
        ('<template id="t"', '<bundle id="bu"><docker image="x"/><podman image="x"/></bundle><template id="t"', "bundle bu",
         "docker", "<docker> and <podman> are given"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_what_was_expected(
    old: str, new: str, element: str, attribute: str, message: str
) -> None:
    found = [item for item in _with(old, new) if item.severity is Severity.ERROR and item.element == element]
    assert [item.attribute for item in found if message in item.message] == [attribute], _with(old, new)
    assert all(item.line > 0 and item.path.startswith("/cib") for item in found)


def test_all_mistakes_are_reported_at_once() -> None:
    text = GOOD.replace('class="lsb"', 'class="lsbb"').replace('rsc="a"', 'rsc="zz"').replace('"10s"', '"ten"')
    assert [item.code for item in _errors(xml.parse(text))] == [
        "wrong-value", "wrong-value", "missing-reference", "missing-reference",
    ]  # fmt: skip


def test_an_id_used_twice_is_reported_with_both_places() -> None:
    (item,) = _with('id="e"', 'id="a-m"')
    assert (item.code, item.element) == ("duplicate-id", "expression a-m")
    assert "/op[@id='a-m']" in item.message


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ('name="target-role" value="Started"', 'name="tagret-role" value="x"', "unknown-option", "did you mean target-role?"),
        ('value="1"', 'value="1.5"', "wrong-value", "it is read as 1"),
        ("</operations>", '<op id="m2" name="monitor" interval="10"/></operations>', "repeated-operation", "a-m"),
        ('<nvpair id="o2"', '<nvpair id="o3" name="stonith-enabled" value="true"/><nvpair id="o2"', "repeated-name",
         "only the first counts"),
    ],
)  # fmt: skip
def test_what_is_accepted_but_probably_not_meant_is_a_warning(old: str, new: str, code: str, message: str) -> None:
    (item,) = _with(old, new)
    assert (item.severity, item.code) == (Severity.WARNING, code)
    assert message in item.message


@pytest.mark.parametrize(
    "pair",
    [
        'name="fencing-enabled" value="on"',
        'name="stonith-timeout" value="2min"',
        'name="stop-orphan-resources" value="no"',
        'name="stop-removed-resources" value="no"',
        'name="fence-reaction" value="panic"',
        'name="no_quorum_policy" value="suicide"',
        'name="cluster-recheck-interval" value="PT15M"',
        'name="node-health-red" value="-INFINITY"',
        'name="my-own-option" value="anything"',
    ],
)
def test_both_spellings_of_renamed_options_and_own_options_are_accepted(pair: str) -> None:
    assert _with('name="stonith-enabled" value="false"', pair) == []


def test_old_syntax_is_accepted_and_noticed() -> None:
    old = '<master id="ms"><primitive id="mp" class="lsb" type="x"/></master><template id="t"'
    (item,) = _with('<template id="t"', old)
    assert (item.severity, item.code, item.element) == (Severity.NOTICE, "old-syntax", "master ms")


def test_a_document_that_is_something_else_is_reported_within_bounds() -> None:
    document = xml.parse("<cib>" + "<html/>" * 5000 + "</cib>")
    items = verify(document)
    assert len(items) == 1000
    assert items[0].message.startswith("the attribute admin_epoch is missing")


def test_one_fault_among_two_thousand_resources_is_found() -> None:
    document = xml.empty()
    resources = xml.ensure_section(document, "resources")
    for number in range(2000):
        name = f"r{number}"
        resources.append(
            xml.parse_fragment(
                f'<primitive id="{name}" class="ocf" provider="heartbeat" type="Dummy"><meta_attributes id="{name}-m">'
                f'<nvpair id="{name}-p" name="priority" value="1"/></meta_attributes><operations>'
                f'<op id="{name}-1" name="monitor" interval="10"/><op id="{name}-2" name="start" interval="0"/>'
                "</operations></primitive>"
            )
        )
    assert verify(document) == []
    resources[-1].set("class", "oCF")
    assert {item.element for item in verify(document)} == {"primitive r1999"}


# Changes


def _refused(operation: Operation) -> Refusal:
    document = xml.parse(GOOD)
    before = xml.to_bytes(document)
    result = apply(document, operation, check=check_changes)
    assert isinstance(result, Refusal), result
    assert xml.to_bytes(document) == before
    return result


def test_removing_what_others_refer_to_is_refused_and_all_of_them_are_named() -> None:
    refusal = _refused(Operation(Kind.DELETE, xml='<primitive id="a"/>'))
    assert {item.element for item in refusal.items} == {
        "rsc_location l1", "rsc_colocation c1", "rsc_order o", "resource_set s", "tag tag",
    }  # fmt: skip
    assert all("it refers to a, which does not exist any more" in item.message for item in refusal.items)


def test_removing_it_together_with_what_refers_to_it_is_accepted() -> None:
    document = xml.parse(GOOD)
    steps = (
        Operation(Kind.DELETE, xml='<primitive id="a"/>'),
        Operation(Kind.DELETE, xpath="//constraints/* | //tag", all_matches=True),
    )
    assert isinstance(apply(document, Operation(Kind.TRANSACTION, steps=steps), check=check_changes), Applied)


def test_a_group_may_not_lose_its_last_member() -> None:
    steps = tuple(Operation(Kind.DELETE, xml=f'<primitive id="{name}"/>') for name in ("b", "c"))
    refusal = _refused(Operation(Kind.TRANSACTION, steps=steps))
    assert "group g" in [item.element for item in refusal.items]


def test_a_mistake_elsewhere_does_not_stop_a_change_here() -> None:
    document = xml.parse(GOOD.replace('class="lsb"', 'class="lsbb"'))
    change = Operation(Kind.MODIFY, xml='<primitive id="a" description="d"/>')
    assert isinstance(apply(document, change, check=check_changes), Applied)
    touching = Operation(Kind.MODIFY, xml='<group id="g" description="d"/>')
    assert isinstance(apply(document, touching, check=check_changes), Refusal)


def test_an_object_in_the_wrong_section_is_refused() -> None:
    misplaced = Operation(Kind.REPLACE, xml='<primitive id="l1" class="lsb" type="x"/>', xpath="//rsc_location[1]")
    assert "<primitive> does not belong in <constraints>" in str(_refused(misplaced).items)


def test_warnings_do_not_stop_a_change_and_are_handed_on() -> None:
    document = xml.parse(GOOD)
    pair = '<nvpair id="a-meta-y" name="prioritty" value="1"/>'
    change = Operation(Kind.MODIFY, xml=f'<meta_attributes id="a-meta">{pair}</meta_attributes>')
    result = apply(document, change, check=check_changes)
    assert isinstance(result, Applied)
    assert [item.code for item in result.warnings] == ["unknown-option"]


_IDS = st.sampled_from(["a", "b", "g", "cl", "d", "t", "l1", "c1", "s", "tag", "e", "new", "1", "a-meta"])
_OBJECTS = st.sampled_from(
    [
        '<primitive id="{0}" class="lsb" type="x"/>',
        '<primitive id="{0}" template="{1}"/>',
        '<group id="{0}"><primitive id="{1}" class="lsb" type="x"/></group>',
        '<clone id="{0}"><primitive id="{1}" class="lsb"/></clone>',
        '<rsc_location id="{0}" rsc="{1}" node="n1" score="1"/>',
        '<rsc_colocation id="{0}" rsc="{1}" with-rsc="a"/>',
        '<rsc_order id="{0}" first="{1}" then="g"/>',
        '<tag id="{0}"><obj_ref id="{1}"/></tag>',
        '<node id="{0}" uname="{1}"/>',
        '<meta_attributes id="{0}" id-ref="{1}"/>',
        '<bogus id="{0}" rsc="{1}"/>',
    ]
)


@st.composite
def _changes(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from([Kind.CREATE, Kind.CREATE, Kind.MODIFY, Kind.REPLACE, Kind.DELETE, Kind.TRANSACTION]))
    if kind is Kind.TRANSACTION:
        return Operation(kind, steps=tuple(draw(st.lists(_changes().filter(lambda c: not c.steps), max_size=3))))
    text = draw(_OBJECTS).format(draw(_IDS), draw(_IDS))
    path = draw(st.sampled_from(["", "", "//group", "//constraints/*", "//resources/*", "/cib/configuration/*[2]"]))
    return Operation(kind, xml=text, xpath=path, allow_create=draw(st.booleans()), all_matches=draw(st.booleans()))


@settings(max_examples=120, deadline=None)
@given(st.lists(_changes(), max_size=6))
def test_looking_only_at_what_changed_misses_nothing(changes: list[Operation]) -> None:
    document = xml.parse(GOOD)
    ids = IdIndex(document)
    for change in changes:
        apply(document, change, ids=ids, check=check_changes)
        assert _errors(document) == []


@pytest.mark.parametrize(
    ("xpath", "message"),
    [
        ("//nvpair[@name=passwd]", "expected a text in quotes, &apos;passwd&apos;"),
        ("//nvpair[@name = &quot;a&quot; or @name!=pass-word]", "expected a text in quotes, &apos;pass-word&apos;"),
        ("//nvpair[", "expected an XPath, got"),
        ("//nvpair[@name=&apos;passwd&apos;]", ""),
        ("//nvpair[contains(@name, &apos;-web#&apos;)] | //primitive[@id=&quot;web&quot;]", ""),
        ("//nvpair[@name=concat(&apos;a&apos;, &apos;b&apos;)]", ""),
        ("//op[@interval=10]", ""),
        ("//rsc_location[@rsc=//primitive/@id]", ""),
    ],
)
def test_a_permission_that_could_never_select_anything_is_not_accepted(xpath: str, message: str) -> None:
    """`deny xpath://nvpair[@name='passwd']` without quotes around all of it loses those within, and would deny nothing."""
    lists = f'<acls><acl_role id="role"><acl_permission id="perm" kind="deny" xpath="{xpath}"/></acl_role></acls></configuration>'
    found = _with("</configuration>", lists)
    assert [item.attribute for item in found] == (["xpath"] if message else [])
    assert all(message.replace("&apos;", "'") in item.message for item in found)
