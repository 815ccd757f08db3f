"""Operations on a CIB document: what `cibadmin` and the shell ask for, and what the cluster's parts write into the status.

Theory of operation. Every member of the cluster applies the same operations in the same order to the same document, so
`apply` is deterministic to the byte: no clock, no randomness, no dependence on anything but document and operation (who changed
it and when travels in the operation's `stamp`). It changes the document in place, through an `Editor`, and either makes the
operation's changes as a whole (`Applied`) or none (`Refusal`).

Targets, as Pacemaker's tools choose them: an XPath if given; otherwise the first element, in the scope if given, with the tag of the XML
handed in and its id. Elements without an id are matched by their tag, and only where that leaves no doubt.

Versions: a change to the configuration adds one to `epoch` and sets `num_updates` to 0; a change to the status, or to an attribute
of `<cib>`, adds one to `num_updates`; `admin_epoch` changes only when it is set explicitly. An operation that changes nothing changes no version.
The version never goes back: a replacement that is older than the document is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from lxml import etree

from crm.cib import acl, patchset, schema, xml
from crm.cib.editor import UNINDEXED_TAGS, Editor, IdIndex, section_of
from crm.cib.report import ReportItem, Severity
from crm.cib.report import errors as errors_of
from crm.cib.xml import Version

MAX_STEPS: Final = 10_000
"""Operations in one transaction."""
MAX_XPATH: Final = 4096
"""Characters of an XPath."""

SECTION_OF_TAG: Final = {
    "cluster_property_set": "crm_config",
    "node": "nodes",
    "primitive": "resources",
    "template": "resources",
    "group": "resources",
    "clone": "resources",
    "master": "resources",
    "bundle": "resources",
    "rsc_location": "constraints",
    "rsc_colocation": "constraints",
    "rsc_order": "constraints",
    "rsc_ticket": "constraints",
    "tag": "tags",
    "fencing-level": "fencing-topology",
    "acl_role": "acls",
    "acl_target": "acls",
    "acl_group": "acls",
    "acl_user": "acls",
    "alert": "alerts",
    "node_state": xml.STATUS,
    "tickets": xml.STATUS,
}
"""Where a new object goes when neither scope nor XPath say so. Meta-attributes could go to two places and are not here."""

_SCOPES = frozenset({"cib", xml.CONFIGURATION, xml.STATUS, *xml.SECTIONS})
_VERSION_KEYS = ("admin_epoch", "epoch", "num_updates")


class Kind(StrEnum):
    CREATE = "create"
    MODIFY = "modify"
    REPLACE = "replace"
    DELETE = "delete"
    BUMP = "bump"
    ERASE = "erase"
    UPGRADE = "upgrade"
    PATCH = "patch"
    TRANSACTION = "transaction"


class Code(StrEnum):
    """Why an operation was refused; the same words as the API's error codes."""

    BAD_REQUEST = "bad-request"
    NOT_FOUND = "not-found"
    EXISTS = "exists"
    INVALID = "invalid"
    CONFLICT = "conflict"
    OLD = "old-data"
    DENIED = "permission-denied"


