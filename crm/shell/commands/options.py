"""`crm options`: every option of the cluster, of resources, clones, groups and operations, with its default and effect."""

from __future__ import annotations

import textwrap
from typing import Annotated, Final

import typer

from crm.cib import options as known
from crm.shell.session import ShellError
from crm.shell.shell import shell_of

app = typer.Typer(add_completion=False)

TABLES: Final = {
    "property": known.CLUSTER_PROPERTIES,
    "resource": known.RESOURCE_META,
    "clone": known.CLONE_META,
    "group": known.GROUP_META,
    "op": known.OPERATION_META,
    "alert": known.ALERT_META,
}
NO_EFFECT: Final = "Accepted; has no effect in Vigil."


@app.command()
def options(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[property|resource|clone|group|op|alert] [NAME]", help="Which to explain."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page of the reference documentation.")] = False,
) -> None:
    """Explain options: those of the cluster (property), or of resources, clones, groups, operations and alerts."""
    shell = shell_of(context)
    if markdown:
        from crm.shell import optionspage

        print(optionspage.render(), end="")
        return
    given = list(words or ())
    tables = {given.pop(0): TABLES[words[0]]} if words and words[0] in TABLES else TABLES
    if len(given) > 1:
        raise ShellError(f"{' '.join(given)!r} is too much; expected [{'|'.join(TABLES)}] [NAME]")
    found = 0
    for title, table in tables.items():
        chosen = [option for option in table.values() if not given or given[0] in (option.name, *option.aliases)]
        if chosen and not given:
            shell.say(f"{title}:")
        for option in chosen:
            found += 1
            default = f", default {option.default}" if option.default else ""
            shell.say(f"  {option.name}: {option.type.expected}{default}")
            also = f" Also: {', '.join(option.aliases)}." if option.aliases else ""
            none = f" {NO_EFFECT}" if option.name in known.WITHOUT_EFFECT and table is known.CLUSTER_PROPERTIES else ""
            text = option.effect.replace("`", "") + also + none
            shell.say(
                textwrap.fill(text, 96, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False)
            )
    if not found:
        raise ShellError(f"there is no option {given[0]!r}; crm options prints all")
