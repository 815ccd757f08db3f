"""Tags: names for lists of things, of use in constraints.

Sources: scheduler specification, part 1, section 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crm.policy.configuration import Configuration


def read_tags(config: Configuration) -> dict[str, list[str]]:
    """Tag id -> the ids it stands for, in order, without repetition."""
    section = config.section("tags")
    if section is None:
        return {}
    tags: dict[str, list[str]] = {}
    for element in section.iterchildren("tag"):
        name = element.get("id")
        if not name:
            continue
        members = tags.setdefault(name, [])
        for reference in element.iterchildren("obj_ref"):
            member = reference.get("id")
            if member and member not in members:
                members.append(member)
    return tags
