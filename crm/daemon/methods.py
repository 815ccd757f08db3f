"""The methods of the local API: what shell, tools and agents may ask of this node.

Theory of operation. A method checks its parameters, asks a core, and waits where the answer takes time. What only the DC can know or do is asked of
it through `Peers`, so that every node answers alike; when the view changes meanwhile, the question is asked again until
its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import pwd
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.attributes.values import evaluate
from crm.cib import acl, operations, xml
from crm.cib.operations import Kind, Operation, Refusal
from crm.cib.xml import Version
from crm.controller import failures, status
from crm.controller.messages import Changes
from crm.controller.status import Attributes, ForgetResource, Update
from crm.daemon.node import Node
from crm.daemon.overview import membership, overview
from messaging.client import QueryFailed

WAIT_DEFAULT_MS: Final = 120_000
FENCE_LIMIT_MS: Final = 300_000
ASK_AGAIN_S: Final = 0.1
"""Before a question is put to the next DC after the view changed."""

_KINDS: Final = tuple(str(kind) for kind in Kind)


def register(node: Node) -> None:
    """Put every method into the node's API server."""
    methods = Methods(node)
    table: dict[str, Callable[[Call], Any]] = {
        "cib.query": methods.cib_query,
        "cib.apply": methods.cib_apply,
        "status": methods.status,
        "membership": methods.membership,
        "events.recent": methods.events_recent,
        "node.fence": methods.node_fence,
        "node.confirm_fenced": methods.node_confirm_fenced,
        "resource.cleanup": methods.resource_cleanup,
        "resource.refresh": methods.resource_refresh,
        "attribute.update": methods.attribute_update,
        "attribute.query": methods.attribute_query,
        "wait": methods.wait,
        "messaging.query": methods.messaging_query,
        "shutdown": methods.shutdown,
    }
    for name, handler in table.items():
        node.api.method(name, handler)
    node.api.subscription("events", methods.events)
    node.peers.handler("wait", methods.dc_wait)
    node.peers.handler("describe", methods.dc_describe)
    node.peers.handler("fence", methods.dc_fence)


