"""What each operation does to a document, to its version, and that a refused one does nothing at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.cib import patchset, xml
from crm.cib.editor import Editor, IdIndex
from crm.cib.operations import Applied, Code, Kind, Operation, Refusal, apply, query, query_text
from crm.cib.report import ReportItem, Severity
from crm.cib.xml import Version

BASE = """
<cib validate-with="pacemaker-3.9" epoch="5" num_updates="3" admin_epoch="0" dc-uuid="1">
  <configuration>
    <crm_config/>
    <nodes><node id="1" uname="n1"/></nodes>
    <resources>
      <!-- kept -->
      <primitive id="a" class="ocf" provider="heartbeat" type="Dummy">
        <meta_attributes id="a-meta"><nvpair id="a-meta-x" name="x" value="1"/></meta_attributes>
      </primitive>
      <group id="g">
        <primitive id="b" class="ocf" provider="heartbeat" type="Dummy"/>
        <primitive id="c" class="ocf" provider="heartbeat" type="Dummy"/>
      </group>
    </resources>
    <constraints/>
  </configuration>
  <status>
    <node_state id="1" uname="n1"><lrm id="1"><lrm_resources><lrm_resource id="a"/></lrm_resources></lrm></node_state>
    <node_state id="2" uname="n2"><lrm id="2"><lrm_resources><lrm_resource id="a"/></lrm_resources></lrm></node_state>
  </status>
