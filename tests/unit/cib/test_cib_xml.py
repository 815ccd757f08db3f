"""Text becomes a tree and back: canonical, bounded, and with nothing hostile inside."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from crm.cib import xml
from crm.cib.xml import CibSyntaxError, Version


def test_white_space_between_elements_means_nothing() -> None:
    spread = xml.parse('<cib>\n  <a k="1">\n\n</a>\n  <b/>\n</cib>')
    tight = xml.parse('<cib><a k="1"/><b/></cib>')
    assert xml.to_bytes(spread) == xml.to_bytes(tight)
    assert xml.digest(spread) == xml.digest(tight) == xml.digest(xml.to_bytes(tight))
    assert xml.to_text(spread) == '<cib>\n  <a k="1"/>\n  <b/>\n</cib>\n'


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_attributes_survive_in_their_order_whatever_they_hold(attributes: dict[str, str]) -> None:
    document = etree.Element("cib")
    for name, value in attributes.items():
        try:
            document.set(name, value)
        except ValueError:
            continue  # no XML character
    for text in (xml.to_text(document), xml.to_bytes(document)):
        assert list(xml.parse(text).attrib.items()) == list(document.attrib.items())


def test_comments_are_kept_unless_they_are_not_wanted_and_processing_instructions_go() -> None:
    text = "<cib><!-- why --><?php x?><a/></cib>"
    assert xml.to_text(xml.parse(text), pretty=False) == "<cib><!-- why --><a/></cib>"
    assert xml.to_text(xml.parse(text, comments=False), pretty=False) == "<cib><a/></cib>"
    assert [child.tag for child in xml.elements(xml.parse(text))] == ["a"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the document is empty"),
        ("  \n", "the document is empty"),
        ("<cib", "line 1, column 5"),
        ("<cib>\n<a b='1' b='2'/></cib>", "line 2, column 15: Attribute b redefined"),
        ("<cib>\n  <a>\n</cib>", "line 3, column 7: Opening and ending tag mismatch"),
        ("<primitive/>", "the root element is <primitive>, expected <cib>"),
        (b"<cib a='\xff'/>", "line 1, column 9: the document is not UTF-8"),
        ("<cib a='\udcff'/>", "unpaired surrogate"),
        ('<!DOCTYPE cib [<!ENTITY x "y">]><cib/>', "document type declaration"),
        ('<!DOCTYPE cib SYSTEM "file:///etc/passwd"><cib/>', "document type declaration"),
        ("<cib a='&x;'/>", "Entity 'x' not defined"),
        ("<cib>&x;</cib>", "Entity 'x' not defined"),
        ("<cib>" + "<a>" * 64 + "</a>" * 64 + "</cib>", "nested deeper than 64"),
        ("<cib>" + "<a>" * 5000 + "</a>" * 5000 + "</cib>", "a limit on depth"),
        ("<cib a='\x01'/>", "invalid character"),
        ("<cib/><cib/>", "Extra content"),
    ],
)
def test_what_is_no_cib_is_refused_with_the_place(data: str | bytes, message: str) -> None:
    with pytest.raises(CibSyntaxError) as refused:
        xml.parse(data, source="cib.xml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("cib.xml: ")


def test_laughs_do_not_grow_and_other_encodings_do_not_hide_them() -> None:
    declarations = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    bomb = f'<?xml version="1.0"?><!DOCTYPE cib [<!ENTITY l0 "ha">{declarations}]><cib a="&l9;"/>'
    for data in (bomb, bomb.encode(), bomb.encode("utf-16"), bomb.encode("utf-16-be")):
        with pytest.raises(CibSyntaxError):
            xml.parse(data)


def test_a_document_beyond_the_limit_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "MAX_BYTES", 100)
    with pytest.raises(CibSyntaxError, match="107 bytes are more than the limit of 100"):
        xml.parse(b"<cib/>" + b" " * 101)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "cib.xml"
    path.write_bytes(b"\xef\xbb\xbf" + xml.to_bytes(xml.empty("demo")))
    assert xml.to_bytes(xml.load(path)) == xml.to_bytes(xml.empty("demo"))
    path.write_text("<cib>")
    with pytest.raises(CibSyntaxError, match=f"{path}: line 1"):
        xml.load(path)


@given(st.tuples(*[st.integers(0, 2**60)] * 3), st.tuples(*[st.integers(0, 2**60)] * 3))
def test_versions_compare_by_their_parts_and_survive_as_text(
    one: tuple[int, int, int], two: tuple[int, int, int]
) -> None:
    assert (Version(*one) < Version(*two)) == (one < two)
    assert Version.parse(str(Version(*one))) == Version(*one)
    document = xml.empty()
    xml.set_version(document, Version(*one))
    assert xml.version(xml.parse(xml.to_bytes(document))) == Version(*one)


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "a.b.c", "1.-2.3", "1.2.+3", "1.2.²"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected admin_epoch\.epoch\.num_updates"):
        Version.parse(text)


def test_a_missing_or_odd_version_counts_as_nothing() -> None:
    assert xml.version(xml.parse('<cib epoch="7" num_updates="x"/>')) == Version(0, 7, 0)


def test_sections_are_found_and_made_in_their_order() -> None:
    document = xml.empty()
    assert xml.section(document, "tags") is None
    for name in ("op_defaults", "tags", "rsc_defaults"):
        xml.ensure_section(document, name)
    assert [child.tag for child in xml.elements(xml.section(document, "configuration"))] == [
        "crm_config", "nodes", "resources", "constraints", "tags", "rsc_defaults", "op_defaults",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'nonsense' is not a section"):
        xml.ensure_section(document, "nonsense")


def test_paths_name_ids() -> None:
    document = xml.parse('<cib><configuration><resources><primitive id="a"/></resources></configuration></cib>')
    path = "/cib/configuration/resources/primitive[@id='a']"
    assert [xml.path_of(element) for element in xml.xpath(document, path)] == [path]
    assert xml.xpath(document, "//primitive/@id") == xml.xpath(document, path)  # an attribute stands for its element
    for wrong in ("//[", "count(//*)", "concat('a','b')", "nope(1)"):
        with pytest.raises(ValueError, match="XPath"):
            xml.xpath(document, wrong)
