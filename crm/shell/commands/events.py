"""`crm events`: what happened in the cluster, in order, and what came of what."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crm.events import follow, select, words
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of

app = typer.Typer(add_completion=False)

POLL_S: Final = 1.0
OVERLAP_MS: Final = 60_000
"""How far back each look of `--follow` goes: records of a node that was away come late."""
MAX_SEEN: Final = 50_000
"""Records that `--follow` remembers, so that none is shown twice."""
DEFAULT_LIMIT: Final = 50
SEARCH_LIMIT: Final = 1000
_AGO: Final = re.compile(r"(\d+)\s*(s|m|min|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_MOMENTS: Final = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")
_CLOCKS: Final = ("%H:%M:%S", "%H:%M")
_STYLES: Final = {words.ERROR: "bold red", words.WARNING: "yellow", words.INFO: ""}


@app.command()
def events(
    context: typer.Context,
    cause: Annotated[str, typer.Option("--cause", help="Only what led to this, and what came of it.")] = "",
    since: Annotated[str, typer.Option("--since", help="10m, 2h, 3d, 14:30, or a date and time.")] = "",
    node: Annotated[list[str] | None, typer.Option("--node", help="Only what this node says; may be repeated.")] = None,
    until: Annotated[str, typer.Option("--until", help="The end of that time, written alike.")] = "",
    about: Annotated[str, typer.Option("--about", help="Only what concerns this resource or node.")] = "",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help=f"Only records of this kind: {', '.join(select.GROUPS)}, or the name of a record; may be repeated.",
        ),
    ] = None,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Details, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The last so many records.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON object a line.")] = False,
    file: Annotated[
        list[str] | None, typer.Option("--file", help="Read this events.jsonl instead; several make one story.")
    ] = None,
) -> None:
    """See what happened, on all nodes, in order. Each line ends with the id of its cause; --cause ID tells its whole story."""
    shell = shell_of(context)
    asked = Asked(
        cause=cause,
        since=since,
        until=until,
        about=about,
        kinds=tuple(kind or ()),
        nodes=tuple(node or ()),
        limit=limit,
        everything=everything or as_json,
    )
    if follow_on and until:
        raise ShellError("--follow goes on without an end; leave out --until")
    if file and follow_on:
        raise ShellError("a file does not grow by itself; --follow needs a running cluster")
    show(shell, asked, files=tuple(file or ()), as_json=as_json, follow_on=follow_on)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records somebody wants to see, as he says it. `limit` 0: so many as fit the question."""

    cause: str = ""
    since: str = ""
    until: str = ""
    about: str = ""
    kinds: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    limit: int = 0
    everything: bool = False

    def params(self, *, follow_on: bool = False) -> dict[str, Any]:
        """For `events.query`. ShellError when a time or a kind is none."""
        now_s = time.time()
        try:
            kinds = sorted(select.of_names(self.kinds))
        except select.NoSuchKind as wrong:
            raise ShellError(str(wrong)) from None
        many = self.cause or self.since or self.until or follow_on
        return {
            "cause": self.cause or None,
            "since_ms": moment_ms(self.since, now_s) if self.since else 0,
            "until_ms": moment_ms(self.until, now_s) if self.until else 0,
            "kinds": kinds,
            "about": self.about,
            # Whoever names a kind wants to see it.
            "details": self.everything or bool(self.kinds),
            "limit": self.limit or (SEARCH_LIMIT if many else DEFAULT_LIMIT),
            "nodes": list(self.nodes) or None,
        }


def show(
    shell: Shell, asked: Asked, *, files: tuple[str, ...] = (), as_json: bool = False, follow_on: bool = False
) -> None:
    """Print them; with `follow_on`, and what comes. ShellError when there are none."""
    params = asked.params(follow_on=follow_on)
    answer = from_files(list(files), params) if files else shell.session.call("events.query", **params)
    _tell_missing(shell, answer)
    if not answer["events"] and not follow_on:
        if asked.cause and not (asked.about or asked.kinds):
            raise ShellError(f"nothing is known of {asked.cause!r} (crm events shows the ids)")
        raise ShellError("nothing of that kind happened" if asked.about or asked.kinds else "nothing happened")
    printer = _Printer(as_json, asked.cause)
    printer.show(answer["events"])
    if follow_on:
        for fresh in _more(shell, params, answer["events"]):
            printer.show(fresh)


