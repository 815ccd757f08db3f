"""The configure language: what it means as CIB elements, and that printing it gives the same text again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.cib import xml
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar import canonical, show
from crm.shell.grammar.statements import LanguageError, parse

TEXTS = [
    # Each is printed exactly as it was written.
    "node n1\n",
    "node 1: n1:member \\\n\tattributes standby=off \\\n\tutilization cpu=4 memory=2048\n",
    "primitive web ocf:vigil:WebServer \\\n\tparams port=80 root=\"/srv/www\" \\\n\tmeta target-role=Started \\\n"
    "\top monitor interval=10s timeout=20s \\\n\top start interval=0s timeout=60s\n",
    "primitive ip IPaddr2 \\\n\tparams ip=10.0.0.1\n",
    "primitive d lsb:nginx\n",
    "primitive db stonith:external/ssh \\\n\tparams hostlist=\"n1 n2\"\n",
    "primitive a ocf:pacemaker:Dummy \\\n\top monitor interval=10 \\\n\top_params OCF_CHECK_LEVEL=10 \\\n\top_meta x=1\n",
    "primitive a ocf:pacemaker:Dummy \\\n\tparams quoted=\"say \\\"hi\\\"\" back=\"a\\b\" both=\"\\\\\\\"\" end=\"\\\\\" empty=\"\"\n",
    "primitive a ocf:pacemaker:Dummy \\\n\tparams 10: rule #uname eq n1 ip=1.2.3.4 \\\n\tparams ip=1.2.3.5\n",
    "primitive a ocf:pacemaker:Dummy \\\n\toperations $id=a-operations \\\n\top monitor interval=10\n",
    "rsc_template t ocf:vigil:Dummy \\\n\tmeta priority=5\nprimitive a @t\n",
    "primitive a ocf:vigil:Dummy\nprimitive b ocf:vigil:Dummy\ngroup g a b \\\n\tmeta target-role=Stopped\n",
    "primitive a ocf:vigil:Stateful\nclone c a \\\n\tmeta promotable=true promoted-max=1\n",
    "location l a inf: n1\n",
    "location l a role=Promoted resource-discovery=exclusive -inf: n1\n",
    "location l /web.*/ 100: n2\n",
    "location l { a b } 100: n2\n",
    "location l a \\\n\trule -inf: not_defined pingd or pingd lte 0\n",
    "location l a \\\n\trule $role=Promoted 100: #uname eq n1 and #kind ne remote \\\n\trule pingd: defined pingd\n",
    "location l a \\\n\trule 0: date in start=2030-01-01 end=2030-02-01\n",
    "location l a \\\n\trule 0: date in start=2030-01-01 months=3\n",
    "location l a \\\n\trule 0: date spec hours=9-16 weekdays=1-5\n",
    "location l a \\\n\trule 0: date lt \"2030-01-01 00:00:00 +00:00\"\n",
    "location l a \\\n\trule 0: load number:gt 3.5 and ( site eq a or site eq \"b c\" )\n",
    "colocation c inf: a b\n",
    "colocation c -5000: a:Started b:Promoted node-attribute=rack influence=false\n",
    "colocation c inf: ( a b ) d:Promoted\n",
    "colocation c inf: a b d\n",
    "colocation c inf: { a b } d e\n",
    "order o Mandatory: a:start b:promote symmetrical=false\n",
    "order o Optional: a b\n",
    "order o a b\n",
    "order o 0: a [ b d ] e require-all=false\n",
    "order o a:start [ b:start d:start sequential=true ] e:promote\n",
    "rsc_ticket t ticketA: a:Started loss-policy=fence\n",
    "rsc_ticket t ticketA: a b\n",
    "tag t a b\n",
    "fencing_topology \\\n\tn1: f1,f2 f3 \\\n\tpattern:n.*: f1 \\\n\tattr:rack=1 f2\n",
    "property cib-bootstrap-options: \\\n\tstonith-enabled=false \\\n\tno-quorum-policy=stop\n",
    "rsc_defaults rsc-options: \\\n\tresource-stickiness=100\n",
    "op_defaults op-options: \\\n\trule resource ocf:heartbeat:IPaddr2 and op monitor:10s \\\n\ttimeout=90s\n",
    "alert a \"/usr/bin/tell\" \\\n\tattributes x=1 \\\n\tselect nodes attributes { pingd } \\\n\tto \"admin@example.org\" meta timeout=10s\n",
    "role reader \\\n\tread xpath:/cib \\\n\tdeny ref:secret attribute:password\nacl_target alice reader\nacl_group staff reader\n",
    "primitive w ocf:vigil:WebServer\nbundle b \\\n\tdocker image=\"web:latest\" replicas=2 \\\n\tnetwork control-port=3121 port-mapping id=p port=80 \\\n"
    "\tstorage storage-mapping id=s source-dir=\"/srv\" target-dir=\"/www\" \\\n\tprimitive w \\\n\tmeta target-role=Started\n",
    "# the front end\nprimitive a ocf:vigil:Dummy\n",
]  # fmt: skip


def configured(text: str, mode: Mode = Mode.CREATE, base: etree._Element | None = None) -> Configuration:
    configuration = Configuration(xml.empty() if base is None else base)
    configuration.apply(parse(text), mode)
    return configuration


def forms(root: etree._Element) -> dict[str, canonical.Form]:
    return {f"{item.keyword} {item.identity}": canonical.form(item.element) for item in show.objects(root)}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_printed_as_it_was_written(text: str) -> None:
    assert show.show(configured(text).root) == text


@pytest.mark.parametrize("text", TEXTS)
def test_every_element_gets_an_id_and_no_two_the_same(text: str) -> None:
    root = configured(text).root
    needing = ("nvpair", "op", "rule", "expression", "date_expression", "resource_set", "fencing-level", "recipient")
    assert [element.tag for element in root.iter(*needing) if not element.get("id")] == []
    ids = [e.get("id") for e in root[0].iter("*") if e.get("id") and e.tag not in ("resource_ref", "obj_ref", "role")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("text", TEXTS)
def test_loading_again_what_was_shown_changes_nothing(text: str) -> None:
    root = configured(text).root
    assert not configured(show.show(root), Mode.UPDATE, root).changed
    assert not configured(show.show(root), Mode.REPLACE, root).changed


def element_of(text: str) -> etree._Element:
    return parse(text)[-1].element


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("primitive a Dummy", '<primitive id="a" class="ocf" provider="heartbeat" type="Dummy"/>'),
        ("primitive a pacemaker:Dummy", '<primitive id="a" class="ocf" provider="pacemaker" type="Dummy"/>'),
        ("primitive a systemd:nginx", '<primitive id="a" class="systemd" type="nginx"/>'),
        ("location l a inf: n", '<rsc_location id="l" rsc="a" score="INFINITY" node="n"/>'),
        ("location l a -INFINITY: n", '<rsc_location id="l" rsc="a" score="-INFINITY" node="n"/>'),
        ("location l a role=Master 5: n", '<rsc_location id="l" rsc="a" role="Promoted" score="5" node="n"/>'),
        ("colocation c inf: a b:Slave", '<rsc_colocation id="c" score="INFINITY" rsc="a" with-rsc="b" with-rsc-role="Unpromoted"/>'),
        ("order o mandatory: a b:stop", '<rsc_order id="o" kind="Mandatory" first="a" then="b" then-action="stop"/>'),
        ("order o 100: a b", '<rsc_order id="o" score="100" first="a" then="b"/>'),
        ("node $id=7 n1:remote", '<node id="7" uname="n1" type="remote"/>'),
        ("tag t: a b", '<tag id="t"><obj_ref id="a"/><obj_ref id="b"/></tag>'),
        ("order o (a b) c", '<rsc_order id="o"><resource_set sequential="false"><resource_ref id="a"/><resource_ref id="b"/></resource_set>'
                            '<resource_set><resource_ref id="c"/></resource_set></rsc_order>'),
    ],
)  # fmt: skip
def test_a_statement_means_this_element(text: str, expected: str) -> None:
    assert canonical.form(element_of(text)) == canonical.form(etree.fromstring(expected))


def test_parameters_may_follow_the_agent_without_a_word() -> None:
    bare = element_of("primitive a Dummy ip=1 meta x=2")
    assert canonical.form(bare) == canonical.form(element_of("primitive a Dummy params ip=1 meta x=2"))


def test_an_unknown_attribute_of_an_operation_is_a_parameter_of_it() -> None:
    operation = element_of("primitive a Dummy op monitor interval=10 OCF_CHECK_LEVEL=20").find("operations/op")
    assert operation is not None
    assert operation.find("instance_attributes/nvpair[@name='OCF_CHECK_LEVEL']") is not None
    assert operation.get("OCF_CHECK_LEVEL") is None


def test_an_operation_without_interval_happens_once() -> None:
    operation = element_of("primitive a Dummy op start timeout=60").find("operations/op")
    assert operation is not None
    assert operation.get("interval") == "0s"


def test_options_without_an_id_go_to_the_usual_set() -> None:
    root = configured("property a=1\nrsc_defaults b=2\nop_defaults c=3\n").root
    assert root.find(".//cluster_property_set[@id='cib-bootstrap-options']/nvpair[@name='a']") is not None
    assert root.find(".//rsc_defaults/meta_attributes[@id='rsc-options']/nvpair") is not None
    assert root.find(".//op_defaults/meta_attributes[@id='op-options']/nvpair") is not None


def test_ms_is_read_as_a_promotable_clone() -> None:
    text = show.show(configured("primitive a ocf:vigil:Stateful\nms m a meta master-max=1\n").root)
    assert "clone m a \\\n\tmeta promotable=true promoted-max=1\n" in text


def test_a_quoted_value_may_run_over_lines_and_comes_back_whole() -> None:
    value = "first\nsecond\tthird"
    root = configured(f'primitive a Dummy params text="{value}"\n').root
    assert configured(show.show(root)).root.find(".//nvpair").get("value") == value  # type: ignore[union-attr]


# What the language has no words for


@pytest.mark.parametrize(
    "element",
    [
        '<primitive id="a" class="ocf" provider="vigil" type="Dummy" unheard-of="1"/>',
        '<primitive id="a" class="ocf" provider="vigil" type="Dummy"><unheard-of/></primitive>',
        '<primitive id="a" class="ocf" provider="vigil" type="Dummy"><meta_attributes id="m"><!-- deep --><nvpair id="n" name="x" value="1"/></meta_attributes></primitive>',
        '<clone id="c"><primitive id="a" class="ocf" provider="vigil" type="Dummy" more="1"/></clone>',
    ],
)  # fmt: skip
def test_what_has_no_words_is_shown_as_xml_and_read_back_whole(element: str) -> None:
    root = xml.empty()
    xml.ensure_section(root, "resources").append(etree.fromstring(element))
    text = show.show(root)
    assert "xml <" in text
    assert not configured(text, Mode.UPDATE, root).changed
    assert forms(configured(text).root) == forms(root)


# Errors


@pytest.mark.parametrize(
    ("text", "line", "column", "fragment"),
    [
        ("primitve a Dummy", 1, 1, "'primitve' is not a configuration statement; expected one of node,"),
        ("primitive", 1, 10, "the statement ends here; expected the id of the primitive"),
        ("primitive a", 1, 12, "expected an agent"),
        ("primitive a ocf::Dummy", 1, 13, "'ocf::Dummy' is not an agent; expected CLASS:PROVIDER:TYPE"),
        ("primitive a foo:bar:Dummy", 1, 13, "'foo' is not a class of agents; expected one of ocf, lsb"),
        ("primitive a Dummy parms x=1", 1, 19, "'parms' is not known here; expected params, meta"),
        ("primitive a Dummy params x", 1, 26, "'x' is not an attribute; expected name=value"),
        ("\n\nprimitive a Dummy \\\n  op monitor interval", 4, 14, "'interval' is not an attribute of the operation"),
        ("primitive a Dummy params x=\"1", 1, 28, "is never closed"),
        ("location l a n1", 1, 14, "'n1' is not a score; expected SCORE: NODE, or rule"),
        ("location l a rule 100 #uname eq n1", 1, 23, "'#uname' is not a comparison; expected one of lt, gt"),
        ("location l a rule 1: a eq 1 and b eq 2 or c eq 3", 1, 40, "'or' after 'and' in one rule"),
        ("location l a rule 1: a fuzzy:eq 1", 1, 24, "'fuzzy' is not a type; expected one of string"),
        ("location l a rule 1: date in", 1, 29, "nothing follows 'date in'"),
        ("location l a resource-discovery=maybe 1: n", 1, 14, "'maybe' is no value of resource-discovery; expected always"),
        ("colocation c a b", 1, 14, "'a' is not a score"),
        ("colocation c inf: a", 1, 20, "too few resources"),
        ("colocation c inf: ( a", 1, 22, "the statement ends here; expected ')'"),
        ("order o Sometimes: a b", 1, 9, "'Sometimes' is not a kind of order; expected Mandatory, Optional, Serialize"),
        ("order o a b order=1", 1, 13, "'order' is not known here; expected symmetrical, require-all"),
        ("rsc_ticket t a", 1, 14, "'a' is not a ticket and a colon"),
        ("group g", 1, 8, "the group has no members"),
        ("group g a a", 1, 11, "'a' is named twice"),
        ("node n1:strange", 1, 6, "'strange' is not a type of node"),
        ("bundle b docker", 1, 1, ""),
        ("role r may xpath:/cib", 1, 8, "'may' is not a right; expected read, write, deny"),
        ("xml <primitive", 1, 1, "not well-formed"),
        ("xml <nonsense id='a'/>", 1, 1, "<nonsense> is not an object of the configuration"),
        ("xml <primitive/>", 1, 1, "<primitive> has no id"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_what_was_expected(text: str, line: int, column: int, fragment: str) -> None:
    if not fragment:
        assert parse(text)
        return
    with pytest.raises(LanguageError) as caught:
        parse(text)
    problem = caught.value.problems[0]
    assert fragment in problem.message
    assert problem.line == line
    if not text.startswith("xml"):
        assert problem.column == column


def test_all_errors_of_a_text_are_reported_in_its_order() -> None:
    text = "primitive a\nlocation l a rule\nproperty x\norder o b c\ngroup\nnonsense 1\n"
    with pytest.raises(LanguageError) as caught:
        parse(text, "my.crm")
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 5, 6]
    assert str(caught.value).startswith("my.crm, line 1, column 12: primitive a: ")


def test_several_errors_of_one_statement_are_reported_together() -> None:
    with pytest.raises(LanguageError) as caught:
        parse("primitive a Dummy params x y=1 z meta w")
    assert [problem.message[:3] for problem in caught.value.problems] == ["'x'", "'z'", "'w'"]


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_or_refused_with_places(text: str) -> None:
    try:
        parse(text)
    except LanguageError as error:
        lines = text.count("\n") + 1
        assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in error.problems)


WORDS = st.sampled_from(
    ["primitive", "location", "order", "rule", "params", "op", "a", "b:", "ocf:x:y", "inf:", "x=1", "(", ")", "[", "]", "{", "}",
     "date", "in", "spec", "eq", "and", "or", "$id=q", "@r", "to", "select", "group", "clone", "meta", "monitor", "''", '"', "\\\n", "\n"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=25))
@settings(max_examples=300, deadline=None)
def test_any_words_of_the_language_are_parsed_or_refused(words: list[str]) -> None:
    try:
        objects = parse(" ".join(words))
    except LanguageError:
        return
    assert all(item.element.tag for item in objects)


# Round trips of what nobody wrote by hand

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=12)
SCORES = st.sampled_from(["INFINITY", "-INFINITY", "+INFINITY", "0", "100", "-5"])


@st.composite
def expressions(draw: st.DrawFn) -> etree._Element:
    operation = draw(st.sampled_from(["lt", "gt", "lte", "gte", "eq", "ne", "defined", "not_defined"]))
    element = etree.Element(
        "expression", attribute=draw(st.sampled_from(["#uname", "pingd", "fail-count-a#monitor"])), operation=operation
    )
    if "defined" not in operation:
        element.set("value", draw(VALUES))
        kind = draw(st.sampled_from(["", "string", "number", "integer", "version"]))
        if kind:
            element.set("type", kind)
    return element


@st.composite
def rules(draw: st.DrawFn) -> etree._Element:
    rule = etree.Element("rule", score=draw(SCORES))
    terms = draw(st.lists(expressions(), min_size=1, max_size=3))
    rule.extend(terms)
    if len(terms) > 1:
        rule.set("boolean-op", draw(st.sampled_from(["and", "or"])))
    return rule


@st.composite
def attribute_sets(draw: st.DrawFn, tag: str) -> etree._Element:
    element = etree.Element(tag)
    if draw(st.booleans()):
        element.set("score", draw(SCORES))
    if draw(st.booleans()):
        element.append(draw(rules()))
    for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items():
        etree.SubElement(element, "nvpair", name=name, value=value)
    return element


@st.composite
def primitives(draw: st.DrawFn) -> etree._Element:
    element = etree.Element("primitive", {"id": "r", "class": "ocf", "provider": "vigil", "type": "Dummy"})
    for tag in draw(st.lists(st.sampled_from(["instance_attributes", "meta_attributes", "utilization"]), max_size=3)):
        element.append(draw(attribute_sets(tag)))
    operations = etree.SubElement(element, "operations")
    for name in draw(st.lists(st.sampled_from(["start", "stop", "monitor"]), max_size=3)):
        operation = etree.SubElement(operations, "op", name=name, interval=draw(st.sampled_from(["0s", "10", "1min"])))
        if draw(st.booleans()):
            operation.append(draw(attribute_sets("instance_attributes")))
    return element


@st.composite
def constraints(draw: st.DrawFn) -> etree._Element:
    tag, suffix = draw(st.sampled_from([("rsc_order", "action"), ("rsc_colocation", "role"), ("rsc_ticket", "role")]))
    element = etree.Element(tag, id="c")
    element.set(
        *{"rsc_order": ("kind", "Optional"), "rsc_colocation": ("score", draw(SCORES)), "rsc_ticket": ("ticket", "T")}[
            tag
        ]
    )
    known = {"action": ["start", "promote"], "role": ["Started", "Promoted"]}[suffix]
    for _ in range(draw(st.integers(1, 4))):
        item = etree.SubElement(element, "resource_set")
        for name, values in (("sequential", ["true", "false"]), ("require-all", ["true", "false"]), (suffix, known)):
            value = draw(st.sampled_from(["", *values]))
            if value:
                item.set(name, value)
        for resource in draw(st.lists(NAMES, min_size=1, max_size=3)):
            etree.SubElement(item, "resource_ref", id=resource)
    return element


@given(st.one_of(primitives(), constraints()))
@settings(max_examples=150, deadline=None)
def test_the_parse_of_what_is_printed_is_the_same_configuration(element: etree._Element) -> None:
    root = xml.empty()
    xml.ensure_section(root, "resources" if element.tag == "primitive" else "constraints").append(element)
    text = show.show(root)
    assert forms(configured(text).root) == forms(root)
    assert not configured(text, Mode.UPDATE, root).changed


@pytest.mark.parametrize(
    ("shortcut", "xpath"),
    [
        ("meta:web:target-role", "//*[@id='web']/meta_attributes/nvpair[@name='target-role']"),
        ("params:web", "//*[@id='web']/instance_attributes"),
        ("property:enable-acl", "//crm_config//nvpair[@name='enable-acl']"),
        ("location:web", "//rsc_location[@rsc='web' or @id='web']"),
        ("status", "/cib/status"),
    ],
)
def test_a_shortcut_of_a_role_stands_for_an_xpath(shortcut: str, xpath: str) -> None:
    (parsed,) = parse(f"role ops write {shortcut}")
    assert parsed.element[0].get("xpath") == xpath


@pytest.mark.parametrize("shortcut", ["meta:web:a:b", "meta:", "meta:we'b", "cib:x", "metal:web"])
def test_what_is_no_shortcut_is_refused(shortcut: str) -> None:
    with pytest.raises(LanguageError, match="says nothing about what"):
        parse(f'role ops write "{shortcut}"')
