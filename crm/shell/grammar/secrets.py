"""Passwords: shown as `******`, and when that is read back, the old value stays."""

from __future__ import annotations

from typing import Final

from lxml import etree

HIDDEN: Final = "******"


def is_secret(name: str) -> bool:
    """Whether an attribute is a password by its name: passwd, password, ..."""
    return name.startswith("passw")


def restore(new: etree._Element, old: etree._Element | None) -> list[str]:
    """Puts the values of `old` where `new` has `******`: the first for the first of each name, and so on. Returns the names without one."""
    values: dict[str, list[str]] = {}
    if old is not None:
        for pair in old.iter("nvpair"):
            if is_secret(pair.get("name", "")):
                values.setdefault(pair.get("name", ""), []).append(pair.get("value", ""))
    missing: list[str] = []
    for pair in new.iter("nvpair"):
        name = pair.get("name", "")
        if not is_secret(name):
            continue
        known = values.get(name, [])
        value = known.pop(0) if known else None
        if pair.get("value") != HIDDEN:
            continue
        if value is None:
            missing.append(name)
        else:
            pair.set("value", value)
    return missing
