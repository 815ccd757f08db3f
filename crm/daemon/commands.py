"""The cluster's commands, where agents find them.

Theory of operation. Agents call `crm_attribute`, `crm_master`, `crm_node` and others, by `HA_SBIN_DIR` or by PATH. They must meet those that belong to this
daemon, not another cluster stack's in /usr/sbin; and they must not meet whatever else lies beside ours (an environment's own `python3`, say, which an
agent's `#!/usr/bin/env python3` would start). So each node has a folder with nothing but links to them. Links, since RUN_DIR may be
mounted so that nothing in it can be executed.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

COMMANDS: Final = (
    "attrd_updater",
    "cibadmin",
    "crm_attribute",
    "crm_failcount",
    "crm_master",
    "crm_mon",
    "crm_node",
    "crm_resource",
    "crm_shadow",
    "crm_simulate",
    "crm_standby",
    "crm_verify",
    "crmadmin",
    "stonith_admin",
)
FOLDER: Final = "commands"

_log = logging.getLogger("vigil")


def provide(run_dir: Path, installed: Path | None = None) -> Path | None:
    """The folder of links, made anew; None when the commands are not installed. `installed`: where they are, if known."""
    source = installed or _installed()
    if source is None:
        _log.warning("the commands for agents (crm_attribute and others) are not installed beside %s", sys.executable)
        return None
    folder = run_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in COMMANDS:
            link = folder / name
            if not (link.is_symlink() and link.readlink() == source / name):
                link.unlink(missing_ok=True)
                link.symlink_to(source / name)
    except OSError as error:
        _log.warning("cannot link the commands for agents in %s: %s", folder, error)
        return None
    return folder


def _installed() -> Path | None:
    """Beside the interpreter, as in an environment of its own; else where this interpreter's scripts are installed."""
    beside = Path(sys.executable).parent
    if (beside / "crm_attribute").exists():
        return beside
    import sysconfig

    scripts = Path(sysconfig.get_path("scripts"))
    return scripts if (scripts / "crm_attribute").exists() else None
