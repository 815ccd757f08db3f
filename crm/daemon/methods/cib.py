"""The CIB: queries, changes, and the earlier versions that this node keeps on its disk."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.api.users import user_name
from crm.cib import operations, without_fencing, xml
from crm.cib.acl import too_costly
from crm.cib.operations import Kind, Operation, Refusal
from crm.cib.store import StoreError
from crm.cib.xml import Version
from crm.daemon.access import user_of
from crm.daemon.methods.parts import NodeMethods

_KINDS: Final = tuple(str(kind) for kind in Kind)


class CibMethods(NodeMethods):
    async def query(self, call: Call) -> dict[str, Any]:
        call.only("xpath", "scope", "user")
        visitor, xpath = self.visitor(call), call.text("xpath", "") or ""
        if visitor.restricted and (reason := too_costly(xpath)):
            text = f"in an XPath of a user with access control lists: {reason}"
            raise ApiError(errors.PERMISSION_DENIED, text)
        found = operations.query_text(visitor.readable(), call.text("scope", "") or "", xpath)
        if isinstance(found, Refusal):
            code = errors.NOT_FOUND if found.code == operations.Code.NOT_FOUND else errors.BAD_REQUEST
            raise ApiError(code, found.message)
        return {"xml": found, "version": str(self.node.cib.version)}

    async def apply(self, call: Call) -> dict[str, Any]:
        call.only(
            *("operation", "xml", "xpath", "scope", "allow_create", "all_matches", "steps", "client", "user"),
            *("if_version", "if_configuration"),
        )
        stamp = (
            ("cib-last-written", time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime())),
            ("update-origin", self.node.settings.node_name),
            ("update-client", call.text("client", "") or f"uid-{call.peer.uid}"),
            ("update-user", user_name(call.peer.uid)),
        )
        operation = _operation(dict(call.params), stamp)
        needed_by = self.node.settings.needs_fencing
        if needed_by and without_fencing.is_disabled_by(operation):
            raise ApiError(errors.CONFLICT, without_fencing.danger(needed_by))
        user, groups = user_of(call)
        if lost := self.node.controller.without_cib():
            text = f"every copy of the configuration on {', '.join(lost)} is damaged, and no member has one (crm status says what to do)"
            raise ApiError(errors.UNAVAILABLE, text)
        done = await self.node.cib.request(replace(operation, user=user, groups=groups))
        return {"version": str(done.version), "items": [item._asdict() for item in done.warnings]}

    async def history(self, call: Call) -> dict[str, Any]:
        """The versions on this node's disk, newest first; each node numbers its own."""
        call.only()
        self.visitor(call).readable()
        found = await asyncio.to_thread(self.node.cib.store.history)
        return {
            "node": self.node.settings.node_name,
            "versions": [
                {
                    "serial": entry.serial,
                    "version": str(entry.version),
                    "written": int(entry.modified_s),
                    "sha256": entry.sha256,
                }
                for entry in found
            ],
        }

    async def version(self, call: Call) -> dict[str, Any]:
        """One of these versions, by its serial."""
        call.only("serial")
        serial = call.integer("serial")
        if serial is None:
            raise ApiError(errors.BAD_REQUEST, "serial: expected the number of a version, as cib.history has it")
        try:
            document = await asyncio.to_thread(self.node.cib.store.read, serial)
        except StoreError as error:
            raise ApiError(errors.NOT_FOUND, str(error)) from None
        readable = self.visitor(call).readable(document)
        return {"xml": xml.to_text(readable), "version": str(xml.version(document))}


def _operation(params: dict[str, Any], stamp: tuple[tuple[str, str], ...]) -> Operation:
    """A CIB operation from the parameters of a request; ApiError names what is wrong with them."""
    kind = params.get("operation")
    if kind not in _KINDS:
        raise ApiError(errors.BAD_REQUEST, f"operation: expected one of {', '.join(_KINDS)}, got {kind!r}")
    for name in ("xml", "xpath", "scope", "if_configuration"):
        if not isinstance(params.get(name, ""), str | None):
            raise ApiError(errors.BAD_REQUEST, f"{name}: expected a string")
    version = params.get("if_version")
    try:
        if_version = None if version is None else Version.parse(str(version))
    except ValueError as error:
        raise ApiError(errors.BAD_REQUEST, f"if_version: {error}") from None
    steps = params.get("steps") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ApiError(errors.BAD_REQUEST, "steps: expected a list of operations")
    return Operation(
        Kind(str(kind)),
        xml=str(params.get("xml") or ""),
        scope=str(params.get("scope") or ""),
        xpath=str(params.get("xpath") or ""),
        if_version=if_version,
        if_configuration=str(params.get("if_configuration") or ""),
        allow_create=bool(params.get("allow_create", False)),
        all_matches=bool(params.get("all_matches", False)),
        steps=tuple(_operation(step, stamp) for step in steps),
        stamp=stamp,
    )
