"""Gets, reads and draws the status for a terminal, a pipe or a program; once, or again whenever something happens."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from crm.api.errors import ApiError
from crm.shell.session import Session, ShellError
from crm.shell.status.model import ClusterStatus
from crm.shell.status.read import read
from crm.shell.status.render import ASCII, UNICODE, Style, render

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH: Final = 160
"""Columns when the output is no terminal."""
REFRESH_S: Final = 5.0
"""The picture is drawn again after this time even if nothing was heard."""
SETTLE_S: Final = 0.1
"""Events come in bursts; one picture is enough for a burst."""


def get(session: Session) -> ClusterStatus:
    """The status as it is now."""
    overview: Mapping[str, Any] | None = session.call("status") if session.live else None
    cib = session.query_cib()
    now = int(time.time())
    if overview is None:
        # A file's times are those of its making.
        recorded = cib.get("execution-date", "")
        now = int(recorded) if recorded.isdigit() else now
    return read(cib, overview, now)


def style_for(console: Console, *, full: bool = False) -> Style:
    encoding = (console.encoding or "").lower().replace("-", "")
    zone = datetime.now().astimezone().tzinfo
    default = Style()
    return Style(console.width, UNICODE if encoding.startswith("utf") else ASCII, zone or default.zone, full)


def make_console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(width=width, highlight=False, soft_wrap=True)


def once(session: Session, *, full: bool = False) -> ClusterStatus:
    """Prints the status."""
    status = get(session)
    console = make_console()
    for line in render(status, style_for(console, full=full)):
        console.print(line)
    return status


def as_json(session: Session) -> ClusterStatus:
    status = get(session)
    print(json.dumps(status.to_json(), indent=2))
    return status


def watch(session: Session, *, full: bool = False) -> None:
    """Draws the status again whenever the cluster tells of an event, until interrupted."""
    if not session.live:
        raise ShellError("a file does not change by itself; --watch needs a running cluster")
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = make_console()
    heard = threading.Event()
    listener = threading.Thread(target=_listen, args=(session, heard), daemon=True)
    listener.start()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False, transient=False) as live:
        while True:
            try:
                lines = render(get(session), style_for(console, full=full))
            except (ApiError, ShellError) as error:
                # The daemon may be on its way back; the screen says so meanwhile.
                lines = [Text(str(error), "red")]
            stamp = Text(f"{datetime.now().astimezone():%H:%M:%S}  Ctrl-C ends", "dim")
            live.update(Group(*lines, Text(), stamp), refresh=True)
            if heard.wait(REFRESH_S):
                time.sleep(SETTLE_S)
                heard.clear()


def _listen(session: Session, heard: threading.Event) -> None:
    """Sets `heard` at each event; subscribes again when the daemon was away."""
    while True:
        try:
            for _ in session.subscribe("events"):
                heard.set()
        except (ApiError, ShellError):
            time.sleep(1)
