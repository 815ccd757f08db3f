"""Nodes added to, removed from and renamed in a vigil.toml that people have written: their comments and their order stay.

The text is changed line by line: a `[[nodes]]` table is put after the last one, or taken out, or its `name` is replaced. The result is
checked as a whole, and must differ from what was there by that one node and nothing else; a file whose nodes are written in a way that this
does not understand is refused, and stays as it is. What follows from the nodes unless it is given (`expected_votes`, `two_node`,
`wait_for_all`) is taken out where it says what followed from the old ones.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from crm.config.loading import loads
from crm.config.model import Config
from crm.config.places import key_lines
from crm.config.problems import ConfigError, Problem
from crm.config.quorum import automatic_two_node, automatic_wait_for_all
from crm.config.sections import SECTIONS, NodeSection, QuorumSection

_HEADER = re.compile(r"\s*\[")


@dataclass(frozen=True, slots=True)
class Add:
    """`addresses` are one for each link. `id` 0: the lowest that no node has."""

    name: str
    addresses: tuple[str, ...]
    id: int = 0
    votes: int = 1


@dataclass(frozen=True, slots=True)
class Remove:
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


Change = Add | Remove | Rename


def edit(text: str, change: Change, where: str = "vigil.toml") -> str:
    """The file's text with that change; the text itself when it has been made already. ConfigError otherwise."""
    before = loads(text, where)
    names = {node.name: node for node in before.nodes}
    match change:
        case Add(name) if name in names:
            if loads(_added(_without(text, name, where), change, where), where).nodes == before.nodes:
                return text
            raise _refused(where, f"there is a node {name} already, with another id, address or votes")
        case Add():
            changed = _added(text, change, where)
        case Remove(name):
            if name not in names:
                return text
            if names[name].id == before.this_node:
                raise _refused(where, f"{name} is the node that this file is for")
            changed = _without(text, name, where)
        case Rename(old, new):
            if old not in names and new in names:
                return text
            if old not in names:
                raise _refused(where, f"there is no node {old}; there are {', '.join(names)}")
            changed = _renamed(text, old, new, before, where)
    changed = _following(changed, text)
    _compare(before, loads(changed, where), change, where)
    return changed


def _compare(before: Config, after: Config, change: Change, where: str) -> None:
    """Nothing but what was asked for has changed."""
    match change:
        case Add(name):
            kept = tuple(node for node in after.nodes if node.name != name)
            good = kept == before.nodes and len(after.nodes) == len(kept) + 1
        case Remove(name):
            good = after.nodes == tuple(node for node in before.nodes if node.name != name)
        case Rename(old, new):
            wanted = tuple(replace(node, name=new) if node.name == old else node for node in before.nodes)
            good = after.nodes == wanted and after.this_node == before.this_node
    if not good:
        raise _refused(
            where, "the nodes are written in a way that cannot be changed line by line; change the file by hand"
        )


def _refused(where: str, text: str) -> ConfigError:
    return ConfigError(where, [Problem(0, "nodes", text)])


# --- the three changes ----------------------------------------------------------------------------------------------------


def _added(text: str, change: Add, where: str) -> str:
    lines = text.splitlines()
    _, end = _block(lines, text, lambda place, blocks: place == len(blocks) - 1, where)
    taken = {node.id for node in loads(text, where).nodes}
    node_id = change.id or next(number for number in range(1, 256) if number not in taken)
    block = [
        "",
        "[[nodes]]",
        f"name = {json.dumps(change.name)}",
        f"id = {node_id}",
        f"addresses = {json.dumps(list(change.addresses))}",
    ]
    if change.votes != 1:
        block.append(f"votes = {change.votes}")
    return "\n".join([*lines[:end], *block, *lines[end:]]) + "\n"


def _without(text: str, name: str, where: str) -> str:
    lines = text.splitlines()
    start, end = _block(lines, text, _named(text, name), where)
    while start and end < len(lines) and not lines[start - 1].strip() and not lines[end].strip():
        end += 1  # one empty line between what is left
    return "\n".join([*lines[:start], *lines[end:]]) + "\n"


def _renamed(text: str, old: str, new: str, before: Config, where: str) -> str:
    lines = text.splitlines()
    start, end = _block(lines, text, _named(text, old), where)
    _replace_value(lines, range(start, end), "name", old, new)
    at = key_lines(text).get("node.name")
    if before.node.name == old and at:
        _replace_value(lines, range(at - 1, at), "name", old, new)
    return "\n".join(lines) + "\n"


def _replace_value(lines: list[str], where: range, key: str, old: str, new: str) -> None:
    pattern = re.compile(rf"(\s*{key}\s*=\s*)([\"']){re.escape(old)}\2")
    for number in where:
        lines[number] = pattern.sub(lambda found: found[1] + json.dumps(new), lines[number], count=1)


Chosen = Callable[[int, Sequence[object]], bool]


def _named(text: str, name: str) -> Chosen:
    nodes = tomllib.loads(text)["nodes"]
    return lambda place, _: bool(nodes[place].get("name") == name)


def _block(lines: list[str], text: str, chosen: Chosen, where: str) -> tuple[int, int]:
    """First line and line after the last of one `[[nodes]]` table, without the comments that belong to what follows it."""
    places = key_lines(text)
    nodes = tomllib.loads(text)["nodes"]
    for place in range(len(nodes)):
        if not chosen(place, nodes):
            continue
        start = places.get(f"nodes.{place + 1}")
        if not start:
            break
        end = start
        while end < len(lines) and not _HEADER.match(lines[end]):
            end += 1
        if end < len(lines):  # what follows may have comments above it
            while end > start and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
                end -= 1
        else:
            while end > start and not lines[end - 1].strip():
                end -= 1
        return start - 1, end
    raise _refused(where, "the nodes are not written as [[nodes]] tables; change the file by hand")


# --- what follows from the nodes --------------------------------------------------------------------------------------------


def _following(changed: str, original: str) -> str:
    """The changed text without those lines of `[quorum]` that only said what followed from the nodes before."""
    written = tomllib.loads(original).get("quorum", {})
    before, after = _followed(original), _followed(changed)
    lines = changed.splitlines()
    places = key_lines(changed)
    gone = [
        places[f"quorum.{key}"] - 1
        for key, value in before.items()
        if written.get(key) == value and after[key] != value and f"quorum.{key}" in places
    ]
    return "\n".join(line for number, line in enumerate(lines) if number not in gone) + "\n"


def _followed(text: str) -> dict[str, object]:
    """What the nodes of a file make of the keys that may be left out."""
    document = tomllib.loads(text)
    nodes: list[NodeSection] = SECTIONS["nodes"].validate_python(document["nodes"])
    rules: QuorumSection = SECTIONS["quorum"].validate_python(document.get("quorum", {}))
    return {
        "expected_votes": sum(node.votes for node in nodes),
        "two_node": automatic_two_node(rules, nodes),
        "wait_for_all": automatic_wait_for_all(rules, nodes),
    }


def parse_change(words: Sequence[str]) -> Change:
    """`add NAME ID VOTES ADDRESS...`, `remove NAME` or `rename OLD NEW`. ValueError for anything else."""
    match list(words):
        case ["add", name, node_id, votes, *addresses] if addresses:
            return Add(name, tuple(addresses), int(node_id), int(votes))
        case ["remove", name]:
            return Remove(name)
        case ["rename", old, new]:
            return Rename(old, new)
    raise ValueError(f"expected add, remove or rename, got {' '.join(words)}")
