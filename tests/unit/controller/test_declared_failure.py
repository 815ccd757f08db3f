"""`crm resource fail`: what somebody declared failed stays failed while the node's crm comes and goes, until something has run since."""

from __future__ import annotations

from lxml import etree

from crm.cib import xml
from crm.controller import status
from crm.controller.graph import ResourceDefinition
from crm.controller.status import ForgetOperation, History, Operation

WEB = ResourceDefinition("web", None, "ocf", "vigil", "Dummy")
MARK = "web_last_failure_0"


def history(*entries: tuple[str, str, int]) -> str:
    """An `<lrm>` of one resource: (id, operation, call id)."""
    ops = "".join(f'<lrm_rsc_op id="{i}" operation="{op}" call-id="{call}" interval="0"/>' for i, op, call in entries)
    return f'<lrm id="1"><lrm_resources><lrm_resource id="web">{ops}</lrm_resource></lrm_resources></lrm>'


def declared(call_id: int = 4) -> etree._Element:
    """A document in which web was started on n1 and then declared failed."""
    document = xml.empty()
    mark = {"id": MARK, "operation": status.DECLARED, "call-id": str(call_id), "rc-code": "1", "op-status": "0"}
    status.apply(document, [History("1", "n1", history(("web_last_0", "start", 4)))])
    status.apply(document, [Operation("1", "n1", WEB, {**mark, "operation_key": f"web_{status.DECLARED}_0"})])
    return document


def mark(document: etree._Element) -> etree._Element | None:
    return status.operation_entry(document, "1", "web", MARK)


def test_the_mark_outlives_the_crm_of_the_node_which_knows_nothing_of_it() -> None:
    document = declared()
    status.apply(document, [History("1", "n1", history(("web_last_0", "start", 4)))])
    assert mark(document) is not None


def test_what_has_run_since_ends_the_mark() -> None:
    document = declared()
    status.apply(document, [History("1", "n1", history(("web_last_0", "start", 6)))])
    assert mark(document) is None


def test_a_node_that_does_not_know_the_resource_any_more_has_no_failure_of_it() -> None:
    for nothing in (None, '<lrm id="1"><lrm_resources/></lrm>'):
        document = declared()
        status.apply(document, [History("1", "n1", nothing)])
        assert mark(document) is None


def test_a_failure_of_the_node_s_own_takes_its_place() -> None:
    document = declared()
    own = history(("web_last_0", "start", 4), (MARK, "monitor", 4))
    status.apply(document, [History("1", "n1", own)])
    found = mark(document)
    assert found is not None
    assert found.get("operation") == "monitor"


def test_a_clean_up_ends_it_for_good() -> None:
    document = declared()
    status.apply(document, [ForgetOperation("1", "web", MARK)])
    status.apply(document, [History("1", "n1", history(("web_last_0", "start", 4)))])
    assert mark(document) is None
