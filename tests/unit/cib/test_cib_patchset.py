"""Patches: what leads from one document to another leads there to the byte, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.cib import patchset, xml
from crm.cib.operations import Applied, Code, Kind, Operation, Refusal, apply
from crm.cib.patchset import PatchError
from crm.cib.xml import Version

_TAGS = st.sampled_from(["a", "b"])
_IDS = st.sampled_from(["1", "2", "3", "4", None, None, "it's"])
_VALUES = st.sampled_from(["x", "y", "<&\"'>", "ä"])


@st.composite
def _trees(draw: st.DrawFn, depth: int = 2) -> str:
    if draw(st.integers(0, 9)) == 0:
        return f"<!-- {draw(st.sampled_from(['one', 'two']))} -->"
    element = etree.Element(draw(_TAGS))
    identity = draw(_IDS)
    if identity is not None:
        element.set("id", identity)
    for name in draw(st.permutations(["k", "l", "m"])):
        if draw(st.booleans()):
            element.set(name, draw(_VALUES))
    text = xml.to_text(element, pretty=False)
    if depth and draw(st.booleans()):
        inner = "".join(draw(st.lists(_trees(depth - 1), max_size=3)))
        return f"{text[:-2]}>{inner}</{element.tag}>"
    return text


@st.composite
def _documents(draw: st.DrawFn) -> etree._Element:
    inner = "".join(draw(st.lists(_trees(), max_size=5)))
    versions = f'admin_epoch="0" epoch="{draw(st.integers(0, 3))}" num_updates="{draw(st.integers(0, 3))}"'
    return xml.parse(f"<cib {versions}><configuration>{inner}</configuration><status/></cib>")


@settings(max_examples=80, deadline=None)
@given(_documents(), _documents())
def test_a_patch_leads_from_one_document_to_the_other_to_the_byte(old: etree._Element, new: etree._Element) -> None:
    before = xml.to_bytes(old)
    patch = xml.parse_fragment(xml.to_bytes(patchset.diff(old, new)))
    assert xml.to_bytes(patchset.apply(patch, old)) == xml.to_bytes(new)
    assert xml.to_bytes(old) == before


@settings(max_examples=40, deadline=None)
@given(_documents())
def test_equal_documents_have_an_empty_patch(document: etree._Element) -> None:
    assert list(patchset.diff(document, document).iterchildren("change")) == []


@settings(max_examples=40, deadline=None)
@given(_documents(), _documents(), _documents())
def test_a_patch_for_another_document_is_refused_or_leads_to_its_own_target(
    old: etree._Element, new: etree._Element, other: etree._Element
) -> None:
    patch = patchset.diff(old, new)
    try:
        result = patchset.apply(patch, other)
    except PatchError as error:
        assert str(error)
    else:
        assert xml.to_bytes(result) == xml.to_bytes(new)


def _cib(epoch: int, resources: str, version: str = "") -> etree._Element:
    return xml.parse(
        f'<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="{epoch}" num_updates="0" admin_epoch="0"{version}>'
        f"<configuration><crm_config/><nodes/><resources>{resources}</resources><constraints/></configuration><status/></cib>"
    )


def _primitives(*names: str) -> str:
    return "".join(f'<primitive id="{name}" class="lsb" type="x"/>' for name in names)


def test_the_format_is_that_of_pacemaker() -> None:
    old = _cib(1, _primitives("a", "b"))
    new = _cib(2, '<primitive id="b" class="lsb" type="y"/>' + _primitives("c"))
    assert xml.to_text(patchset.diff(old, new)).splitlines() == [
        '<diff format="2" digest="f75565050996d1f5fa3ef43a71212113">',
        "  <version>",
        '    <source admin_epoch="0" epoch="1" num_updates="0"/>',
        '    <target admin_epoch="0" epoch="2" num_updates="0"/>',
        "  </version>",
        """  <change operation="delete" path="/cib/configuration/resources/primitive[@id='a']"/>""",
        '  <change operation="modify" path="/cib">',
        "    <change-list>",
        '      <change-attr name="epoch" operation="set" value="2"/>',
        "    </change-list>",
        "    <change-result>",
        '      <cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="2" num_updates="0" admin_epoch="0"/>',
        "    </change-result>",
        "  </change>",
        """  <change operation="modify" path="/cib/configuration/resources/primitive[@id='b']">""",
        "    <change-list>",
        '      <change-attr name="type" operation="set" value="y"/>',
        "    </change-list>",
        "    <change-result>",
        '      <primitive id="b" class="lsb" type="y"/>',
        "    </change-result>",
        "  </change>",
        '  <change operation="create" path="/cib/configuration/resources" position="1">',
        '    <primitive id="c" class="lsb" type="x"/>',
        "  </change>",
        "</diff>",
    ]


FOREIGN = """
<diff format="2" digest="3f50fb4145da47831b5e73cc30deffd8">
  <version>
    <source admin_epoch="0" epoch="1" num_updates="0"/>
    <target admin_epoch="0" epoch="2" num_updates="0"/>
  </version>
  <change operation="delete" path="/cib/configuration/resources/comment" position="2"/>
  <change operation="delete" path="/cib/configuration/resources/primitive[@id=&apos;c&apos;]"/>
  <change operation="modify" path="/cib">
    <change-list>
      <change-attr name="epoch" operation="set" value="2"/>
    </change-list>
    <change-result>
      <cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="2" num_updates="0" admin_epoch="0"/>
    </change-result>
  </change>
  <change operation="create" path="/cib/configuration/resources" position="3">
    <!-- two -->
  </change>
