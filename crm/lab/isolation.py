"""What this host lets a lab be made of, found by trying it.

Machine isolation needs `unshare` and `nsenter` (util-linux), `ip` (iproute2), namespaces, and a bridge. It is tried as root, then inside an
unprivileged user namespace. What failed is kept as the reason, so that `auto` can say why it fell back to plain processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from crm.lab.layout import Isolation, LabError

TRY_TIMEOUT_S = 60
# One node's worth of namespaces below a network with a bridge: what a lab does, in small.
_TRIAL = (
    "ip link add br0 type bridge && ip link set br0 up && "
    "unshare --net --mount --uts --ipc --pid --fork --mount-proc sh -c "
    "'mount -t tmpfs none /run && ip link set lo up && hostname trial'"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    isolation: Isolation
    rootless: bool
    reason: str


def _try(prefix: list[str]) -> str:
    """Empty when a machine could be made, else why not."""
    try:
        result = subprocess.run(
            [*prefix, "sh", "-c", _TRIAL], capture_output=True, text=True, timeout=TRY_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = result.stderr.strip().splitlines()
    return "" if result.returncode == 0 else (lines[-1] if lines else f"exit code {result.returncode}")


def namespace_prefix(rootless: bool) -> list[str]:
    """The command that puts the keeper into a network of its own."""
    user = ["--user", "--map-root-user"] if rootless else []
    return ["unshare", *user, "--net"]


def choose(wanted: str) -> Verdict:
    """`auto`, `machine` or `process` -> what will be done and why. LabError when `machine` is wanted and impossible."""
    if wanted == Isolation.PROCESS:
        return Verdict(Isolation.PROCESS, False, "as asked for")
    if wanted not in ("auto", Isolation.MACHINE):
        raise LabError(f"--isolation is auto, machine or process; got {wanted!r}")
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    rootless = os.geteuid() != 0
    why = f"{' and '.join(missing)} not installed" if missing else _try(namespace_prefix(rootless))
    if not why:
        how = "unprivileged user namespaces" if rootless else "root"
        return Verdict(Isolation.MACHINE, rootless, f"namespaces, through {how}")
    if wanted == Isolation.MACHINE:
        raise LabError(f"machine isolation is not possible here: {why}")
    return Verdict(Isolation.PROCESS, False, f"machine isolation is not possible here: {why}")
