"""Access control lists: who may read and change which parts of the CIB.

Theory of operation. With `enable-acl`, a user other than root and hacluster has the permissions of the roles that an `acl_target` with the user's name
or an `acl_group` with one of the user's groups gives. A permission names elements (by XPath, by id, by tag and perhaps attribute) and grants
`read` or `write` on them and everything in them, or denies it. The nearest permission counts: that of the element itself, else of its
closest ancestor that has one; on the same element deny wins over write, and write over read. Without any, access is denied.

Reading gives a copy without what may not be read; an element that may not be read but holds something that may keeps its tag and id only. A
change needs write permission for each element that it changes, adds (judged where it then stands) or removes (with all that was in it).
An XPath selects among what its user may read, so that no answer tells of anything else.

Checks are part of applying an operation, and so the same at every member; the user travels in the operation. What was found by trying
Pacemaker's own tools is in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from enum import StrEnum
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.editor import Editor
from crm.cib.report import ReportItem, Severity

UNRESTRICTED: Final = frozenset({"", "root", "hacluster"})
"""Users for whom no list is asked; the empty name is the cluster itself."""
MAX_BRANCHES: Final = 8
_QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*\"""")
_PREDICATE: Final = re.compile(r"\[[^\[\]]*\]")
_SEARCHES: Final = re.compile(r"(?:(?!//).)*(?://(?:[\w.-]+(?:/(?!/)[^/]*)*//)?(?:(?!//).)*)?", re.DOTALL)
"""One search, or a second one below a name."""
_TRUE: Final = frozenset({"true", "on", "yes", "y", "1"})


class Access(StrEnum):
    READ = "read"
    WRITE = "write"
    DENY = "deny"


_RANK: Final = {Access.READ: 0, Access.WRITE: 1, Access.DENY: 2}


def restricted(document: etree._Element, user: str) -> bool:
    """Whether lists apply to this user in this document."""
    return user not in UNRESTRICTED and _enabled(document)


def readable(
    document: etree._Element, user: str, groups: tuple[str, ...] = (), *, rules: etree._Element | None = None
) -> etree._Element | None:
    """What the user may read: the document itself when nothing is restricted, else a copy; None when there is nothing.

    `rules`: the document whose lists count, when it is another one: an earlier version is read by the lists of today.
    """
    rules = document if rules is None else rules
    if not restricted(rules, user):
        return document
    copy = deepcopy(document)
    permissions = Permissions(rules, user, groups).applied_to(copy)
    return copy if _filter(copy, permissions, None) else None


def seen_by(permissions: Permissions, document: etree._Element) -> etree._Element | None:
    """As `readable`, by permissions that are known, for a document that has changed since."""
    copy = deepcopy(document)
    return copy if _filter(copy, permissions.applied_to(copy), None) else None


def too_costly(expression: str) -> str:
    """Why a user to whom lists apply may not ask this XPath; empty when he may.

    What an XPath costs can grow with any power of the size of the CIB, and every member evaluates it. A path that searches the whole document once, or
    below an element of one name, with predicates that look no further than their own element and below it, cannot.
    """
    bare = _QUOTED.sub("''", expression).replace("self::", "")
    if "::" in bare:
        return "no axis but self"
    if any(word in predicate for predicate in _PREDICATE.findall(bare) for word in ("//", "..", "*")):
        return "no // .. or * in a predicate"
    branches = [branch.strip() for branch in _flat(bare).split("|")]
    if len(branches) > MAX_BRANCHES or not all(map(_SEARCHES.fullmatch, branches)):
        return f"at most {MAX_BRANCHES} alternatives, each with one //, or with two and a name between them"
    return ""


def _flat(expression: str) -> str:
    """Without predicates, from the innermost outwards."""
    before = ""
    while before != expression:
        before, expression = expression, _PREDICATE.sub("", expression)
    return expression


class Permissions:
    """The permissions of one user in one document, found once; valid until the document changes."""

    def __init__(self, document: etree._Element, user: str, groups: tuple[str, ...] = ()) -> None:
        self._permissions = [deepcopy(permission) for permission in _permissions(document, user, groups)]
        self._found: dict[etree._Element, Access] = {}
        self._apply(document)

    def applied_to(self, document: etree._Element) -> Permissions:
        """The same permissions on a document as it is now, whatever its own lists say by now."""
        other = Permissions.__new__(Permissions)
        other._permissions = self._permissions
        other._found = {}
        other._apply(document)
        return other

    def _apply(self, document: etree._Element) -> None:
        for permission in self._permissions:
            kind = permission.get("kind", str(permission.tag))
            if kind not in set(Access):
                continue
            access = Access(kind)
            for element in _selected(document, permission):
                known = self._found.get(element)
                if known is None or _RANK[access] > _RANK[known]:
                    self._found[element] = access

    def own(self, element: etree._Element) -> Access | None:
        """The permission on just this element."""
        return self._found.get(element)

    def of(self, element: etree._Element) -> Access:
        """The permission that counts for an element."""
        current: etree._Element | None = element
        while current is not None:
            found = self._found.get(current)
            if found is not None:
                return found
            current = current.getparent()
        return Access.DENY


