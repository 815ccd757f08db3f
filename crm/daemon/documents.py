"""Reading one version of the CIB after another: what did not change is not parsed again.

Theory of operation. The policy worker gets the whole document for every decision. Nearly all of a large one is the histories in its
`node_state` elements, and from one decision to the next those of most nodes are the same, byte for byte. `Documents.read` cuts the elements out of the
text, parses what is left, and puts each element back: the one that the same text gave last time, moved from the tree before, or a newly
parsed one. The result is the tree that parsing the whole document gives; only that way is taken where the text is not what `xml.to_bytes`
writes. A tree is gone (its histories are) once the next one has been read, so there is one reader at a time, and none keeps a tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.cib import xml

if TYPE_CHECKING:
    from lxml.etree import _Element

_BEGIN: Final = b"<node_state "
_END: Final = b"</node_state>"
_MARK: Final = b"<node_state/>"


class Documents:
    """The parsed `node_state` elements of the version read last, by their text."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Element] = {}

    def read(self, document: bytes) -> _Element:
        """The tree of this version. CibSyntaxError as `xml.parse`."""
        pieces = _pieces(document)
        before, self._known = self._known, {}
        if not pieces:
            return xml.parse(document, comments=False)
        rest: list[bytes] = []
        at = 0
        for start, end in pieces:
            rest += (document[at:start], _MARK)
            at = end
        rest.append(document[at:])
        root = xml.parse(b"".join(rest), comments=False)
        marks = root.findall("status/node_state")
        if len(marks) != len(pieces):  # some are elsewhere
            return xml.parse(document, comments=False)
        for mark, (start, end) in zip(marks, pieces, strict=True):
            text = document[start:end]
            element = before.pop(text, None)
            if element is None:
                element = xml.parse_fragment(text, comments=False)
            self._known[text] = element
            parent = mark.getparent()
            assert parent is not None
            parent.replace(mark, element)
        return root


def _pieces(document: bytes) -> list[tuple[int, int]]:
    """Where the `node_state` elements are; none when that cannot be told from the text alone."""
    if document.find(b"<!") >= 0 or document.find(b"<?") >= 0:
        return []
    found: list[tuple[int, int]] = []
    start = document.find(_BEGIN, max(0, document.find(b"<status")))
    while start >= 0:
        end = document.find(_END, start)
        following = document.find(_BEGIN, start + 1)
        if end < 0 or -1 < following < end:  # an element without content, or one inside another
            return []
        found.append((start, end + len(_END)))
        start = following
    return found
