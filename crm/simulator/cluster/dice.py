"""Chance, for each aspect of a run its own: what is drawn for one thing does not shift what comes out for another.

So a new fault, or an agent that is asked once more, leaves the configuration, the quorum rules and the manners of everything else as they were under a seed.
"""

from __future__ import annotations

import random


class Dice:
    """All of a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._known: dict[str, random.Random] = {}

    def of(self, aspect: str) -> random.Random:
        """The generator of this aspect, in the state in which it was left."""
        if aspect not in self._known:
            self._known[aspect] = random.Random(f"{self.seed}:{aspect}")
        return self._known[aspect]