@dataclass(frozen=True, slots=True)
class Operation:
    """`xml` is one element as text, `scope` a section's name, `cib` or nothing, `xpath` a target that overrides the scope.

    `if_version`: refused as a conflict unless the configuration is the one of this version: `admin_epoch` and `epoch` are compared, since `num_updates`
    counts what happens in the status section, which an edit of the configuration does not depend on. `allow_create`: modify what does not exist
    means create it. `all_matches`: delete every element that the XPath selects, not only the first. `steps`: of a transaction.
    `stamp`: attributes to set on `<cib>` when the configuration changes (`cib-last-written`, `update-origin`, ...). `user`, `groups`: on whose
    behalf, for the access control lists; without a user nothing is asked.
    """

    kind: Kind
    xml: str = ""
    scope: str = ""
    xpath: str = ""
    if_version: Version | None = None
    if_configuration: str = ""
    """Refused as a conflict unless this is `xml.configuration_digest` of what the user may read: two sides of a partition may have come to one version."""
    allow_create: bool = False
    all_matches: bool = False
    steps: tuple[Operation, ...] = ()
    stamp: tuple[tuple[str, str], ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    feature_set: str = ""
    """The cluster's own: what its members have agreed on. No other operation changes that of the document, whatever its XML says."""


@dataclass(frozen=True, slots=True)
class Applied:
    """`sections` are the names of the sections that changed (`cib`: attributes of the root); empty when nothing did."""

    document: etree._Element
    version: Version
    sections: frozenset[str]
    durable: bool
    """Whether the change belongs on disk: the configuration, or the epochs, changed."""
    warnings: tuple[ReportItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The document is as it was. `items` are all the problems found."""

    code: Code
    message: str
    items: tuple[ReportItem, ...] = ()


Check = Callable[[Editor], Sequence[ReportItem]]
"""Looks at what an operation did and reports problems; errors refuse the operation. `crm.cib.verify.check_changes` is one."""


class _RefusedError(Exception):
    def __init__(self, code: Code, message: str, items: Sequence[ReportItem] = ()) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message, tuple(items))


def apply(
    document: etree._Element, operation: Operation, *, ids: IdIndex | None = None, check: Check | None = None
) -> Applied | Refusal:
    """Carries out `operation` on `document`, in place.

    `ids` is the document's index when the caller keeps one (it is kept right); it is built when missing. `check` verifies the result.
    """
    index = IdIndex(document) if ids is None else ids
    editor = Editor(document, index)
    before = xml.version(document)
    features = document.get(xml.FEATURES, "")
    if operation.if_version is not None and not operation.if_version.same_configuration(before):
        return Refusal(Code.CONFLICT, f"the CIB is at version {before}, no longer at {operation.if_version}")
    if operation.if_configuration and operation.if_configuration != _digest_for(document, operation):
        return Refusal(Code.CONFLICT, f"the configuration, version {before}, is another one than was read")
    permissions = None
    if acl.restricted(document, operation.user):
        permissions = acl.Permissions(document, operation.user, operation.groups)
    try:
        _carry_out(editor, operation, permissions)
        _keep_features(editor, operation.feature_set or features)
        if not editor.changed and operation.kind is not Kind.BUMP:
            return Applied(document, before, frozenset(), durable=False)
        if permissions is not None:
            _permit(editor, operation, permissions)
        warnings = _judge(editor, check)
        sections = frozenset(editor.sections)
        _advance(editor, before, operation)
    except _RefusedError as refused:
        editor.undo()
        return refused.refusal
    except BaseException:
        editor.undo()
        raise
    after = xml.version(document)
    durable = (after.admin_epoch, after.epoch) != (before.admin_epoch, before.epoch)
    return Applied(document, after, sections, durable, warnings)


def query(document: etree._Element, scope: str = "", xpath: str = "") -> list[etree._Element] | Refusal:
    """The elements selected, still part of the document (the caller does not change them): the whole CIB without scope and XPath."""
    try:
        if xpath:
            _limit(xpath)
            found = _select(document, xpath)
        else:
            found = [_scope(document, scope)]
    except _RefusedError as refused:
        return refused.refusal
    return found if found else Refusal(Code.NOT_FOUND, f"nothing matches {xpath}")


def query_text(document: etree._Element, scope: str = "", xpath: str = "") -> str | Refusal:
    """What a query answers: the element, or `<xpath-query>` around several."""
    found = query(document, scope, xpath)
    if isinstance(found, Refusal):
        return found
    if len(found) == 1:
        return xml.to_text(found[0])
    wrapper = etree.Element("xpath-query")
    wrapper.extend([deepcopy(element) for element in found])
    return xml.to_text(wrapper)


def _carry_out(editor: Editor, operation: Operation, permissions: acl.Permissions | None) -> None:
    if operation.kind is Kind.TRANSACTION:
        _transaction(editor, operation, permissions)
        return
    _limit(operation.xpath)
    if operation.xpath and permissions is not None:
        operation = replace(operation, xpath=_as_seen(editor.document, operation.xpath, permissions))
    _ACTIONS[operation.kind](editor, operation)


def _as_seen(document: etree._Element, xpath: str, permissions: acl.Permissions) -> str:
    """The paths of what the XPath selects among what may be read. The user has permission to know of nothing else."""
    reason = acl.too_costly(xpath)
    if reason:
        raise _RefusedError(Code.DENIED, f"in an XPath of a user with access control lists: {reason}")
    seen = acl.seen_by(permissions, document)
    if seen is None:
        raise _RefusedError(Code.NOT_FOUND, f"nothing matches {xpath}")
    return " | ".join(xml.path_of(element) for element in _select_some(seen, xpath))


def _digest_for(document: etree._Element, operation: Operation) -> str:
    seen = acl.readable(document, operation.user, operation.groups)
    return "" if seen is None else xml.configuration_digest(seen)


def _keep_features(editor: Editor, wanted: str) -> None:
    if wanted:
        editor.set(editor.document, xml.FEATURES, wanted)
    else:
        editor.unset(editor.document, xml.FEATURES)


def _permit(editor: Editor, operation: Operation, before: acl.Permissions) -> None:
    items = acl.judge(editor, before, operation.user)
    if operation.kind is Kind.BUMP and before.of(editor.document) is not acl.Access.WRITE:
        text = f"user {operation.user} has no permission to change the version"
        items.append(ReportItem(Severity.ERROR, "permission-denied", "cib", text))
    if items:
        raise _RefusedError(Code.DENIED, f"permission denied: {items[0].element}: {items[0].message}", items)


def _judge(editor: Editor, check: Check | None) -> tuple[ReportItem, ...]:
    """Ids stay unique whatever else is checked, since the next operations rely on them."""
    items = list(editor.notes)
    for identity in editor.new_duplicates():
        holders = editor.ids.holders(identity)
        places = " and ".join(xml.path_of(holder) for holder in holders[:3])
        message = f"the id {identity} is used by {places}; an id names one element only"
        items.append(ReportItem(Severity.ERROR, "duplicate-id", f"{holders[-1].tag} {identity}", message, "id"))
    if check is not None:
        items.extend(check(editor))
    errors = errors_of(items)
    if errors:
        message = errors[0].message if len(errors) == 1 else f"{len(errors)} errors in the configuration"
        raise _RefusedError(Code.INVALID, message, items)
    return tuple(items)


def _advance(editor: Editor, before: Version, operation: Operation) -> None:
    """The version rules. What the operation itself set on the root counts as the starting point."""
    document = editor.document
    given = xml.version(document)
    if given < before:
        text = f"{given} is older than the version of the CIB, {before}"
        raise _RefusedError(Code.OLD, text)
    configuration = editor.sections - {xml.STATUS, "cib"}
    if operation.kind is Kind.PATCH and given > before:
        # A patch leads to the version that it names, so that whoever made it and whoever applies it agree.
        return
    if configuration or operation.kind is Kind.BUMP:
        new = Version(given.admin_epoch, given.epoch + 1, 0)
    elif given > before:
        new = given
    else:
        new = Version(given.admin_epoch, given.epoch, given.num_updates + 1)
    for key, value in zip(_VERSION_KEYS, (new.admin_epoch, new.epoch, new.num_updates), strict=True):
        editor.set(document, key, str(value))
    if configuration:
        for key, text in operation.stamp:
            editor.set(document, key, text)


# Targets


def _fragment(text: str) -> etree._Element:
    if not text:
        raise _RefusedError(Code.BAD_REQUEST, "the operation needs an XML element")
    try:
        return xml.parse_fragment(text)
    except xml.CibSyntaxError as error:
        raise _RefusedError(Code.INVALID, f"the XML is not well-formed: {error}") from None


def _limit(xpath: str) -> None:
    if len(xpath) > MAX_XPATH:
        raise _RefusedError(Code.BAD_REQUEST, f"an XPath may have {MAX_XPATH} characters, not {len(xpath)}")


def _select(document: etree._Element, xpath: str) -> list[etree._Element]:
    try:
        found = xml.xpath(document, xpath)
    except ValueError as error:
        raise _RefusedError(Code.BAD_REQUEST, str(error)) from None
    return [element for element in found if isinstance(element.tag, str)]


def _select_some(document: etree._Element, xpath: str) -> list[etree._Element]:
    found = _select(document, xpath)
    if not found:
        raise _RefusedError(Code.NOT_FOUND, f"nothing matches {xpath}")
    return found


def _select_one(document: etree._Element, xpath: str) -> etree._Element:
    """The target of a change: not the first of several, which nobody may have meant."""
    found = _select_some(document, xpath)
    if len(found) > 1:
        raise _RefusedError(Code.BAD_REQUEST, f"{xpath} selects {len(found)} elements; expected one")
    return found[0]


def _scope(document: etree._Element, scope: str) -> etree._Element:
    if scope not in _SCOPES and scope:
        known = ", ".join(sorted(_SCOPES))
        raise _RefusedError(Code.BAD_REQUEST, f"there is no section {scope!r}; expected one of {known}")
    if scope in ("", "cib"):
        return document
    found = xml.section(document, scope)
    if found is None:
        raise _RefusedError(Code.NOT_FOUND, f"the CIB has no section {scope}")
    return found


def _scope_created(editor: Editor, scope: str) -> etree._Element:
    """The section, added in its usual place when the document has none yet."""
    document = editor.document
    if scope in _SCOPES and scope not in ("", "cib") and xml.section(document, scope) is None:
        parent = document
        if scope not in (xml.CONFIGURATION, xml.STATUS):
            parent = _scope_created(editor, xml.CONFIGURATION)
        editor.insert(parent, _place(parent, scope), etree.Element(scope))
    return _scope(document, scope)


def _place(parent: etree._Element, name: str) -> int:
    order = (xml.CONFIGURATION, xml.STATUS) if parent.tag == "cib" else xml.SECTIONS
    later = set(order[order.index(name) + 1 :])
    return next((i for i, child in enumerate(parent) if child.tag in later), len(parent))


def _find(editor: Editor, pattern: etree._Element, scope: etree._Element) -> etree._Element | None:
    """The first element at or below `scope` that `pattern` means: same tag, same id; without an id the only one of its tag."""
    tag, identity = str(pattern.tag), pattern.get("id")
    if scope.tag == tag and _same_identity(scope, pattern):
        return scope
    if identity is None:
        found = list(scope.iter(tag))
        if len(found) > 1:
            text = f"<{tag}> without an id could mean {len(found)} elements; give the id"
            raise _RefusedError(Code.BAD_REQUEST, text)
        return found[0] if found else None
    known = editor.ids.get(identity)
    if known is not None and known.tag == tag and _below(known, scope):
        return known
    # Not in the index: in the status, or an element whose id is a reference.
    likely = xml.section(editor.document, SECTION_OF_TAG.get(tag, "")) if scope is editor.document else scope
    if likely is not None and (child := _child(editor, likely, pattern)) is not None:
        return child
    return next((element for element in scope.iter(tag) if element.get("id") == identity), None)


def _same_identity(element: etree._Element, pattern: etree._Element) -> bool:
    return pattern.get("id") is None or element.get("id") == pattern.get("id")


def _below(element: etree._Element, ancestor: etree._Element) -> bool:
    current: etree._Element | None = element
    while current is not None:
        if current is ancestor:
            return True
        current = current.getparent()
    return False


_CHILDREN_BY_ID = etree.XPath("*[@id=$id]")
_FEW = 8
"""Up to so many children a loop is quicker than an XPath."""


def _child(editor: Editor, parent: etree._Element, pattern: etree._Element) -> etree._Element | None:
    """The child of `parent` that `pattern` is to be merged into."""
    identity, tag = pattern.get("id"), str(pattern.tag)
    if identity is not None:
        known = editor.ids.get(identity)
        if known is not None and known.tag == tag and known.getparent() is parent:
            return known
        if tag not in UNINDEXED_TAGS and section_of(parent) not in (xml.STATUS, "cib"):
            return None
        if len(parent) <= _FEW:
            return next((child for child in parent.iterchildren(tag) if child.get("id") == identity), None)
        found = _CHILDREN_BY_ID(parent, id=identity)
        candidates = found if isinstance(found, list) else []
        return next((child for child in candidates if isinstance(child, etree._Element) and child.tag == tag), None)
    same = list(parent.iterchildren(tag))
    if len(same) > 1:
        text = f"<{tag}> without an id could mean {len(same)} children of {xml.path_of(parent)}; give the id"
        raise _RefusedError(Code.BAD_REQUEST, text)
    return same[0] if same else None


# Create


def _create(editor: Editor, operation: Operation) -> None:
    given = _fragment(operation.xml)
    if operation.xpath:
        parent = _select_one(editor.document, operation.xpath)
        if parent is editor.document:
            raise _RefusedError(Code.BAD_REQUEST, f"<{given.tag}> cannot be added to <cib> itself")
        _add(editor, parent, [given])
        return
    if given.tag == "cib":
        for part in xml.elements(given):
            _create_in(editor, part, str(part.tag))
        return
    scope = operation.scope or (str(given.tag) if given.tag in _SCOPES else SECTION_OF_TAG.get(str(given.tag), ""))
    if scope in ("", "cib"):
        text = f"where does <{given.tag}> go? give a scope or an XPath"
        raise _RefusedError(Code.BAD_REQUEST, text)
    _create_in(editor, given, scope)


def _create_in(editor: Editor, given: etree._Element, scope: str) -> None:
    """Adds `given`, or, when it is the section itself, what is in it."""
    if given.tag == xml.CONFIGURATION:
        for part in xml.elements(given):
            _create_in(editor, part, str(part.tag))
        return
    section = _scope_created(editor, scope)
    if given.tag == section.tag:
        _add(editor, section, list(given))
    else:
        _add(editor, section, [given])


def _add(editor: Editor, parent: etree._Element, children: list[etree._Element]) -> None:
    existing = [
        child for child in children if isinstance(child.tag, str) and child.get("id") and _exists(editor, parent, child)
    ]
    if existing:
        items = [
            ReportItem(Severity.ERROR, "exists", xml.describe(child), f"{xml.describe(child)} exists already", "id")
            for child in existing
        ]
        message = items[0].message if len(items) == 1 else f"{len(items)} objects exist already"
        raise _RefusedError(Code.EXISTS, message, items)
    for child in children:
        editor.append(parent, child)


def _exists(editor: Editor, parent: etree._Element, child: etree._Element) -> bool:
    holder = editor.ids.get(child.get("id", ""))
    return (holder is not None and holder.tag == child.tag) or _child(editor, parent, child) is not None


# Modify

_INCREMENT = re.compile(r"([A-Za-z_-]+)(?:\+\+|\+=(-?[0-9]{1,9}))\Z")
_INFINITY = 1_000_000


def _modify(editor: Editor, operation: Operation) -> None:
    given = _fragment(operation.xml)
    if operation.xpath:
        target: etree._Element | None = _select_one(editor.document, operation.xpath)
        if target is not None and not (target.tag == given.tag and _same_identity(target, given)):
            found = _find(editor, given, target)
            target = found if found is not None else target
            if found is None:
                raise _RefusedError(Code.NOT_FOUND, f"there is no {xml.describe(given)} at {operation.xpath}")
    else:
        target = _find(editor, given, _scope_for_change(editor, operation, given))
    if target is None:
        if not operation.allow_create:
            raise _RefusedError(Code.NOT_FOUND, f"there is no {xml.describe(given)}")
        _create(editor, operation)
        return
    _merge(editor, target, given)


def _scope_for_change(editor: Editor, operation: Operation, given: etree._Element) -> etree._Element:
    if operation.allow_create:
        scope = operation.scope or (str(given.tag) if given.tag in _SCOPES else SECTION_OF_TAG.get(str(given.tag), ""))
        return _scope_created(editor, scope)
    return _scope(editor.document, operation.scope)


def _merge(editor: Editor, target: etree._Element, given: etree._Element) -> None:
    """Attributes are set, children merged into their counterparts or appended; nothing is taken away."""
    for key, value in given.attrib.items():
        name, text = str(key), str(value)
        editor.set(target, name, _value(target, name, text))
    # A list, since appending moves a child out of `given`.
    for child in list(given):
        if not isinstance(child.tag, str):
            continue
        counterpart = _child(editor, target, child)
        if counterpart is None:
            _plain_values(child)
            editor.append(target, child)
        else:
            _merge(editor, counterpart, child)


def _value(target: etree._Element, name: str, text: str) -> str:
    """`NAME++` and `NAME+=N` add to the attribute NAME that is there, within the limits of a score."""
    match = _INCREMENT.match(text)
    if match is None or match[1] != name:
        return text
    try:
        current = int(target.get(name, "0").replace("INFINITY", str(_INFINITY)))
    except ValueError:
        current = 0
    total = current + (1 if match[2] is None else int(match[2]))
    if name in _VERSION_KEYS:
        return str(total)
    if total >= _INFINITY:
        return "INFINITY"
    return "-INFINITY" if total <= -_INFINITY else str(total)


def _plain_values(root: etree._Element) -> None:
    """In what is new, an increment counts from 0."""
    empty = etree.Element("none")
    for element in root.iter("*"):
        value = element.get("value")
        if value is not None and "+" in value:
            element.set("value", _value(empty, "value", value))


# Replace


def _replace(editor: Editor, operation: Operation) -> None:
    given = _fragment(operation.xml)
    if operation.xpath:
        target = _select_one(editor.document, operation.xpath)
        if target is editor.document and given.tag != "cib":
            raise _RefusedError(Code.BAD_REQUEST, f"the root can be replaced by <cib> only, not by <{given.tag}>")
        if target.getparent() is editor.document and given.tag != target.tag:
            raise _RefusedError(
                Code.BAD_REQUEST, f"<{target.tag}> can be replaced by its like only, not by <{given.tag}>"
            )
    elif given.tag in xml.SECTIONS or given.tag in (xml.CONFIGURATION, xml.STATUS):
        target = _scope_created(editor, str(given.tag))
    else:
        found = _find(editor, given, _scope(editor.document, operation.scope))
        if found is None:
            raise _RefusedError(Code.NOT_FOUND, f"there is no {xml.describe(given)}")
        target = found
    if target is editor.document:
        _replace_root(editor, given)
    else:
        editor.replace(target, given)


def _replace_root(editor: Editor, given: etree._Element) -> None:
    """The root stays the same element; its attributes and sections are replaced. Attributes and sections not given, such as the status, stay."""
    document = editor.document
    for key, value in given.attrib.items():
        editor.set(document, str(key), str(value))
    for part in list(xml.elements(given)):
        current = document.find(str(part.tag))
        if current is None:
            editor.append(document, part)
        else:
            editor.replace(current, part)


# Delete


def _delete(editor: Editor, operation: Operation) -> None:
    document = editor.document
    if operation.xpath:
        targets = _select_some(document, operation.xpath)
        if not operation.all_matches:
            targets = targets[:1]
    else:
        given = _fragment(operation.xml)
        scope = _scope(document, operation.scope)
        candidate = _find(editor, given, scope) if given.get("id") is not None else None
        if candidate is None or not _has_attributes(candidate, given):
            candidate = next((e for e in scope.iter(str(given.tag)) if _has_attributes(e, given)), None)
        if candidate is None:
            raise _RefusedError(Code.NOT_FOUND, f"there is no {xml.describe(given)}")
        targets = [candidate]
    for target in targets:
        if target is document or target.getparent() is document:
            raise _RefusedError(Code.BAD_REQUEST, f"<{target.tag}> cannot be deleted; erase or replace it")
    for target in targets:
        # An XPath may select an element together with something inside it.
        if _below(target, document):
            editor.remove(target)


def _has_attributes(element: etree._Element, pattern: etree._Element) -> bool:
    return all(element.get(str(key)) == value for key, value in pattern.attrib.items())


# The whole document


def _bump(editor: Editor, operation: Operation) -> None:
    """Only the epoch changes, as after a change of the configuration: `_advance` does it."""


def _erase(editor: Editor, operation: Operation) -> None:
    """Empties the configuration. Status stays, so that what runs is known and can be stopped; admin_epoch + 1 makes the empty one win."""
    current = xml.version(editor.document)
    editor.set(editor.document, "admin_epoch", str(current.admin_epoch + 1))
    fresh = xml.empty().find(xml.CONFIGURATION)
    if fresh is not None:
        editor.replace(_scope_created(editor, xml.CONFIGURATION), fresh)


def _upgrade(editor: Editor, operation: Operation) -> None:
    """The configuration in current syntax. What was dropped on the way is in the warnings of the result."""
    document = editor.document
    configuration = document.find(xml.CONFIGURATION)
    try:
        upgraded = schema.upgrade(document)
    except ValueError as error:
        raise _RefusedError(Code.INVALID, f"the configuration cannot be upgraded: {error}") from None
    if configuration is not None:
        editor.replace(configuration, upgraded.configuration)
    editor.set(document, "validate-with", upgraded.schema)
    editor.notes.extend(upgraded.notes)


def _patch(editor: Editor, operation: Operation) -> None:
    """The document that the patch leads to, with the version that it names."""
    given = _fragment(operation.xml)
    try:
        patched = patchset.apply(given, editor.document)
    except patchset.PatchError as error:
        code = Code.CONFLICT if error.stale else Code.BAD_REQUEST
        raise _RefusedError(code, f"the patch cannot be applied: {error}") from None
    _replace_root(editor, patched)
    for name in [str(key) for key in editor.document.attrib if key not in patched.attrib]:
        editor.unset(editor.document, name)


def _transaction(editor: Editor, operation: Operation, permissions: acl.Permissions | None) -> None:
    if len(operation.steps) > MAX_STEPS:
        raise _RefusedError(
            Code.BAD_REQUEST, f"a transaction may have {MAX_STEPS} operations, not {len(operation.steps)}"
        )
    for number, step in enumerate(operation.steps, 1):
        if step.kind in (Kind.TRANSACTION, Kind.BUMP) or step.if_version is not None or step.if_configuration:
            text = f"operation {number} of the transaction: {step.kind} with these options cannot be part of one"
            raise _RefusedError(Code.BAD_REQUEST, text)
        try:
            _carry_out(editor, step, permissions)
        except _RefusedError as refused:
            inner = refused.refusal
            text = f"operation {number} of the transaction ({step.kind}): {inner.message}"
            raise _RefusedError(inner.code, text, inner.items) from None


_ACTIONS: Final[dict[Kind, Callable[[Editor, Operation], None]]] = {
    Kind.CREATE: _create,
    Kind.MODIFY: _modify,
    Kind.REPLACE: _replace,
    Kind.DELETE: _delete,
    Kind.BUMP: _bump,
    Kind.ERASE: _erase,
    Kind.UPGRADE: _upgrade,
    Kind.PATCH: _patch,
}
