"""`crm maintenance`: leave everything, one resource or one node alone; and what happens when that ends, shown beforehand."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from crm.shell import byhand, editing, preview, verbs
from crm.shell.commands import node
from crm.shell.configuration import Configuration, ConfigurationError
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of

app = make_level("maintenance", "Leave the cluster, a resource or a node alone.")

What = Annotated[
    str | None, typer.Argument(metavar="[RESOURCE|NODE]", help="What to leave alone; the whole cluster, unless named.")
]
Preview = Annotated[bool, typer.Option("--preview", help="Change nothing: show what the cluster would do.")]
OPTION: Final = "maintenance-mode"


@app.command()
def on(context: typer.Context, what: What = None) -> None:
    """Start, stop and watch nothing from now on; what runs goes on running."""
    shell = shell_of(context)
    editing.change(shell, lambda configuration: _switch(configuration, what, on=True))
    shell.say(f"{what or 'the cluster'} is in maintenance")


@app.command()
def off(context: typer.Context, what: What = None, preview: Preview = False) -> None:
    """Let the cluster take care again; prints what it is going to do."""
    shell = shell_of(context)
    with shell.previewing(preview):
        if not _ends_at_restart(shell, what):
            editing.change(shell, lambda configuration: _off(shell, configuration, what))
    shell.say(f"{what or 'the cluster'} is not in maintenance any more")


@app.command()
def action(
    context: typer.Context,
    resource: Annotated[str, typer.Argument(help="The id of a resource that is in maintenance.")],
    name: Annotated[str, typer.Argument(metavar="ACTION", help="start, stop, monitor, promote, demote, validate-all.")],
) -> None:
    """Run an action of a resource's agent on this node, past the cluster, while the cluster leaves the resource alone."""
    shell = shell_of(context)
    reason, text = byhand.run(shell, resource, name)
    shell.say(text)
    if reason:
        raise ShellError(reason)


def _ends_at_restart(shell: Shell, what: str | None) -> bool:
    """Ends a node's maintenance that is in force until it restarts (`crm node maintenance NODE reboot`). False when that is not the case."""
    if what is None or not shell.session.live:
        return False
    answer = shell.session.call("attribute.query", node=what, name="maintenance", lifetime="reboot")
    name = next((name for name, found in answer["values"].items() if found), None)
    if name is None:
        return False
    root = node.as_if_set(shell, name, "maintenance", None)
    if shell.preview:
        shell.show_preview(root)
    for line in preview.report(root):
        shell.say(line)
    node.unset_everywhere(shell, name, "maintenance")
    return True


def _off(shell: Shell, configuration: Configuration, what: str | None) -> None:
    _switch(configuration, what, on=False)
    if not configuration.changed:
        raise ShellError(f"{what or 'the cluster'} is not in maintenance")
    if not shell.preview:
        for line in preview.report(configuration.root):
            shell.say(line)


def _switch(configuration: Configuration, what: str | None, *, on: bool) -> None:
    """The cluster's option, a resource's meta-attribute, or a node's attribute."""
    if what is None:
        if on:
            verbs.set_option(configuration, OPTION, "true")
        else:
            verbs.unset_option(configuration, OPTION)
        return
    try:
        element, kind = verbs.resource_of(configuration, what), "meta"
    except ConfigurationError as error:
        try:
            element, kind = verbs.node_of(configuration, what), "param"
        except ConfigurationError:
            raise ConfigurationError([f"there is no resource or node {what!r}", *error.problems]) from None
    if kind == "meta":
        verbs.clear_below(element, "meta", "maintenance")
    if on:
        verbs.set_attribute(configuration, element, kind, "maintenance", "true")
    else:
        verbs.unset_attribute(element, kind, "maintenance")
