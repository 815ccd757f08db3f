"""What a command talks to: the daemon's client, or, where the environment names a `CIB_file`, a stand-in of the same shape that works on that file."""

from __future__ import annotations

import os

from crm.api import errors, shadows
from crm.api.client import Client
from crm.api.errors import ApiError
from crm.tools.command import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Protocol

    class Cluster(Protocol):
        """As `crm.api.client.Client`."""

        def call(self, method: str, /, **params: Any) -> Any: ...

        def close(self) -> None: ...


ON_NODE: Final = "OCF_RESKEY_CRM_meta_on_node"
"""What an agent's environment calls this node."""
_UNITS: Final = {"": 1000, "ms": 1, "s": 1000, "sec": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "hr": 3_600_000}
_WAIT_S: Final = 60.0


def cib_file() -> str | None:
    """The file that `CIB_file` names, or that of the shadow that `CIB_shadow` does."""
    shadow = shadows.chosen()
    if shadow is not None:
        try:
            return shadows.path_of(shadow)
        except ValueError as error:
            usage(f"{shadows.ENV_SHADOW}: {error}")
    return os.environ.get("CIB_file") or None  # noqa: SIM112 - Pacemaker's own spelling


def connect(timeout_s: float | None = _WAIT_S) -> Cluster:
    """The live cluster, else the file that CIB_file names. Nothing is connected before the first call."""
    path = cib_file()
    if path is None:
        return Client(timeout_s=timeout_s)
    from crm.tools.cibfile import FileClient

    return FileClient(path)


def local_node(cluster: Cluster) -> str:
    """The cluster's name for this node; an agent knows it without asking."""
    known = os.environ.get(ON_NODE)
    return known if known else str(cluster.call("membership")["node"])


def query(cluster: Cluster, **where: str) -> str | None:
    """The XML at a scope or XPath; None when there is nothing."""
    try:
        return str(cluster.call("cib.query", **where)["xml"])
    except ApiError as error:
        if error.code == errors.NOT_FOUND:
            return None
        raise


def milliseconds(text: str, option: str) -> int:
    """A time specification: a number (of seconds) with an optional unit (ms, s, min, h). Failure (usage) for anything else."""
    words = text.strip().lower()
    digits = words[: len(words) - len(words.lstrip("0123456789"))]
    unit = words[len(digits) :].strip()
    if not digits or unit not in _UNITS:
        usage(f"{option}: {text!r} is no time, expected a number with an optional unit (ms, s, min, h)")
    return int(digits) * _UNITS[unit]
