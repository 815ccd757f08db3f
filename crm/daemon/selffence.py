"""Fencing by a node's own watchdog: when may this node rely on it that a lost one has reset itself?

Theory of operation. Messaging knows of each peer whether it was watched when it was heard last, and how long such a node may take
(`messaging.watchdog_core`). The administrator must have allowed it (`fencing-watchdog-timeout`: a negative value takes the time as derived, a
positive one is a longer time; one that is shorter than derived would be a guess, and is refused). A target that is still in the group is first told
not to feed its watchdog any more, and must have said that it will not.

A target that is heard again before its time is up may be fed again: then nothing is presumed any more, the request fails, and the policy engine
decides anew on a node that is there. Only one that was told not to feed its watchdog any more does not get around it (it is written down there).

The DC writes `have-watchdog`, so that the policy engine knows that nodes can be fenced without any device.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.cib.operations import Kind, Operation
from crm.controller import properties
from messaging.client import QueryFailed
from messaging.types import View

if TYPE_CHECKING:
    from crm.daemon.node import Node

_PAIR: Final = (
    '<crm_config><cluster_property_set id="cib-bootstrap-options">'
    '<nvpair id="cib-bootstrap-options-have-watchdog" name="have-watchdog" value="true"/>'
    "</cluster_property_set></crm_config>"
)

_log = logging.getLogger("vigil.fencing")


class SelfFencing:
    """See the module's text."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._told = False
        self._waiting: dict[str, bool] = {}
        """Targets that have not been told, and whether they were members without a crm when it began."""
        node.peers.handler("fence_starve", self._starve_for_peer)

    async def ask(self, target: str, reason: str) -> tuple[int, str]:
        """For the fencer: how long until the target has reset itself from now, or 0 and why nobody may rely on that."""
        allowed_ms = properties.watchdog_timeout_ms(self._node.cib.document)
        if allowed_ms == 0:
            return 0, ""
        try:
            known = await self._query("watchdog")
            own = target == self._node.settings.node_name
            needed_ms = int(known["own"].get("presumed_ms", 0) if own else known["peers"].get(target, 0))
            if needed_ms == 0:
                return 0, f"{target} did not say that a watchdog resets it"
            if 0 < allowed_ms < needed_ms:  # as `problem` says beforehand
                return 0, f"fencing-watchdog-timeout is {allowed_ms} ms, and {needed_ms} ms may be needed"
            await self._starve(target, reason)
        except ApiError as error:
            self._waiting.pop(target, None)
            return 0, error.message
        return max(needed_ms, allowed_ms), ""

    def problem(self, known: dict[str, Any]) -> str:
        """What stands against fencing by watchdogs although it is allowed; empty when nothing does, or when it is not allowed."""
        allowed_ms = properties.watchdog_timeout_ms(self._node.cib.document)
        own = known["own"]
        if allowed_ms == 0:
            return ""
        if not own:
            return "fencing-watchdog-timeout is set, but this node has no watchdog"
        needed_ms = int(own["presumed_ms"])
        if needed_ms == 0:
            return (
                "fencing-watchdog-timeout is set, but nothing may be presumed of a lost node: both sides of a split could have "
                "quorum, or its watchdog ignores a loss"
            )
        if 0 < allowed_ms < needed_ms:
            return f"fencing-watchdog-timeout is {allowed_ms} ms, and {needed_ms} ms may be needed"
        return ""

    async def _starve(self, target: str, reason: str) -> None:
        """A node that can still be spoken to must agree. ApiError when it does not."""
        self._waiting.pop(target, None)
        if target == self._node.settings.node_name:
            await self._query("watchdog.starve", reason=reason)
            return
        view = self._node.controller.view
        if view is None:
            raise ApiError(errors.UNAVAILABLE, "there is no view just now")
        member = next((each for each in view.members if each.name == target), None)
        if member is not None and member.node_id in view.group:
            await self._node.peers.call(member.node_id, "fence_starve", {"reason": reason})
        else:
            self._waiting[target] = member is not None

    def on_view(self, view: View) -> list[str]:
        """The targets of which nothing may be presumed any more."""
        void = []
        for target, was_member in list(self._waiting.items()):
            member = next((each for each in view.members if each.name == target), None)
            if member is not None and (not was_member or member.node_id in view.group):
                del self._waiting[target]
                void.append(target)
            elif member is None:
                self._waiting[target] = False
        return void

    async def _starve_for_peer(self, params: dict[str, Any]) -> dict[str, Any]:
        return await self._query("watchdog.starve", reason=str(params.get("reason", "")))

    async def _query(self, name: str, **parameters: Any) -> dict[str, Any]:
        client = self._node.client
        if client is None:
            raise ApiError(errors.UNAVAILABLE, "messaging is not running on this node just now")
        try:
            return await client.query(name, **parameters)
        except QueryFailed as error:
            raise ApiError(errors.FAILED, str(error)) from None
        except (OSError, TimeoutError) as error:
            raise ApiError(errors.UNAVAILABLE, f"messaging does not answer: {error}") from None

    async def tell_policy(self) -> None:
        """On the DC: write `have-watchdog` where this node is watched and nobody has written it."""
        if self._told or properties.option(self._node.cib.document, "have-watchdog") == "true":
            return
        self._told = True
        try:
            if (await self._query("watchdog"))["own"].get("open"):
                await self._node.cib.request(Operation(Kind.MODIFY, xml=_PAIR), automatic=True)
        except ApiError as error:
            self._told = False
            _log.warning("have-watchdog is not in the configuration yet: %s", error)
