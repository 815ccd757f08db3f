"""What an operator may change about quorum while the cluster runs: the expected votes, and what `wait_for_all` waits for.

The members decide together, in messaging; here it is asked for, and waited for until it stands.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.daemon.methods.parts import NodeMethods

SETTLE_S: Final = 15.0
POLL_S: Final = 0.1


class QuorumMethods(NodeMethods):
    """One method each, named after the API's."""

    async def change(self, call: Call) -> dict[str, Any]:
        """`action` expected-votes with `votes`, or unblock. `force`: although this part has no quorum."""
        call.only("action", "votes", "force")
        action = call.text("action", choices=("expected-votes", "unblock"))
        parameters: dict[str, Any] = {"action": action}
        if action == "expected-votes":
            votes = call.integer("votes")
            if votes is None or not 1 <= votes <= 8160:
                raise ApiError(errors.BAD_REQUEST, f"votes: expected 1 to 8160, got {votes}")
            parameters |= {"votes": votes, "force": bool(call.params.get("force", False))}
        await self.ask_messaging("quorum.change", parameters)
        self.node.journal.record("quorum_changed", {"by": f"uid-{call.peer.uid}", **parameters})
        answer = await self.settled()
        if action == "expected-votes" and answer["expected_votes"] != parameters["votes"]:
            raise ApiError(errors.CONFLICT, f"the members have not agreed to it: {answer['reason']}")
        return answer

    async def settled(self) -> dict[str, Any]:
        """The state of quorum once no change of the electorate is on its way."""
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    answer = await self.ask_messaging("quorum", {})
                    if not answer["electorate_changes"]:
                        return answer
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ApiError(errors.TIMEOUT, f"the members have not agreed within {SETTLE_S:.0f} s") from None
