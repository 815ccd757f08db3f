"""A problem (or a remark) about a configuration, as a value.

Everything that judges a document returns report items, all of them at once, and prints nothing: the shell, the API and the tests
show or compare them. The code is for programs, the message for people; the message says what was expected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    """The document is not accepted."""
    WARNING = "warning"
    """Accepted, but probably not what was meant, or ignored."""
    NOTICE = "notice"
    """For information: an old spelling, a conversion that was made."""


@dataclass(frozen=True, slots=True)
class ReportItem:
    """`element` is what people call it (`primitive web`), `path` where it is in the document, `line` where in the text (0: unknown)."""

    severity: Severity
    code: str
    element: str
    message: str
    attribute: str = ""
    path: str = ""
    line: int = 0

    def __str__(self) -> str:
        line = f"line {self.line}: " if self.line else ""
        return f"{self.severity}: {line}{self.element}: {self.message}"


def errors(items: Iterable[ReportItem]) -> tuple[ReportItem, ...]:
    return tuple(item for item in items if item.severity is Severity.ERROR)
