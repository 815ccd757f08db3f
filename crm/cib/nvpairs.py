"""Named values of an element, set and removed as operations: meta-attributes, parameters, cluster properties, defaults.

Theory of operation. A value lives in a `nvpair` of a set below its owner. To set it, the pair that counts is changed where it stands; if there
is none, one is added to the first set without a rule, or to a new set. So a set with a rule, which holds only at times, is never touched,
and ids stay what they were. Names of new ids are those that the shell's users know: `web-meta_attributes-target-role`,
`cib-bootstrap-options-stonith-enabled`. All functions read a document and give an `Operation`; none changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.operations import Kind, Operation

BOOTSTRAP_OPTIONS: Final = "cib-bootstrap-options"
_SET_IDS: Final = {"crm_config": BOOTSTRAP_OPTIONS, "rsc_defaults": "rsc-options", "op_defaults": "op-options"}
_INVALID = re.compile(r"[^\w.-]")


def id_part(name: str) -> str:
    """A name as it may be part of an XML id."""
    return _INVALID.sub(".", name)


def new_id(document: etree._Element, wanted: str, taken: Iterable[str] = ()) -> str:
    """`wanted` as a valid id that the configuration does not use yet, with a number when needed."""
    base = id_part(wanted)
    if not base or not (base[0].isalpha() or base[0] == "_"):
        base = f"_{base}"
    used = {element.get("id") for element in document.iter("*")} | set(taken)
    candidate, number = base, 0
    while candidate in used:
        candidate = f"{base}-{number}"
        number += 1
    return candidate


def find_pair(owner: etree._Element, set_tag: str, name: str) -> etree._Element | None:
    """The pair of this name that holds without conditions: in sets without rule, the highest score first."""
    for nvset in _sets(owner, set_tag):
        for nvpair in nvset.iterchildren("nvpair"):
            if nvpair.get("name") == name:
                return nvpair
    return None


def get_value(owner: etree._Element, set_tag: str, name: str) -> str | None:
    found = find_pair(owner, set_tag, name)
    return None if found is None else found.get("value")


def set_value(document: etree._Element, owner: etree._Element, set_tag: str, name: str, value: str) -> Operation:
    """`owner` is an element of `document`: a resource, an operation, a node, or a section such as `crm_config`."""
    existing = find_pair(owner, set_tag, name)
    if existing is not None:
        return Operation(Kind.MODIFY, xml=_text("nvpair", {"id": existing.get("id", ""), "value": value}))
    nvset = next(_sets(owner, set_tag), None)
    if nvset is not None:
        pair = _pair(document, nvset.get("id", ""), name, value)
        return Operation(Kind.CREATE, xml=pair, xpath=f"//{set_tag}[@id={_quoted(nvset.get('id', ''))}]")
    set_id = new_id(document, _set_id(owner, set_tag))
    created = etree.Element(set_tag, {"id": set_id})
    created.append(xml.parse_fragment(_pair(document, set_id, name, value)))
    return Operation(Kind.CREATE, xml=xml.to_text(created, pretty=False), xpath=xml.path_of(owner))


def unset_value(owner: etree._Element, set_tag: str, name: str) -> Operation | None:
    """None when it is not set."""
    existing = find_pair(owner, set_tag, name)
    if existing is None:
        return None
    return Operation(Kind.DELETE, xpath=xml.path_of(existing))


def _sets(owner: etree._Element, set_tag: str) -> Iterator[etree._Element]:
    """Sets of the owner's own without a rule, in their order of precedence: by score, of equal ones the later first."""
    own = [s for s in owner.iterchildren(set_tag) if s.get("id") is not None and s.find("rule") is None]
    own.reverse()
    yield from sorted(own, key=lambda nvset: -_score(nvset.get("score", "0")))


def _score(text: str) -> int:
    try:
        return int(text.replace("INFINITY", "1000000"))
    except ValueError:
        return 0


def _set_id(owner: etree._Element, set_tag: str) -> str:
    tag = str(owner.tag)
    if tag in _SET_IDS:
        return _SET_IDS[tag]
    if tag == "node":
        return f"nodes-{owner.get('id')}" if set_tag == "instance_attributes" else f"nodes-{owner.get('id')}-{set_tag}"
    return f"{owner.get('id')}-{set_tag}"


def _pair(document: etree._Element, set_id: str, name: str, value: str) -> str:
    return _text("nvpair", {"id": new_id(document, f"{set_id}-{name}"), "name": name, "value": value})


def _text(tag: str, attributes: dict[str, str]) -> str:
    return xml.to_text(etree.Element(tag, attributes), pretty=False)


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"