</cib>
"""


def _base() -> etree._Element:
    return xml.parse(BASE)


def _apply(document: etree._Element, operation: Operation) -> Applied:
    result = apply(document, operation)
    assert isinstance(result, Applied), result
    return result


def _refused(document: etree._Element, operation: Operation) -> Refusal:
    before = xml.to_bytes(document)
    result = apply(document, operation)
    assert isinstance(result, Refusal), result
    assert xml.to_bytes(document) == before
    return result


def _text(document: etree._Element, path: str) -> list[str]:
    return [xml.to_text(element, pretty=False) for element in xml.xpath(document, path)]


def test_create_adds_an_object_at_the_end_of_its_section_and_raises_the_epoch() -> None:
    document = _base()
    result = _apply(document, Operation(Kind.CREATE, xml='<primitive id="d" class="lsb" type="x"/>', scope="resources"))
    assert _text(document, "//resources/*[last()]") == ['<primitive id="d" class="lsb" type="x"/>']
    assert result.version == xml.version(document) == Version(0, 6, 0)
    assert (result.sections, result.durable) == ({"resources"}, True)


def test_create_finds_the_section_by_the_kind_of_object_and_adds_a_missing_section() -> None:
    document = _base()
    _apply(document, Operation(Kind.CREATE, xml='<tag id="t"><obj_ref id="a"/></tag>'))
    children = [child.tag for child in xml.elements(xml.section(document, "configuration"))]
    assert children == ["crm_config", "nodes", "resources", "constraints", "tags"]
    _apply(document, Operation(Kind.CREATE, xml='<rsc_defaults><meta_attributes id="m"/></rsc_defaults>'))
    assert _text(document, "//rsc_defaults") == ['<rsc_defaults><meta_attributes id="m"/></rsc_defaults>']


def test_create_with_a_whole_section_or_configuration_adds_each_child() -> None:
    document = _base()
    both = '<primitive id="d" class="lsb" type="x"/><primitive id="e" class="lsb" type="x"/>'
    _apply(document, Operation(Kind.CREATE, xml=f"<resources>{both}</resources>", scope="resources"))
    assert [e.get("id") for e in xml.elements(xml.section(document, "resources"))] == ["a", "g", "d", "e"]
    more = both.replace('"d"', '"f"').replace('"e"', '"h"')
    text = f"<configuration><resources>{more}</resources></configuration>"
    _apply(document, Operation(Kind.CREATE, xml=text))
    assert [e.get("id") for e in xml.elements(xml.section(document, "resources"))] == ["a", "g", "d", "e", "f", "h"]


def test_create_below_an_xpath() -> None:
    document = _base()
    _apply(document, Operation(Kind.CREATE, xml='<primitive id="d" class="lsb" type="x"/>', xpath="//group[@id='g']"))
    assert [e.get("id") for e in xml.elements(xml.xpath(document, "//group")[0])] == ["b", "c", "d"]


def test_create_refuses_what_exists_and_names_all_of_it() -> None:
    text = '<resources><primitive id="a" class="lsb" type="x"/><primitive id="b" class="lsb" type="x"/></resources>'
    refusal = _refused(_base(), Operation(Kind.CREATE, xml=text))
    assert refusal.code is Code.EXISTS
    assert [item.element for item in refusal.items] == ["primitive a", "primitive b"]


def test_an_id_names_one_element_only() -> None:
    text = '<primitive id="d" class="lsb" type="x"><meta_attributes id="a-meta"/></primitive>'
    refusal = _refused(_base(), Operation(Kind.CREATE, xml=text))
    assert (refusal.code, refusal.items[0].code) == (Code.INVALID, "duplicate-id")
    assert "primitive[@id='a']" in refusal.message
    assert "primitive[@id='d']" in refusal.message


def test_modify_merges_attributes_and_children_and_takes_nothing_away() -> None:
    document = _base()
    text = (
        '<primitive id="a" description="d"><meta_attributes id="a-meta"><nvpair id="a-meta-x" value="2"/>'
        '<nvpair id="a-meta-y" name="y" value="3"/></meta_attributes></primitive>'
    )
    _apply(document, Operation(Kind.MODIFY, xml=text))
    assert _text(document, "//primitive[@id='a']") == [
        '<primitive id="a" class="ocf" provider="heartbeat" type="Dummy" description="d"><meta_attributes id="a-meta">'
        '<nvpair id="a-meta-x" name="x" value="2"/><nvpair id="a-meta-y" name="y" value="3"/></meta_attributes></primitive>'
    ]


def test_modify_finds_an_object_inside_a_group() -> None:
    document = _base()
    _apply(document, Operation(Kind.MODIFY, xml='<primitive id="c" type="Stateful"/>', scope="resources"))
    assert _text(document, "//group/*[2]/@type/..")[0].startswith('<primitive id="c" class="ocf"')
    assert xml.xpath(document, "//primitive[@id='c']")[0].get("type") == "Stateful"


def test_modify_of_what_is_missing_is_refused_unless_creating_is_allowed() -> None:
    operation = Operation(Kind.MODIFY, xml='<primitive id="z" class="lsb" type="x"/>')
    assert _refused(_base(), operation).code is Code.NOT_FOUND
    document = _base()
    _apply(document, Operation(Kind.MODIFY, xml=operation.xml, allow_create=True))
    assert xml.xpath(document, "//resources/primitive[@id='z']")


def test_an_element_without_an_id_must_leave_no_doubt() -> None:
    refusal = _refused(_base(), Operation(Kind.MODIFY, xml='<primitive type="Stateful"/>'))
    assert refusal.code is Code.BAD_REQUEST
    assert "3 elements" in refusal.message


def test_a_value_is_increased_within_the_limits_of_a_score() -> None:
    document = _base()
    pair = "//nvpair[@id='a-meta-x']"
    for text, expected in [("value++", "2"), ("value+=40", "42"), ("value+=-2", "40"), ("value+=1000000", "INFINITY")]:
        _apply(document, Operation(Kind.MODIFY, xml=f'<nvpair id="a-meta-x" value="{text}"/>'))
        assert xml.xpath(document, pair)[0].get("value") == expected
    _apply(
        document,
        Operation(Kind.MODIFY, xml='<meta_attributes id="a-meta"><nvpair id="n" value="value++"/></meta_attributes>'),
    )
    assert xml.xpath(document, "//nvpair[@id='n']")[0].get("value") == "1"


def test_replace_puts_one_element_in_the_place_of_another() -> None:
    document = _base()
    _apply(document, Operation(Kind.REPLACE, xml='<primitive id="b" class="lsb" type="x"/>'))
    assert [e.get("class") for e in xml.elements(xml.xpath(document, "//group")[0])] == ["lsb", "ocf"]
    _apply(document, Operation(Kind.REPLACE, xml="<resources/>"))
    assert _text(document, "//resources") == ["<resources/>"]
    assert _refused(document, Operation(Kind.REPLACE, xml='<primitive id="b"/>')).code is Code.NOT_FOUND


def test_replacing_the_document_keeps_the_status_it_does_not_mention_and_never_goes_back() -> None:
    document = _base()
    new = (
        '<cib validate-with="pacemaker-3.9" admin_epoch="0" epoch="{}" num_updates="0">'
        "<configuration><crm_config/><nodes/><resources/><constraints/></configuration></cib>"
    )
    refusal = _refused(document, Operation(Kind.REPLACE, xml=new.format(4)))
    assert (refusal.code, "0.4.0 is older" in refusal.message) == (Code.OLD, True)
    result = _apply(document, Operation(Kind.REPLACE, xml=new.format(9)))
    assert result.version == Version(0, 10, 0)
    assert len(xml.xpath(document, "//node_state")) == 2


def test_delete_needs_the_tag_and_every_attribute_given() -> None:
    document = _base()
    assert _refused(document, Operation(Kind.DELETE, xml='<primitive id="b" class="lsb"/>')).code is Code.NOT_FOUND
    _apply(document, Operation(Kind.DELETE, xml='<primitive id="b"/>'))
    assert [e.get("id") for e in xml.xpath(document, "//primitive")] == ["a", "c"]


def test_delete_by_xpath_takes_the_first_or_all() -> None:
    document = _base()
    _apply(document, Operation(Kind.DELETE, xpath="//primitive"))
    assert [e.get("id") for e in xml.xpath(document, "//primitive")] == ["b", "c"]
    _apply(document, Operation(Kind.DELETE, xpath="//group | //primitive", all_matches=True))
    assert xml.xpath(document, "//primitive | //group") == []


@pytest.mark.parametrize("path", ["/cib", "/cib/configuration", "/cib/status"])
def test_the_frame_of_the_document_cannot_be_deleted(path: str) -> None:
    assert _refused(_base(), Operation(Kind.DELETE, xpath=path)).code is Code.BAD_REQUEST


def test_a_status_change_raises_num_updates_only_and_is_not_durable() -> None:
    document = _base()
    text = (
        '<node_state id="2"><lrm id="2"><lrm_resources><lrm_resource id="a"><lrm_rsc_op id="a_last_0" rc-code="0"/>'
        "</lrm_resource></lrm_resources></lrm></node_state>"
    )
    result = _apply(document, Operation(Kind.MODIFY, xml=text))
    assert (result.version, result.sections, result.durable) == (Version(0, 5, 4), {"status"}, False)
    assert len(_text(document, "//node_state[@id='2']//lrm_rsc_op")) == 1
    assert _text(document, "//node_state[@id='1']//lrm_rsc_op") == []


def test_attributes_of_the_root_count_as_status() -> None:
    document = _base()
    result = _apply(document, Operation(Kind.MODIFY, xml='<cib dc-uuid="2" have-quorum="1"/>'))
    assert (result.version, result.sections, result.durable) == (Version(0, 5, 4), {"cib"}, False)


def test_an_operation_that_changes_nothing_changes_no_version() -> None:
    document = _base()
    before = xml.to_bytes(document)
    for operation in (
        Operation(Kind.MODIFY, xml='<primitive id="a" class="ocf"/>'),
        Operation(Kind.REPLACE, xml='<primitive id="b" class="ocf" provider="heartbeat" type="Dummy"/>'),
        Operation(Kind.TRANSACTION),
    ):
        result = _apply(document, operation)
        assert (result.sections, result.durable, result.version) == (frozenset(), False, Version(0, 5, 3))
    assert xml.to_bytes(document) == before


def test_admin_epoch_changes_only_when_it_is_set() -> None:
    document = _base()
    result = _apply(document, Operation(Kind.MODIFY, xml='<cib admin_epoch="admin_epoch++"/>'))
    assert (result.version, result.durable) == (Version(1, 5, 3), True)
    assert _refused(document, Operation(Kind.MODIFY, xml='<cib admin_epoch="0"/>')).code is Code.OLD


def test_bump_raises_the_epoch_and_nothing_else() -> None:
    document = _base()
    result = _apply(document, Operation(Kind.BUMP))
    assert (result.version, result.durable) == (Version(0, 6, 0), True)


def test_erase_empties_the_configuration_keeps_the_status_and_wins_over_every_earlier_version() -> None:
    document = _base()
    result = _apply(document, Operation(Kind.ERASE))
    assert result.version == Version(1, 6, 0)
    assert xml.xpath(document, "//primitive | //node") == []
    assert len(xml.xpath(document, "//node_state")) == 2


def test_compare_and_swap_refuses_when_the_document_has_moved_on() -> None:
    document = _base()
    operation = Operation(Kind.DELETE, xml='<primitive id="a"/>', if_version=Version(0, 5, 1))
    assert _refused(document, Operation(Kind.BUMP, if_version=Version(0, 4, 3))).code is Code.CONFLICT
    assert _refused(document, Operation(Kind.BUMP, if_version=Version(1, 5, 3))).code is Code.CONFLICT
    # What happened in the status section meanwhile (num_updates is 3) is no conflict.
    _apply(document, operation)
    assert _refused(document, operation).code is Code.CONFLICT


def test_an_edit_of_another_configuration_of_the_same_version_is_a_conflict() -> None:
    """Both sides of a partition may have come to the same epoch; an edit begun on the side that lost is none of the winner's configuration."""
    read, winner = _base(), _base()
    _apply(read, Operation(Kind.MODIFY, xml='<primitive id="b" type="loser"/>'))
    _apply(winner, Operation(Kind.MODIFY, xml='<primitive id="b" type="winner"/>'))
    assert xml.version(read) == xml.version(winner)
    text = xml.parse(xml.to_text(read))
    edit = Operation(
        Kind.MODIFY,
        xml='<primitive id="a" type="Other"/>',
        if_version=xml.version(text),
        if_configuration=xml.configuration_digest(text),
    )
    before = xml.to_bytes(winner)
    refusal = _refused(winner, edit)
    assert refusal.code is Code.CONFLICT and "another one than was read" in refusal.message
    assert xml.to_bytes(winner) == before
    _apply(read, edit)


