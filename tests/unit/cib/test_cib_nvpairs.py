"""Named values are changed where they count, and new ones get the ids that people expect."""

from __future__ import annotations

from lxml import etree

from crm.cib import nvpairs, xml
from crm.cib.operations import Applied, Operation, apply
from crm.cib.verify import check_changes

DOCUMENT = """
<cib validate-with="pacemaker-4.0" epoch="1" num_updates="0" admin_epoch="0"><configuration>
  <crm_config/>
  <nodes><node id="1" uname="n1"/></nodes>
  <resources>
    <primitive id="web" class="lsb" type="x"/>
    <primitive id="db" class="lsb" type="x">
      <meta_attributes id="night" score="9"><rule id="r"><date_expression id="d" operation="gt" start="2030-01-01"/></rule>
        <nvpair id="n1" name="target-role" value="Stopped"/></meta_attributes>
      <meta_attributes id="low"><nvpair id="l1" name="target-role" value="Started"/></meta_attributes>
      <meta_attributes id="high" score="5"><nvpair id="h1" name="priority" value="1"/></meta_attributes>
    </primitive>
  </resources>
  <constraints/>
</configuration><status/></cib>
"""


def _document() -> etree._Element:
    return xml.parse(DOCUMENT)


def _element(document: etree._Element, path: str) -> etree._Element:
    return xml.xpath(document, path)[0]


def _done(document: etree._Element, operation: Operation | None) -> None:
    assert operation is not None
    assert isinstance(result := apply(document, operation, check=check_changes), Applied), result


def test_a_first_value_makes_a_set_with_the_usual_ids() -> None:
    document = _document()
    for path, tag, name in [
        ("//primitive[@id='web']", "meta_attributes", "target-role"),
        ("//crm_config", "cluster_property_set", "stonith-enabled"),
        ("//node", "instance_attributes", "standby"),
    ]:
        owner = _element(document, path)
        value = "Started" if name == "target-role" else "true"
        _done(document, nvpairs.set_value(document, owner, tag, name, value))
        assert nvpairs.get_value(owner, tag, name) == value
    assert [pair.get("id") for pair in xml.xpath(document, "//nvpair[@id and not(starts-with(@id, 'n1'))]")][:1] == [
        "cib-bootstrap-options-stonith-enabled"
    ]
    assert xml.xpath(document, "//nvpair[@id='web-meta_attributes-target-role']")
    assert xml.xpath(document, "//nvpair[@id='nodes-1-standby']")


def test_a_value_is_changed_where_it_counts_and_conditional_sets_stay() -> None:
    document = _document()
    owner = _element(document, "//primitive[@id='db']")
    _done(document, nvpairs.set_value(document, owner, "meta_attributes", "target-role", "Unpromoted"))
    assert _element(document, "//nvpair[@id='l1']").get("value") == "Unpromoted"
    assert _element(document, "//nvpair[@id='n1']").get("value") == "Stopped"


def test_a_new_value_joins_the_set_of_the_highest_precedence() -> None:
    document = _document()
    owner = _element(document, "//primitive[@id='db']")
    _done(document, nvpairs.set_value(document, owner, "meta_attributes", "is-managed", "false"))
    assert _element(document, "//nvpair[@name='is-managed']/..").get("id") == "high"


def test_a_value_is_removed_once_and_then_there_is_nothing_to_do() -> None:
    document = _document()
    owner = _element(document, "//primitive[@id='db']")
    _done(document, nvpairs.unset_value(owner, "meta_attributes", "target-role"))
    assert nvpairs.unset_value(owner, "meta_attributes", "target-role") is None
    assert len(xml.xpath(document, "//nvpair[@name='target-role']")) == 1


def test_new_ids_are_valid_and_free() -> None:
    document = _document()
    assert nvpairs.new_id(document, "web") == "web-0"
    assert nvpairs.new_id(document, "9 lives#x") == "_9.lives.x"
    assert nvpairs.new_id(document, "free", taken=["free", "free-0"]) == "free-1"
