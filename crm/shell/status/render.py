"""Draws a `ClusterStatus`: lines of styled text, for any width, with or without colours and special characters.

Theory of operation. Every line is a `rich.text.Text`, put together here column by column, so that the layout is the same in a terminal, a pipe and a
test. Wide terminals get the agent beside the resource; narrow ones lose what can be missed (the agent, then notes go below).
Glyphs have plain equivalents for terminals that do not speak UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from rich.text import Text

from crm.shell.status.fold import Folded, fold
from crm.shell.status.model import (
    Ban,
    ClusterStatus,
    Failure,
    Fencing,
    Level,
    NodeStatus,
    Notice,
    ResourceStatus,
    State,
)

WIDE: Final = 84
"""Columns from which the agent has a column of its own."""
DECLARED: Final = "asyncmon"
"""The operation under which a failure is recorded that no agent found (`crm resource fail`)."""
MAX_FAILURES: Final = 10
MAX_FENCING: Final = 5

_STYLES: Final = {
    State.STARTED: "green",
    State.PROMOTED: "bold green",
    State.UNPROMOTED: "green",
    State.STOPPED: "yellow",
    State.FAILED: "bold red",
    State.STARTING: "cyan",
    State.STOPPING: "cyan",
    State.MIGRATING: "cyan",
    State.PROMOTING: "cyan",
    State.DEMOTING: "cyan",
    State.MIXED: "",
}
_NODE_STYLES: Final = {
    "online": "green",
    "standby": "yellow",
    "maintenance": "yellow",
    "pending": "cyan",
    "offline": "red",
    "UNCLEAN": "bold red",
}
_LEVELS: Final = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTICE: "cyan"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    on: str
    off: str
    bad: str
    busy: str
    promoted: str
    dot: str
    arrow: str


UNICODE: Final = Glyphs("●", "○", "✗", "◌", "★", "·", "→")
ASCII: Final = Glyphs("*", "-", "!", "~", "+", "-", "->")


@dataclass(frozen=True, slots=True)
class Style:
    """How to draw. `zone` is for the times of day; `width` in columns."""

    width: int = 100
    glyphs: Glyphs = UNICODE
    zone: tzinfo = UTC
    full: bool = False
    """A line for each resource, however many there are."""


def render(status: ClusterStatus, style: Style) -> list[Text]:
    """The whole picture, line by line."""
    lines = list(_head(status, style))
    for notice in status.notices:
        lines.extend(_notice(notice, style))
    lines.extend(_section("Nodes", _nodes(status, style)))
    folded = Folded(status.resources) if style.full else fold(status.resources)
    if folded.rest or not folded.by_node:
        lines.extend(_section("Resources", _resources(folded.rest, style)))
    lines.extend(_section("Started, by node (crm status --full has a line for each)", _by_node(folded, style)))
    lines.extend(_section("Moves and bans", (line for ban in status.bans for line in _ban(ban, style))))
    lines.extend(_section("Failures", _failures(status, style)))
    lines.extend(_section("Fencing", _fencing(status, style)))
    if status.daemons:
        lines.extend(_section("Daemons of this node", _daemons(status, style)))
    return lines


def render_resources(status: ClusterStatus, style: Style) -> list[Text]:
    """Only the resources, and what is to be known about moves and failures."""
    lines = list(_resources(status.resources, style))
    lines.extend(_section("Moves and bans", (line for ban in status.bans for line in _ban(ban, style))))
    lines.extend(_section("Failures", _failures(status, style)))
    return lines


def _section(title: str, body: Iterable[Text]) -> list[Text]:
    lines = list(body)
    return [Text(), Text(title, "bold"), *lines] if lines else []


def wrapped(text: Text, style: Style, indent: int) -> list[Text]:
    """The text in lines of the terminal's width, the following ones indented."""
    lines: list[Text] = []
    rest = text
    while rest.cell_len > style.width:
        plain = rest.plain
        least = len(plain) - len(plain.lstrip())
        place = plain.rfind(" ", least, style.width + 1)
        if place <= least:
            place = plain.find(" ", least)
        if place < 0:
            break
        line = rest[:place]
        line.rstrip()
        lines.append(line)
        following = rest[place:]
        kept = len(following.plain) - len(following.plain.lstrip())
        rest = Text(" " * min(indent, style.width // 2)).append_text(following[kept:])
        if not following.plain.strip():
            return lines
    return [*lines, rest]


# --- head and notices -------------------------------------------------------------------------------------------------


def _head(status: ClusterStatus, style: Style) -> Iterable[Text]:
    dot = f" {style.glyphs.dot} "
    online = sum(node.state not in ("offline", "UNCLEAN", "pending") for node in status.nodes)
    parts: list[tuple[str, str]] = [(status.name or "cluster", "bold")]
    parts.append((f"{online} of {len(status.nodes)} nodes online", "" if online == len(status.nodes) else "yellow"))
    if status.live or not status.quorate:
        parts.append(("quorum", "green") if status.quorate else ("NO QUORUM", "bold red"))
    parts.append((f"DC {status.dc}" if status.dc else "no DC", "" if status.dc else "yellow"))
    if status.live:
        parts.append((status.activity or "idle", "cyan" if status.activity else ""))
    else:
        parts.append(("from a file", "dim"))
    line = Text()
    for text, look in parts:
        if line.plain and line.cell_len + len(dot) + len(text) > style.width:
            yield line
            line = Text("  ")
        elif line.plain:
            line.append(dot, "dim")
        line.append(text, look)
    yield line
    if status.quorum_reason:
        yield from wrapped(Text(f"  quorum: {status.quorum_reason}", "dim"), style, 4)
    if status.written and style.width >= WIDE:
        yield Text(f"  configuration {status.version}, last changed {status.written}", "dim")


def _notice(notice: Notice, style: Style) -> list[Text]:
    look = _LEVELS[notice.level]
    mark = style.glyphs.bad if notice.level is Level.ERROR else style.glyphs.dot
    lines = [Text(), *wrapped(Text(f"{mark} {notice.text}", look), style, 2)]
    for hint in notice.hint.splitlines():
        lines.extend(wrapped(Text(f"  {hint}"), style, 4))
    return lines


# --- nodes ------------------------------------------------------------------------------------------------------------


def _nodes(status: ClusterStatus, style: Style) -> Iterable[Text]:
    width = max((len(node.name) for node in status.nodes), default=0)
    for node in status.nodes:
        yield from wrapped(_node(node, width, style), style, 6)


def _node(node: NodeStatus, width: int, style: Style) -> Text:
    glyphs = style.glyphs
    mark = {"online": glyphs.on, "offline": glyphs.off, "UNCLEAN": glyphs.bad, "pending": glyphs.busy}.get(
        node.state, glyphs.on
    )
    look = _NODE_STYLES.get(node.state, "")
    line = Text("  ")
    line.append(mark, look).append(f" {node.name.ljust(width)}  ", "bold" if node.here else "")
    line.append(node.state.ljust(11), look)
    words = [node.kind, "DC" if node.dc else "", "this node" if node.here else ""]
    if node.state not in ("offline", "UNCLEAN") or node.running:
        words.append(f"{node.running} resource{'' if node.running == 1 else 's'}")
    line.append(f" {', '.join(filter(None, [*words, *node.notes]))}".rstrip())
    line.rstrip()
    return line


# --- resources --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    depth: int
    name: str
    read: ResourceStatus


def _rows(resources: Sequence[ResourceStatus], depth: int = 0) -> Iterable[_Row]:
    for read in resources:
        yield _Row(depth, "" if read.kind == "instances" else read.id, read)
        yield from _rows(read.children, depth + 1)


def _by_node(folded: Folded, style: Style) -> Iterable[Text]:
    width = max((len(node) for node in folded.by_node), default=0)
    for node, names in folded.by_node.items():
        line = Text("  ").append(style.glyphs.on, _STYLES[State.STARTED])
        line.append(f" {node.ljust(width)}  ", "bold").append(" ".join(names))
        yield from wrapped(line, style, width + 6)


def _resources(resources: Sequence[ResourceStatus], style: Style) -> Iterable[Text]:
    if not resources:
        yield Text("  none", "dim")
        return
    rows = list(_rows(resources))
    names = min(max(2 * row.depth + len(row.name) for row in rows), max(16, style.width // 3))
    places = min(max((len(_place(row.read)) for row in rows), default=0), max(8, style.width // 4))
    for row in rows:
        yield from _resource(row, names, places, style)


def _place(read: ResourceStatus) -> str:
    if read.kind in ("group", "clone", "bundle"):
        return ""
    return " ".join(read.nodes)


def _mark(read: ResourceStatus, glyphs: Glyphs) -> str:
    if read.kind in ("group", "clone", "bundle"):
        return " "
    if read.state is State.FAILED:
        return glyphs.bad
    if read.state is State.PROMOTED:
        return glyphs.promoted
    if read.state is State.STOPPED:
        return glyphs.off
    return glyphs.on if read.state in (State.STARTED, State.UNPROMOTED) else glyphs.busy


def _resource(row: _Row, names: int, places: int, style: Style) -> list[Text]:
    read = row.read
    disabled = "disabled" in read.flags
    look = "dim" if disabled and read.state is State.STOPPED else _STYLES[read.state]
    line = Text("  ")
    line.append(_mark(read, style.glyphs), look)
    collective = read.kind in ("group", "clone", "bundle")
    line.append(f" {'  ' * row.depth}{row.name}".ljust(names + 1), "bold" if collective else "")
    if collective:
        line.append(f"  {read.kind}", "dim")
    else:
        line.append(f"  {read.state.value.ljust(10)}", look)
        line.append(f" {_place(read).ljust(places)}")
    if read.agent and style.width >= WIDE:
        line.append(f"  {read.agent}", "dim")
    if read.flags:
        line.append(f"  ({', '.join(read.flags)})", "yellow")
    line.rstrip()
    # Many nodes go on below the first of them.
    lines = wrapped(line, style, names + 17 if read.kind == "instances" else 8 + 2 * row.depth)
    if read.reason:
        indent = 6 + 2 * row.depth
        lines.extend(wrapped(Text(f"{' ' * indent}{style.glyphs.arrow} {read.reason}", "yellow"), style, indent + 3))
    return lines


# --- what went wrong --------------------------------------------------------------------------------------------------


def _ban(ban: Ban, style: Style) -> list[Text]:
    what = f"{ban.resource}{' (' + ban.role + ')' if ban.role not in ('', 'Started') else ''}"
    verb = "is to run on" if ban.prefers else "must not run on"
    until = f"until {ban.until}" if ban.until else "until it is cleared"
    if ban.expired:
        until = f"expired {ban.until}"
    line = Text(f"  {style.glyphs.arrow} {what} {verb} {ban.node}, {until}")
    line.append(f"  {ban.constraint}", "dim")
    return wrapped(line, style, 6)


def _when(seconds: int, status: ClusterStatus, style: Style) -> str:
    if seconds <= 0:
        return ""
    moment = datetime.fromtimestamp(seconds, style.zone)
    today = datetime.fromtimestamp(status.now, style.zone).date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M:%S}"


def _failures(status: ClusterStatus, style: Style) -> Iterable[Text]:
    for failure in status.failures[-MAX_FAILURES:]:
        yield from wrapped(_failure(failure, status, style), style, 6)
    hidden = len(status.failures) - MAX_FAILURES
    if hidden > 0:
        yield Text(f"    and {hidden} older ones", "dim")
    alike: dict[tuple[str, str, str, bool], list[str]] = {}
    for count in status.fail_counts:
        alike.setdefault((count.resource, count.count, count.threshold, count.banned), []).append(count.node)
    for (resource, times, threshold, banned), nodes in alike.items():
        yield from wrapped(_fail_count(resource, times, threshold, nodes, banned), style, 6)
    if status.failures or status.fail_counts:
        yield from wrapped(Text("    forget them: crm resource cleanup [RESOURCE]", "dim"), style, 6)


def _failure(failure: Failure, status: ClusterStatus, style: Style) -> Text:
    line = Text("  ")
    line.append(style.glyphs.dot if failure.ignored else style.glyphs.bad, "yellow" if failure.ignored else "red")
    if failure.operation == DECLARED:
        line.append(f" {failure.resource} on {failure.node}: ").append("declared failed by somebody", "red")
    else:
        interval = f" every {failure.interval_ms / 1000:g} s" if failure.interval_ms else ""
        line.append(f" {failure.resource} {failure.operation}{interval} on {failure.node}: ")
        line.append(f"{failure.text} ({failure.rc})", "red")
        line.append(f", {failure.reason}" if failure.reason else "")
    when = _when(failure.when, status, style)
    line.append(f"  {when}" if when else "", "dim")
    return line


def _fail_count(resource: str, count: str, threshold: str, nodes: list[str], banned: bool) -> Text:
    limit = f" of {threshold}" if threshold else ""
    times = "once" if count == "1" and not limit else f"{count}{limit} times"
    on = f"on {', '.join(nodes)}" if len(nodes) == 1 else f"on each of {', '.join(nodes)}"
    text = f"    {resource} has failed {times} {on}"
    if count == "INFINITY":
        text = f"    {resource} has failed {on} so that it is not tried again"
    return Text(text + ("; it may not run there" if banned else ""), "yellow" if banned else "")


def _fencing(status: ClusterStatus, style: Style) -> Iterable[Text]:
    told: list[tuple[Fencing, int]] = []
    for event in status.fencing:
        last, times = told[-1] if told else (None, 0)
        if last is not None and event.outcome == "failed" and _same_failure(event, last):
            told[-1] = (event, times + 1)
        else:
            told.append((event, 1))
    for event, times in told[-MAX_FENCING:]:
        yield from wrapped(_fencing_line(event, times, status, style), style, 6)


def _same_failure(one: Fencing, other: Fencing) -> bool:
    return (one.target, one.action, one.outcome, one.text) == (other.target, other.action, other.outcome, other.text)


def _fencing_line(event: Fencing, times: int, status: ClusterStatus, style: Style) -> Text:
    look = {"done": "green", "failed": "bold red"}.get(event.outcome, "cyan")
    mark = {"done": style.glyphs.on, "failed": style.glyphs.bad}.get(event.outcome, style.glyphs.busy)
    line = Text("  ")
    line.append(mark, look).append(f" {event.target} {event.action}: ").append(event.outcome, look)
    if times > 1:
        line.append(f" {times} times", look)
    if event.device:
        line.append(f" by {event.device}")
    if " " in event.reason:
        # A single word is the name of the action that asked, which tells people nothing.
        line.append(f", because {event.reason}")
    if event.text and event.outcome != "done":
        line.append(f" ({event.text})")
    when = _when(event.ended or event.began, status, style)
    line.append(f"  {when}" if when else "", "dim")
    return line


def _daemons(status: ClusterStatus, style: Style) -> Iterable[Text]:
    line = Text(" ")
    for daemon in status.daemons:
        look = "green" if daemon.running else "yellow"
        piece = (
            Text(" ").append(style.glyphs.on if daemon.running else style.glyphs.off, look).append(f" {daemon.name}")
        )
        if daemon.detail:
            piece.append(f" ({daemon.detail})", "dim")
        if line.plain.strip() and line.cell_len + 1 + piece.cell_len > style.width:
            yield from wrapped(line, style, 6)
            line = Text(" ")
        line.append_text(piece).append(" ")
    line.rstrip()
    yield from wrapped(line, style, 6)
