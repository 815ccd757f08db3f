"""The little XML that quick commands need.

Commands that agents call do not load lxml or the CIB's own modules: what they ask for comes as a few elements of text, which expat reads (`elements`), and
what they change is one small element that they write themselves (`element`). The daemon checks it like everything else.
"""

from __future__ import annotations

from crm.tools.command import usage


def elements(text: str | None, tag: str) -> list[dict[str, str]]:
    """The attributes of every element of this tag, in document order."""
    if text is None:
        return []
    import pyexpat

    found: list[dict[str, str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == tag:
            found.append(attributes)

    parser = pyexpat.ParserCreate()
    parser.StartElementHandler = start
    parser.Parse(text, True)
    return found


def element(tag: str, attributes: dict[str, str], *children: str) -> str:
    """An element as text; `children` are text already."""
    head = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{head}>{''.join(children)}</{tag}>" if children else f"<{tag}{head}/>"


def escape(value: str) -> str:
    for plain, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&quot;"),
        ("\n", "&#10;"),
        ("\t", "&#9;"),
    ):
        value = value.replace(plain, written)
    return value


def quoted(text: str) -> str:
    """A string in an XPath."""
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        usage(f"{text!r} has both kinds of quotes, which no XPath can hold")
    return f'"{text}"'


def id_part(name: str) -> str:
    """A name as it may be part of an XML id."""
    return "".join(c if c.isalnum() or c in "-._" else "." for c in name)


def counted(value: str) -> str:
    """`value--` and `value-=N` in the form that the CIB knows."""
    if value == "value--":
        return "value+=-1"
    return f"value+=-{value[7:]}" if value.startswith("value-=") and value[7:].isdigit() else value
