"""Which agents there are on this machine: for completion in the shell, for lists, for resolving a bare name.

Theory of operation. Files in the folders of `AgentPaths` are agents when they may be executed and are not hidden; nothing is
run to find out, except `systemctl` for the units. A name found in several folders counts once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agents.environment import base_environment
from agents.paths import SHIPPED_OCF, SHIPPED_PROVIDER, AgentPaths
from agents.process import run_process
from agents.types import AgentId, Standard

PREFERRED_PROVIDERS: Final = ("heartbeat", "pacemaker", SHIPPED_PROVIDER)
"""Where a bare name such as `Dummy` is looked for first."""
_UNITS_TIMEOUT_MS: Final = 5_000


def standards() -> list[str]:
    return list(Standard)


def providers(paths: AgentPaths) -> list[str]:
    """The providers of OCF agents, sorted."""
    found = {SHIPPED_PROVIDER}
    for folder in paths.provider_folders():
        found.update(entry.name for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("."))
    return sorted(found)


def ocf_agents(paths: AgentPaths, provider: str) -> list[str]:
    folders = [folder / provider for folder in paths.provider_folders()]
    if provider == SHIPPED_PROVIDER:
        folders.append(SHIPPED_OCF)
    return _programs(folders)


def lsb_agents(paths: AgentPaths) -> list[str]:
    return _programs([paths.lsb])


def fence_agents(paths: AgentPaths) -> list[str]:
    """Fence agents are the programs called `fence_...`; daemons of that name are not."""
    daemons = {"fence_legacy", "fence_pcmk", "fence_virtd", "fence_sanlockd", "fence_ack_manual", "fence_tool"}
    return [name for name in _programs(paths.fence_search) if name.startswith("fence_") and name not in daemons]


async def systemd_units(paths: AgentPaths) -> list[str]:
    """Service units, without their suffix. Empty when there is no systemd."""
    argv = (paths.systemctl, "list-unit-files", "--type=service", "--no-legend", "--no-pager", "--plain")
    try:
        ended = await run_process(argv, base_environment(paths), _UNITS_TIMEOUT_MS)
    except OSError:
        return []
    lines = ended.stdout.decode("utf-8", "replace").splitlines() if ended.code == 0 else []
    return sorted(line.split()[0].removesuffix(".service") for line in lines if line.strip())


def agents_of(paths: AgentPaths, standard: str, provider: str = "") -> list[str]:
    """The agents of a class (and provider); for `ocf` without provider those of all of them."""
    match standard:
        case Standard.OCF:
            chosen = [provider] if provider else providers(paths)
            return sorted({name for each in chosen for name in ocf_agents(paths, each)})
        case Standard.LSB:
            return lsb_agents(paths)
        case Standard.STONITH:
            return fence_agents(paths)
        case Standard.SYSTEMD | Standard.SERVICE:
            return asyncio.run(systemd_units(paths))
    return []


def resolve(paths: AgentPaths, name: str) -> list[AgentId]:
    """What somebody may mean who writes a bare `Dummy`: the best first; one provider before the other as crmsh has it."""
    order = [*PREFERRED_PROVIDERS, *(other for other in providers(paths) if other not in PREFERRED_PROVIDERS)]
    return [AgentId(Standard.OCF, provider, name) for provider in order if name in ocf_agents(paths, provider)]


def _programs(folders: Iterable[Path]) -> list[str]:
    found = {
        entry.name
        for folder in folders
        for entry in _entries(folder)
        if not entry.name.startswith(".") and entry.is_file() and os.access(entry, os.X_OK)
    }
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
