"""The agents of this machine: `--list-standards`, `--list-ocf-providers`, `--list-agents`, `--list-ocf-alternatives`, `--show-metadata`.

No cluster is asked. `node_paths` is where this node looks for agents, for whatever runs or lists them by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agents import catalog
from agents.metadata import MetadataError, built_in
from agents.metadata import load as load_metadata
from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentError, AgentId, Operation, Standard
from crm.api.client import DEFAULT_RUN_DIR
from crm.tools import exits
from crm.tools.command import Failure

if TYPE_CHECKING:
    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

METADATA_TIMEOUT_MS = 30_000


def node_paths(run_dir: str | None = None) -> AgentPaths:
    """Where this node looks for agents: the environment, and what the daemon's resolved configuration says."""
    paths = AgentPaths.from_environment()
    folder = run_dir or os.environ.get("VIGIL_RUN_DIR") or DEFAULT_RUN_DIR
    try:
        resolved = json.loads((Path(folder) / "resolved.json").read_text(encoding="utf-8"))
        root = resolved["agents"]["ocf_root"]
    except (OSError, ValueError, KeyError, TypeError):
        # No daemon has run here; the defaults are as good as anything.
        return paths
    return replace(paths, ocf_root=Path(str(root)))


def _print_all(found: list[str], nothing: str, code: int = exits.ERROR) -> int:
    if not found:
        words = "No such object" if code == exits.NOSUCH else "Error occurred"
        raise Failure(f"{nothing}\nError performing operation: {words}", code)
    print("\n".join(found))
    return exits.OK


def standards(cluster: Cluster, given: Given) -> int:
    return _print_all(catalog.standards(), "there are no agents")


def providers(cluster: Cluster, given: Given) -> int:
    return _print_all(catalog.providers(node_paths()), "there are no OCF agents")


def alternatives(cluster: Cluster, given: Given) -> int:
    """The providers of an OCF agent."""
    paths, name = node_paths(), given.text("list-ocf-alternatives")
    found = [provider for provider in catalog.providers(paths) if name in catalog.ocf_agents(paths, provider)]
    return _print_all(found, f"No OCF providers found for {name}", exits.NOSUCH)


def agents(cluster: Cluster, given: Given) -> int:
    standard, _, provider = given.text("list-agents").partition(":")
    which = f"standard '{standard}'" + (f" and provider '{provider}'" if provider else "")
    return _print_all(catalog.agents_of(node_paths(), standard, provider), f"No agents found for {which}")


def metadata(cluster: Cluster, given: Given) -> int:
    """The agent's own words, as it says them."""
    text, paths = given.text("show-metadata"), node_paths()
    try:
        agent = AgentId.parse(text)
    except AgentError:
        problem = f"'{text}' is not a valid agent specification\nError performing operation: No such object"
        raise Failure(problem, exits.NOSUCH) from None
    if agent.standard == Standard.OCF or agent.standard == Standard.STONITH:
        operation = Operation(agent, "metadata" if agent.standard == Standard.STONITH else "meta-data", agent.type)
        result = asyncio.run(Runner(paths).run(replace(operation, timeout_ms=METADATA_TIMEOUT_MS)))
        if not result.ok:
            problem = result.exit_reason or f"it gave {result.rc}"
            raise Failure(f"Metadata query for {text} failed: {problem}", exits.NOSUCH)
        print(result.stdout.rstrip("\n"))
        return exits.OK
    try:
        described = built_in(agent) or load_metadata(agent, paths)
    except MetadataError as error:
        raise Failure(f"Metadata query for {text} failed: {error}", exits.NOSUCH) from None
    actions = "".join(f'    <action name="{action.name}"/>\n' for action in described.actions)
    print(
        f'<?xml version="1.0"?>\n<resource-agent name="{agent.type}">\n  <shortdesc lang="en">{described.shortdesc}</shortdesc>\n'
        f"  <parameters/>\n  <actions>\n{actions}  </actions>\n</resource-agent>"
    )
    return exits.OK
