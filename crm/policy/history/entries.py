"""History entries: what an `lrm_rsc_op` says, and which of two is newer.

Theory of operation. Entries are read leniently: a field that is missing or unreadable has its documented "unknown" value. The order is
that of call ids where both are known, and of transition numbers where an operation is still pending; entries that cannot be told
apart keep the reverse of their order in the document.

Sources: scheduler specification, part 1, sections 1.7, 13, 14.1, 18.1.
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING, Final

from crm.policy.model import HistoryEntry
from crm.policy.values import parse_integer

if TYPE_CHECKING:
    from lxml.etree import _Element

PENDING: Final = -1
DONE: Final = 0
OPERATIONS: Final = frozenset(
    ("monitor", "start", "stop", "promote", "demote", "migrate_to", "migrate_from", "asyncmon")
)


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if text.isdecimal() and len(text) < 19:
        return int(text)
    value = parse_integer(text)
    return default if value is None else value


def read_entry(xml: _Element) -> HistoryEntry:
    get = xml.get
    identity = get("id", "")
    return HistoryEntry(
        id=identity,
        key=get("operation_key") or identity,
        operation=get("operation", ""),
        interval_ms=_number(get("interval"), 0),
        call_id=_number(get("call-id"), -1),
        rc=_number(get("rc-code"), -1),
        status=_number(get("op-status"), -2),
        expected_rc=expected_rc(get("transition-key")),
        last_rc_change=_number(get("last-rc-change"), -1),
        on_node=get("on_node"),
        xml=xml,
    )


def expected_rc(key: str | None) -> int:
    """The third part of `ACTION:TRANSITION:RC:UUID`; -1 when that is not what it is."""
    if key is None:
        return -1
    parts = key.split(":", 3)
    return _number(parts[2], -1) if len(parts) == 4 else -1


def is_admitted(entry: HistoryEntry) -> bool:
    """Does the entry say anything that can be interpreted? (14.1)"""
    return (
        bool(entry.id)
        and entry.operation in OPERATIONS
        and -1 <= entry.status <= 11
        and entry.status != 1
        and 0 <= entry.rc <= 255
    )


def is_plain_probe(history: _Element) -> bool:
    """Nothing but a probe that found the resource not running, as for most resources on most nodes?"""
    if len(history) != 1:
        return False
    entry = history[0]
    get = entry.get
    return (
        get("rc-code") == "7"
        and get("operation") == "monitor"
        and get("interval", "0") == "0"
        and get("op-status") == "0"
        and not get("id", "_last_failure_0").endswith("_last_failure_0")
        and entry.tag == "lrm_rsc_op"
    )


# --- order ------------------------------------------------------------------------------------------------------------


def _magic(entry: HistoryEntry) -> tuple[int, str] | None:
    """Transition number and UUID of `OPSTATUS:RC;ACTION:TRANSITION:RC:UUID`."""
    magic = entry.xml.get("transition-magic")
    if magic is None or ";" not in magic:
        return None
    parts = magic.split(";", 1)[1].split(":", 3)
    if len(parts) < 4:
        return None
    number = parse_integer(parts[1])
    return None if number is None else (number, parts[3])


def compare(a: HistoryEntry, b: HistoryEntry) -> int:
    """Negative when `a` is older than `b` (13)."""
    same_node = a.on_node == b.on_node or (a.on_node or "").lower() == (b.on_node or "").lower()
    if same_node and a.id == b.id:
        return 0
    first, second = a.call_id, b.call_id
    if first == -1 and second == -1:
        return 0
    if same_node and first >= 0 and first < second:
        return -1
    if same_node and second >= 0 and first > second:
        return 1
    if first >= 0 and second >= 0:
        if a.last_rc_change >= 0 and a.last_rc_change < b.last_rc_change:
            return -1
        if b.last_rc_change >= 0 and a.last_rc_change > b.last_rc_change:
            return 1
        return _compare_transitions(a, b)
    return _compare_pending(a, b)


def _compare_transitions(a: HistoryEntry, b: HistoryEntry) -> int:
    """Within one second: what a later transition of the same DC ordered is newer."""
    first, second = _magic(a), _magic(b)
    if first is None or second is None or first[1] != second[1]:
        return 0
    return (first[0] > second[0]) - (first[0] < second[0])


def _compare_pending(a: HistoryEntry, b: HistoryEntry) -> int:
    first, second = _magic(a), _magic(b)
    if first is None or second is None:
        return 0
    if first[1] != second[1] or first[0] == second[0]:
        if a.call_id == -1:
            return 1
        return -1 if b.call_id == -1 else 0
    if (0 <= first[0] < second[0]) or second[0] == -1:
        return -1
    if first[0] > second[0] or first[0] == -1:
        return 1
    return 0


def sorted_entries(history: _Element) -> list[HistoryEntry]:
    """All entries of an `lrm_resource`, oldest first."""
    entries = [read_entry(element) for element in history.iterchildren("lrm_rsc_op")]
    if len(entries) == 1:
        return entries
    entries.reverse()
    if not entries:
        return entries
    first_node = entries[0].on_node
    simple = all(entry.call_id >= 0 and entry.on_node == first_node for entry in entries)
    if simple and len({entry.call_id for entry in entries}) == len(entries):
        entries.sort(key=_by_call_id)  # the usual case, without comparing pair by pair
    else:
        entries.sort(key=cmp_to_key(compare))
    return entries


def _by_call_id(entry: HistoryEntry) -> int:
    return entry.call_id


# --- the window of active operations ----------------------------------------------------------------------------------


def active_window(entries: list[HistoryEntry]) -> tuple[int, int]:
    """Indices of the last start and the last stop (-1: none); a start may be implied by what follows it (18.1)."""
    start = stop = implied_monitor = implied_clone = -1
    for index, entry in enumerate(entries):
        operation = entry.operation
        if operation == "stop" and entry.xml.get("op-status") == "0":
            stop = index
        elif operation in ("start", "migrate_from"):
            start = index
        elif operation == "monitor":
            if implied_monitor <= stop and entry.rc in (0, 8):
                implied_monitor = index
        elif operation in ("promote", "demote"):
            implied_clone = index
    if start == -1:
        start = implied_clone if implied_clone != -1 else implied_monitor
    return start, stop
