"""The CIB as text, and as a tree.

Theory of operation. The CIB is an lxml element tree whose root is `<cib>`; every package works on that tree, and
only this module turns bytes into it and back. Input may come from anyone who can reach the local socket, a peer or
a damaged disk, so parsing is hardened: a document type declaration is refused (no entities, no external subsets), nothing is
fetched, size and depth are bounded, and a failure is a `CibSyntaxError` with line and column.

White space between elements means nothing in a CIB and is dropped, so that serialization is canonical: the same
tree gives the same bytes on every member, attributes in the order in which they were set. Digests compare those bytes.

Comments and processing instructions: comments are kept by default (administrators write them into their configuration and want them
back); processing instructions are dropped. Code that walks a tree uses `elements()` or `iterchildren("*")`, which skip comments,
or parses with `comments=False`.

This module knows no clock, no file but the one it is told to read, and nothing about what the elements mean.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from lxml import etree

MAX_BYTES: Final = 128 * 1024 * 1024
"""Largest document accepted; 2000 resources on 32 nodes with full history are about 40 MiB."""
MAX_DEPTH: Final = 64
"""Deepest nesting accepted; the deepest legal CIB (nested rules in an operation's meta-attributes) stays below 20."""

CURRENT_SCHEMA: Final = "pacemaker-4.0"
FEATURE_SET: Final = "3.20.5"
"""What this version can do, in Pacemaker's numbers; a part may be added behind them (3.20.5.1)."""
FEATURES: Final = "crm_feature_set"
"""The attribute of `<cib>` that says what all members could do when it was written: nobody who cannot may join any more."""

CONFIGURATION: Final = "configuration"
STATUS: Final = "status"
SECTIONS: Final = (
    "crm_config",
    "nodes",
    "resources",
    "constraints",
    "tags",
    "fencing-topology",
    "acls",
    "alerts",
    "rsc_defaults",
    "op_defaults",
)
"""Children of `<configuration>`."""

_DOCTYPE = re.compile(r"<!(DOCTYPE|ENTITY|NOTATION)")
_NUMBER = re.compile(r"\s*[0-9]+\s*\Z")


class CibSyntaxError(ValueError):
    """The text is not a well-formed, acceptable XML document.

    `message` says what is wrong, `line` and `column` (from 1, 0 when unknown) where, `source` in which file or input.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0, source: str = "") -> None:
        self.message = message
        self.line = line
        self.column = column
        self.source = source
        where = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{source + ': ' if source else ''}{where}{message}")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """`admin_epoch.epoch.num_updates`, compared in that order. A missing attribute counts as 0."""

    admin_epoch: int = 0
    epoch: int = 0
    num_updates: int = 0

    def __str__(self) -> str:
        return f"{self.admin_epoch}.{self.epoch}.{self.num_updates}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """From "a.e.n"; ValueError when it is anything else."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{text!r} is not a CIB version; expected admin_epoch.epoch.num_updates, such as 0.12.3")
        return cls(int(parts[0]), int(parts[1]), int(parts[2]))

    def same_configuration(self, other: Version) -> bool:
        """Whether only the status has changed between the two."""
        return (self.admin_epoch, self.epoch) == (other.admin_epoch, other.epoch)


def parse(data: str | bytes, *, comments: bool = True, source: str = "") -> etree._Element:
    """The `<cib>` document in `data`. CibSyntaxError when it is not well-formed or its root is something else."""
    root = parse_fragment(data, comments=comments, source=source)
    if root.tag != "cib":
        raise CibSyntaxError(f"the root element is <{root.tag}>, expected <cib>", line_of(root), 1, source)
    return root


def parse_fragment(data: str | bytes, *, comments: bool = True, source: str = "") -> etree._Element:
    """Any single element, such as the `<primitive>` of a create operation. Same hardening as `parse`."""
    if len(data) > MAX_BYTES:
        raise CibSyntaxError(f"{len(data)} bytes are more than the limit of {MAX_BYTES}", source=source)
    text = _decode(data, source)
    forbidden = _DOCTYPE.search(text)
    if forbidden is not None:
        line, column = _position(text, forbidden.start())
        raise CibSyntaxError("a document type declaration (DTD, entities) is not accepted", line, column, source)
    if not text.strip():
        raise CibSyntaxError("the document is empty", source=source)
    # The text is decoded by us and the encoding fixed here: a declaration inside it cannot smuggle in another one.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_blank_text=True,
        remove_comments=not comments,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as error:
        _refuse(error, source)
    _check_tree(root, source)
    _drop_blank_text(root)
    return root


