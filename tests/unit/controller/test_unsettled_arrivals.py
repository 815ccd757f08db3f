"""A live migration whose source forgets it: what the target was found without before is not believed any more; it is probed."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.cib import xml
from crm.controller import status
from crm.controller.graph import ResourceDefinition
from crm.controller.status import ForgetResource, History, Operation

WEB = ResourceDefinition("web", None, "ocf", "vigil", "Dummy")
SENT = {"operation": "migrate_to", "migrate_source": "n1", "migrate_target": "n2", "rc-code": "0", "op-status": "0"}
DONE = {"id": "web_migrate_to_0", **SENT, "call-id": "14"}
UNDER_WAY = {"id": "pending-web_migrate_to_0", **SENT, "call-id": "-1", "rc-code": "193", "op-status": "-1"}
ABSENT = {"id": "web_last_0", "operation": "monitor", "call-id": "2", "rc-code": "7", "op-status": "0"}
STARTED = {"id": "web_last_0", "operation": "start", "call-id": "5", "rc-code": "0", "op-status": "0"}
STOPPED = {"id": "web_last_0", "operation": "stop", "call-id": "15", "rc-code": "0", "op-status": "0"}
CAME = {"id": "web_migrate_from_0", "operation": "migrate_from", "call-id": "3", "rc-code": "0", "op-status": "0"}


def lrm(*entries: dict[str, str]) -> str:
    holder = etree.Element("lrm")
    resource = etree.SubElement(etree.SubElement(holder, "lrm_resources"), "lrm_resource", {"id": "web"})
    for entry in entries:
        etree.SubElement(resource, "lrm_rsc_op", {"interval": "0", **entry})
    return etree.tostring(holder, encoding="unicode")


def document(source: tuple[dict[str, str], ...], target: tuple[dict[str, str], ...]) -> etree._Element:
    root = xml.empty()
    status.apply(root, [History("1", "n1", lrm(*source)), History("2", "n2", lrm(*target))])
    return root


@pytest.mark.parametrize("entry", [DONE, UNDER_WAY])
def test_a_source_that_comes_back_knowing_nothing_leaves_the_target_to_be_probed(entry: dict[str, str]) -> None:
    root = document((STARTED, entry), (ABSENT,))
    for nothing in (None, '<lrm id="1"><lrm_resources/></lrm>'):
        assert status.unsettled_arrivals(root, [History("1", "n1", nothing)]) == [ForgetResource("2", "web")]


def test_a_source_that_still_knows_of_it_changes_nothing() -> None:
    assert not status.unsettled_arrivals(document((STARTED, DONE), (ABSENT,)), [History("1", "n1", lrm(STARTED, DONE))])
    root = document((STARTED, UNDER_WAY), (ABSENT,))
    assert not status.unsettled_arrivals(root, [History("1", "n1", lrm(STARTED, DONE))])
    going_on = Operation("1", "n1", WEB, UNDER_WAY)
    assert not status.unsettled_arrivals(root, [History("1", "n1", lrm(STARTED)), going_on])


def test_a_migration_that_was_finished_changes_nothing() -> None:
    gone = History("1", "n1", None)
    assert not status.unsettled_arrivals(document((DONE, STOPPED), (ABSENT,)), [gone])
    assert not status.unsettled_arrivals(document((STARTED, DONE), (ABSENT, CAME)), [gone])