def test_a_transaction_is_one_change_or_none() -> None:
    document = _base()
    steps = (
        Operation(Kind.CREATE, xml='<primitive id="d" class="lsb" type="x"/>'),
        Operation(Kind.DELETE, xml='<primitive id="a"/>'),
        Operation(Kind.MODIFY, xml='<node_state id="1" crmd="online"/>'),
    )
    failing = Operation(Kind.TRANSACTION, steps=(*steps, Operation(Kind.DELETE, xml='<primitive id="nope"/>')))
    refusal = _refused(document, failing)
    assert "operation 4 of the transaction (delete): there is no primitive nope" in refusal.message
    result = _apply(document, Operation(Kind.TRANSACTION, steps=steps))
    assert (result.version, result.sections) == (Version(0, 6, 0), {"resources", "status"})


def test_within_a_transaction_an_id_may_move() -> None:
    document = _base()
    steps = (
        Operation(Kind.CREATE, xml='<clone id="cl"><primitive id="a" class="lsb" type="x"/></clone>'),
        Operation(Kind.DELETE, xpath="/cib/configuration/resources/primitive[@id='a']"),
    )
    _apply(document, Operation(Kind.TRANSACTION, steps=steps))
    assert len(xml.xpath(document, "//primitive[@id='a']")) == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (Operation(Kind.CREATE), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml="<primitive"), Code.INVALID),
        (Operation(Kind.CREATE, xml='<nvpair id="x"/>'), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml='<nvpair id="x"/>', scope="nonsense"), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml='<nvpair id="x"/>', xpath="//["), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml='<nvpair id="x"/>', xpath="count(//*)"), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml='<nvpair id="x"/>', xpath="//nope"), Code.NOT_FOUND),
        (Operation(Kind.MODIFY, xml="<primitive/>", xpath="//primitive"), Code.BAD_REQUEST),
        (Operation(Kind.REPLACE, xml='<primitive id="x"/>', xpath="//primitive"), Code.BAD_REQUEST),
        (Operation(Kind.REPLACE, xml="<resources/>", xpath="/cib"), Code.BAD_REQUEST),
        (Operation(Kind.REPLACE, xml="<resources/>", xpath="/cib/status"), Code.BAD_REQUEST),
        (Operation(Kind.CREATE, xml="<resources/>", xpath="/cib"), Code.BAD_REQUEST),
        (Operation(Kind.TRANSACTION, steps=(Operation(Kind.BUMP),)), Code.BAD_REQUEST),
    ],
)
def test_a_malformed_operation_is_refused(operation: Operation, code: Code) -> None:
    assert _refused(_base(), operation).code is code


