"""Editing a configuration as statements: what is created, updated, replaced, deleted and renamed, and what stays as it was."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.cib import xml
from crm.cib.verify import verify
from crm.shell.configuration import Configuration, ConfigurationError, Mode
from crm.shell.grammar.secrets import HIDDEN
from crm.shell.grammar.statements import parse

BASE = """
node 1: n1
node 2: n2
primitive ip ocf:vigil:IPaddr params ip=10.0.0.1 op monitor interval=10s
primitive web ocf:vigil:WebServer params port=80 meta target-role=Started
primitive db ocf:vigil:Dummy
primitive extra ocf:vigil:Dummy
group front ip web
clone dbs db meta clone-max=2
location l front 100: n1
colocation near inf: front dbs
order first Mandatory: dbs front
order all { extra dbs front }
property cib-bootstrap-options: fencing-enabled=false cluster-name=demo dc-version=1
rsc_defaults rsc-options: resource-stickiness=100
"""


@pytest.fixture
def base() -> etree._Element:
    configuration = Configuration(xml.empty())
    configuration.apply(parse(BASE), Mode.CREATE)
    return configuration.root


def edited(base: etree._Element, text: str, mode: Mode) -> Configuration:
    configuration = Configuration(base)
    configuration.apply(parse(text), mode)
    return configuration


def ids(root: etree._Element) -> list[str]:
    return [element.get("id", "") for element in root[0].iter("*") if element.get("id")]


def test_the_result_is_a_valid_configuration(base: etree._Element) -> None:
    assert [item for item in verify(base) if item.severity == "error"] == []


def test_members_move_into_their_group_and_clone(base: etree._Element) -> None:
    group = base.find(".//group[@id='front']")
    assert group is not None
    assert [child.get("id") for child in group.findall("primitive")] == ["ip", "web"]
    assert base.find(".//clone[@id='dbs']/primitive[@id='db']") is not None


def test_creating_what_exists_is_refused_and_changes_nothing(base: etree._Element) -> None:
    configuration = Configuration(base)
    with pytest.raises(ConfigurationError, match="primitive web exists already"):
        configuration.apply(parse("primitive new ocf:vigil:Dummy\nprimitive web ocf:vigil:Dummy"), Mode.CREATE)
    assert not configuration.changed


def test_options_are_merged_when_they_are_set_again(base: etree._Element) -> None:
    configuration = edited(base, "property no-quorum-policy=freeze fencing-enabled=true", Mode.CREATE)
    pairs = {
        pair.get("name"): pair.get("value") for pair in configuration.root.iterfind(".//cluster_property_set/nvpair")
    }
    assert pairs == {"fencing-enabled": "true", "cluster-name": "demo", "dc-version": "1", "no-quorum-policy": "freeze"}


def test_node_attributes_are_merged_by_the_nodes_name(base: etree._Element) -> None:
    configuration = edited(base, "node n1 attributes rack=7", Mode.CREATE)
    node = configuration.root.find(".//node[@id='1']")
    assert node is not None
    assert node.find("instance_attributes/nvpair[@name='rack']") is not None
    assert len(configuration.root.findall(".//node")) == 2


def test_an_update_keeps_the_ids_of_what_stays(base: etree._Element) -> None:
    operation = base.find(".//primitive[@id='ip']/operations/op")
    assert operation is not None
    operation.set("id", "chosen-by-hand")
    configuration = edited(
        base, "primitive ip ocf:vigil:IPaddr params ip=10.0.0.2 nic=eth0 op monitor interval=10s", Mode.UPDATE
    )
    primitive = configuration.root.find(".//primitive[@id='ip']")
    assert primitive is not None
    assert primitive.find("operations/op").get("id") == "chosen-by-hand"  # type: ignore[union-attr]
    assert [pair.get("value") for pair in primitive.iter("nvpair")] == ["10.0.0.2", "eth0"]
    assert configuration.root.find(".//group/primitive[@id='ip']") is not None


def test_updating_one_object_touches_only_its_section(base: etree._Element) -> None:
    configuration = edited(base, "location l front 200: n1", Mode.UPDATE)
    assert configuration.changed_sections() == ("constraints",)
    assert configuration.changed_ids() == {"l"}


def test_a_member_that_a_group_no_longer_names_becomes_free(base: etree._Element) -> None:
    configuration = edited(base, "group front web", Mode.UPDATE)
    assert configuration.root.find("configuration/resources/primitive[@id='ip']") is not None
    assert configuration.root.find(".//group/primitive[@id='web']") is not None


@pytest.mark.parametrize("text", ["group front web\ngroup back ip", "group back ip\ngroup front web"])
def test_a_member_moves_from_one_group_to_another_in_one_text(base: etree._Element, text: str) -> None:
    configuration = edited(base, text, Mode.UPDATE)
    assert configuration.root.find(".//group[@id='back']/primitive[@id='ip']") is not None
    assert configuration.root.find(".//group[@id='front']/primitive[@id='ip']") is None


def test_members_come_in_the_order_in_which_they_are_named(base: etree._Element) -> None:
    configuration = edited(base, "group front extra web ip", Mode.UPDATE)
    group = configuration.root.find(".//group")
    assert group is not None
    assert [child.get("id") for child in group.findall("primitive")] == ["extra", "web", "ip"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("group g ip", "group g: ip is in group front already"),
        ("group g nothing", "group g: there is no resource 'nothing'"),
        ("group g l", "group g: there is no resource 'l'"),
        ("primitive l ocf:vigil:Dummy", "location l exists already"),
        ("group g front", "group g: group front cannot be in a group; expected a primitive"),
        ("clone c dbs", "clone c: clone dbs cannot be in a clone; expected a primitive or group"),
        ("primitive a ocf:vigil:Dummy\nprimitive a ocf:vigil:Dummy", "line 2: a is defined twice, first on line 1"),
        ("primitive new ocf:vigil:Dummy params passwd=******", "passwd is given as ******"),
        ("primitive web-instance_attributes ocf:vigil:Dummy", "is in use already, in group front"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(base: etree._Element, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        edited(base, text, Mode.CREATE)
    assert any(problem in each for each in caught.value.problems)


def test_all_problems_of_a_text_are_told_at_once(base: etree._Element) -> None:
    with pytest.raises(ConfigurationError) as caught:
        edited(base, "group g nothing\nclone c nobody", Mode.CREATE)
    assert len(caught.value.problems) == 2


def test_an_object_of_another_kind_with_the_same_id_is_refused(base: etree._Element) -> None:
    with pytest.raises(ConfigurationError, match="exists and is no group"):
        edited(base, "group extra web", Mode.UPDATE)


def test_replacing_leaves_what_was_named_the_nodes_and_what_the_cluster_wrote(base: etree._Element) -> None:
    configuration = edited(base, "primitive only ocf:vigil:Dummy\nproperty no-quorum-policy=stop", Mode.REPLACE)
    shown = {f"{item.keyword} {item.identity}" for item in configuration.objects()}
    assert shown == {"node 1", "node 2", "primitive only", "property cib-bootstrap-options"}
    names = {pair.get("name") for pair in configuration.root.iterfind(".//cluster_property_set/nvpair")}
    assert names == {"no-quorum-policy", "cluster-name", "dc-version"}


def test_replacing_frees_a_member_whose_group_is_gone(base: etree._Element) -> None:
    configuration = edited(
        base, "primitive web ocf:vigil:WebServer params port=80 meta target-role=Started", Mode.REPLACE
    )
    assert configuration.root.find("configuration/resources/primitive[@id='web']") is not None
    assert configuration.root.find(".//group") is None


def test_deleting_a_resource_takes_its_constraints_along_and_says_so(base: etree._Element) -> None:
    configuration = Configuration(base)
    also = configuration.delete(["dbs"])
    assert sorted(also) == ["colocation near", "order first"]
    order = configuration.root.find(".//rsc_order[@id='all']")
    assert order is not None
    assert [item.get("id") for item in order.iter("resource_ref")] == ["extra", "front"]
    assert configuration.root.find("configuration/resources/primitive[@id='db']") is not None
    assert [item for item in verify(configuration.root) if item.severity == "error"] == []


def test_the_last_member_of_a_group_is_only_deleted_with_the_group(base: etree._Element) -> None:
    configuration = Configuration(base)
    with pytest.raises(ConfigurationError, match=r"is all that is in clone dbs"):
        configuration.delete(["db"])
    assert not configuration.changed
    configuration.delete(["db", "dbs"])
    assert configuration.find("db") is None


def test_a_template_in_use_is_not_deleted(base: etree._Element) -> None:
    configuration = edited(base, "rsc_template t ocf:vigil:Dummy\nprimitive user @t", Mode.CREATE)
    with pytest.raises(ConfigurationError, match="template t is used by user"):
        configuration.delete(["t"])


def test_deleting_what_is_not_there_names_each(base: etree._Element) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration(base).delete(["x", "y"])
    assert len(caught.value.problems) == 2


def test_renaming_changes_every_reference(base: etree._Element) -> None:
    configuration = Configuration(base)
    configuration.rename("dbs", "stores")
    assert "dbs" not in ids(configuration.root)
    assert [item for item in verify(configuration.root) if item.severity == "error"] == []
    constraint = configuration.root.find(".//rsc_colocation")
    assert constraint is not None
    assert constraint.get("with-rsc") == "stores"


def test_renaming_to_an_id_in_use_is_refused(base: etree._Element) -> None:
    with pytest.raises(ConfigurationError, match="in use already"):
        Configuration(base).rename("dbs", "web")


def test_passwords_are_hidden_and_survive_being_loaded_hidden(base: etree._Element) -> None:
    configuration = edited(base, "primitive f stonith:fence_x params ip=1 passwd=secret login=root", Mode.CREATE)
    text = configuration.text(["f"], hide_secrets=True)
    assert HIDDEN in text
    assert "secret" not in text
    again = Configuration(configuration.root)
    again.apply(parse(text.replace("ip=1", "ip=2")), Mode.UPDATE)
    pairs = {pair.get("name"): pair.get("value") for pair in again.root.iterfind(".//primitive[@id='f']//nvpair")}
    assert pairs == {"ip": "2", "passwd": "secret", "login": "root"}


def test_objects_are_selected_by_id_by_kind_and_by_being_changed(base: etree._Element) -> None:
    configuration = edited(base, "location new web 5: n2", Mode.CREATE)
    assert configuration.text(["changed"]) == "location new web 5: n2\n"
    assert [item.identity for item in configuration.select(["type:group"])] == ["front"]
    with pytest.raises(ConfigurationError, match="no object 'nope'"):
        configuration.text(["nope"])


def test_text_of_xml_is_the_element_itself(base: etree._Element) -> None:
    text = Configuration(base).text(["l"], as_xml=True)
    assert text == '<rsc_location id="l" rsc="front" score="100" node="n1"/>\n'


def test_generated_ids_avoid_those_in_use(base: etree._Element) -> None:
    text = "primitive z-instance_attributes ocf:vigil:Dummy\nprimitive z ocf:vigil:Dummy params a=1 params b=2"
    root = edited(base, text, Mode.CREATE).root
    found = ids(root)
    assert [
        identity
        for identity in found
        if found.count(identity) > 1 and root.find(f".//resource_ref[@id='{identity}']") is None
    ] == []