def load(path: str | Path, *, comments: bool = True) -> etree._Element:
    """The `<cib>` document in a file. OSError when it cannot be read, CibSyntaxError when it cannot be parsed."""
    return parse(Path(path).read_bytes(), comments=comments, source=str(path))


def to_text(element: etree._Element, pretty: bool = True) -> str:
    """Canonical text: deterministic, attributes in document order, no XML declaration; ends with a newline when pretty."""
    if pretty:
        return etree.tostring(element, encoding="unicode", pretty_print=True, with_tail=False)
    return etree.tostring(element, encoding="unicode", with_tail=False)


def to_bytes(element: etree._Element) -> bytes:
    """Canonical compact form in UTF-8: what is digested, sent and stored."""
    return etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def digest(document: etree._Element | bytes) -> str:
    """SHA-256 (hexadecimal) of the canonical compact form."""
    data = document if isinstance(document, bytes) else to_bytes(document)
    return hashlib.sha256(data).hexdigest()


def configuration_bytes(document: etree._Element) -> bytes:
    """The configuration alone: equal for documents that differ in status and version only."""
    configuration = document.find(CONFIGURATION)
    return b"" if configuration is None else to_bytes(configuration)


def configuration_digest(document: etree._Element) -> str:
    """Which configuration it is, whatever its version. The same for a document and for what is read of its text."""
    return digest(configuration_bytes(document))


def empty(cluster_name: str | None = None) -> etree._Element:
    """A new CIB without nodes or resources, version 0.0.0, with every section that tools expect to find."""
    root = etree.Element("cib")
    root.set(FEATURES, FEATURE_SET)
    root.set("validate-with", CURRENT_SCHEMA)
    for key in ("epoch", "num_updates", "admin_epoch"):
        root.set(key, "0")
    configuration = etree.SubElement(root, CONFIGURATION)
    for name in ("crm_config", "nodes", "resources", "constraints"):
        etree.SubElement(configuration, name)
    etree.SubElement(root, STATUS)
    if cluster_name is not None:
        bootstrap = "cib-bootstrap-options"
        options = etree.SubElement(configuration[0], "cluster_property_set", {"id": bootstrap})
        key = "cluster-name"
        etree.SubElement(options, "nvpair", {"id": f"{bootstrap}-{key}", "name": key, "value": cluster_name})
    return root


def version(document: etree._Element) -> Version:
    """The version on the root element; an attribute that is missing or no number counts as 0."""
    return Version(*(_counter(document, key) for key in ("admin_epoch", "epoch", "num_updates")))


def set_version(document: etree._Element, new: Version) -> None:
    document.set("admin_epoch", str(new.admin_epoch))
    document.set("epoch", str(new.epoch))
    document.set("num_updates", str(new.num_updates))


def feature_key(feature_set: str) -> tuple[int, ...]:
    """Feature sets compare number by number; what is no number counts as 0."""
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in feature_set.split("."))


def elements(parent: etree._Element | None, *tags: str) -> Iterator[etree._Element]:
    """Child elements with one of these tags (any without), comments left out. Nothing for a missing parent."""
    if parent is not None:
        yield from parent.iterchildren(*(tags or ("*",)))


def section(document: etree._Element, name: str) -> etree._Element | None:
    """`configuration`, `status` or a child of `configuration`; None when the document has none."""
    if name in (CONFIGURATION, STATUS):
        return document.find(name)
    return document.find(f"{CONFIGURATION}/{name}")


def ensure_section(document: etree._Element, name: str) -> etree._Element:
    """Like `section`, but created when missing (`status` last, others in the order of `SECTIONS`)."""
    found = section(document, name)
    if found is not None:
        return found
    if name == STATUS:
        return etree.SubElement(document, STATUS)
    if name == CONFIGURATION:
        created = etree.Element(CONFIGURATION)
        document.insert(0, created)
        return created
    if name not in SECTIONS:
        raise ValueError(f"{name!r} is not a section of a CIB; expected one of {', '.join(SECTIONS)}, status")
    configuration = ensure_section(document, CONFIGURATION)
    created = etree.Element(name)
    later = set(SECTIONS[SECTIONS.index(name) + 1 :])
    position = next((i for i, child in enumerate(configuration) if child.tag in later), len(configuration))
    configuration.insert(position, created)
    return created


