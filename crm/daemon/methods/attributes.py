"""Node attributes: set and read, transient ones and permanent ones."""

from __future__ import annotations

import json
import re
from typing import Any

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.attributes.values import for_cib
from crm.cib import xml
from crm.cib.operations import Kind, Operation
from crm.controller import status
from crm.controller.messages import Changes
from crm.daemon.access import Visitor, user_of
from crm.daemon.methods.parts import NodeMethods


class AttributeMethods(NodeMethods):
    async def update(self, call: Call) -> dict[str, Any]:
        """`value` null deletes; `value++`, `value+=N` count. `lifetime` reboot (transient, the default) or forever.

        Of transient ones: `pattern` instead of `name` means all whose name it matches. `delay_ms` is the delay of an attribute that has none yet; with `delay`
        `both` (or `only`, without a value) also of one that has. `private`: never in the CIB.
        """
        call.only("node", "name", "pattern", "value", "lifetime", "delay_ms", "delay", "private", "section")
        pattern = call.text("pattern")
        name = call.need_text("name") if pattern is None else ""
        uname = self.known_node(call.text("node") or self.node.settings.node_name)
        identity = self.node_id(uname)
        self._need_present(uname, identity)
        lifetime = call.text("lifetime", "reboot", choices=("reboot", "forever"))
        value = call.text("value")
        if lifetime == "forever":
            await self._permanent(call, identity, uname, name, value)
            return {}
        delay_ms, how = call.integer("delay_ms"), call.text("delay", "new", choices=("new", "both", "only"))
        if how != "new" and delay_ms is None:
            raise ApiError(errors.BAD_REQUEST, f"delay {how} needs delay_ms")
        await self.synchronised()
        names = [name] if pattern is None else self._matching(identity, pattern)
        visitor, table = self.visitor(call), self.node.controller.attributes
        for each in names:
            self._may_change(visitor, identity, each)
        private = call.boolean("private")
        public = status.transient_attributes(self.node.cib.document, identity) if private else {}
        words = tuple(
            table.wish(
                identity,
                uname,
                each,
                value,
                delay_ms=delay_ms,
                change_delay=how != "new",
                valued=how != "only",
                private=private,
                public=each in public,
            )
            for each in names
        )
        if words:
            reason = f"{', '.join(names[:3])} was set"
            await self.publish(Changes(reason=reason, words=words))
        return {"names": names}

    def _need_present(self, uname: str, identity: str) -> None:
        """Not of a node that was deleted, or never came: its attributes would make a ghost of it."""
        document, view = self.node.cib.document, self.node.controller.view
        configured = (each.get("id") for each in xml.elements(xml.section(document, "nodes"), "node"))
        member = view is not None and any(str(number) == identity for number in view.member_ids)
        if not member and identity not in configured and status.node_state(document, identity) is None:
            raise ApiError(errors.NOT_FOUND, f"the node {uname} is not part of the cluster yet, or not any more")

    def _matching(self, identity: str, pattern: str) -> list[str]:
        """Names of the node's transient attributes, private ones too, that the expression is found in."""
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ApiError(errors.BAD_REQUEST, f"pattern: {pattern!r} is no regular expression: {error}") from None
        known = {
            **status.transient_attributes(self.node.cib.document, identity),
            **self.node.controller.attributes.unwritten(identity),
        }
        return sorted(name for name in known if expression.search(name))

    def _may_change(self, visitor: Visitor, identity: str, name: str) -> None:
        """The lists are asked about the attribute itself, or, when it is new, about where it would go."""
        if not visitor.restricted:
            return
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
        where = f"//nodes/node[@id={json.dumps(identity)}]/instance_attributes/nvpair[@name={json.dumps(name)}]"
        if value is None:
            await self.node.cib.request(Operation(Kind.DELETE, xpath=where, all_matches=True, user=user, groups=groups))
            return
        set_id, pair_id = self._place(identity, name)
        element = etree.Element("node", {"id": identity, "uname": uname})
        holder = etree.SubElement(element, "instance_attributes", {"id": set_id})
        # What counts is counted where the change is made, at every member: not on a value that may be an old one by then.
        etree.SubElement(holder, "nvpair", {"id": pair_id, "name": name, "value": for_cib(value)})
        text = etree.tostring(element, encoding="unicode")
        operation = Operation(Kind.MODIFY, xml=text, scope="nodes", allow_create=True, user=user, groups=groups)
        await self.node.cib.request(operation)

    def _place(self, identity: str, name: str) -> tuple[str, str]:
        """Ids of the set and the pair: those that are there, else those that Pacemaker's tools would give."""
        for node in xml.elements(xml.section(self.node.cib.document, "nodes"), "node"):
            for holder in node.iterchildren("instance_attributes") if node.get("id") == identity else ():
                for pair in holder.iterchildren("nvpair"):
                    if pair.get("name") == name:
                        return holder.get("id", ""), pair.get("id", "")
        set_id = f"nodes-{identity}"
        return set_id, f"{set_id}-{''.join(c if c.isalnum() or c in '-._' else '.' for c in name)}"

    async def query(self, call: Call) -> dict[str, Any]:
        """Values by node: transient ones, else permanent ones; of one node and one name when given.

        `held`: transient values that are held back (dampening) count as set, and private ones are told too.
        """
        call.only("node", "name", "lifetime", "held")
        wanted_node, wanted_name = call.text("node"), call.text("name")
        lifetime = call.text("lifetime", choices=("reboot", "forever"))
        visitor = self.visitor(call)
        document = visitor.readable()
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
                if call.boolean("held") and visitor.reads_everything:
                    values.update(self.node.controller.attributes.unwritten(identity))
            if wanted_name is not None:
                values = {key: value for key, value in values.items() if key == wanted_name}
            found[uname] = {key: value for key, value in values.items() if value is not None}
        return {"values": found}
