"""What leads from one configuration to another, in as few and as small operations as people would have used.

Theory of operation. Elements correspond when tag and id are the same. Attributes that changed are set, elements that went are deleted, new ones are
added to where they belong. Only where this cannot say it (an attribute went, children changed their order) is an element replaced as a whole. So a change needs permission for
what it changes and nothing else, leaves alone what its author cannot see, and stays small in a large configuration.

The steps make one transaction: deletions first, so that what moved elsewhere is free to come; additions last.
"""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from crm.cib import xml

MANY: Final = 200
"""Children that come and go from which on replacing what they are in is less work."""

Step = dict[str, Any]
"""Parameters of an operation, as for `cib.apply`."""


def steps(base: etree._Element, new: etree._Element) -> list[Step]:
    """From the configuration of one `<cib>` to that of another; empty when both are the same. Status and versions are not looked at."""
    found = _Steps()
    for name in xml.SECTIONS:
        old, section = xml.section(base, name), xml.section(new, name)
        if old is None and section is not None and (len(section) or section.attrib):
            found.changes.append({"operation": "replace", "xml": xml.to_text(section, pretty=False)})
        elif old is not None:
            found.compare(old, etree.Element(name) if section is None else section)
    return found.in_order()


class _Steps:
    def __init__(self) -> None:
        self.deletions: list[Step] = []
        self.changes: list[Step] = []
        self.additions: list[Step] = []

    def in_order(self) -> list[Step]:
        return [*self.deletions, *self.changes, *self.additions]

    def compare(self, old: etree._Element, new: etree._Element) -> None:
        if xml.to_bytes(old) == xml.to_bytes(new):
            return
        path = xml.path_of(old)
        if not _can_be_merged(old, new):
            self.changes.append({"operation": "replace", "xpath": path, "xml": xml.to_text(new, pretty=False)})
            return
        values = {str(key): str(value) for key, value in new.attrib.items() if old.get(str(key)) != value}
        if values:
            changed = etree.Element(str(new.tag))
            if (identity := new.get("id")) is not None:
                changed.set("id", identity)
            for name, value in values.items():
                changed.set(name, value)
            self.changes.append({"operation": "modify", "xpath": path, "xml": xml.to_text(changed, pretty=False)})
        theirs = {_key(child): child for child in xml.elements(new)}
        ours = {_key(child): child for child in xml.elements(old)}
        for key, child in ours.items():
            if key in theirs:
                self.compare(child, theirs[key])
            else:
                self.deletions.append({"operation": "delete", "xpath": xml.path_of(child)})
        for key, child in theirs.items():
            if key not in ours:
                text = xml.to_text(child, pretty=False)
                self.additions.append({"operation": "create", "xpath": path, "xml": text})


def _can_be_merged(old: etree._Element, new: etree._Element) -> bool:
    """Whether setting attributes, deleting and appending children is enough."""
    if set(old.attrib) - set(new.attrib) or any("+" in str(value) for value in new.attrib.values()):
        return False  # `value++` would count
    if _comments(old) != _comments(new):
        return False
    before, after = [_key(child) for child in xml.elements(old)], [_key(child) for child in xml.elements(new)]
    if len(set(before)) < len(before) or len(set(after)) < len(after):
        return False
    if len(set(before) ^ set(after)) > MANY:
        return False
    known, wanted = set(before), set(after)
    result = [each for each in before if each in wanted]
    for each in after:
        if each not in known:
            result.insert(xml.place_for(each[0], [tag for tag, _ in result]), each)
    return after == result


def _key(element: etree._Element) -> tuple[str, str | None]:
    return str(element.tag), element.get("id")


def _comments(element: etree._Element) -> list[str | None]:
    return [child.text for child in element.iterchildren(etree.Comment)]
