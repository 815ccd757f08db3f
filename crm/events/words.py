"""A record in words, and how much it matters. The log line, `crm events` and the documentation say the same thing.

Theory of operation. Each kind of record has a sentence made from its fields, and a level: an error needs somebody, a warning is worth knowing,
the rest is the course of things. `DETAILS` are kinds that repeat what another record says better: they are in the file, and shown when asked for. A kind
that is not known here (of a newer version) is shown as its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Record = Mapping[str, Any]

ERROR: Final = "error"
WARNING: Final = "warning"
INFO: Final = "info"

RESERVED: Final = frozenset(("seq", "event", "time_ms", "mono_ms", "order", "node", "cause"))
"""Fields that every record has."""

DETAILS: Final = frozenset(("decide", "action", "action_postponed", "fencing_known", "attributes"))

_ERRORS: Final = frozenset(
    ("bad_message", "decision_failed", "fence_failed", "fencing_given_up", "action_lost", "transition_stuck")
)
_WARNINGS: Final = frozenset(
    (
        *(
            "crm_absent",
            "peer_late",
            "peer_lost",
            "fence_requested",
            "started_without",
            "cib_missing",
            "member_refused",
            "kept_aside",
        ),
        *("alert_failed", "alerts_dropped", "events_dropped", "messaging_lost", "withdrawn"),
    )
)
_OCF: Final = {
    0: "running",
    1: "failed",
    2: "wrong parameters",
    3: "not implemented",
    4: "not permitted",
    5: "not installed",
    6: "not configured",
    7: "not running",
    8: "running promoted",
    9: "failed while promoted",
    190: "running degraded",
    191: "running promoted degraded",
}
_TASKS: Final = {"monitor": "probe"}


def level(record: Record) -> str:
    """`error`, `warning` or `info`."""
    name = record["event"]
    if name in _ERRORS:
        return ERROR
    if name in _WARNINGS or record.get("ok") is False or record.get("predecessor"):
        return WARNING
    return INFO


def is_detail(record: Record) -> bool:
    """Whether it is shown only when everything is asked for."""
    if record["event"] == "action_result":
        # A probe that found what was expected is a detail of a start that follows, or of nothing.
        return bool(record.get("ok")) and record.get("operation") in ("monitor", "notify", "cancel", "delete")
    if record["event"] == "fence_device":
        return bool(record.get("ok"))  # the end of the fencing says it
    return record["event"] in DETAILS


def sentence(record: Record) -> str:
    """Without the time, the node and the cause."""
    say = _SENTENCES.get(record["event"])
    if say is not None:
        try:
            return say(record)
        except (KeyError, TypeError, ValueError):  # of another version: its fields are not those of ours
            pass
    return fields(record)


def line(record: Record) -> str:
    """The sentence and the cause, for a log that has the time and the node already."""
    text = sentence(record)
    return f"{text} [{record['cause']}]" if record.get("cause") else text


def fields(record: Record) -> str:
    """`fence requested target=n2 reason='peer is gone'`: any record, greppable."""
    parts = [str(record["event"]).replace("_", " ")]
    for key, value in record.items():
        if key in RESERVED or value in ("", None, [], {}):
            continue
        text = ",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
        parts.append(f"{key}={text!r}" if " " in text else f"{key}={text}")
    return " ".join(parts)


def _names(record: Record, key: str) -> str:
    return ", ".join(str(name) for name in record.get(key, ())) or "nobody"


def _tail(text: object) -> str:
    return f": {text}" if text else ""


def _view(record: Record) -> str:
    quorate = "quorate" if record["quorate"] else "not quorate"
    return f"view {record['id']}: {_names(record, 'members')}; {quorate} ({record['reason']})"


def _transition(record: Record) -> str:
    plan, count = list(record.get("plan", ())), int(record["actions"])
    kept = str(record.get("input", "")).removesuffix(".bz2")
    where = f" ({kept})" if kept else ""
    return f"transition {record['number']}{where}" + _tail(", ".join(plan) or f"{count} actions")


def _transition_end(record: Record) -> str:
    return f"transition {record['number']} {record['outcome']}" + _tail(record.get("reason"))


def _operation(record: Record) -> str:
    interval = int(record.get("interval_ms", 0))
    task = str(record["operation"])
    name = f"{task} every {interval / 1000:g} s" if interval else _TASKS.get(task, task)
    return f"{name} of {record['resource']}"


def _action_result(record: Record) -> str:
    took = f" in {record['exec_ms']} ms" if record.get("exec_ms") else ""
    rc = int(record["rc"])
    if record["ok"]:
        found = f" ({_OCF.get(rc, rc)})" if record["operation"] == "monitor" else ""
        return f"{_operation(record)} ok{found}{took}"
    what = _OCF.get(rc, f"exit code {rc}")
    status = {2: "timed out", 1: "was cancelled"}.get(int(record.get("status", 0)), what)
    return f"{_operation(record)} failed{took}: {status}" + _tail(record.get("text"))


def _fenced(record: Record) -> str:
    if str(record.get("text", "")).startswith(f"{record['target']} was fenced"):
        return f"{record['text']} ({record['action']})"
    return f"{record['target']} was fenced ({record['action']})" + _tail(record.get("text"))


def _attributes(record: Record) -> str:
    shown = [
        f"{name} of {node} was {'deleted' if value is None else f'set to {value}'}"
        for node, name, value in record["values"]
    ]
    return "; ".join(shown)


_SENTENCES: Final[dict[str, Callable[[Record], str]]] = {
    "peer_late": lambda r: f"heartbeat of {r['peer']} missed: silent for {r['silent_ms']} ms",
    "peer_lost": lambda r: f"{r['peer']} is lost",
    "view": _view,
    "dc": lambda r: f"{r['dc']} is the DC",
    "waiting_for": lambda r: f"waiting for {_names(r, 'nodes')}",
    "started_without": lambda r: f"starting without {_names(r, 'nodes')}",
    "cut_off_grace": lambda r: (
        f"no fencing: leaving {_names(r, 'nodes')} {r['grace_ms']} ms to stop what it runs if it is merely cut off"
    ),
    "crm_absent": lambda r: f"the crm of node {_names(r, 'nodes')} did not come back in {r['grace_ms']} ms",
    "cib_changed": lambda r: f"configuration {r['version']}: {_names(r, 'sections')} changed by {r['by']} on {r['on']}",
    "cib_taken": lambda r: f"took the configuration of {r['from']} instead of its own ({r['instead_of']})",
    "change": lambda r: str(r["reason"]),
    "attributes": _attributes,
    "decide": lambda r: f"deciding (transition {r['number']}): {r['reason']}",
    "decision_failed": lambda r: f"the policy engine failed: {r['error']}",
    "transition": _transition,
    "transition_end": _transition_end,
    "transition_left": lambda r: (
        f"transition {r['number']} goes on beside slow stops: {_names(r, 'under_way')}; {r['reason']}"
    ),
    "transition_stuck": lambda r: f"transition {r['number']} is stuck: {_names(r, 'actions')}",
    "action": lambda r: f"{_operation(r)} begins",
    "action_result": _action_result,
    "action_postponed": lambda r: f"{_operation(r)} {r['text']}",
    "action_lost": lambda r: f"{r['operation']} on {r['on']} gave no result",
    "fence_requested": lambda r: f"fencing {r['target']} ({r['action']})" + _tail(r.get("reason")),
    "fence_device": lambda r: (
        f"{r['device']}: {r['action']}{' of ' + r['target'] if r.get('target') else ''} "
        f"{'ok' if r['ok'] else 'failed'} in {r['exec_ms']} ms{_tail(r.get('text'))}"
    ),
    "fenced": _fenced,
    "fence_failed": lambda r: f"fencing of {r['target']} failed" + _tail(r.get("text")),
    "fencing_known": lambda r: f"{r['by']} says: {r['action']} of {r['target']} " + ("ok" if r["ok"] else "failed"),
    "fencing_given_up": lambda r: f"gave up fencing {r['target']} after {r['attempts']} attempts" + _tail(r["reason"]),
    "confirmed_off": lambda r: f"{r['by']} confirmed that {r['target']} is off",
    "shutdown_requested": lambda r: f"{r['who']} asks to leave",
    "leaving": lambda r: f"leaving the cluster: {r['reason']}",
    "crm_started": lambda r: (
        f"crm started (process {r['pid']})" + (f"; {r['predecessor']}" if r.get("predecessor") else "")
    ),
    "messaging_lost": lambda r: "lost messaging" + _tail(r.get("reason")),
    "withdrawn": lambda r: "withdrew from the group" + _tail(r.get("reason")),
    "bad_message": lambda r: f"node {r['sender']} sent what is no message of ours: {r['error']}",
    "member_refused": lambda r: f"{r['peer']} is not taken in: {r['text']}",
    "kept_aside": lambda r: f"a configuration that the cluster did not take is kept in {r['file']}: {r['text']}",
    "cib_missing": lambda r: f"the configuration of {_names(r, 'lost_by')} is lost: {r['text']}",
    "nodes_changed": lambda r: f"{r['by']} changed the list of nodes: {' '.join(map(str, r['change']))}",
    "nodes_relisted": lambda r: f"the nodes are now {_names(r, 'nodes')}",
    "key_rotation_begun": lambda r: f"{r['by']} began to change the cluster's keys",
    "alert_failed": lambda r: f"alert {r['alert']} ({r['path']}) failed" + _tail(r.get("text")),
    "alerts_dropped": lambda r: f"{r['count']} alerts of {r['alert']} were dropped: it is too slow",
    "events_dropped": lambda r: f"{r['count']} records could not be written to the event log" + _tail(r.get("text")),
}
