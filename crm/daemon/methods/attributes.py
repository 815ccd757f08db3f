"""Node attributes: set and read, transient ones and permanent ones."""

from __future__ import annotations

import json
from typing import Any

from lxml import etree

from crm.api.server import Call
from crm.attributes.values import evaluate
from crm.cib.operations import Kind, Operation
from crm.controller import status
from crm.controller.messages import Changes
from crm.controller.status import Attributes
from crm.daemon.access import Visitor, user_of
from crm.daemon.methods.parts import NodeMethods


class AttributeMethods(NodeMethods):
    async def update(self, call: Call) -> dict[str, Any]:
        """`value` null deletes; `value++`, `value+=N` count. `lifetime` reboot (transient, the default) or forever."""
        call.only("node", "name", "value", "lifetime", "delay_ms", "section")
        name = call.need_text("name")
        uname = self.known_node(call.text("node") or self.node.settings.node_name)
        identity = self.node_id(uname)
        lifetime = call.text("lifetime", "reboot", choices=("reboot", "forever"))
        value = call.text("value")
        if lifetime == "forever":
            await self._permanent(call, identity, uname, name, value)
            return {}
        self._may_change(self.visitor(call), identity, name)
        if value is not None:
            value = evaluate(value, status.transient_attributes(self.node.cib.document, identity).get(name))
        delay_ms = call.integer("delay_ms")
        if delay_ms:
            self.node.dampen(identity, uname, name, value, delay_ms)
            return {}
        reason = f"{name} of {uname} was set"
        await self.publish(Changes((Attributes(identity, uname, {name: value}),), (), reason))
        return {}

    def _may_change(self, visitor: Visitor, identity: str, name: str) -> None:
        """The lists are asked about the attribute itself, or, when it is new, about where it would go."""
        document = self.node.cib.document
        state = status.node_state(document, identity)
        if state is None:
            visitor.need_write(document)
            return
        pair = next((pair for pair in state.iterfind("transient_attributes//nvpair") if pair.get("name") == name), None)
        places = (pair, state.find("transient_attributes/instance_attributes"), state.find("transient_attributes"))
        visitor.need_write(next((place for place in places if place is not None), state))

    async def _permanent(self, call: Call, identity: str, uname: str, name: str, value: str | None) -> None:
        user, groups = user_of(call)
        set_id = f"nodes-{identity}"
        safe = "".join(c if c.isalnum() or c in "-._" else "." for c in name)
        element = etree.Element("node", {"id": identity, "uname": uname})
        holder = etree.SubElement(element, "instance_attributes", {"id": set_id})
        if value is not None:
            old = status.permanent_attributes(self.node.cib.document, identity).get(name)
            fields = {"id": f"{set_id}-{safe}", "name": name, "value": evaluate(value, old)}
            etree.SubElement(holder, "nvpair", fields)
            text = etree.tostring(element, encoding="unicode")
            operation = Operation(Kind.MODIFY, xml=text, scope="nodes", allow_create=True, user=user, groups=groups)
            await self.node.cib.request(operation)
            return
        quoted = json.dumps(name)
        path = f"//nodes/node[@id={json.dumps(identity)}]/instance_attributes/nvpair[@name={quoted}]"
        await self.node.cib.request(Operation(Kind.DELETE, xpath=path, all_matches=True, user=user, groups=groups))

    async def query(self, call: Call) -> dict[str, Any]:
        """Values by node: transient ones, else permanent ones; of one node and one name when given.

        `held`: transient values that this node still holds back (dampening) count as set.
        """
        call.only("node", "name", "lifetime", "held")
        wanted_node, wanted_name = call.text("node"), call.text("name")
        lifetime = call.text("lifetime", choices=("reboot", "forever"))
        document = self.visitor(call).readable()
        found: dict[str, dict[str, str]] = {}
        names = {element.get("id", ""): element.get("uname", "") for element in document.iter("node", "node_state")}
        for identity, uname in names.items():
            if wanted_node is not None and wanted_node not in (uname, identity):
                continue
            values: dict[str, str | None] = {}
            if lifetime != "reboot":
                values.update(status.permanent_attributes(document, identity))
            if lifetime != "forever":
                values.update(status.transient_attributes(document, identity))
                if call.params.get("held"):
                    values.update(self.node.attributes.held(identity))
            if wanted_name is not None:
                values = {key: value for key, value in values.items() if key == wanted_name}
            found[uname] = {key: value for key, value in values.items() if value is not None}
        return {"values": found}
