"""Damage to a CIB, all from one random source: what editors, scripts and broken disks make of configuration and status.

`mutate` changes an lxml tree in place and says what it did. Attributes are lost, emptied, or get values that mean something elsewhere in
the document or nothing anywhere; ids come twice, references point at themselves or at anything; elements are lost, repeated, or stand
where they do not belong. What comes out is still XML, and hardly ever a valid CIB.
"""

from __future__ import annotations

import copy
import random

from lxml import etree
from lxml.etree import _Element

HOSTILE = (
    "", " ", "0", "-1", "1", "INFINITY", "-INFINITY", "+INFINITY", "infinity", "99999999999999999999999", "-" + "9" * 40,
    "9" * 5000, "1e999", "0x10", "1.5", "²", "٣", "nan", "true", "false", "on", "no", "#default", "#uname", "#kind",
    "P1Y", "PT0S", "P99999999999Y", "P-1D", "99999999999999w", "-5s", "10", "10 s", "s", "24855d", "2147483648", "4294967296",
    "2026-02-30", "2026-13-01", "9999-12-31 23:59:59Z", "İ", "0000-01-01", "2026-W54-8", "::::", "255.255.255.255", "::1",
    "0:0;", ";:::", "1:2:3:4:5:6", "-9223372036854775809", "Promoted", "Master", "Stopped", "started", "a b", "a:0", "x:-1",
    ":", "../..", "<&>\"'", "ÿ\u2028", "pacemaker-9.9", "pacemaker-1", "monitor", "start", "_", "@", "a@b=c",
)  # fmt: skip
"""Values for any attribute at all."""


def mutate(root: _Element, source: random.Random) -> str:
    """One piece of damage, somewhere; what it was."""
    elements = [element for element in root.iter() if isinstance(element.tag, str)]
    element = source.choice(elements)
    damage = source.choice(_DAMAGE)
    return damage(root, element, elements, source)


def _spoil(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    if not element.attrib:
        return "nothing"
    name = source.choice(sorted(element.attrib))
    value = source.choice(HOSTILE)
    element.set(name, value)
    return f"{element.tag}/@{name} := {value[:30]!r}"


def _lose_attribute(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    if not element.attrib:
        return "nothing"
    name = source.choice(sorted(element.attrib))
    del element.attrib[name]
    return f"{element.tag}/@{name} lost"


def _borrow(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    """An attribute's value from elsewhere: an id taken twice, a reference to itself or to something of another kind."""
    other = source.choice(elements)
    if not element.attrib or not other.attrib:
        return "nothing"
    name = source.choice(sorted(element.attrib))
    value = other.attrib[source.choice(sorted(other.attrib))]
    element.set(name, value)
    return f"{element.tag}/@{name} := {value[:30]!r} from {other.tag}"


def _add_attribute(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    other = source.choice(elements)
    if not other.attrib:
        return "nothing"
    name = source.choice((*sorted(other.attrib), "id-ref", "rsc", "template", "rsc-pattern", "kind", "role", "ticket"))
    value = source.choice((other.get(name) or "", other.get("id") or "", source.choice(HOSTILE)))
    element.set(name, value)
    return f"{element.tag}/@{name} added: {value[:30]!r}"


def _repeat(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    parent = element.getparent()
    if parent is None:
        return "nothing"
    parent.insert(source.randint(0, len(parent)), copy.deepcopy(element))
    return f"{element.tag} {element.get('id')} twice"


def _lose(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    parent = element.getparent()
    if parent is None:
        return "nothing"
    parent.remove(element)
    return f"{element.tag} {element.get('id')} lost"


def _misplace(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    target = source.choice(elements)
    if element is root or element is target or element in target.iterancestors():
        return "nothing"
    target.append(copy.deepcopy(element) if source.random() < 0.5 else element)
    return f"{element.tag} {element.get('id')} in {target.tag} {target.get('id')}"


def _rename(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    if element is root:
        return "nothing"
    old = element.tag
    element.tag = source.choice(elements).tag
    return f"{old} {element.get('id')} is a {element.tag}"


def _clutter(root: _Element, element: _Element, elements: list[_Element], source: random.Random) -> str:
    """What a parser keeps and a reader must pass over."""
    element.insert(0, source.choice((etree.Comment("x"), etree.ProcessingInstruction("x", "y"), etree.Element("x"))))
    element.text = "text"
    return f"clutter in {element.tag}"


_DAMAGE = (
    _spoil, _spoil, _spoil, _spoil, _lose_attribute, _lose_attribute, _borrow, _borrow, _borrow, _add_attribute, _add_attribute,
    _repeat, _repeat, _lose, _lose, _misplace, _misplace, _rename, _clutter,
)  # fmt: skip