_ATTRIBUTE_SETS: Final = frozenset({"meta_attributes", "instance_attributes", "utilization"})
_AFTER_SETS: Final = frozenset(
    {"primitive", "group", "clone", "master", "docker", "podman", "rkt", "network", "storage"}
)


def place_for(tag: str, siblings: list[str]) -> int:
    """Where among children with these tags a new one belongs: sets of attributes before the members of a group or clone, as the schemas want it; all else last."""
    if tag in _ATTRIBUTE_SETS:
        return next((place for place, sibling in enumerate(siblings) if sibling in _AFTER_SETS), len(siblings))
    return len(siblings)


def line_of(element: etree._Element) -> int:
    """The line on which an element began when it was parsed; 0 for one that was built."""
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def describe(element: etree._Element) -> str:
    """What people call an element: `primitive web`, `crm_config`."""
    identity = element.get("id")
    return str(element.tag) if identity is None else f"{element.tag} {identity}"


def path_of(element: etree._Element) -> str:
    """Where an element is, for people and patchsets: `/cib/configuration/resources/primitive[@id='web']`."""
    steps: list[str] = []
    current: etree._Element | None = element
    while current is not None:
        identity = current.get("id")
        tag = str(current.tag) if isinstance(current.tag, str) else "comment()"
        steps.append(tag if identity is None else f"{tag}[@id={_quote(identity)}]")
        current = current.getparent()
    return "/" + "/".join(reversed(steps))


def xpath(document: etree._Element, expression: str) -> list[etree._Element]:
    """The elements that an XPath of a client selects, in document order. ValueError with the reason when it is wrong."""
    try:
        found = document.getroottree().xpath(expression)
    except (etree.XPathError, ValueError) as error:
        raise ValueError(f"invalid XPath {expression!r}: {error}") from None
    if not isinstance(found, list):
        raise ValueError(f"the XPath {expression!r} does not select elements")
    # An attribute or a text stands for the element that has it.
    elements = [item.getparent() if isinstance(item, etree._ElementUnicodeResult) else item for item in found]
    if not all(isinstance(item, etree._Element) for item in elements):
        raise ValueError(f"the XPath {expression!r} does not select elements")
    return list(dict.fromkeys(item for item in elements if isinstance(item, etree._Element)))


def _counter(document: etree._Element, key: str) -> int:
    text = document.get(key, "0")
    return int(text) if _NUMBER.match(text) else 0


def _quote(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _decode(data: str | bytes, source: str) -> str:
    if isinstance(data, str):
        text = data
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line, column = _position(data[: error.start].decode("utf-8", "replace"), None)
            raise CibSyntaxError("the document is not UTF-8 text", line, column, source) from None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        line, column = _position(text, error.start)
        raise CibSyntaxError("the document contains an unpaired surrogate", line, column, source) from None
    return text


def _position(text: str, offset: int | None) -> tuple[int, int]:
    before = text if offset is None else text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _refuse(error: etree.XMLSyntaxError, source: str) -> NoReturn:
    line, column = error.position
    message = error.msg or "not well-formed"
    if "XML_PARSE_HUGE" in message:
        message = f"the document exceeds a limit on depth ({MAX_DEPTH} levels) or on the length of a text"
    message = re.sub(r", line \d+, column \d+(?: \(.*\))?\Z", "", message)
    raise CibSyntaxError(message, line, column, source) from None


_WITH_BLANK_TEXT = etree.XPath("//*[text()[not(normalize-space())]]")


def _drop_blank_text(root: etree._Element) -> None:
    """The parser leaves white space in elements that have nothing else, or text beside it."""
    found = _WITH_BLANK_TEXT(root)
    for element in found if isinstance(found, list) else []:
        if isinstance(element, etree._Element):
            if element.text and not element.text.strip():
                element.text = None
            for child in element:
                if child.tail and not child.tail.strip():
                    child.tail = None


def _check_tree(root: etree._Element, source: str) -> None:
    """Depth, and no entity reference left over. One C-level walk; XPath counts ancestors only beyond the limit."""
    deep = root.xpath("/*" * (MAX_DEPTH + 1))
    if isinstance(deep, list) and deep:
        first = deep[0]
        line = line_of(first) if isinstance(first, etree._Element) else 0
        raise CibSyntaxError(f"elements are nested deeper than {MAX_DEPTH} levels", line, 1, source)
    for entity in root.iter(etree.Entity):
        raise CibSyntaxError("an entity reference is not accepted", line_of(entity), 1, source)
