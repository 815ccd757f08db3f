"""A resource that was stopped for its node's shutdown waits for that node: what the status section remembers."""

from __future__ import annotations

from dataclasses import replace

from lxml import etree

from crm.cib import xml
from crm.controller import status
from crm.controller.graph import Action, ActionKind, ResourceDefinition
from crm.controller.status import EraseNode, ForgetResource, History, Lock, Operation, Update

WEB = ResourceDefinition("web", None, "ocf", "vigil", "Dummy")
STOP = Action(
    1, ActionKind.RESOURCE, "stop", "web_stop_0", "n1", "1", None, {}, WEB, 20_000, 0, 0, shutdown_lock="1700"
)


def _document() -> etree._Element:
    document = xml.empty()
    status.apply(document, [Operation("1", "n1", WEB, {"id": "web_last_0", "operation_key": "web_start_0"})])
    return document


def _locked() -> etree._Element:
    document = _document()
    status.apply(document, status.lock(document, STOP))
    return document


def _since(document: etree._Element) -> str | None:
    found = status.lrm_resource(document, "1", "web")
    return None if found is None else found.get("shutdown-lock")


def test_the_stop_of_a_shutdown_sets_the_lock_and_any_other_stop_does_not() -> None:
    assert _since(_locked()) == "1700"
    assert status.lock(_document(), replace(STOP, shutdown_lock=None)) == []


def test_the_lock_survives_the_return_of_the_node_and_its_probe() -> None:
    for lrm in (None, '<lrm id="1"><lrm_resources><lrm_resource id="db"/></lrm_resources></lrm>'):
        document = _locked()
        status.apply(document, [History("1", "n1", lrm)])
        assert _since(document) == "1700"
        found = status.lrm_resource(document, "1", "web")
        assert found is not None and len(found) == 0, "what ran there in its earlier life is not known any more"
        probe: list[Update] = [Operation("1", "n1", WEB, {"id": "web_last_0", "operation_key": "web_monitor_0"})]
        status.apply(document, probe)
        assert _since(document) == "1700"


def test_a_start_ends_the_lock() -> None:
    document = _locked()
    start = replace(STOP, task="start", key="web_start_0")
    assert status.lock(document, start) == [Lock("1", "web", None)]
    status.apply(document, status.lock(document, start))
    assert _since(document) is None
    assert status.lock(document, start) == []


def test_cleaning_up_and_fencing_end_it_too() -> None:
    for update in (ForgetResource("1", "web"), EraseNode("1", "n1")):
        document = _locked()
        status.apply(document, [update])
        assert _since(document) is None


def test_a_lock_survives_the_wire() -> None:
    update = Lock("1", "web", "1700")
    assert status.decode(status.encode(update)) == update
