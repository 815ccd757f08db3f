"""A CIB in a file (`CIB_file`), in the shape of the local API's client.

What reads or changes the CIB works on the file, by the same operations as the live one; node attributes become operations on it. Whatever needs a
running cluster is refused. A change replaces the file as a whole: a reader sees the old one or the new one.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from crm.api import errors
from crm.api.errors import ApiError, ErrorItem
from crm.api.users import groups_of
from crm.cib import acl, operations, verify, xml
from crm.tools import exits
from crm.tools.command import Failure
from crm.tools.xmltext import counted, element, id_part, quoted


class FileClient:
    """`call` as `crm.api.client.Client.call`. `check`: changes are judged as a daemon would; the shell judges by itself, and can be overruled."""

    def __init__(self, path: str, *, check: bool = True) -> None:
        self.path = Path(path)
        self._check = verify.check_changes if check else None

    def close(self) -> None:
        """Nothing is open between calls."""

    def call(self, method: str, /, **params: Any) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        match method:
            case "cib.query":
                return self._query(**given)
            case "cib.apply":
                return self._apply(**given)
            case "attribute.query":
                return self._attributes(**given)
            # A file has no time to wait for, and no place but the status section.
            case "attribute.update" if given.get("delay") == "only":
                return {}
            case "attribute.update" if "pattern" not in given and "private" not in given:
                return self._set_attribute(
                    **{name: value for name, value in given.items() if not name.startswith("delay")}
                )
        raise ApiError(errors.UNAVAILABLE, f"this needs a running cluster, and {self.path} is only a file (CIB_file)")

    def _load(self) -> Any:
        try:
            return xml.load(self.path)
        except OSError as error:
            raise Failure(f"cannot read the CIB file {self.path}: {error.strerror}", exits.NOINPUT) from None
        except xml.CibSyntaxError as error:
            raise Failure(f"{self.path} is not a CIB: {error}", exits.DATAERR) from None

    def _query(self, scope: str = "", xpath: str = "", user: str = "") -> dict[str, str]:
        document = acl.readable(whole := self._load(), user, groups_of(user))
        if document is None:
            raise ApiError(errors.PERMISSION_DENIED, f"the access control lists let {user} read nothing")
        found = operations.query_text(document, scope, xpath)
        if isinstance(found, operations.Refusal):
            raise _error(found)
        return {"xml": found, "version": str(xml.version(whole))}

    def _apply(
        self, operation: str, steps: Any = (), client: str = "", user: str = "", **fields: Any
    ) -> dict[str, str]:
        document = self._load()
        wanted = replace(_operation(operation, steps, fields), user=user, groups=groups_of(user))
        result = operations.apply(document, wanted, check=self._check)
        if isinstance(result, operations.Refusal):
            raise _error(result)
        if result.sections or operation == "bump":
            self._write(document)
        return {"version": str(result.version)}

    def _write(self, document: Any) -> None:
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(xml.to_text(document))
                file.flush()
                os.fsync(file.fileno())
            fresh = Path(name)
            fresh.chmod(self.path.stat().st_mode & 0o777)
            fresh.replace(self.path)
        except OSError as error:
            raise Failure(f"cannot write the CIB file {self.path}: {error.strerror}", exits.IOERR) from None

    def _node(self, name: str) -> tuple[str, str]:
        """(id, name) of a node by either."""
        for node in self._load().iter("node", "node_state"):
            if name in (node.get("uname"), node.get("id")):
                return node.get("id", ""), node.get("uname", "")
        raise ApiError(errors.NOT_FOUND, f"no node {name} in {self.path}")

    def _attributes(self, node: str = "", name: str = "", lifetime: str = "", held: bool = False) -> dict[str, Any]:
        document = self._load()
        names = {each.get("id", ""): each.get("uname", "") for each in document.iter("node", "node_state")}
        found: dict[str, dict[str, str]] = {}
        for identity, uname in names.items():
            values: dict[str, str] = {}
            for wanted, path in (
                ("forever", f"//nodes/node[@id={quoted(identity)}]/instance_attributes/nvpair"),
                ("reboot", f"//status/node_state[@id={quoted(identity)}]/transient_attributes//nvpair"),
            ):
                if lifetime in ("", wanted):
                    values |= {pair.get("name", ""): pair.get("value", "") for pair in xml.xpath(document, path)}
            if node in ("", identity, uname):
                found[uname] = {key: value for key, value in values.items() if name in ("", key)}
        return {"values": found}

    def _set_attribute(
        self, node: str, name: str, value: str | None = None, lifetime: str = "reboot"
    ) -> dict[str, str]:
        identity, uname = self._node(node)
        if value is None:
            path = f"//status/node_state[@id={quoted(identity)}]/transient_attributes//nvpair[@name={quoted(name)}]"
            return self._apply("delete", xpath=path, all_matches=True) if xml.xpath(self._load(), path) else {}
        pair = element("nvpair", {"id": f"status-{identity}-{id_part(name)}", "name": name, "value": counted(value)})
        held = element("instance_attributes", {"id": f"status-{identity}"}, pair)
        state = {"id": identity, "uname": uname}
        text = element("node_state", state, element("transient_attributes", {"id": identity}, held))
        return self._apply("modify", xml=text, scope="status", allow_create=True)


def _operation(kind: str, steps: Any, fields: dict[str, Any]) -> operations.Operation:
    version = fields.pop("if_version", None)
    return operations.Operation(
        operations.Kind(kind),
        if_version=None if version is None else xml.Version.parse(version),
        steps=tuple(_operation(step.pop("operation"), step.pop("steps", ()), step) for step in map(dict, steps)),
        **fields,
    )


def _error(refusal: operations.Refusal) -> ApiError:
    items = [ErrorItem(item.severity, item.code, item.element, item.message, item.attribute) for item in refusal.items]
    return ApiError(str(refusal.code), refusal.message, items)
