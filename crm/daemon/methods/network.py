"""What messaging does about keys and the network when an operator asks for it: rotating the key, trying the links."""

from __future__ import annotations

from typing import Any

from crm.api.server import Call
from crm.daemon.methods.parts import NodeMethods


class NetworkMethods(NodeMethods):
    """One method each, named after the API's. Each begins something; `messaging.query` tells how far it is."""

    async def rotate_key(self, call: Call) -> dict[str, Any]:
        """Replace the cluster's key, or finish a rotation that was interrupted: `messaging.query name=keys` follows it."""
        call.only()
        answer = await self.ask_messaging("keys.rotate", {})
        self.node.journal.record("key_rotation_begun", {"by": f"uid-{call.peer.uid}"})
        return answer

    async def try_links(self, call: Call) -> dict[str, Any]:
        """Try every way on every link, on all nodes, for some seconds: `messaging.query name=doctor` tells what is found."""
        call.only()
        return await self.ask_messaging("doctor.start", {})
