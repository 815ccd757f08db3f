"""A CIB with what the access control lists say of a user beside each element: `cibadmin --show-access`.

Three forms. In text a line stands above each element whose access is not that of the element around it; in colour every element has that of its
access; with namespaces the elements of the first form are prefixed, for programs. Pure functions: the lists are evaluated in the whole
document, whatever part of it is shown.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from crm.cib import xml
from crm.cib.acl import Access, Permissions

FORMS: Final = ("color", "text", "namespace", "auto")
_WORDS: Final = {Access.READ: "READABLE", Access.WRITE: "WRITABLE", Access.DENY: "~DENIED~"}
_COLORS: Final = {Access.READ: "\x1b[34m", Access.WRITE: "\x1b[32m", Access.DENY: "\x1b[31m"}
_PLAIN: Final = "\x1b[0m"
_NAMES: Final = {Access.WRITE: "writable", Access.READ: "readable", Access.DENY: "denied"}
_NAMESPACE: Final = "http://clusterlabs.org/ns/pacemaker/access/"
_INDENT: Final = "  "


def show(
    document: etree._Element, shown: etree._Element, user: str, groups: tuple[str, ...], form: str, *, children: bool
) -> str:
    """`shown` is part of `document`. `form`: one of FORMS but `auto`."""
    permissions = Permissions(document, user, groups)
    lines = [f"<!-- ACLs as evaluated for user {user} -->"]
    _element(shown, permissions, None, form, 0, children, lines)
    return "\n".join(lines) + "\n"


def _element(
    element: etree._Element,
    permissions: Permissions,
    around: Access | None,
    form: str,
    depth: int,
    children: bool,
    lines: list[str],
) -> None:
    access = permissions.of(element)
    indent, tag = _INDENT * depth, str(element.tag)
    before = after = ""
    if form == "color":
        before, after = _COLORS[access], _PLAIN
    elif access is not around:
        if form == "namespace":
            tag = f"pcmk-access-{_NAMES[access]}:{tag}"
        else:
            lines += [*([indent] if depth else []), f"{indent}vvv---[ {_WORDS[access]} ]---vvv"]
    inner = list(element) if children else []
    head = _head(element, tag, around is None and form == "namespace")
    if not inner:
        lines.append(f"{indent}{before}{head}/>{after}")
        return
    lines.append(f"{indent}{before}{head}>")
    for child in inner:
        if isinstance(child.tag, str):
            _element(child, permissions, access, form, depth + 1, True, lines)
        else:
            lines.append(f"{indent}{_INDENT}{xml.to_text(child, pretty=False)}")
    lines.append(f"{indent}{before}</{tag}>{after}")


def _head(element: etree._Element, tag: str, with_namespaces: bool) -> str:
    """`<TAG ATTRIBUTES`, without its end."""
    alone = etree.Element("x")
    for key, value in element.attrib.items():
        alone.set(str(key), str(value))
    text = "<" + tag + xml.to_text(alone, pretty=False)[2:-2]
    if with_namespaces:
        text += "".join(f' xmlns:pcmk-access-{name}="{_NAMESPACE}{name}"' for name in _NAMES.values())
    return text