def test_who_changed_the_configuration_is_written_on_the_root() -> None:
    document = _base()
    stamp = (("cib-last-written", "Fri Nov 21 12:00:00 2025"), ("update-origin", "n1"))
    _apply(document, Operation(Kind.MODIFY, xml='<node_state id="1" crmd="online"/>', stamp=stamp))
    assert document.get("update-origin") is None
    _apply(document, Operation(Kind.BUMP, stamp=stamp))
    _apply(document, Operation(Kind.DELETE, xml='<primitive id="a"/>', stamp=stamp))
    assert document.get("update-origin") == "n1"


def test_a_check_sees_the_change_and_its_errors_take_it_back() -> None:
    def check(editor: Editor) -> Sequence[ReportItem]:
        names = [element.get("id") for element in editor.touched]
        return [
            ReportItem(Severity.ERROR, "no", str(names), "not today"),
            ReportItem(Severity.ERROR, "no", "x", "nor tomorrow"),
        ]

    document = _base()
    before = xml.to_bytes(document)
    result = apply(document, Operation(Kind.DELETE, xml='<primitive id="a"/>'), check=check)
    assert isinstance(result, Refusal)
    assert (result.code, result.message, len(result.items)) == (Code.INVALID, "2 errors in the configuration", 2)
    assert xml.to_bytes(document) == before