</diff>
"""


def test_a_patch_made_by_crm_diff_is_applied_and_its_digest_holds() -> None:
    old = _cib(1, _primitives("x", "a") + "<!-- one -->" + _primitives("b", "c"))
    new = patchset.apply(xml.parse_fragment(FOREIGN), old)
    assert xml.to_bytes(new) == xml.to_bytes(_cib(2, _primitives("x", "a", "b") + "<!-- two -->"))


FIRST = """
<diff crm_feature_set="3.16.1" format="1" digest="e6a99828c89696d2b8b60f265f18c441">
  <diff-removed admin_epoch="0" epoch="1" num_updates="0">
    <cib epoch="1" admin_epoch="0" num_updates="0">
      <configuration><resources>
        <primitive id="a" class="lsb" type="x" __crm_diff_marker__="removed:top"/><primitive id="b" type="x"/>
      </resources></configuration>
    </cib>
  </diff-removed>
  <diff-added admin_epoch="0" epoch="2" num_updates="0">
    <cib validate-with="pacemaker-3.9" epoch="2" num_updates="0" admin_epoch="0">
      <configuration><resources>
        <primitive id="z" class="lsb" type="y" __crm_diff_marker__="added:top"/><primitive id="b" description="f"/>
      </resources></configuration>
    </cib>
  </diff-added>
</diff>
"""


def test_the_first_format_is_read() -> None:
    old = _cib(1, _primitives("a", "b", "c"))
    new = patchset.apply(xml.parse_fragment(FIRST), old)
    assert xml.version(new) == Version(0, 2, 0)
    assert [xml.to_text(e, pretty=False) for e in xml.elements(xml.section(new, "resources"))] == [
        '<primitive id="b" class="lsb" description="f"/>',
        '<primitive id="c" class="lsb" type="x"/>',
        '<primitive id="z" class="lsb" type="y"/>',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<dif/>", "expected <diff>"),
        ('<diff format="3"/>', "unknown format '3'"),
        ('<diff format="2"><change operation="boil" path="/cib"/></diff>', "unknown operation 'boil'"),
        ('<diff format="2"><change operation="delete" path="/cib"/></diff>', "root cannot be deleted"),
        ('<diff format="2"><change operation="delete" path="//primitive"/></diff>', "malformed path"),
        ('<diff format="2"><change operation="delete" path="/cib/configuration/x"/></diff>', "there is nothing at"),
        ('<diff format="2"><change operation="create" path="/cib" position="-1"/></diff>', "expected a number"),
        ('<diff format="2"><change operation="create" path="/cib" position="1"/></diff>', "expected one new element"),
        ('<diff format="2" digest="0"/>', "does not lead to the document"),
        ('<diff format="2"><version><source epoch="7"/></version></diff>', "is for version 0.7.0"),
        ('<diff format="1"><diff-removed epoch="7"/></diff>', "is for version 0.7.0"),
        ('<diff format="1"><diff-added epoch="x"/></diff>', "epoch: expected a number"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(text: str, message: str) -> None:
    document = _cib(1, _primitives("a"))
    before = xml.to_bytes(document)
    with pytest.raises(PatchError, match=message):
        patchset.apply(xml.parse_fragment(text), document)
    assert xml.to_bytes(document) == before


def test_the_patch_operation_leads_to_the_version_that_the_patch_names() -> None:
    old, new = _cib(1, _primitives("a", "b")), _cib(5, _primitives("b"), ' update-origin="n1"')
    patch = xml.to_text(patchset.diff(old, new))
    result = apply(old, Operation(Kind.PATCH, xml=patch))
    assert isinstance(result, Applied)
    assert (result.version, result.durable) == (Version(0, 5, 0), True)
    assert xml.to_bytes(old) == xml.to_bytes(new)
    again = apply(old, Operation(Kind.PATCH, xml=patch))
    assert isinstance(again, Refusal)
    assert again.code is Code.CONFLICT


def test_the_digest_is_that_of_crm_diff() -> None:
    """Values as printed by crm_diff 2.1.5 for this document."""
    text = (
        '<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="2" num_updates="0" admin_epoch="0"'
        ' cib-last-written="x" update-origin="a"><configuration><crm_config/><nodes/><resources/><constraints/></configuration>'
        """<status><!-- c'd --><node_state id="1" uname="a&#10;b&#9;'&quot;&lt;&gt;&amp;ä" crm-debug-origin="z"/></status></cib>"""
    )
    assert patchset.digest(xml.parse(text)) == "6bcc5e1e3037ff7fdf0eea461a52b98e"
