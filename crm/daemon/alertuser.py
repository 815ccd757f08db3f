"""As whom alert agents run: not as root, when there is somebody else to be.

Theory of operation. `[alerts] user` names the user, `hacluster` unless it is changed, as with Pacemaker. Where there is no such user, or this daemon may not become
another one (it is not root, or its user namespace does not know that user), agents run as the daemon does; but a user that somebody has chosen and that
does not exist is an error of each alert: nothing is run as root that was meant not to be.

The change of user is made by `setpriv` (util-linux), between us and the agent: a process of our own would have to be copied for it, which
holds up the daemon for longer the larger it is.
"""

from __future__ import annotations

import logging
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_USER: Final = "hacluster"
LOG_FOLDER: Final = Path("/var/log/vigil")
"""Where the agent `file` writes by default."""
LOG_FOLDER_MODE: Final = 0o770

_log = logging.getLogger("vigil.alerts")


class NoSuchUser(Exception):
    """The text names the user."""


@dataclass(frozen=True, slots=True)
class AlertUser:
    """`name` empty: the daemon's own user."""

    name: str = ""
    uid: int = -1
    gid: int = -1
    home: str = "/"

    def command(self, path: str) -> tuple[str, ...]:
        """What is executed for the agent at `path`."""
        if not self.name:
            return (path,)
        return ("setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), "--init-groups", "--", path)

    def environment(self) -> dict[str, str]:
        """What differs from the daemon's."""
        return {"USER": self.name, "LOGNAME": self.name, "HOME": self.home} if self.name else {}

    def make_log_folder(self) -> None:
        """The user may not make it. OSError when we may not either."""
        if self.name and not LOG_FOLDER.exists():
            LOG_FOLDER.mkdir(mode=LOG_FOLDER_MODE, parents=True)
            os.chown(LOG_FOLDER, self.uid, self.gid)


def find(name: str) -> AlertUser:
    """The user of that name, or the daemon's own. NoSuchUser when one was chosen that does not exist."""
    if not name or os.geteuid() != 0:
        return AlertUser()
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        if name != DEFAULT_USER:
            raise NoSuchUser(f"there is no user {name!r} on this node ([alerts] user)") from None
        _log.info("alert agents run as the user of this daemon: there is no user %s", name)
        return AlertUser()
    if found.pw_uid == os.geteuid():
        return AlertUser()
    if not (_mapped(found.pw_uid, "uid_map") and _mapped(found.pw_gid, "gid_map")):
        _log.info("alert agents run as the user of this daemon, which may not become %s here", name)
        return AlertUser()
    return AlertUser(name, found.pw_uid, found.pw_gid, found.pw_dir)


def _mapped(number: int, table: str) -> bool:
    """Whether this user namespace knows the user or group."""
    try:
        rows = [line.split() for line in Path(f"/proc/self/{table}").read_text(encoding="ascii").splitlines()]
    except OSError:
        return True
    return any(int(first) <= number < int(first) + int(count) for first, _, count in rows)