def test_query_by_scope_and_xpath() -> None:
    document = _base()
    found = query(document, xpath="//primitive")
    assert isinstance(found, list)
    assert [element.get("id") for element in found] == ["a", "b", "c"]
    text = query_text(document, xpath="//primitive")
    assert isinstance(text, str)
    assert text.startswith("<xpath-query>")
    assert query_text(document, scope="constraints") == "<constraints/>\n"
    assert xml.to_text(document) == query_text(document)
    missing = query(document, xpath="//nope")
    assert isinstance(missing, Refusal)
    assert missing.code is Code.NOT_FOUND


_IDS = st.sampled_from(["a", "b", "c", "g", "d", "e", "a-meta", "1", "2"])
_TAGS = st.sampled_from(["primitive", "group", "meta_attributes", "node", "node_state", "nvpair", "rsc_order"])


@st.composite
def _elements(draw: st.DrawFn, depth: int = 2) -> str:
    tag, identity = draw(_TAGS), draw(_IDS)
    extra = draw(
        st.sampled_from(["", ' type="t"', ' value="value++"', ' class="lsb" type="x"', ' first="a"', ' template="b"'])
    )
    inner = "".join(draw(st.lists(_elements(depth - 1), max_size=2))) if depth else ""
    return f'<{tag} id="{identity}"{extra}>{inner}</{tag}>'


