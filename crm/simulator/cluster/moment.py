"""The moments at which a fault is worth most."""

from __future__ import annotations

from enum import StrEnum


class Moment(StrEnum):
    """What is worth a fault at that very moment."""

    ORDERED = "the DC has sent orders"
    BEGUN = "an agent that changes something begins"
    EFFECT = "it has had its effect, and has not told yet"
    ENDED = "it has ended"
    TOLD = "a client was told that its change is made"
