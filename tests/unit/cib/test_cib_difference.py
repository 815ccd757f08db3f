"""The small operations that lead from one configuration to another."""

from __future__ import annotations

from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from crm.cib import xml
from crm.cib.difference import Step, steps
from crm.cib.operations import Applied, Kind, Operation, apply

CIB = """<cib validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration>
<crm_config><cluster_property_set id="o"><nvpair id="o1" name="enable-acl" value="true"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/></nodes>
<resources><primitive id="a" class="ocf" provider="vigil" type="Dummy"><meta_attributes id="am">
<nvpair id="am1" name="target-role" value="Started"/><nvpair id="am2" name="priority" value="1"/></meta_attributes>
<instance_attributes id="ai"><nvpair id="ai1" name="password" value="secret"/></instance_attributes>
<operations><op id="ao" name="monitor" interval="10s"/></operations></primitive>
<group id="g"><primitive id="b" class="ocf" provider="vigil" type="Dummy"/><primitive id="c" class="ocf" provider="vigil" type="Dummy"/></group>
</resources><constraints><rsc_location id="l" rsc="a" node="n1" score="5"/></constraints>
<acls><acl_role id="operator"><acl_permission id="p1" kind="read" xpath="/cib"/>
<acl_permission id="p2" kind="deny" xpath="//nvpair[@name='password']"/>
<acl_permission id="p3" kind="write" xpath="//nvpair[@name='target-role']"/></acl_role>
<acl_target id="tony"><role id="operator"/></acl_target></acls></configuration><status/></cib>"""


def _cib() -> etree._Element:
    return xml.parse(CIB)


def _operation(step: Step) -> Operation:
    fields = dict(step)
    return Operation(Kind(fields.pop("operation")), **fields)


def _carry_out(document: etree._Element, found: list[Step], user: str = "") -> object:
    transaction = Operation(Kind.TRANSACTION, steps=tuple(map(_operation, found)), user=user)
    return apply(document, transaction)


def _first(document: etree._Element, identity: str) -> etree._Element:
    (found,) = xml.xpath(document, f"//*[@id='{identity}']")
    return found


def test_one_value_is_one_small_modification() -> None:
    new = _cib()
    _first(new, "am1").set("value", "Stopped")
    assert steps(_cib(), new) == [
        {
            "operation": "modify",
            "xpath": "/cib/configuration/resources/primitive[@id='a']/meta_attributes[@id='am']/nvpair[@id='am1']",
            "xml": '<nvpair id="am1" value="Stopped"/>',
        }
    ]


def test_equal_configurations_need_nothing() -> None:
    assert steps(_cib(), _cib()) == []


def test_what_moves_into_a_group_leaves_its_place_first() -> None:
    new = _cib()
    _first(new, "g").append(_first(new, "a"))
    found = steps(_cib(), new)
    assert [step["operation"] for step in found] == ["delete", "create"]
    document = _cib()
    assert isinstance(_carry_out(document, found), Applied)
    assert [child.get("id") for child in _first(document, "g")] == ["b", "c", "a"]


def test_another_order_of_members_replaces_their_group_only() -> None:
    new = _cib()
    group = _first(new, "g")
    group.append(group[0])
    (step,) = steps(_cib(), new)
    assert (step["operation"], step["xpath"]) == ("replace", "/cib/configuration/resources/group[@id='g']")


def test_a_section_that_is_missing_gets_its_usual_place() -> None:
    new = _cib()
    etree.SubElement(etree.SubElement(xml.ensure_section(new, "tags"), "tag", id="t"), "obj_ref", id="a")
    document = _cib()
    assert isinstance(_carry_out(document, steps(_cib(), new)), Applied)
    assert xml.to_bytes(document.find("configuration")) == xml.to_bytes(new.find("configuration"))


def test_who_may_write_one_value_and_not_read_another_can_still_commit_an_edit() -> None:
    """The edit began with what the user sees: the password is not in it, and must not be lost."""
    from crm.cib import acl

    seen = acl.readable(_cib(), "tony")
    assert seen is not None and "secret" not in xml.to_text(seen)
    edited = deepcopy(seen)
    _first(edited, "am1").set("value", "Stopped")
    document = _cib()
    assert isinstance(_carry_out(document, steps(seen, edited), "tony"), Applied)
    assert _first(document, "am1").get("value") == "Stopped" and _first(document, "ai1").get("value") == "secret"
    _first(edited, "am2").set("value", "2")
    assert not isinstance(_carry_out(_cib(), steps(seen, edited), "tony"), Applied)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "drop", "add", "move", "unset", "comment"]), st.integers(0, 30), st.integers(0, 5)
    ),
    max_size=6,
)


@given(EDITS)
@settings(max_examples=150, deadline=None)
def test_the_steps_lead_to_what_was_made(edits: list[tuple[str, int, int]]) -> None:
    new = _cib()
    for kind, place, number in edits:
        configuration = new.find("configuration")
        assert configuration is not None
        inner = [element for element in configuration.iter("*") if element.get("id") is not None]
        if not inner:
            break
        element = inner[place % len(inner)]
        parent = element.getparent()
        assert parent is not None
        match kind:
            case "set":
                element.set("description", f"d{number}+")
            case "unset":
                for key in [key for key in element.attrib if key != "id"][:1]:
                    del element.attrib[key]
            case "drop":
                parent.remove(element)
            case "add":
                if new.find(f".//*[@id='new-{number}']") is None:
                    parent.insert(0 if number % 2 else len(parent), etree.Element("nvpair", id=f"new-{number}"))
            case "move":
                parent.append(element)
            case _:
                parent.insert(0, etree.Comment(f"c{number}"))
    document = _cib()
    result = _carry_out(document, steps(_cib(), new))
    assert isinstance(result, Applied), result
    assert _plain(document) == _plain(new)


def _plain(document: etree._Element) -> bytes:
    """Attributes in one order: what counts is what is there."""
    copy = deepcopy(document.find("configuration"))
    assert copy is not None
    for element in copy.iter("*"):
        values = sorted((str(key), str(value)) for key, value in element.attrib.items())
        element.attrib.clear()
        for key, value in values:
            element.set(key, value)
    return xml.to_bytes(copy)
