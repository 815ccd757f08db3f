"""The API's attribute methods: whose attributes they take, and what becomes of permanent ones."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from crm.api.errors import ApiError
from crm.api.server import Call, Peer
from crm.attributes.table import AttributeTable
from crm.cib import operations, xml
from crm.controller import status
from crm.controller.messages import Changes
from crm.daemon.methods.attributes import AttributeMethods

CIB = """<cib epoch="1" num_updates="0" admin_epoch="0"><configuration><crm_config/><nodes>
<node id="1" uname="n1"><instance_attributes id="own-set"><nvpair id="own-pair" name="tries" value="4"/></instance_attributes></node>
</nodes><resources/><constraints/></configuration><status><node_state id="9" uname="far" remote_node="true"/></status></cib>"""


class _Node:
    """A document, and the places where changes go."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(node_name="n1", nodes=((1, "n1"), (2, "n2")))
        self.cib = SimpleNamespace(document=xml.parse(CIB), request=self._request)
        self.controller = SimpleNamespace(synced=True, view=None, attributes=AttributeTable("1"))
        self.changed = asyncio.Condition()
        self.asked: list[operations.Operation] = []
        self.published: list[Changes] = []

    async def _request(self, operation: operations.Operation) -> None:
        self.asked.append(operation)

    async def promised(self, changes: Changes) -> None:
        self.published.append(changes)

    def deliver(self) -> None:
        """What was asked for is made, as every member makes it."""
        for operation in self.asked:
            assert isinstance(operations.apply(self.cib.document, operation), operations.Applied)
        self.asked.clear()

    def update(self, **params: Any) -> None:
        call = Call("attribute.update", params, Peer(1, os.geteuid(), os.getegid()))
        asyncio.run(AttributeMethods(self).update(call))  # type: ignore[arg-type]

    def permanent(self) -> dict[str, str]:
        return status.permanent_attributes(self.cib.document, "1")


def test_a_node_that_is_not_there_any_more_is_no_ghost_by_an_attribute() -> None:
    node = _Node()
    with pytest.raises(ApiError, match="n2 is not part of the cluster yet, or not any more") as refused:
        node.update(node="n2", name="x", value="1")
    assert refused.value.code == "not-found" and node.published == []
    node.update(node="far", name="x", value="1")
    node.update(name="x", value="1")
    assert [changes.words[0].uname for changes in node.published] == ["far", "n1"]  # type: ignore[union-attr]


def test_permanent_values_that_count_are_counted_where_the_change_is_made() -> None:
    node = _Node()
    node.update(name="tries", value="value++", lifetime="forever")
    node.update(name="tries", value="value+=5", lifetime="forever")
    node.update(name="tries", value="value--", lifetime="forever")
    node.deliver()
    assert node.permanent() == {"tries": "9"}, "none of them knew of the others when it was asked for"


def test_a_permanent_value_is_changed_where_it_stands_and_a_new_one_beside_it() -> None:
    node = _Node()
    node.update(name="tries", value="0", lifetime="forever")
    node.update(name="#health-disk", value="value++", lifetime="forever")
    node.deliver()
    pairs = node.cib.document.findall("configuration/nodes/node/instance_attributes/nvpair")
    assert [dict(pair.attrib) for pair in pairs] == [
        {"id": "own-pair", "name": "tries", "value": "0"},
        {"id": "nodes-1-.health-disk", "name": "#health-disk", "value": "1"},
    ]
    node.update(name="tries", lifetime="forever")
    node.deliver()
    assert node.permanent() == {"#health-disk": "1"}
