"""What is known about agents: which there are, and what they say of themselves.

`Catalogue` is what the checks, completion and `crm ra` need; `Installed` is that of this node. Agents are run to describe themselves, each once; a description that
cannot be had is an `UnknownAgentError` with the reason.
"""

from __future__ import annotations

from typing import Final, Protocol

from agents import catalog, metadata
from agents.metadata import AgentMetadata, MetadataError
from agents.paths import AgentPaths
from agents.types import AgentId
from crm.tools.resources.installed import node_paths

LISTED: Final = ("ocf", "lsb", "systemd", "service", "stonith")
"""Classes whose agents can be listed."""


class UnknownAgentError(Exception):
    """There is no such agent here, or it does not describe itself. The message says which, and why."""


class Catalogue(Protocol):
    """The agents that a node has."""

    def standards(self) -> list[str]:
        """Classes of agents."""

    def providers(self) -> list[str]:
        """Providers of OCF agents."""

    def types(self, standard: str, provider: str = "") -> list[str]:
        """Names of the agents of a class (and provider)."""

    def describe(self, agent: AgentId) -> AgentMetadata:
        """The agent's description. UnknownAgentError when there is none."""


class Installed:
    """The agents of this node, in the folders that its configuration names."""

    def __init__(self, paths: AgentPaths | None = None) -> None:
        self._paths = paths or node_paths()
        self._known: dict[AgentId, AgentMetadata] = {}
        self._lists: dict[tuple[str, str], list[str]] = {}

    def standards(self) -> list[str]:
        return list(LISTED)

    def providers(self) -> list[str]:
        return catalog.providers(self._paths)

    def types(self, standard: str, provider: str = "") -> list[str]:
        key = (standard, provider)
        if key not in self._lists:
            self._lists[key] = catalog.agents_of(self._paths, standard, provider)
        return self._lists[key]

    def describe(self, agent: AgentId) -> AgentMetadata:
        if agent not in self._known:
            try:
                self._known[agent] = metadata.load(agent, self._paths)
            except MetadataError as error:
                raise UnknownAgentError(str(error)) from None
        return self._known[agent]


def agent_of(standard: str, provider: str, kind: str) -> AgentId | None:
    """The agent, or None for one that nothing can be known about here (a class that is not listed, a plugin of a plugin)."""
    if standard not in LISTED or "/" in kind:
        return None
    return AgentId(standard, provider, kind)
