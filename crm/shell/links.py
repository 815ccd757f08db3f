"""What `crm cluster links` and `crm cluster rotate-key` say: how each link is towards each node, and how a rotation goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from crm.shell.session import LiveSession, ShellError

ROTATION_LIMIT_S: Final = 60.0
POLL_S: Final = 0.1

_HEAD: Final = ("NODE", "STATE", "HEARD", "LOST HERE", "LOST THERE", "ROUND TRIP", "")


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield (indent + "  ".join(cells)).rstrip()


def describe(answer: Mapping[str, Any]) -> Iterator[str]:
    """The lines for the answer to `query("links")`."""
    for link in answer.get("links", []):
        yield _headline(link)
        rows = [_HEAD, *(_row(peer) for peer in link.get("peers", []))]
        if len(rows) > 1:
            yield from table(rows)
    for peer in answer.get("peers", []):
        if peer.get("state") != "alive":
            silent = _last_heard(answer, str(peer.get("name")))
            told = "not heard since messaging started" if silent is None else f"silent for {_time(silent)}"
            yield f"node {peer.get('name')} is {peer.get('state')}: {told}"
        elif not peer.get("stream"):
            yield f"node {peer.get('name')} is heard, but there is no connection for messages: is TCP blocked?"
    keys = answer.get("keys") or {}
    if keys:
        accepted = " ".join(map(str, keys.get("accepted", ())))
        encryption = answer.get("encryption", "none")
        how = "authenticated, not encrypted" if encryption == "none" else f"encrypted ({encryption})"
        yield f"packets: {how}; sending with key {keys.get('sending')}, accepting {accepted}"
    rejected = {reason: count for reason, count in (answer.get("rejected") or {}).items() if count and reason != "own"}
    if rejected:
        yield "packets dropped: " + ", ".join(f"{count} {reason}" for reason, count in rejected.items())


def silent_links(answer: Mapping[str, Any]) -> list[str]:
    """The links over which a node that lives is not heard, or which its group does not reach."""
    alive = {peer.get("name") for peer in answer.get("peers", []) if peer.get("state") == "alive"}
    return [
        f"link {link.get('number')} to {peer.get('name')} {'is not reached by the group' if peer.get('by_unicast') else 'is ' + peer['state']}"
        for link in answer.get("links", [])
        for peer in link.get("peers", [])
        if peer.get("name") in alive and (peer.get("state") in ("down", "never heard") or peer.get("by_unicast"))
    ]


def _headline(link: Mapping[str, Any]) -> str:
    group = f" to {link['group']}" if link.get("group") else ""
    errors = f", errors {link['send_errors']}" if link.get("send_errors") else ""
    last = f" (last: {link['last_error']})" if link.get("send_errors") and link.get("last_error") else ""
    return (
        f"link {link.get('number')} {link.get('mode')} {link.get('address', '')}{group}: "
        f"sent {link.get('sent')}, received {link.get('received')}{errors}{last}"
    )


def _row(peer: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if peer.get("stream"):
        notes.append("carries the messages")
    if peer.get("by_unicast"):
        notes.append("by unicast: the group does not get through")
    heard = peer.get("silent_ms")
    return (
        str(peer.get("name")),
        str(peer.get("state")),
        "-" if heard is None else f"{_time(heard)} ago",
        _percent(peer.get("loss_in")),
        _percent(peer.get("loss_out")),
        "-" if peer.get("rtt_ms") is None else f"{peer['rtt_ms']:.1f} ms",
        ", ".join(notes),
    )


def _last_heard(answer: Mapping[str, Any], name: str) -> int | None:
    """Milliseconds since a node was heard over any link."""
    peers = [*answer.get("peers", []), *(peer for link in answer.get("links", []) for peer in link.get("peers", []))]
    known = [peer["silent_ms"] for peer in peers if peer.get("name") == name and peer.get("silent_ms") is not None]
    return min(known, default=None)


def _time(ms: int) -> str:
    """As people say it: nobody counts the milliseconds of an hour."""
    if ms < 10_000:
        return f"{ms} ms"
    return f"{ms // 1000} s" if ms < 120_000 else f"{ms // 60_000} min" if ms < 7_200_000 else f"{ms // 3_600_000} h"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}%"


def follow_rotation(session: LiveSession) -> Iterator[str]:
    """Begin a rotation of the key and tell each of its steps. ShellError when it does not come to its end."""
    run = session.call("keys.rotate").get("run")
    told = ""
    deadline = time.monotonic() + ROTATION_LIMIT_S
    while time.monotonic() < deadline:
        answer: dict[str, Any] = session.call("messaging.query", name="keys")
        if answer.get("run") != run:
            raise ShellError("the messaging daemon of this node was started again meanwhile; run it again")
        text = str(answer.get("text"))
        if answer.get("step") == "failed":
            raise ShellError(text)
        if text != told:
            yield (told := text)
        if answer.get("step") == "done":
            return
        time.sleep(POLL_S)
    raise ShellError(f"it has not ended within {ROTATION_LIMIT_S:.0f} s: {told}")
