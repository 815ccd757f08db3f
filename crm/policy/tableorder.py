"""The order in which the field's tables list their keys.

Theory of operation. Pacemaker keeps nodes and attributes in open-addressing hash tables and in some places lets their order show: the
attributes of a capacity line, the input order of a sort whose comparison is not transitive, the first of several equally
capable nodes. That order is a function of the keys and of the sequence of insertion, described in the scheduler specification (part 1,
section 27; part 2, 19.4), and computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

_PRIMES = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 262139, 524287)
_FIRST_BITS = 3
_WORD = 0xFFFFFFFF


def _hash(key: str) -> int:
    value = 0
    for byte in key.encode():
        value = (31 * value + (byte - 256 if byte > 127 else byte)) & _WORD
    return max(value, 2)  # 0 and 1 mark empty and deleted slots


def _probes(value: int, bits: int) -> Iterable[int]:
    """The slots where a key may be, in the order in which they are tried."""
    mask = (1 << bits) - 1
    slot = (value * 11 & _WORD) % _PRIMES[bits]
    step = 0
    while True:
        yield slot
        step += 1
        slot = (slot + step) & mask


def _rehash(old: Sequence[str | None], bits: int) -> list[str | None]:
    """Settle every key in a table of the new size, in place: a key in the way is displaced and goes on probing."""
    slots: list[str | None] = list(old) + [None] * ((1 << bits) - len(old))
    settled = [False] * len(slots)
    for start in range(len(old)):
        key = slots[start]
        if key is None or settled[start]:
            continue
        slots[start] = None
        while key is not None:
            for slot in _probes(_hash(key), bits):
                if not settled[slot]:
                    settled[slot] = True
                    slots[slot], key = key, slots[slot]
                    break
    return slots


@lru_cache(maxsize=256)
def slot_order(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Distinct keys, given in the order of their insertion, in the order in which a table lists them."""
    bits = _FIRST_BITS
    slots: list[str | None] = [None] * (1 << bits)
    for count, key in enumerate(keys, 1):
        for slot in _probes(_hash(key), bits):
            if slots[slot] is None:
                slots[slot] = key
                break
        if len(slots) <= count + count // 16:
            bits = max(_FIRST_BITS, int(count * 1.333).bit_length())
            slots = _rehash(slots, bits)
    return tuple(key for key in slots if key is not None)
