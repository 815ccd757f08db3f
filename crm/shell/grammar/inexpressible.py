"""The guard of the printers: an attribute or element that they do not know must not get lost.

A printer names all attributes that it will write; anything else makes the object `Inexpressible`, and it is printed as XML.
"""

from __future__ import annotations

from collections.abc import Collection

from lxml import etree


class Inexpressible(Exception):
    """The language has no words for this part of the object."""


def require(element: etree._Element, known: Collection[str]) -> None:
    """Raises when the element has an attribute that is not `known`."""
    for name in element.attrib:
        if name not in known:
            raise Inexpressible(f"attribute {name!s} of <{element.tag}>")


def children(element: etree._Element, *known: str, comments: bool = False) -> list[etree._Element]:
    """Child elements. With `known`, any other is Inexpressible. So is a comment, unless `comments` says that they are dealt with."""
    result: list[etree._Element] = []
    for child in element:
        if not isinstance(child.tag, str):
            if comments:
                continue
            raise Inexpressible("comment")
        if known and child.tag not in known:
            raise Inexpressible(f"<{child.tag}> in <{element.tag}>")
        result.append(child)
    return result


def items(element: etree._Element) -> list[tuple[str, str]]:
    """The attributes, in document order."""
    return [(str(name), str(value)) for name, value in element.attrib.items()]
