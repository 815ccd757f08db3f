"""What a command talks to, and the little XML that quick commands need.

`connect()` gives the daemon's client, or, where the environment names a `CIB_file`, a stand-in of the same shape that works on that file.

Commands that agents call do not load lxml or the CIB's own modules: what they ask for comes as a few elements of text, which expat reads (`elements`), and
what they change is one small element that they write themselves (`element`). The daemon checks it like everything else.
"""

from __future__ import annotations

import os

from crm.api import errors
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


def elements(text: str | None, tag: str) -> list[dict[str, str]]:
    """The attributes of every element of this tag, in document order."""
    if text is None:
        return []
    import pyexpat

    found: list[dict[str, str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == tag:
            found.append(attributes)

    parser = pyexpat.ParserCreate()
    parser.StartElementHandler = start
    parser.Parse(text, True)
    return found


def element(tag: str, attributes: dict[str, str], *children: str) -> str:
    """An element as text; `children` are text already."""
    head = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{head}>{''.join(children)}</{tag}>" if children else f"<{tag}{head}/>"


def escape(value: str) -> str:
    for plain, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("\n", "&#10;"),
        ("\t", "&#9;"),
    ):
        value = value.replace(plain, written)
    return value


def quoted(text: str) -> str:
    """A string in an XPath."""
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        usage(f"{text!r} has both kinds of quotes, which no XPath can hold")
    return f'"{text}"'


def id_part(name: str) -> str:
    """A name as it may be part of an XML id."""
    return "".join(c if c.isalnum() or c in "-._" else "." for c in name)


def counted(value: str) -> str:
    """`value--` and `value-=N` in the form that the CIB knows."""
    if value == "value--":
        return "value+=-1"
    return f"value+=-{value[7:]}" if value.startswith("value-=") and value[7:].isdigit() else value


def milliseconds(text: str, option: str) -> int:
    """A time specification: a number (of seconds) with an optional unit (ms, s, min, h). Failure (usage) for anything else."""
    words = text.strip().lower()
    digits = words[: len(words) - len(words.lstrip("0123456789"))]
    unit = words[len(digits) :].strip()
    if not digits or unit not in _UNITS:
        usage(f"{option}: {text!r} is no time, expected a number with an optional unit (ms, s, min, h)")
    return int(digits) * _UNITS[unit]
