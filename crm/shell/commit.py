"""Writes an edited configuration, and nothing that somebody else has changed meanwhile.

Theory of operation. A commit is one transaction of the smallest operations that lead from what was read to what was made of it (`crm.cib.difference`), provided that the
configuration is still the one that was read. On a conflict the CIB is read again, and objects changed here are put onto the new configuration, unless the same
objects were changed there (`Conflict`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.cib import difference, xml
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar import canonical, show
from crm.shell.grammar.statements import parse
from crm.shell.session import Session, ShellError

ATTEMPTS: Final = 20
"""Commits tried in a row while the version keeps moving."""

T = TypeVar("T")


class ConflictError(ShellError):
    """The same objects were changed here and in the cluster."""


def transact(session: Session, change: Callable[[Configuration], T]) -> T:
    """Applies `change` to a fresh configuration and commits it; begins again when somebody else was quicker."""
    for _ in range(ATTEMPTS):
        configuration = Configuration(session.query_cib())
        result = change(configuration)
        if _try_commit(session, configuration):
            return result
    raise ShellError(f"the CIB changed {ATTEMPTS} times while this was tried; nothing was changed here")


def commit(session: Session, configuration: Configuration, *, force: bool = False) -> Configuration:
    """Commits an edited configuration, and returns it as it is then, with a new base. ConflictError when both sides changed the same objects.

    `force`: where they did, what was edited here wins.
    """
    for _ in range(ATTEMPTS):
        if _try_commit(session, configuration):
            return Configuration(session.query_cib())
        configuration = rebase(configuration, session.query_cib(), force=force)
    raise ShellError(f"the CIB changed {ATTEMPTS} times while this was tried; nothing was committed")


def replace(session: Session, current: etree._Element, wanted: etree._Element) -> None:
    """Makes `wanted` the configuration, if it is still `current`. ShellError when it is not: nobody has seen what that would do."""
    configuration = Configuration(current)
    configuration.replace_with(wanted)
    if not _try_commit(session, configuration):
        raise ShellError("the configuration was changed meanwhile; nothing was done")


def _try_commit(session: Session, configuration: Configuration) -> bool:
    wanted = difference.steps(configuration.base, configuration.root)
    if not wanted:
        return True
    version = str(xml.version(configuration.base))
    try:
        session.apply(
            "transaction",
            steps=wanted,
            if_version=version,
            if_configuration=xml.configuration_digest(configuration.base),
        )
    except ApiError as error:
        if error.code == errors.CONFLICT:
            return False
        raise
    return True


def rebase(configuration: Configuration, cib: etree._Element, *, force: bool = False) -> Configuration:
    """The edits of `configuration`, on another CIB."""
    theirs = _forms(cib)
    base = _forms(configuration.base)
    ours = _forms(configuration.root)
    changed_there = {key for key in base.keys() | theirs.keys() if base.get(key) != theirs.get(key)}
    changed_here = {key for key in base.keys() | ours.keys() if base.get(key) != ours.get(key)}
    both = sorted(key for key in changed_here & changed_there if ours.get(key) != theirs.get(key))
    if both and not force:
        raise ConflictError(
            "the configuration was changed meanwhile, the same objects as here; 'refresh' takes the new configuration and drops what was edited here, "
            "'commit force' overwrites it",
            tuple(" ".join(key) for key in both),
        )
    fresh = Configuration(cib)
    gone = [identity for keyword, identity in changed_here if (keyword, identity) not in ours]
    known = {identity for _, identity in theirs}
    if gone := [identity for identity in gone if identity in known]:
        fresh.delete(gone, force=True)
    naming = show.naming_of(configuration.root)
    texts = [
        show.show_object(item, naming)
        for item in configuration.objects()
        if (item.keyword, item.identity) in changed_here
    ]
    fresh.apply(parse("\n".join(texts)), Mode.UPDATE)
    return fresh


def _forms(cib: etree._Element) -> dict[tuple[str, str], canonical.Form]:
    found: dict[tuple[str, str], canonical.Form] = {}
    for item in show.objects(cib):
        found[item.keyword, item.identity] = canonical.own_form(item.element)
    return found
