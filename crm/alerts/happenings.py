"""What an alert is about: a record of the event log, and the environment that tells an agent of it.

Theory of operation. Four kinds of happenings are alerted. *node*: a node became a member, or was lost; every member tells of it. *fencing*: fencing ended;
every member tells of it (the one that asked for it, and the others when they hear of it). *resource*: an operation ended; told by the node that ran it, but
for probes that found what was expected. *attribute*: transient node attributes changed; told by the DC. All are made from records, so an alert says what the log says.

The variables are those of Pacemaker Explained, "Writing an Alert Agent". Each is also given under its older name, `CRM_notify_*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from crm.alerts.configuration import Kind

Record = Mapping[str, Any]

_RC: Final = {
    0: "ok",
    1: "error",
    2: "invalid parameter",
    3: "unimplemented feature",
    4: "insufficient privileges",
    5: "not installed",
    6: "not configured",
    7: "not running",
    8: "promoted",
    9: "promoted (failed)",
    190: "degraded",
    191: "promoted (degraded)",
}
_STATUS: Final = {
    1: "Cancelled",
    2: "Timed Out",
    3: "NOT SUPPORTED",
    4: "Error",
    5: "Hard error",
    6: "Fatal error",
    7: "Not installed",
    8: "Internal communication failure",
    9: "Cannot execute now",
    10: "No fence device",
    11: "CIB secrets unavailable",
}
_CANCELLED: Final = 1
_FRACTION: Final = re.compile(r"%(0?)(\d?)N")


@dataclass(frozen=True, slots=True)
class Happening:
    """`variables`: without the `CRM_alert_` in front. `attribute`: the name, where one changed."""

    kind: Kind
    cause: str
    variables: tuple[tuple[str, str], ...]
    attribute: str = ""


def of_record(record: Record, node_ids: Mapping[str, str]) -> Iterator[Happening]:
    """What a record is to be alerted as, if anything. `node_ids`: by the name of the node."""
    match record["event"]:
        case "view":
            yield from _nodes(record, node_ids)
        case "fenced" | "fence_failed" | "fencing_known":
            yield _fencing(record)
        case "action_result":
            if _tells_something(record):
                yield _resource(record)
        case "attributes":
            for node, name, value in record["values"]:
                variables = _variables(record, node=node, attribute_name=name, attribute_value=value or "")
                yield Happening(Kind.ATTRIBUTE, str(record["cause"]), variables, str(name))


def environment(
    happening: Happening, recipient: str, timestamp_format: str, at_us: int, sequence: int, version: str
) -> dict[str, str]:
    """What an agent finds in its environment. `at_us`: when it happened, microseconds since the epoch."""
    moment = datetime.fromtimestamp(at_us / 1_000_000).astimezone()
    variables = {
        **dict(happening.variables),
        "kind": str(happening.kind),
        "recipient": recipient,
        "node_sequence": str(sequence),
        "timestamp": timestamp(moment, timestamp_format),
        "timestamp_epoch": str(at_us // 1_000_000),
        "timestamp_usec": str(at_us % 1_000_000),
        "version": version,
    }
    return {f"{prefix}{name}": value for name, value in variables.items() for prefix in ("CRM_alert_", "CRM_notify_")}


def timestamp(moment: datetime, form: str) -> str:
    """As `date(1)` writes it: strftime, and `%N` for nanoseconds, `%06N` and `%3N` for so many digits of them."""

    def fraction(match: re.Match[str]) -> str:
        digits = int(match[2] or 9)
        return f"{moment.microsecond * 1000:09d}"[:digits]

    parts = [_FRACTION.sub(fraction, part) for part in form.split("%%")]
    return moment.strftime("%%".join(parts))


def _nodes(record: Record, node_ids: Mapping[str, str]) -> Iterator[Happening]:
    gone, come = list(record["left"]), list(record["joined"])
    same = set(record.get("stayed", ()))
    for name, state in [*((name, "lost") for name in gone), *((name, "member") for name in come)]:
        if name not in same:
            variables = _variables(record, node=name, nodeid=node_ids.get(name, ""), desc=state)
            yield Happening(Kind.NODE, str(record["cause"]), variables)


def _fencing(record: Record) -> Happening:
    ok = record["event"] == "fenced" or record.get("ok") is True
    target, action = record["target"], record["action"]
    by = record.get("by", record["node"])
    result = "OK" if ok else "failed"
    text = f": {record['text']}" if record.get("text") and not ok else ""
    desc = f"Operation {action} of {target} by {by} for crm@{by}: {result}{text}"
    variables = _variables(record, node=target, task=action, rc="0" if ok else "1", desc=desc)
    return Happening(Kind.FENCING, str(record["cause"]), variables)


def _tells_something(record: Record) -> bool:
    probe = record["operation"] == "monitor" and not record["interval_ms"]
    if (probe and record["ok"]) or record["operation"] in ("notify", "delete", "cancel"):
        return False
    return bool(record["status"] != _CANCELLED)


def _resource(record: Record) -> Happening:
    status, rc = int(record["status"]), int(record["rc"])
    desc = _RC.get(rc, "error") if status == 0 else _STATUS.get(status, "Error")
    variables = _variables(
        record,
        node=record["node"],
        rsc=record["resource"],
        task=record["operation"],
        interval=record["interval_ms"],
        rc=rc,
        status=status,
        target_rc=record["target_rc"],
        exec_time=record["exec_ms"],
        desc=desc,
    )
    return Happening(Kind.RESOURCE, str(record["cause"]), variables)


def _variables(record: Record, **values: object) -> tuple[tuple[str, str], ...]:
    # Beyond Pacemaker's: what to give to `crm events --cause`.
    return (*((name, str(value)) for name, value in values.items()), ("cause", str(record["cause"])))
