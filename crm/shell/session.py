"""What a command talks to: the cluster through its local API, or a CIB in a file.

A `Session` reads the CIB and applies operations to it. `LiveSession` asks the daemon of this node; `FileSession` works on a file (named by `CIB_file`, as for
Pacemaker's tools) and needs no daemon. What only a running cluster can do (fencing, waiting, messaging) raises from a file session.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from lxml import etree

from crm.api import errors, shadows
from crm.api.client import Client
from crm.api.errors import ApiError
from crm.cib import xml

CIB_FILE: Final = "CIB_file"
"""Environment variable: the CIB to work on instead of the live one."""
WAIT_TIMEOUT_MS: Final = 300_000


class ShellError(Exception):
    """What the user asked for cannot be done. `items` are further lines, one a problem."""

    def __init__(self, message: str, items: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((message, *(f"  {item}" for item in items))))
        self.message = message
        self.items = items


class Done(Exception):
    """The command is over, and has said what there was to say."""


READING: Final = frozenset(
    {
        *("cib.query", "cib.history", "cib.version", "status", "membership", "attribute.query"),
        *("events.recent", "events.query", "metrics", "wait", "messaging.query"),
    }
)
"""Methods that change nothing."""


def _only_reading() -> ShellError:
    return ShellError("--preview cannot show what this would lead to; nothing was done")


class Session(Protocol):
    """`name` is for the prompt: `live`, or the file's name."""

    name: str
    live: bool
    read_only: bool
    """Nothing may be changed: a preview."""

    def query_cib(self) -> etree._Element:
        """The whole CIB; the caller may change it."""

    def apply(self, operation: str, **parameters: Any) -> str:
        """Applies one operation (parameters as for `cib.apply`), and returns the new version. ApiError when it is refused."""

    def call(self, method: str, **parameters: Any) -> Any:
        """Any other method of the API."""

    def subscribe(self, method: str, **parameters: Any) -> Iterator[Any]:
        """The events of a subscription."""

    def close(self) -> None:
        """Ends the connection, if there is one; the next call makes a new one."""


class LiveSession:
    """The cluster that this node is in. Connects at the first call; a call may be waited for without limit."""

    name = "live"
    live = True

    def __init__(self, run_dir: str | None = None) -> None:
        self.read_only = False
        self._client = Client(run_dir)
        self._run_dir = run_dir

    def query_cib(self) -> etree._Element:
        return xml.parse(self.call("cib.query")["xml"])

    def apply(self, operation: str, **parameters: Any) -> str:
        return str(self.call("cib.apply", operation=operation, client="crm", **parameters)["version"])

    def call(self, method: str, **parameters: Any) -> Any:
        if self.read_only and method not in READING:
            raise _only_reading()
        try:
            return self._client.call(method, **parameters)
        except ApiError as error:
            raise explain(error, self._client.path) from None

    def subscribe(self, method: str, **parameters: Any) -> Iterator[Any]:
        # A connection of its own: the subscription keeps it.
        client = Client(self._run_dir)
        try:
            yield from client.subscribe(method, **parameters)
        except ApiError as error:
            raise explain(error, client.path) from None
        finally:
            client.close()

    def call_patiently(self, method: str, **parameters: Any) -> Any:
        """A call that waits as long as the daemon takes, on a connection of its own."""
        if self.read_only and method not in READING:
            raise _only_reading()
        with Client(self._run_dir, timeout_s=None) as client:
            try:
                return client.call(method, **parameters)
            except ApiError as error:
                raise explain(error, client.path) from None

    def close(self) -> None:
        self._client.close()


def explain(error: ApiError, path: str) -> ApiError:
    """The error with what to do about it, where the user can do something."""
    if error.code != errors.UNAVAILABLE or not error.message.startswith("no Vigil daemon"):
        return error
    reason = error.message.partition("(")[2].partition(")")[0] or "no answer"
    hint = (
        f"the Vigil daemon of this node does not answer on {path} ({reason})\n"
        "  start it:        systemctl start vigild     (or: vigild --config /etc/vigil/vigil.toml)\n"
        "  another node's:  crm --run-dir DIR ...      (or set VIGIL_RUN_DIR)\n"
        f"  without daemon:  crm --cib FILE ...         (or set {CIB_FILE})"
    )
    return ApiError(error.code, hint, error.items)


class FileSession:
    """A CIB in a file. Changes are written at once, as a whole: a reader sees the old file or the new one."""

    live = False

    def __init__(self, path: str | Path) -> None:
        from crm.tools.cibfile import FileClient

        self.read_only = False
        self.path = Path(path)
        self.name = self.path.stem
        self._client = FileClient(str(path), check=False)

    def query_cib(self) -> etree._Element:
        return xml.parse(self._ask("cib.query")["xml"])

    def apply(self, operation: str, **parameters: Any) -> str:
        if self.read_only:
            raise _only_reading()
        return str(self._ask("cib.apply", operation=operation, **parameters)["version"])

    def _ask(self, method: str, **parameters: Any) -> Any:
        from crm.tools.command import Failure

        try:
            return self._client.call(method, **parameters)
        except Failure as failure:
            raise ShellError(str(failure)) from None

    def call(self, method: str, **parameters: Any) -> Any:
        raise ShellError(
            f"this needs a running cluster, and {self.path} is only a file (unset {CIB_FILE}, or leave out --cib)"
        )

    def subscribe(self, method: str, **parameters: Any) -> Iterator[Any]:
        return iter([self.call(method, **parameters)])

    def close(self) -> None:
        """Nothing is kept open."""


def shadow_session(name: str) -> FileSession:
    """ShellError when there is no shadow of that name."""
    path = shadow_path(name)
    if not path.is_file():
        raise ShellError(f"there is no shadow {name!r}; crm cib list prints them, crm cib new {name} makes one")
    return FileSession(path)


def shadow_path(name: str) -> Path:
    try:
        return Path(shadows.path_of(name))
    except ValueError as error:
        raise ShellError(str(error)) from None


def open_session(
    cib_file: str | None = None, run_dir: str | None = None, environment: Mapping[str, str] = os.environ
) -> Session:
    """The file given, else the shadow that `CIB_shadow` names, else the file that `CIB_file` names, else the live cluster."""
    shadow = environment.get(shadows.ENV_SHADOW)
    if shadow and not cib_file:
        return shadow_session(shadow)
    path = cib_file or environment.get(CIB_FILE)
    return FileSession(path) if path else LiveSession(run_dir)
