"""Where agents are looked for, and the folders they are promised.

Theory of operation. Everything that depends on the machine is in one value, made once by the daemon (or by
`AgentPaths.from_environment()` for tools and tests), so that the rest of the package never guesses. Providers are found in
a list of folders, each laid out as `PROVIDER/TYPE` like `/usr/lib/ocf/resource.d`. The agents we ship lie flat in
`agents/ocf` and appear as provider `vigil` without being installed anywhere.

`OCF_ROOT` stays `/usr/lib/ocf` for every agent, whatever the search list: that is where agents find their shell functions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
SHIPPED_OCF: Final = HERE / "ocf"
SHIPPED_PROVIDER: Final = "vigil"
SHIPPED_ALERTS: Final = HERE / "alerts"
SHIPPED_FENCE: Final = HERE.parent / "fencing" / "plugins"

ENV_OCF_PATH: Final = "VIGIL_OCF_PATH"
"""Colon-separated folders laid out as PROVIDER/TYPE, searched before the installed ones."""
ENV_FENCE_PATH: Final = "VIGIL_FENCE_PATH"
"""Colon-separated folders of fence agents, searched before the installed ones."""
ENV_RSCTMP: Final = "HA_RSCTMP"
ENV_SBIN: Final = "HA_SBIN_DIR"
DEFAULT_RUN_DIR: Final = Path("/run/vigil")
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class AgentPaths:
    """`tools`, when set, holds our `crm_attribute` and friends and is put before the system's folders for agents."""

    ocf_root: Path = Path("/usr/lib/ocf")
    ocf_search: tuple[Path, ...] = ()
    lsb: Path = Path("/etc/init.d")
    fence_search: tuple[Path, ...] = (SHIPPED_FENCE, Path("/usr/sbin"), Path("/usr/local/sbin"))
    systemctl: str = "systemctl"
    rsctmp: Path = Path("/run/resource-agents")
    tools: Path | None = None
    run_dir: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> AgentPaths:
        """What OCF_ROOT, VIGIL_OCF_PATH, VIGIL_FENCE_PATH, VIGIL_RUN_DIR, HA_RSCTMP and HA_SBIN_DIR say; defaults otherwise.

        A node with a run folder of its own keeps its agents' state there too: several nodes may share a machine.
        """
        values = os.environ if environment is None else environment
        default = cls()
        run_dir = values.get("VIGIL_RUN_DIR")
        tools = values.get(ENV_SBIN)
        own = Path(run_dir) / "resource-agents" if run_dir and Path(run_dir) != DEFAULT_RUN_DIR else default.rsctmp
        return cls(
            ocf_root=Path(values.get("OCF_ROOT") or default.ocf_root),
            ocf_search=_folders(values.get(ENV_OCF_PATH)),
            fence_search=_folders(values.get(ENV_FENCE_PATH)) + default.fence_search,
            rsctmp=Path(values.get(ENV_RSCTMP) or own),
            tools=Path(tools) if tools else None,
            run_dir=Path(run_dir) if run_dir else None,
        )

    def provider_folders(self) -> tuple[Path, ...]:
        """Folders laid out as PROVIDER/TYPE, in the order of the search."""
        return (*self.ocf_search, self.ocf_root / "resource.d")

    def ocf_candidates(self, provider: str, name: str) -> tuple[Path, ...]:
        """Every place where this agent may be, best first."""
        found = tuple(folder / provider / name for folder in self.provider_folders())
        return (*found, SHIPPED_OCF / name) if provider == SHIPPED_PROVIDER else found

    def fence_candidates(self, name: str) -> tuple[Path, ...]:
        return tuple(folder / name for folder in self.fence_search)


def first_existing(candidates: tuple[Path, ...]) -> Path | None:
    """The first of the candidates that is a file; whether it may be executed shows when it is."""
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    return None


def _folders(text: str | None) -> tuple[Path, ...]:
    return tuple(Path(part) for part in (text or "").split(":") if part)
