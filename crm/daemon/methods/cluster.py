"""The cluster as a whole: how it is, its events, waiting for it, fencing, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.daemon.methods.parts import NodeMethods
from crm.daemon.overview import membership, overview
from messaging.client import QueryFailed

WAIT_DEFAULT_MS: Final = 120_000
FENCE_LIMIT_MS: Final = 300_000
ASK_AGAIN_S: Final = 0.1
"""Before a question is put to the next DC after the view changed."""


class ClusterMethods(NodeMethods):
    """One method each, named after the API's."""

    # --- what is going on --------------------------------------------------------------------------------------------

    async def status(self, call: Call) -> dict[str, Any]:
        call.only()
        dc = await self._dc_description()
        return overview(self.node, dc, self.visitor(call))

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
        if "." in name:  # these do something, and have methods of their own
            raise ApiError(errors.INVALID, f"messaging.query asks only; {name!r} does something")
        client = self.node.client
        if client is None:
            raise ApiError(errors.UNAVAILABLE, "messaging is not running on this node just now")
        try:
            answer = await client.query(name)
        except QueryFailed as error:
            raise ApiError(errors.FAILED, str(error)) from None
        except (OSError, TimeoutError) as error:
            raise ApiError(errors.UNAVAILABLE, f"messaging does not answer: {error}") from None
        if name == "watchdog":
            answer["problem"] = self.node.self_fencing.problem(answer)
        return answer

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
        target = self.known_node(call.need_text("node"))
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
        target = self.known_node(call.need_text("node"))
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
