"""Comments: a line that begins with `#` above a statement is kept in the CIB, as a comment inside the object's element.

XML forbids `--` in a comment and `-` at its end; such lines are for the reader of the file only and are not kept.
"""

from __future__ import annotations

from lxml import etree

from crm.shell.grammar.inexpressible import Inexpressible


def take(element: etree._Element) -> tuple[str, ...]:
    """The lines above the object, from the comments that are direct children. Others make the object Inexpressible."""
    lines: list[str] = []
    for child in element.iterchildren(etree.Comment):
        text = (child.text or "").strip()
        if not text.startswith("#") or "\n" in text:
            raise Inexpressible("comment")
        lines.append(text)
    return tuple(lines)


def put(element: etree._Element, lines: tuple[str, ...]) -> None:
    """The way back: the comments come first in the element."""
    kept = [line for line in lines if "--" not in line and not line.endswith("-")]
    for place, line in enumerate(kept):
        element.insert(place, etree.Comment(line))
