"""Configurations to compare: the live one, a shadow, or an earlier version that this node has on its disk; and what differs between two."""

from __future__ import annotations

import difflib
from datetime import datetime

from lxml import etree

from crm.api import errors, shadows
from crm.api.errors import ApiError
from crm.cib import xml
from crm.shell.grammar import canonical, show
from crm.shell.session import LiveSession, ShellError, shadow_path, shadow_session


def named(live: LiveSession, name: str) -> etree._Element:
    """A CIB by its name: `live`, the number of an earlier version, or a shadow. ShellError when there is none."""
    if name == shadows.LIVE:
        return live.query_cib()
    if not name.isdigit():
        return shadow_session(name).query_cib()
    try:
        return xml.parse(live.call("cib.version", serial=int(name))["xml"])
    except ApiError as error:
        if error.code != errors.NOT_FOUND:
            raise
        if shadow_path(name).is_file():
            return shadow_session(name).query_cib()
        raise ShellError(f"{error.message}; crm cib history prints which there are") from None


def difference(old: etree._Element, new: etree._Element, names: tuple[str, str]) -> list[str]:
    """A unified difference of the configure language, without lines of context; secrets are hidden, but a changed one is told."""
    texts = [grammar_text(cib).splitlines() for cib in (old, new)]
    return list(difflib.unified_diff(texts[0], texts[1], names[0], names[1], n=1, lineterm=""))


def grammar_text(cib: etree._Element) -> str:
    return show.show(cib, hide_secrets=True)


def changed_objects(old: etree._Element, new: etree._Element) -> list[str]:
    """`+a` for a new object, `-a` for one that went, `a` for one that changed."""
    before, after = _forms(old), _forms(new)
    found = [f"+{name}" for name in after if name not in before]
    found += [name for name in after if name in before and before[name] != after[name]]
    return found + [f"-{name}" for name in before if name not in after]


def _forms(cib: etree._Element) -> dict[str, canonical.Form]:
    return {item.element.get("uname") or item.identity: canonical.own_form(item.element) for item in show.objects(cib)}


def when(written: int) -> str:
    return f"{datetime.fromtimestamp(written).astimezone():%Y-%m-%d %H:%M:%S}"