class Methods:
    """One method each, named after the API's."""

    def __init__(self, node: Node) -> None:
        self.node = node

    # --- the CIB -----------------------------------------------------------------------------------------------------

    async def cib_query(self, call: Call) -> dict[str, Any]:
        call.only("xpath", "scope")
        document = acl.readable(self.node.cib.document, *_user(call))
        if document is None:
            raise ApiError(errors.PERMISSION_DENIED, "the access control lists let you read nothing")
        found = operations.query_text(document, call.text("scope", "") or "", call.text("xpath", "") or "")
        if isinstance(found, Refusal):
            code = errors.NOT_FOUND if found.code == operations.Code.NOT_FOUND else errors.BAD_REQUEST
            raise ApiError(code, found.message)
        return {"xml": found, "version": str(self.node.cib.version)}

    async def cib_apply(self, call: Call) -> dict[str, Any]:
        call.only("operation", "xml", "xpath", "scope", "if_version", "allow_create", "all_matches", "steps", "client")
        operation = _operation(dict(call.params), call.text("client", "") or f"uid-{call.peer.uid}", self.node)
        user, groups = _user(call)
        if lost := self.node.controller.without_cib():
            text = f"every copy of the configuration on {', '.join(lost)} is damaged, and no member has one (crm status says what to do)"
            raise ApiError(errors.UNAVAILABLE, text)
        done = await self.node.cib.request(replace(operation, user=user, groups=groups))
        return {"version": str(done.version), "items": [item._asdict() for item in done.warnings]}

    # --- what is going on --------------------------------------------------------------------------------------------

    async def status(self, call: Call) -> dict[str, Any]:
        call.only()
        return overview(self.node, await self._dc_description())

    async def membership(self, call: Call) -> dict[str, Any]:
        """Who is there, as this node knows without asking another: for tools that agents call."""
        call.only()
        return membership(self.node)

    async def _dc_description(self) -> dict[str, Any] | None:
        """What the DC says of itself; None when there is none or it does not answer soon."""
        node = self.node
        if node.controller.dc in (None, node.settings.node_id):
            return node.controller.describe() if node.controller.dc is not None else None
        try:
            async with asyncio.timeout(1):
                answer: dict[str, Any] = await node.peers.call(node.controller.dc or 0, "describe", {})
        except (ApiError, TimeoutError):
            return None
        return answer

    async def dc_describe(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.node.controller.describe()

    async def events(self, call: Call, feed: Any) -> None:
        call.only("since")
        since = call.integer("since")
        if since is not None:
            for event in self.node.journal.recent(since_seq=since):
                feed.push(event)
        await self.node.hub.serve(call, feed)

    async def events_recent(self, call: Call) -> dict[str, Any]:
        call.only("since", "since_ms", "limit")
        found = self.node.journal.recent(
            since_seq=call.integer("since", 0) or 0,
            since_ms=call.integer("since_ms", 0) or 0,
            limit=call.integer("limit", 5000) or 5000,
        )
        return {"events": found}

    async def messaging_query(self, call: Call) -> dict[str, Any]:
        call.only("name")
        name = call.need_text("name")
        client = self.node.client
        if client is None:
            raise ApiError(errors.UNAVAILABLE, "messaging is not running on this node just now")
        try:
            return await client.query(name)
        except QueryFailed as error:
            raise ApiError(errors.FAILED, str(error)) from None
        except (OSError, TimeoutError) as error:
            raise ApiError(errors.UNAVAILABLE, f"messaging does not answer: {error}") from None

    async def wait(self, call: Call) -> dict[str, Any]:
        """Returns when the DC has nothing left to do."""
        call.only("timeout_ms")
        limit_ms = call.integer("timeout_ms", WAIT_DEFAULT_MS) or WAIT_DEFAULT_MS
        try:
            async with asyncio.timeout(limit_ms / 1000):
                await self._ask_dc("wait", {}, self.dc_wait)
        except TimeoutError:
            raise ApiError(errors.TIMEOUT, f"the cluster is still busy after {limit_ms} ms") from None
        return {}

    async def dc_wait(self, params: dict[str, Any]) -> dict[str, Any]:
        controller = self.node.controller
        async with self.node.changed:
            await self.node.changed.wait_for(lambda: controller.coordinator is None or not controller.busy)
        if controller.coordinator is None:
            raise ApiError(errors.UNAVAILABLE, "this node is not the DC any more")
        return {}

    async def _ask_dc(self, name: str, params: dict[str, Any], here: Callable[[dict[str, Any]], Any]) -> Any:
        """The DC's answer, whoever that is; waits for one to be there."""
        node = self.node
        controller = node.controller
        while True:
            async with node.changed:
                await node.changed.wait_for(lambda: controller.synced and controller.dc is not None)
            dc = controller.dc
            try:
                if dc == node.settings.node_id:
                    return await here(params)
                return await node.peers.call(dc or 0, name, params)
            except ApiError as error:
                if error.code != errors.UNAVAILABLE:
                    raise
            await asyncio.sleep(ASK_AGAIN_S)

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def node_fence(self, call: Call) -> dict[str, Any]:
        call.only("node", "action")
        target = self._known_node(call.need_text("node"))
        params = {"node": target, "action": call.text("action", "reboot", choices=("reboot", "off", "on"))}
        try:
            async with asyncio.timeout(FENCE_LIMIT_MS / 1000):
                answer: dict[str, Any] = await self._ask_dc("fence", params, self.dc_fence)
        except TimeoutError:
            raise ApiError(errors.TIMEOUT, f"fencing of {target} is not confirmed yet") from None
        return answer

    async def dc_fence(self, params: dict[str, Any]) -> dict[str, Any]:
        node = self.node
        ended: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()

        def done(ok: bool, text: str) -> None:
            if not ended.done():
                ended.set_result((ok, text))

        target, action = str(params["node"]), str(params["action"])
        node.fencing.listen(target, done)
        node.perform(node.controller.fence_on_request(target, action))
        ok, text = await ended
        if not ok:
            raise ApiError(errors.FAILED, f"{target} could not be fenced: {text}")
        return {"node": target, "action": action, "text": text}

    async def node_confirm_fenced(self, call: Call) -> dict[str, Any]:
        call.only("node")
        target = self._known_node(call.need_text("node"))
        view = self.node.controller.view
        if view is not None and any(member.name == target for member in view.members):
            raise ApiError(errors.CONFLICT, f"{target} is a member of the cluster, so it is not off")
        self.node.perform(self.node.controller.confirmed_off(target, "off"))
        self.node.journal.record("confirmed_off", {"target": target, "by": f"uid-{call.peer.uid}"})
        return {}

    async def shutdown(self, call: Call) -> dict[str, Any]:
        call.only()
        self.node.on_stop_signal()
        return {}

    def _known_node(self, name: str) -> str:
        """A node of the configuration, the status or the view; by name or by id."""
        document = self.node.cib.document
        known: dict[str, str] = {str(number): known for number, known in self.node.settings.nodes}
        for element in xml.elements(xml.section(document, "nodes"), "node"):
            known[element.get("id", "")] = element.get("uname", "")
        for element in xml.elements(xml.section(document, xml.STATUS), "node_state"):
            known.setdefault(element.get("id", ""), element.get("uname", ""))
        if name in known.values():
            return name
        if name in known:
            return known[name]
        raise ApiError(errors.NOT_FOUND, f"no node {name}; known are {', '.join(sorted(set(known.values())))}")

    def _node_id(self, name: str) -> str:
        document = self.node.cib.document
        for element in xml.elements(xml.section(document, "nodes"), "node"):
            if element.get("uname") == name:
                return element.get("id", "")
        state = status.node_state_by_name(document, name)
        if state is not None:
            return state.get("id", "")
        return next((str(number) for number, known in self.node.settings.nodes if known == name), name)

    # --- resources ---------------------------------------------------------------------------------------------------

    async def resource_cleanup(self, call: Call) -> dict[str, Any]:
        return await self._clear(call, only_failed=True)

    async def resource_refresh(self, call: Call) -> dict[str, Any]:
        return await self._clear(call, only_failed=False)

    async def _clear(self, call: Call, *, only_failed: bool) -> dict[str, Any]:
        call.only("resource", "node")
        resource, node_name = call.text("resource"), call.text("node")
        wanted = None if resource is None else self._leaves(resource)
        updates: list[Update] = []
        cleared = 0
        for state in xml.elements(xml.section(self.node.cib.document, xml.STATUS), "node_state"):
            name, identity = state.get("uname", ""), state.get("id", "")
            if node_name is not None and node_name not in (name, identity):
                continue
            attributes = status.transient_attributes(self.node.cib.document, identity)
            for history in state.iterfind("lrm/lrm_resources/lrm_resource"):
                rsc = history.get("id", "")
                if wanted is not None and _base(rsc) not in wanted:
                    continue
                counts = failures.cleared_attributes(attributes, rsc)
                if only_failed and not counts and not _has_failure(history):
                    continue
                cleared += 1
                if counts:
                    updates.append(Attributes(identity, name, counts))
                updates.append(ForgetResource(identity, rsc))
        if updates:
            what = resource or "all resources"
            verb = "cleaned up" if only_failed else "refreshed"
            await self._publish(Changes(tuple(updates), (), f"{what} {verb}"))
        return {"cleared": cleared}

    def _leaves(self, resource: str) -> set[str]:
        """Ids of the primitives in a resource of the configuration (or of what is only known from history)."""
        section = xml.section(self.node.cib.document, "resources")
        found: set[str] = set()
        if section is not None:
            for element in section.iter("*"):
                if element.get("id") == resource and element.tag in ("primitive", "group", "clone", "master", "bundle"):
                    found |= {primitive.get("id", "") for primitive in element.iter("primitive")}
        return found or {_base(resource)}

    async def _publish(self, changes: Changes) -> None:
        """Returns when the changes have been delivered here, so that a following query sees them."""
        node = self.node
        if not node.controller.synced:
            raise ApiError(errors.UNAVAILABLE, "this node is not part of a synchronised view just now")
        node.perform(node.controller.publish(changes))
        async with node.changed:
            await node.changed.wait_for(lambda: not node.controller.unsent)

    # --- attributes --------------------------------------------------------------------------------------------------

    async def attribute_update(self, call: Call) -> dict[str, Any]:
        """`value` null deletes; `value++`, `value+=N` count. `lifetime` reboot (transient, the default) or forever."""
        call.only("node", "name", "value", "lifetime", "delay_ms", "section")
        name = call.need_text("name")
        uname = self._known_node(call.text("node") or self.node.settings.node_name)
        identity = self._node_id(uname)
        lifetime = call.text("lifetime", "reboot", choices=("reboot", "forever"))
        value = call.text("value")
        if lifetime == "forever":
            await self._permanent(identity, uname, name, value)
            return {}
        if value is not None:
            value = evaluate(value, status.transient_attributes(self.node.cib.document, identity).get(name))
        delay_ms = call.integer("delay_ms")
        if delay_ms:
            self.node.dampen(identity, uname, name, value, delay_ms)
            return {}
        reason = f"{name} of {uname} was set"
        await self._publish(Changes((Attributes(identity, uname, {name: value}),), (), reason))
        return {}

    async def _permanent(self, identity: str, uname: str, name: str, value: str | None) -> None:
        set_id = f"nodes-{identity}"
        safe = "".join(c if c.isalnum() or c in "-._" else "." for c in name)
        element = etree.Element("node", {"id": identity, "uname": uname})
        holder = etree.SubElement(element, "instance_attributes", {"id": set_id})
        if value is not None:
            old = status.permanent_attributes(self.node.cib.document, identity).get(name)
            fields = {"id": f"{set_id}-{safe}", "name": name, "value": evaluate(value, old)}
            etree.SubElement(holder, "nvpair", fields)
            text = etree.tostring(element, encoding="unicode")
            await self.node.cib.request(Operation(Kind.MODIFY, xml=text, scope="nodes", allow_create=True))
            return
        quoted = json.dumps(name)
        path = f"//nodes/node[@id={json.dumps(identity)}]/instance_attributes/nvpair[@name={quoted}]"
        await self.node.cib.request(Operation(Kind.DELETE, xpath=path, all_matches=True))

    async def attribute_query(self, call: Call) -> dict[str, Any]:
        """Values by node: transient ones, else permanent ones; of one node and one name when given.

        `held`: transient values that this node still holds back (dampening) count as set.
        """
        call.only("node", "name", "lifetime", "held")
        wanted_node, wanted_name = call.text("node"), call.text("name")
        lifetime = call.text("lifetime", choices=("reboot", "forever"))
        document = self.node.cib.document
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


def _operation(params: dict[str, Any], client: str, node: Node) -> Operation:
    """A CIB operation from the parameters of a request; ApiError names what is wrong with them."""
    kind = params.get("operation")
    if kind not in _KINDS:
        raise ApiError(errors.BAD_REQUEST, f"operation: expected one of {', '.join(_KINDS)}, got {kind!r}")
    for name in ("xml", "xpath", "scope"):
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
    stamp = (
        ("cib-last-written", time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime())),
        ("update-origin", node.settings.node_name),
        ("update-client", client),
    )
    return Operation(
        Kind(str(kind)),
        xml=str(params.get("xml") or ""),
        scope=str(params.get("scope") or ""),
        xpath=str(params.get("xpath") or ""),
        if_version=if_version,
        allow_create=bool(params.get("allow_create", False)),
        all_matches=bool(params.get("all_matches", False)),
        steps=tuple(_operation(step, client, node) for step in steps),
        stamp=stamp,
    )


def _user(call: Call) -> tuple[str, tuple[str, ...]]:
    """Who asks, for the access control lists: the user and its groups; nobody in particular for root and the daemon's own user."""
    if call.peer.uid in (0, os.geteuid()):
        return "", ()
    try:
        entry = pwd.getpwuid(call.peer.uid)
        numbers = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError):
        return f"uid-{call.peer.uid}", ()
    names = []
    for number in numbers:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(number).gr_name)
    return entry.pw_name, tuple(names)


def _has_failure(history: etree._Element) -> bool:
    for entry in history.iterchildren("lrm_rsc_op"):
        if entry.get("id", "").endswith("_last_failure_0"):
            return True
        target = (entry.get("transition-key") or "").split(":")
        expected = target[2] if len(target) == 4 else "0"
        if entry.get("op-status") not in ("0", "-1") or (
            entry.get("rc-code") != expected and entry.get("interval") != "0"
        ):
            return True
    return False


def _base(resource: str) -> str:
    head, colon, tail = resource.rpartition(":")
    return head if colon and tail.isdigit() else resource
