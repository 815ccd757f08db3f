"""Is this a configuration? All that is wrong with it, at once, in words that say what was expected.

Theory of operation. `verify` walks the whole configuration by the grammar of `crm.cib.model`, then looks at what a grammar cannot say: agents' classes,
values of known options, rules, duplicate operations. References are resolved through the index of ids. `check_changes` does
the same for the objects that an operation touched, and looks for references to what it removed: the cost of a change
does not grow with the configuration. It is the `check` of `crm.cib.operations.apply`.

Errors are what a cluster cannot act on; warnings are accepted (a misspelt option that would be ignored); notices name old
syntax that `crm.cib.schema` upgrades. The status section is not judged. Comments are.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.checks import CHECKS
from crm.cib.editor import Editor, IdIndex
from crm.cib.model import ANY, KINDS, Element
from crm.cib.report import ReportItem, Severity

MAX_ITEMS: Final = 1000
"""Problems reported of one document; a file that is something else altogether would have one in every element."""

_KIND_OF_SECTION_CHILD: Final = {
    tag: child.kind for section in xml.SECTIONS for tag, child in KINDS[section].children.items()
}


@dataclass(slots=True)
class Findings:
    """What was found so far; the checks add to it."""

    ids: IdIndex
    items: list[ReportItem] = field(default_factory=list)

    def add(self, severity: Severity, code: str, element: etree._Element, message: str, attribute: str = "") -> None:
        if len(self.items) < MAX_ITEMS:
            item = ReportItem(
                severity,
                code,
                xml.describe(element),
                message,
                attribute,
                xml.path_of(element),
                xml.line_of(element),
            )
            self.items.append(item)

    def error(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None:
        self.add(Severity.ERROR, code, element, message, attribute)

    def warning(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None:
        self.add(Severity.WARNING, code, element, message, attribute)

    def notice(self, code: str, element: etree._Element, message: str, attribute: str = "") -> None:
        self.add(Severity.NOTICE, code, element, message, attribute)


def verify(document: etree._Element) -> list[ReportItem]:
    """Everything that is wrong or remarkable in a whole document, in document order, duplicate ids last."""
    findings = Findings(IdIndex(document))
    if document.tag != "cib":
        findings.error("unknown-element", document, f"the root is <{document.tag}>, expected <cib>")
        return findings.items
    _check(document, "cib", findings)
    for identity in sorted(findings.ids.duplicates()):
        first, *others = findings.ids.holders(identity)
        for other in others:
            text = f"the id {identity} is used by {xml.path_of(first)} already; an id names one element only"
            findings.error("duplicate-id", other, text, "id")
    return findings.items


def check_changes(editor: Editor) -> list[ReportItem]:
    """What an operation made wrong: the touched objects, and references to what was removed."""
    findings = Findings(editor.ids)
    for element, kind in _touched_objects(editor):
        if element is editor.document:
            _check_attributes(element, KINDS[kind], findings)
        else:
            _check(element, kind, findings)
    gone = {identity for identity in editor.removed_ids if identity not in editor.ids}
    if gone:
        _check_removed(gone, findings)
    return findings.items


def verify_object(element: etree._Element, ids: IdIndex) -> list[ReportItem]:
    """One object (a primitive, a constraint, ...) on its own, with `ids` of the document that it belongs to or is to join."""
    findings = Findings(ids)
    kind = _KIND_OF_SECTION_CHILD.get(str(element.tag))
    if kind is None:
        findings.error("unknown-element", element, f"<{element.tag}> is no object of a configuration")
    else:
        _check(element, kind, findings)
    return findings.items


def _touched_objects(editor: Editor) -> Iterator[tuple[etree._Element, str]]:
    """What is to be looked at again, each once: objects (children of sections), or a section where that changed itself."""
    chosen: dict[etree._Element, str] = {}
    for element in [*editor.touched, *editor.pruned]:
        path = _path(element)
        if path[0] is not editor.document or (len(path) > 1 and path[1].tag == xml.STATUS):
            continue  # removed again by the same operation, or not judged
        if len(path) == 3 and element not in editor.touched:
            continue  # a section may lose any of its objects
        if len(path) <= 3:
            chosen[element] = str(element.tag)
            continue
        section = KINDS.get(str(path[2].tag))
        child = None if section is None else section.children.get(str(path[3].tag))
        if child is None or path[2].tag == "nodes":
            # What does not belong there is its section's fault; nodes are few, and compared with one another.
            chosen[path[2]] = str(path[2].tag)
        else:
            chosen[path[3]] = child.kind
    for element, kind in chosen.items():
        # Of the root only the attributes are looked at; everything else is looked at with all that is in it.
        if not any(above in chosen for above in element.iterancestors() if above is not editor.document):
            yield element, kind


def _path(element: etree._Element) -> list[etree._Element]:
    """From the root to the element."""
    return [*reversed([*element.iterancestors()]), element]


def _check_removed(gone: set[str], findings: Findings) -> None:
    for identity in sorted(gone):
        for holder, name in findings.ids.referrers(identity):
            text = f"{name}: it refers to {identity}, which does not exist any more"
            findings.error("missing-reference", _object_of(holder), text, name)


def _object_of(element: etree._Element) -> etree._Element:
    """The nearest element with an id of its own, to be named in a message."""
    current = element
    while current.tag in ("resource_ref", "obj_ref", "role", "role_ref") or current.get("id") is None:
        parent = current.getparent()
        if parent is None:
            break
        current = parent
    return current


def _check(element: etree._Element, kind: str, findings: Findings) -> None:
    model = KINDS.get(kind)
    if model is None:
        if kind != xml.STATUS:
            findings.error("unknown-element", element, f"<{element.tag}> is not known here")
        return
    if model.obsolete:
        findings.notice("old-syntax", element, f"<{element.tag}> is old syntax for {model.obsolete}")
    _check_attributes(element, model, findings)
    _check_alternatives(element, model, findings)
    check = CHECKS.get(kind)
    if check is not None:
        check(element, findings)
    _check_children(element, model, findings)


def _check_attributes(element: etree._Element, model: Element, findings: Findings) -> None:
    for key, value in element.attrib.items():
        name, text = str(key), str(value)
        attribute = model.attributes.get(name)
        if attribute is None:
            if not model.any_attribute:
                message = f"unknown attribute {name}={text!r}; {_known(name, model.attributes)}"
                findings.error("unknown-attribute", element, message, name)
        elif attribute.refers:
            _check_reference(element, name, text, attribute.refers, findings)
        elif not attribute.type.accepts(text):
            hint = _guess(text, attribute.type.choices)
            findings.error(
                "wrong-value", element, f"{name}: expected {attribute.type.expected}, got {text!r}{hint}", name
            )
    for name, attribute in model.attributes.items():
        if attribute.required and element.get(name) is None:
            message = f"the attribute {name} is missing; expected {attribute.type.expected}"
            findings.error("missing-attribute", element, message, name)


def _check_reference(element: etree._Element, name: str, text: str, tags: frozenset[str], findings: Findings) -> None:
    holders = findings.ids.holders(text)
    if any(tags is ANY or holder.tag in tags for holder in holders):
        return
    expected = "any element" if tags is ANY else f"a {' or '.join(sorted(tags))}"
    where = _object_of(element)
    if holders:
        message = f"{name}: expected the id of {expected}, but {text} is a {holders[0].tag}"
    else:
        message = f"{name}: there is no {'element' if tags is ANY or len(tags) > 1 else next(iter(tags))} {text!r}"
        message += f"; expected the id of {expected}"
    findings.error("missing-reference", where, message, name)


def _check_alternatives(element: etree._Element, model: Element, findings: Findings) -> None:
    for group in model.alternatives:
        given = [name for name in group if _has(element, name)]
        if len(given) == 1:
            continue
        code = "missing-attribute" if not given else "conflicting-attributes"
        got = "none of them is given" if not given else f"{' and '.join(given)} are given"
        wanted = f"expected {' or '.join(group)}" if len(group) > 1 else f"expected {group[0]}"
        findings.error(code, element, f"{wanted}, {got}", group[0].strip("<>"))


def _has(element: etree._Element, name: str) -> bool:
    if name.startswith("<"):
        return element.find(name[1:-1]) is not None
    return element.get(name) is not None


def _check_children(element: etree._Element, model: Element, findings: Findings) -> None:
    counts: dict[str, int] = {}
    for child in element.iterchildren("*"):
        tag = str(child.tag)
        counts[tag] = counts.get(tag, 0) + 1
        wanted = model.children.get(tag)
        if wanted is None:
            message = f"<{tag}> does not belong in <{element.tag}>; {_known(tag, model.children)}"
            findings.error("unknown-element", child, message)
        else:
            _check(child, wanted.kind, findings)
    for tag, wanted in model.children.items():
        count = counts.get(tag, 0)
        if count < wanted.least:
            findings.error("missing-element", element, f"expected at least {wanted.least} <{tag}>, there is none")
        elif wanted.most is not None and count > wanted.most:
            findings.error("too-many-elements", element, f"expected at most {wanted.most} <{tag}>, there are {count}")


def _known(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if not names:
        return "nothing is expected there"
    return f"expected {', '.join(names)}{_guess(name, names)}"


def _guess(text: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(choices), 1)
    return f" (did you mean {close[0]}?)" if close else ""