@st.composite
def _operations(draw: st.DrawFn, nested: bool = False) -> Operation:
    if draw(st.integers(0, 9)) == 0:
        inner = "".join(draw(st.lists(_elements(), max_size=3)))
        whole = f"<configuration><crm_config/><nodes/><resources>{inner}</resources><constraints/></configuration>"
        return Operation(Kind.REPLACE, xml=draw(st.sampled_from([whole, f'<cib epoch="90">{whole}</cib>'])))
    kinds = [Kind.CREATE, Kind.MODIFY, Kind.REPLACE, Kind.DELETE, Kind.ERASE]
    kind = draw(st.sampled_from(kinds if nested else [*kinds, Kind.BUMP, Kind.TRANSACTION]))
    if kind is Kind.TRANSACTION:
        return Operation(kind, steps=tuple(draw(st.lists(_operations(nested=True), max_size=4))))
    return Operation(
        kind,
        xml=draw(_elements()),
        scope=draw(st.sampled_from(["", "resources", "status", "nodes"])),
        xpath=draw(st.sampled_from(["", "", "//group", "//primitive", "//nvpair/..", "//node_state"])),
        allow_create=draw(st.booleans()),
        all_matches=draw(st.booleans()),
    )


@settings(max_examples=120, deadline=None)
@given(st.lists(_operations(), max_size=6))
def test_every_member_gets_the_same_bytes_refusals_change_nothing_and_the_index_stays_right(
    ops: list[Operation],
) -> None:
    kept, fresh = _base(), _base()
    ids = IdIndex(kept)
    for operation in ops:
        before, version = xml.to_bytes(kept), xml.version(kept)
        one, two = apply(kept, operation, ids=ids), apply(fresh, operation)
        assert xml.to_bytes(kept) == xml.to_bytes(fresh)
        if isinstance(one, Refusal):
            assert isinstance(two, Refusal)
            assert one == two
            assert xml.to_bytes(kept) == before
        else:
            assert one.version == xml.version(kept)
            assert (one.version > version) == (xml.to_bytes(kept) != before)
            assert one.durable == ((one.version.admin_epoch, one.version.epoch) != (version.admin_epoch, version.epoch))
        # A replica that reads the document back (a joining member) goes on from the same bytes.
        fresh = xml.parse(xml.to_bytes(fresh))
        rebuilt = IdIndex(kept)
        assert ids.duplicates() == rebuilt.duplicates() == frozenset()
        every = {e.get("id", "") for e in kept.iter("*") if e.get("id") is not None} | {"d", "e"}
        assert all(ids.get(i) is rebuilt.get(i) for i in every)
        assert all(sorted(map(str, ids.referrers(i))) == sorted(map(str, rebuilt.referrers(i))) for i in every)


def test_the_feature_set_of_the_document_is_the_clusters_own() -> None:
    """A configuration of another cluster, or of a newer program, must not lock the members out that are there."""
    document = _base()
    document.set(xml.FEATURES, "3.20.5")
    foreign = xml.parse(xml.to_bytes(document))
    foreign.set(xml.FEATURES, "99.0")
    foreign.set("epoch", "50")
    for operation in (
        Operation(Kind.MODIFY, xml='<cib crm_feature_set="99.0"/>'),
        Operation(Kind.REPLACE, xml=xml.to_text(foreign)),
        Operation(Kind.PATCH, xml=xml.to_text(patchset.diff(document, foreign))),
    ):
        changed = xml.parse(xml.to_bytes(document))
        _apply(changed, operation)
        assert changed.get(xml.FEATURES) == "3.20.5"
    before = xml.version(document)
    agreed = _apply(document, Operation(Kind.BUMP, feature_set="3.20.6"))
    assert document.get(xml.FEATURES) == "3.20.6" and agreed.durable and agreed.version.epoch == before.epoch + 1