def from_files(paths: list[str], params: dict[str, Any]) -> dict[str, Any]:
    """What `events.query` would answer, had the nodes that these files come from been asked."""
    records: list[dict[str, Any]] = []
    for path in paths:
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise ShellError(f"cannot read {path}: {error.strerror}") from None
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that a power cut has cut
                record = json.loads(line)
                if isinstance(record, dict) and {"event", "node", "time_ms", "order"} <= record.keys():
                    records.append(record)
    names = params["nodes"]
    selection = select.from_params(params, 0)
    records = [each for each in records if not names or each["node"] in names]
    if params["cause"] is None:
        found = follow.ordered(records)
    else:
        search = follow.Search(params["cause"])
        while search.wanted:
            wanted = search.wanted
            search.on_found(record for record in records if follow.matches(record, wanted))
        found = search.result()
    return {"events": [each for each in found if selection.takes(each)][-params["limit"] :], "missing": []}


def moment_ms(text: str, now_s: float) -> int:
    """Milliseconds since the epoch: `10m` ago, `14:30` (today, or yesterday when that is still to come), or a date. ShellError otherwise."""
    match = _AGO.fullmatch(text.strip())
    if match is not None:
        return int((now_s - int(match[1]) * _SECONDS[match[2]]) * 1000)
    for form in _MOMENTS:
        try:
            return int(datetime.strptime(text, form).astimezone().timestamp() * 1000)
        except ValueError:
            continue
    today = datetime.fromtimestamp(now_s).astimezone()
    for form in _CLOCKS:
        try:
            clock = datetime.strptime(text, form)
        except ValueError:
            continue
        moment = today.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0).timestamp()
        return int((moment if moment <= now_s else moment - 86400) * 1000)
    raise ShellError(f"{text!r} is not a time; expected 10m, 2h, 3d, 14:30, or 2026-01-31 14:30")


def _tell_missing(shell: Shell, answer: dict[str, Any]) -> None:
    if answer["missing"]:
        shell.warn(f"crm: no records of {', '.join(answer['missing'])}: not reachable")


def _more(shell: Shell, params: dict[str, Any], known: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What happens from now on, of all nodes, until interrupted."""
    seen = {(record["node"], record["order"]) for record in known}
    # A node that was away, or that comes only now, tells of its last minute, by its own clock.
    params = {**params, "last_ms": OVERLAP_MS, "limit": SEARCH_LIMIT}
    while True:
        time.sleep(POLL_S)
        found = shell.session.call("events.query", **params)
        fresh = [record for record in found["events"] if (record["node"], record["order"]) not in seen]
        if len(seen) > MAX_SEEN:
            seen = {(record["node"], record["order"]) for record in found["events"]}
        seen |= {(record["node"], record["order"]) for record in fresh}
        if fresh:
            yield fresh


class _Printer:
    """Lines of `time  nodes  what happened  [cause]`; the date when it changes."""

    def __init__(self, as_json: bool, cause: str) -> None:
        self._json = as_json
        self._cause = cause
        self._day = ""
        self._width = 4

    def show(self, records: list[dict[str, Any]]) -> None:
        if self._json:
            for record in records:
                print(json.dumps(record, ensure_ascii=False))
        else:
            self._show(records)
        sys.stdout.flush()  # whoever follows through a pipe waits for it

    def _show(self, records: list[dict[str, Any]]) -> None:
        from rich.text import Text

        from crm.shell.status.render import wrapped
        from crm.shell.status.show import make_console, style_for

        console = make_console()
        # A pipe gets a record a line, however long.
        style = style_for(console) if sys.stdout.isatty() or os.environ.get("COLUMNS") else None
        shown = follow.condensed(records)
        self._width = max([self._width, *(len(",".join(nodes)) for _, nodes in shown)])
        for record, nodes in shown:
            at = datetime.fromtimestamp(record["time_ms"] / 1000).astimezone()
            if (day := f"{at:%a %Y-%m-%d}") != self._day:
                self._day = day
                console.print(Text(day, "dim"))
            line = Text.assemble(
                (f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}  ", "dim"),
                (f"{','.join(nodes):<{self._width}}  ", "cyan"),
                (words.sentence(record), _STYLES[words.level(record)]),
            )
            if record.get("cause") and record["cause"] != self._cause:
                line.append(f"  [{record['cause']}]", "dim")
            indent = len("00:00:00.000  ") + self._width + 4
            for part in [line] if style is None else wrapped(line, style, indent):
                console.print(part, soft_wrap=True)
