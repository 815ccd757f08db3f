"""The two kinds of error inside messaging, kept apart by type.

MessagingError
  +-- InvariantBroken   our own fault: the state is not what our rules promise; the daemon stops rather than guesses
  +-- Malformed         a peer's fault: bytes that do not decode; counted and dropped, never raised past the edge
  +-- SetupError        a person's: configuration, key ring, state or permissions; its text says what to do
"""

from __future__ import annotations


class MessagingError(Exception):
    """Base of all errors of this package."""


class InvariantBroken(MessagingError):
    """A rule of our own code does not hold."""


class Malformed(MessagingError):
    """Bytes from elsewhere that do not mean anything."""


class SetupError(MessagingError):
    """Something around the daemon is not as it needs it. The text is for people."""


def invariant(holds: bool, text: str) -> None:
    """Stop here when one of our own rules is broken. Always on."""
    if not holds:
        raise InvariantBroken(text)
