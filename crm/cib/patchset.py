"""The difference between two CIBs as a patch, in Pacemaker's formats: version 2 written and read, version 1 read.

Theory of operation. Children are recognised by tag and id. A version 2 patch lists deletions, then what changed in document order: attributes
(`modify`), new children (`create`) and children that stand elsewhere among their siblings (`move`). It is applied in two passes: deletions
and modifications first, then creations and moves by ascending position, so that everything before a position is in
place when it is used. Where children cannot be told apart (no id and not the only one of their tag, or mixed with text), the parent is
deleted and created anew.

A patch names the versions that it leads from and to, and the MD5 of the resulting document; both are checked when it is applied. `apply`
works on a copy: a patch that does not fit changes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.xml import Version

MAX_CHANGES: Final = 200_000
"""Changes in one patch."""

_MARKER: Final = "__crm_diff_marker__"
_VERSION_KEYS: Final = ("admin_epoch", "epoch", "num_updates")
_STEP = re.compile(r"/([A-Za-z_][\w.-]*)(?:\[@id=(?:'([^']*)'|\"([^\"]*)\")\])?")

_UNDIGESTED: Final = ("cib-last-written", "update-origin", "update-client", "update-user", "crm-debug-origin")
_ESCAPES: Final = {"'": "&apos;", "&#9;": "    ", "&#10;": "\\n", "&#13;": "\\r"}
_ESCAPED = re.compile(r"<!--.*?-->|'|&#(?:9|10|13);", re.DOTALL)

_Key = tuple[str, str | None]


class PatchError(ValueError):
    """The patch is malformed or does not belong to this document. `stale`: it was made for another version."""

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


# Making


@dataclass(slots=True)
class _Changes:
    deleted: list[etree._Element]
    others: list[etree._Element]


def diff(old: etree._Element, new: etree._Element) -> etree._Element:
    """`<diff format="2">` that leads from one `<cib>` to the other, so that `apply(diff(a, b), a)` equals b to the byte."""
    changes = _Changes([], [])
    if not _must_rebuild(old, new):
        _compare(old, new, "/cib", changes)
    else:
        raise PatchError("the children of <cib> cannot be told apart")
    patch = etree.Element("diff", {"format": "2", "digest": digest(new)})
    versions = etree.SubElement(patch, "version")
    for tag, document in (("source", old), ("target", new)):
        version = xml.version(document)
        values = (version.admin_epoch, version.epoch, version.num_updates)
        etree.SubElement(versions, tag, {key: str(value) for key, value in zip(_VERSION_KEYS, values, strict=True)})
    patch.extend(changes.deleted)
    patch.extend(changes.others)
    return patch


def _compare(old: etree._Element, new: etree._Element, path: str, changes: _Changes) -> None:
    """Both have the same path; adds what makes `new` of `old`."""
    if xml.to_bytes(old) == xml.to_bytes(new):
        return
    _compare_attributes(old, new, path, changes)
    mine = {_key(child): child for child in old if isinstance(child.tag, str)}
    theirs = {_key(child): child for child in new if isinstance(child.tag, str)}
    rebuilt = {key for key, child in theirs.items() if key in mine and _must_rebuild(mine[key], child)}
    kept = [
        child for child in old if isinstance(child.tag, str) and _key(child) in theirs and _key(child) not in rebuilt
    ]
    same_comments = _comments(old) == _comments(new)
    if not same_comments:
        for position in reversed([i for i, child in enumerate(old) if not isinstance(child.tag, str)]):
            changes.deleted.append(_change("delete", f"{path}/comment", position))
    for key, child in mine.items():
        if key not in theirs or key in rebuilt:
            changes.deleted.append(_change("delete", _path(path, child)))
    current: list[object] = [_key(child) for child in kept]
    if same_comments:
        current = [
            _key(c) if isinstance(c.tag, str) else _Comment() for c in old if not isinstance(c.tag, str) or c in kept
        ]
    for position, child in enumerate(new):
        _place(child, position, current, same_comments, path, changes)
        if isinstance(child.tag, str) and _key(child) in mine and _key(child) not in rebuilt:
            _compare(mine[_key(child)], child, _path(path, child), changes)


class _Comment:
    """Stands for a comment that stays, in the simulation of an order."""


def _place(
    child: etree._Element, position: int, current: list[object], same_comments: bool, path: str, changes: _Changes
) -> None:
    """Creates or moves `child` to `position`, unless it is there already; `current` follows."""
    if not isinstance(child.tag, str):
        if not same_comments:
            changes.others.append(_change("create", path, position, child))
            current.insert(position, _Comment())
        return
    key = _key(child)
    if key not in current:
        changes.others.append(_change("create", path, position, child))
        current.insert(position, key)
    elif current.index(key) != position:
        changes.others.append(_change("move", _path(path, child), position))
        current.remove(key)
        current.insert(position, key)


def _compare_attributes(old: etree._Element, new: etree._Element, path: str, changes: _Changes) -> None:
    before, after = list(old.attrib.items()), list(new.attrib.items())
    if before == after:
        return
    change = _change("modify", path)
    listed = etree.SubElement(change, "change-list")
    for key in old.attrib:
        if key not in new.attrib:
            etree.SubElement(listed, "change-attr", {"name": str(key), "operation": "unset"})
    for key, value in after:
        if old.get(str(key)) != value:
            attributes = {"name": str(key), "operation": "set", "value": str(value)}
            etree.SubElement(listed, "change-attr", attributes)
    result = etree.SubElement(etree.SubElement(change, "change-result"), str(new.tag))
    for key, value in after:
        result.set(str(key), str(value))
    changes.others.append(change)


def _must_rebuild(old: etree._Element, new: etree._Element) -> bool:
    return not _tellable(old, new) and xml.to_bytes(old) != xml.to_bytes(new)


def _tellable(old: etree._Element, new: etree._Element) -> bool:
    """Whether a patch can name each child of both, and nothing but elements and comments is in them."""
    for element in (old, new):
        if (element.text or "").strip():
            return False
        keys = [_key(child) for child in element if isinstance(child.tag, str)]
        if len(set(keys)) != len(keys):
            return False
        tags = [tag for tag, identity in keys if identity is None]
        with_id = {tag for tag, identity in keys if identity is not None}
        if len(set(tags)) != len(tags) or any(tag in with_id for tag in tags):
            return False
        if any(identity is not None and ("'" in identity or '"' in identity) for _, identity in keys):
            return False
        if any((child.tail or "").strip() for child in element):
            return False
    if _comments(old) != _comments(new):
        return True
    # Comments that stay must stay in their places: nothing can name a comment that moves.
    return _comment_places(old) == _comment_places(new) or not _comments(old)


def _comments(element: etree._Element) -> list[str]:
    return [child.text or "" for child in element if not isinstance(child.tag, str)]


def _comment_places(element: etree._Element) -> list[int]:
    return [i for i, child in enumerate(element) if not isinstance(child.tag, str)]


def _key(element: etree._Element) -> _Key:
    return str(element.tag), element.get("id")


def _path(parent: str, child: etree._Element) -> str:
    identity = child.get("id")
    return f"{parent}/{child.tag}" if identity is None else f"{parent}/{child.tag}[@id='{identity}']"


def _change(
    operation: str, path: str, position: int | None = None, content: etree._Element | None = None
) -> etree._Element:
    change = etree.Element("change", {"operation": operation, "path": path})
    if position is not None:
        change.set("position", str(position))
    if content is not None:
        change.append(deepcopy(content))
    return change


def digest(document: etree._Element) -> str:
    """As Pacemaker writes it into patches: MD5 of the canonical text without the attributes that say who wrote it when.

    Found by comparison with what `crm_diff` prints. Against mistakes, not against attackers.
    """
    stripped = deepcopy(document)
    etree.strip_attributes(stripped, *_UNDIGESTED)
    return _md5(_as_pacemaker_writes(stripped))


def disk_digest(element: etree._Element) -> str:
    """As Pacemaker signs files: MD5 of all of it, with a blank before and a line break after it. Any element has one."""
    return _md5(f" {_as_pacemaker_writes(element)}\n")


def digest_for(element: etree._Element) -> str:
    """That of patches between clusters of the feature set that the element names: the older digest before 3.0.5, or without one."""
    since = (3, 0, 5)
    return digest(element) if xml.feature_key(element.get(xml.FEATURES, "")) >= since else disk_digest(element)


def _as_pacemaker_writes(element: etree._Element) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[0], match[0]), xml.to_text(element, pretty=False))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# Applying


def apply(patch: etree._Element, document: etree._Element) -> etree._Element:
    """A new document, `document` with the patch applied. PatchError when it does not fit."""
    if patch.tag != "diff":
        raise PatchError(f"expected <diff>, got <{patch.tag}>")
    result = deepcopy(document)
    match patch.get("format", "1"):
        case "1":
            _apply_first_format(patch, result)
        case "2":
            _apply_second_format(patch, result)
        case other:
            raise PatchError(f"unknown format {other!r}; expected 1 or 2")
    return result


def _check_version(document: etree._Element, source: etree._Element | None) -> None:
    if source is None:
        return
    expected, actual = xml.version(source), xml.version(document)
    if expected != actual:
        raise PatchError(f"the patch is for version {expected}, the document is at {actual}", stale=True)


def _apply_second_format(patch: etree._Element, document: etree._Element) -> None:
    _check_version(document, patch.find("version/source"))
    changes = list(patch.iterchildren("change"))
    if len(changes) > MAX_CHANGES:
        raise PatchError(f"a patch may have {MAX_CHANGES} changes, not {len(changes)}")
    later: list[tuple[int, etree._Element]] = []
    for change in changes:
        match change.get("operation"):
            case "delete":
                _delete(change, document)
            case "modify":
                _modify(change, document)
            case "create" | "move":
                later.append((_position(change), change))
            case other:
                raise PatchError(f"unknown operation {other!r} in a patch")
    # Python's sort keeps the order of equal positions, which belong to different parents.
    for position, change in sorted(later, key=lambda item: item[0]):
        if change.get("operation") == "create":
            _create(change, position, document)
        else:
            _move(change, position, document)
    wanted = patch.get("digest")
    if wanted is not None and wanted != digest(document):
        raise PatchError("the patch does not lead to the document that it was made for", stale=True)


def _position(change: etree._Element) -> int:
    text = change.get("position", "0")
    if not text.isdigit():
        raise PatchError(f"position: expected a number, got {text!r}")
    return int(text)


def _find(path: str, document: etree._Element) -> etree._Element:
    """The element at a path of ids; PatchError when there is none."""
    steps = list(_steps(path))
    if not steps or steps[0] != (str(document.tag), None):
        raise PatchError(f"the path {path!r} does not begin at <{document.tag}>")
    current = document
    for tag, identity in steps[1:]:
        found = next((c for c in current.iterchildren(tag) if identity is None or c.get("id") == identity), None)
        if found is None:
            raise PatchError(f"there is nothing at {path}", stale=True)
        current = found
    return current


def _steps(path: str) -> Iterator[_Key]:
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise PatchError(f"malformed path {path!r}")
        yield match[1], match[2] if match[2] is not None else match[3]
        position = match.end()


def _delete(change: etree._Element, document: etree._Element) -> None:
    path = change.get("path", "")
    if path.endswith("/comment"):
        parent = _find(path.removesuffix("/comment"), document)
        position = _position(change)
        if position >= len(parent) or isinstance(parent[position].tag, str):
            raise PatchError(f"there is no comment at {path}, position {position}", stale=True)
        parent.remove(parent[position])
        return
    target = _find(path, document)
    above = target.getparent()
    if above is None:
        raise PatchError("the root cannot be deleted")
    above.remove(target)


def _modify(change: etree._Element, document: etree._Element) -> None:
    target = _find(change.get("path", ""), document)
    for attribute in change.iterfind("change-list/change-attr"):
        name = attribute.get("name", "")
        match attribute.get("operation"):
            case "set":
                target.set(name, attribute.get("value", ""))
            case "unset":
                if name in target.attrib:
                    del target.attrib[name]
            case other:
                raise PatchError(f"unknown operation {other!r} on the attribute {name}")
    result = change.find("change-result")
    wanted = None if result is None else next(result.iterchildren("*"), None)
    if wanted is not None and sorted(wanted.attrib.items()) == sorted(target.attrib.items()):
        # The same attributes: take their order too, so that copies stay equal to the byte.
        target.attrib.clear()
        for key, value in wanted.attrib.items():
            target.set(str(key), str(value))


def _create(change: etree._Element, position: int, document: etree._Element) -> None:
    parent = _find(change.get("path", ""), document)
    if len(change) != 1:
        raise PatchError(f"expected one new element at {change.get('path')}, got {len(change)}")
    parent.insert(position, deepcopy(change[0]))


def _move(change: etree._Element, position: int, document: etree._Element) -> None:
    target = _find(change.get("path", ""), document)
    parent = target.getparent()
    if parent is None:
        raise PatchError("the root cannot be moved")
    parent.remove(target)
    parent.insert(position, target)


# Format 1: what is removed and what is added, as two partial documents


def _apply_first_format(patch: etree._Element, document: etree._Element) -> None:
    removed, added = patch.find("diff-removed"), patch.find("diff-added")
    _check_version(document, removed if removed is not None and removed.get("epoch") is not None else None)
    for partial in xml.elements(removed):
        _subtract(partial, document)
    for partial in xml.elements(added):
        _add(partial, document)
    if added is not None and added.get("epoch") is not None:
        xml.set_version(document, Version(*(_counter(added, key) for key in _VERSION_KEYS)))


def _counter(element: etree._Element, key: str) -> int:
    text = element.get(key, "0")
    if not text.isdigit():
        raise PatchError(f"{key}: expected a number, got {text!r}")
    return int(text)


def _subtract(partial: etree._Element, target: etree._Element) -> None:
    """Attributes named here go (those that stay are added again); an element marked as removed goes as a whole."""
    for child in partial.iterchildren("*"):
        found = _counterpart(child, target)
        if found is None:
            raise PatchError(f"there is no {xml.describe(child)} to be removed or changed", stale=True)
        if child.get(_MARKER, "").startswith("removed"):
            target.remove(found)
        else:
            _subtract(child, found)
    for key in partial.attrib:
        if key not in ("id", _MARKER) and target.get(str(key)) == partial.get(str(key)):
            del target.attrib[key]


def _add(partial: etree._Element, target: etree._Element) -> None:
    for key, value in partial.attrib.items():
        if key != _MARKER:
            target.set(str(key), str(value))
    for child in partial.iterchildren("*"):
        found = _counterpart(child, target)
        if found is None or child.get(_MARKER, "").startswith("added"):
            copy = deepcopy(child)
            for element in copy.iter("*"):
                if _MARKER in element.attrib:
                    del element.attrib[_MARKER]
            target.append(copy)
        else:
            _add(child, found)


def _counterpart(child: etree._Element, parent: etree._Element) -> etree._Element | None:
    identity = child.get("id")
    return next((c for c in parent.iterchildren(str(child.tag)) if identity is None or c.get("id") == identity), None)
