"""The time at which a CIB is to be evaluated (P1 0.1, step 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm.policy.dates import parse_date

if TYPE_CHECKING:
    from lxml.etree import _Element


def effective_time(cib: _Element, argument: str | None, clock: int) -> int:
    """Epoch seconds: the argument if it is a date, else what the CIB says, else the clock."""
    if argument is not None:
        given = parse_date(argument, clock)
        if given is not None:
            return given
    text = cib.get("execution-date")
    if text is not None and text.lstrip("-").isdigit():
        return int(text)
    return clock
