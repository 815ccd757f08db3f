"""What agents say of themselves, learnt before it is needed.

Theory of operation. An agent's meta-data decide whether a changed parameter means a reload or a restart, and which parameters are private; the executor
writes that into the history of each operation. So every agent of the configuration is asked once, when the configuration is loaded or
changed: at a cold start that is while the nodes still wait for each other. Few are asked at a time, and none of
that delays an operation: only the record of a successful one waits, and only until an agent that is being asked has answered (`PATIENCE_S`).
An agent whose file has changed since is asked again the next time it starts a resource. Nothing polls.

Only OCF agents are asked: init scripts and units have no parameters, and a fence device that changes is registered anew whatever its parameters are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from lxml import etree

from agents.metadata import Descriptions, MetadataError
from agents.types import AgentId, Standard
from crm.cib import xml
from crm.executor.types import AgentTraits, traits_of

PATIENCE_S: Final = 1.0
"""How long the record of a result waits for the description of its agent. They take some 50 ms."""
AT_A_TIME: Final = 2

_log = logging.getLogger("vigil.executor")


class Learning:
    """`tell` gets what was learnt. `broken` is called when a task of ours fails."""

    def __init__(self, descriptions: Descriptions, tell: Callable[[AgentId, AgentTraits], None]) -> None:
        self._descriptions = descriptions
        self._tell = tell
        self._asked: set[AgentId] = set()
        self._learning: dict[AgentId, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self.broken: Callable[[BaseException], None] = lambda error: None

    def on_configuration(self, document: etree._Element) -> None:
        """Ask the agents that are new."""
        resources = xml.section(document, "resources")
        for element in resources.iter("primitive", "template") if resources is not None else ():
            if element.get("class") == Standard.OCF:
                agent = AgentId(Standard.OCF, element.get("provider", ""), element.get("type", ""))
                if agent not in self._asked:
                    self.ask(agent)

    def ask(self, agent: AgentId) -> None:
        """Learn what the agent says now; costs a look at its file when nothing has changed."""
        if agent.standard != Standard.OCF or agent in self._learning:
            return
        self._asked.add(agent)
        task = self._learning[agent] = asyncio.create_task(self._learn(agent))
        task.add_done_callback(lambda done: self._over(agent, done))

    async def known(self, agent: AgentId) -> None:
        """Returns when the agent is not being asked (any more), or after a while."""
        task = self._learning.get(agent)
        if task is not None:
            await asyncio.wait((task,), timeout=PATIENCE_S)

    async def close(self) -> None:
        for task in self._learning.values():
            task.cancel()
        await asyncio.gather(*self._learning.values(), return_exceptions=True)

    async def _learn(self, agent: AgentId) -> None:
        async with self._turn:
            try:
                metadata = await self._descriptions.get(agent)
            except MetadataError as error:
                # Its operations will say the same, louder.
                _log.info("%s", error)
                return
        self._tell(agent, traits_of(metadata))

    def _over(self, agent: AgentId, task: asyncio.Task[None]) -> None:
        self._learning.pop(agent, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken(error)
