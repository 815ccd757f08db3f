"""Users and groups of this machine, by name: what the access control lists are about."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def group_names(numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Their names; what has none is left out."""
    names = []
    for number in dict.fromkeys(numbers):
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(number).gr_name)
    return tuple(names)


def groups_of(user: str) -> tuple[str, ...]:
    """The groups that a user is in; none for one whom this machine does not know."""
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        return ()
    return group_names(tuple(os.getgrouplist(user, entry.pw_gid)))
