"""`set`, `show` and `delete` for attributes of resources and nodes, as `crm resource` and `crm node` have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lxml import etree

from crm.shell import editing, verbs
from crm.shell.configuration import Configuration, ConfigurationError
from crm.shell.session import ShellError
from crm.shell.shell import Shell

T = TypeVar("T")


def change(shell: Shell, action: Callable[[Configuration], T], *, wait: bool = False) -> T:
    """One edit; with `wait`, returns when the cluster has carried it out."""
    before = shell.wait
    shell.wait = before or wait
    try:
        return editing.change(shell, action)
    finally:
        shell.wait = before


def run_attribute(
    shell: Shell,
    find: Callable[[Configuration], etree._Element],
    owner: str,
    kind: str,
    action: str,
    name: str | None,
    value: str | None,
) -> None:
    """`set NAME VALUE`, `show [NAME]`, `delete NAME` of a resource or a node."""
    if action == "set" and name and value is not None:
        change(shell, lambda configuration: verbs.set_attribute(configuration, find(configuration), kind, name, value))
        shell.say(f"{owner}: {name}={value}")
    elif action == "delete" and name and value is None:
        if not change(shell, lambda configuration: verbs.unset_attribute(find(configuration), kind, name)):
            raise ShellError(f"{owner} has no {name!r} of its own")
        shell.say(f"{owner}: {name} deleted")
    elif action == "show" and value is None:
        try:
            element = find(editing.current(shell))
        except ConfigurationError as error:
            raise editing.shell_error(error) from None
        pairs = {pair.get("name"): pair.get("value") for pair in element.iterfind(f"{verbs.SETS[kind]}/nvpair")}
        if name and name not in pairs:
            raise ShellError(f"{owner} has no {name!r} of its own")
        for key, text in pairs.items():
            if name in (None, key):
                shell.say(str(text) if name else f"{key}={text}")
    else:
        raise ShellError(
            f"{' '.join(filter(None, (action, name, value)))!r} is not known; expected set NAME VALUE, show [NAME] or delete NAME"
        )
