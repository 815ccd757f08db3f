"""What the local API answers when it does not do what was asked.

Every refusal is an `ApiError`: a code that programs compare, a message for people, and items, one for each thing that is
wrong, so that all problems are shown at once. The same class is raised by the clients and by the server's handlers.

This module is on the path of the tools that agents call inside a monitor: standard library only, and no `typing`,
`dataclasses` or `re` at run time, which would cost more than the whole call.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NamedTuple

BAD_REQUEST = "bad-request"
"""The frame, the request or its parameters are malformed."""
UNKNOWN_METHOD = "unknown-method"
PERMISSION_DENIED = "permission-denied"
NOT_FOUND = "not-found"
EXISTS = "exists"
INVALID = "invalid"
"""What was given is well-formed but breaks a rule; the items say which."""
CONFLICT = "conflict"
"""The base has changed meanwhile (`if_version`)."""
NOT_APPLIED = "not-applied"
"""The change did not reach the cluster and never will; asking again is safe."""
UNCERTAIN = "uncertain"
"""The change may or may not have been made: the node lost its peers or its daemon before it knew."""
NO_QUORUM = "no-quorum"
TIMEOUT = "timeout"
UNAVAILABLE = "unavailable"
"""No daemon answers, or it is not ready yet."""
FAILED = "failed"
"""It was tried and did not work (an agent, a fencing device)."""
CANCELLED = "cancelled"
"""The client took its request back, or the daemon ends; what had been sent to the cluster may still happen."""
SLOW_CLIENT = "slow-client"
"""A subscriber did not read its events and was dropped."""
TOO_LARGE = "too-large"
SHUTTING_DOWN = "shutting-down"
INTERNAL = "internal"
"""A fault of ours; the daemon's log has the details."""

if TYPE_CHECKING:

    class ErrorItem(NamedTuple):
        severity: str
        code: str
        element: str
        message: str
        attribute: str = ""
else:
    ErrorItem = namedtuple("ErrorItem", "severity code element message attribute", defaults=("",))
    ErrorItem.__doc__ = (
        "One thing that is wrong: where (`element`, perhaps `attribute`), and what was expected instead."
    )


class ApiError(Exception):
    """A refusal. `code` is one of this module's constants; `items` may be empty."""

    def __init__(self, code: str, message: str, items: Iterable[ErrorItem] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.items: tuple[ErrorItem, ...] = tuple(items)

    def __str__(self) -> str:
        """The message, then a line for each item."""
        lines = [self.message]
        lines.extend(
            f"  {item.severity}: {item.element + ': ' if item.element else ''}{item.message}" for item in self.items
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"ApiError({self.code!r}, {self.message!r}, {self.items!r})"

    def to_json(self) -> dict[str, Any]:
        """The `error` member of an answer."""
        return {"code": self.code, "message": self.message, "items": [item._asdict() for item in self.items]}

    @classmethod
    def from_json(cls, error: object) -> ApiError:
        """From the `error` member of an answer; tolerant, since it only serves to be shown."""
        if not isinstance(error, dict):
            return cls(INTERNAL, f"malformed error in the answer: {error!r}")
        items = error.get("items")
        return cls(
            str(error.get("code", INTERNAL)),
            str(error.get("message", "no message")),
            [_item(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else (),
        )


def _item(item: Mapping[str, Any]) -> ErrorItem:
    return ErrorItem(*(str(item.get(key, "")) for key in ("severity", "code", "element", "message", "attribute")))
