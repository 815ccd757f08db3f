"""What several methods need: the nodes by name, changes that are published."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.cib import xml
from crm.controller import status
from crm.controller.messages import Changes
from crm.daemon.access import Visitor
from crm.daemon.node import Node
from messaging.client import QueryFailed

SYNC_LIMIT_S: Final = 10.0
"""For the members to be of one mind again; less than what a monitor has that sets an attribute."""


class NodeMethods:
    """Methods of one node's daemon."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def visitor(self, call: Call) -> Visitor:
        """The client, for the access control lists as they are now."""
        return Visitor(call, self.node.cib.document)

    def known_node(self, name: str) -> str:
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

    def node_id(self, name: str) -> str:
        document = self.node.cib.document
        for element in xml.elements(xml.section(document, "nodes"), "node"):
            if element.get("uname") == name:
                return element.get("id", "")
        state = status.node_state_by_name(document, name)
        if state is not None:
            return state.get("id", "")
        return next((str(number) for number, known in self.node.settings.nodes if known == name), name)

    async def synchronised(self) -> None:
        """To be awaited before what is to be published is worked out: whenever a node comes or goes, the members are not of one mind for a moment.

        ApiError when they are not soon: messaging is away, or this node has not been let in.
        """
        node = self.node
        if not node.controller.synced:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SYNC_LIMIT_S), node.changed:
                    await node.changed.wait_for(lambda: node.controller.synced)
        self._need_synchronised()

    def _need_synchronised(self) -> None:
        if not self.node.controller.synced:
            raise ApiError(errors.UNAVAILABLE, "this node is not part of a synchronised view just now")

    async def publish(self, changes: Changes) -> None:
        """Returns when every member of the view has the changes: a following query sees them at each, and none of them is needed to remember.

        Without a pause since `synchronised()`.
        """
        self._need_synchronised()
        await self.node.promised(changes)

    async def ask_messaging(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The answer of this node's messaging daemon. ApiError when there is none, or it refuses."""
        client = self.node.client
        if client is None:
            raise ApiError(errors.UNAVAILABLE, "messaging is not running on this node just now")
        try:
            return await client.query(name, **parameters)
        except QueryFailed as error:
            raise ApiError(errors.CONFLICT, str(error)) from None
        except OSError as error:
            raise ApiError(errors.UNAVAILABLE, f"messaging does not answer: {error}") from None