def judge(editor: Editor, before: Permissions, user: str) -> list[ReportItem]:
    """What an operation did without permission. `before` are the permissions in the document as it was: an operation that
    changes the lists is judged by the old ones."""
    after = before.applied_to(editor.document)
    items: list[ReportItem] = []
    inserted = set(editor.inserted)
    for element in editor.touched:
        if element.getroottree().getroot() is not editor.document:
            continue  # removed again; judged below
        permissions = after if any(e in inserted for e in (element, *element.iterancestors())) else before
        if permissions.of(element) is not Access.WRITE:
            items.append(_denied(element, "changed" if permissions is before else "added", user))
    for element, parent in editor.removed:
        if not any(e in inserted for e in (parent, *parent.iterancestors())) and element not in inserted:
            items.extend(_denied(part, "removed", user) for part in _not_writable(element, parent, before))
    return items


def _not_writable(element: etree._Element, parent: etree._Element, before: Permissions) -> Iterator[etree._Element]:
    """Parts of a removed tree that may not be written; `parent` is where it was."""
    inherited = before.of(parent)
    stack = [(element, inherited)]
    while stack:
        current, above = stack.pop()
        access = before.own(current) or above
        if access is not Access.WRITE:
            yield current
        stack.extend((child, access) for child in current.iterchildren("*"))


def _denied(element: etree._Element, what: str, user: str) -> ReportItem:
    text = f"user {user} has no permission to have this {what}"
    return ReportItem(Severity.ERROR, "permission-denied", xml.describe(element), text, path=xml.path_of(element))


def _enabled(document: etree._Element) -> bool:
    options = xml.section(document, "crm_config")
    if options is None:
        return False
    values = [p.get("value", "") for p in options.iter("nvpair") if p.get("name") == "enable-acl"]
    return bool(values) and values[0].lower() in _TRUE


def _permissions(document: etree._Element, user: str, groups: tuple[str, ...]) -> Iterator[etree._Element]:
    """In the syntax of today, and that of the first schemas (`acl_user`, `read`, ...)."""
    acls = xml.section(document, "acls")
    roles = {role.get("id"): role for role in xml.elements(acls, "acl_role")}
    for target in xml.elements(acls, "acl_target", "acl_user", "acl_group"):
        name = target.get("name") or target.get("id", "")
        if name not in groups if target.tag == "acl_group" else name != user:
            continue
        for part in target.iterchildren("*"):
            if part.tag in ("role", "role_ref"):
                role = roles.get(part.get("id"))
                yield from () if role is None else role.iterchildren("*")
            else:
                yield part


def _selected(document: etree._Element, permission: etree._Element) -> list[etree._Element]:
    """The elements that a permission names; none when its XPath is wrong."""
    reference = permission.get("reference", permission.get("ref"))
    tag = permission.get("object-type", permission.get("tag"))
    attribute = permission.get("attribute")
    expression = permission.get("xpath")
    if expression is None and reference is not None:
        found = [element for element in document.iter("*") if element.get("id") == reference]
    elif expression is None and tag is not None:
        found = [element for element in document.iter("*") if element.tag == tag]
    else:
        return _by_xpath(document, expression or "")
    return [element for element in found if attribute is None or element.get(attribute) is not None]


def _by_xpath(document: etree._Element, expression: str) -> list[etree._Element]:
    try:
        found = document.getroottree().xpath(expression)
    except (etree.XPathError, ValueError):
        return []
    chosen: list[etree._Element] = []
    for item in found if isinstance(found, list) else []:
        # An attribute stands for the element that has it.
        element = item.getparent() if isinstance(item, etree._ElementUnicodeResult) else item
        if isinstance(element, etree._Element) and isinstance(element.tag, str):
            chosen.append(element)
    return chosen


def _filter(element: etree._Element, permissions: Permissions, inherited: Access | None) -> bool:
    """Removes what may not be read; whether anything is left of `element`."""
    access = permissions.own(element) or inherited
    visible = access in (Access.READ, Access.WRITE)
    kept = False
    for child in list(element):
        if not isinstance(child.tag, str):
            if not visible:
                element.remove(child)
        elif _filter(child, permissions, access):
            kept = True
        else:
            element.remove(child)
    if not visible:
        for key in [key for key in element.attrib if key != "id"]:
            del element.attrib[key]
    return visible or kept
