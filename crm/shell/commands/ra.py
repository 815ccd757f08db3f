"""`crm ra`: which agents there are, and what they say of themselves."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from agents.metadata import AgentMetadata, Parameter
from agents.types import AgentId
from crm.shell.catalogue import Installed, UnknownAgentError, agent_of
from crm.shell.level import make_level
from crm.shell.session import ShellError
from crm.shell.shell import Shell, shell_of

app = make_level("ra", "Resource agents and fence agents of this node.")


@app.command()
def classes(context: typer.Context) -> None:
    """Print the classes of agents, and the providers of ocf."""
    shell = shell_of(context)
    catalogue = Installed()
    for standard in catalogue.standards():
        shell.say(f"{standard} / {' '.join(catalogue.providers())}" if standard == "ocf" else standard)


@app.command()
def providers(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="An agent's name.")] = None,
) -> None:
    """Print the providers of ocf agents, or of one agent."""
    catalogue = Installed()
    for provider in catalogue.providers():
        if kind is None or kind in catalogue.types("ocf", provider):
            shell_of(context).say(provider)


@app.command("list")
def list_agents(
    context: typer.Context,
    standard: Annotated[str, typer.Argument(metavar="CLASS", help="ocf, lsb, systemd, service or stonith.")],
    provider: Annotated[str | None, typer.Argument(metavar="[PROVIDER]")] = None,
) -> None:
    """Print the agents of a class."""
    catalogue = Installed()
    if standard not in catalogue.standards():
        raise ShellError(f"{standard!r} is no class of agents; expected one of {', '.join(catalogue.standards())}")
    for name in catalogue.types(standard, provider or ""):
        shell_of(context).say(name)


@app.command()
def info(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(help="Such as ocf:heartbeat:IPaddr2, IPaddr2 or stonith:fence_ipmilan.")],
) -> None:
    """Show what an agent does, its parameters and operations."""
    catalogue = Installed()
    try:
        found = catalogue.describe(_resolve(agent, catalogue))
    except UnknownAgentError as error:
        raise ShellError(str(error)) from None
    _print(shell_of(context), found)


app.command("meta", hidden=True)(info)


def _resolve(text: str, catalogue: Installed) -> AgentId:
    parts = text.split(":")
    if len(parts) == 1:
        for provider in sorted(catalogue.providers(), key=lambda name: name != "heartbeat"):
            if text in catalogue.types("ocf", provider):
                return AgentId("ocf", provider, text)
        raise ShellError(f"no provider has an agent {text!r}; crm ra list ocf prints all")
    if len(parts) == 2 and parts[0] in catalogue.providers():
        parts.insert(0, "ocf")
    found = agent_of(parts[0], parts[1] if len(parts) == 3 else "", parts[-1]) if len(parts) < 4 else None
    if found is None:
        raise ShellError(f"{text!r} is not an agent; expected CLASS:PROVIDER:TYPE, such as ocf:heartbeat:IPaddr2")
    return found


def _print(shell: Shell, found: AgentMetadata) -> None:
    shell.say(f"{found.agent}{': ' + found.shortdesc if found.shortdesc else ''}")
    if found.longdesc:
        shell.say("")
        shell.say(_paragraphs(found.longdesc, ""))
    if found.parameters:
        shell.say("\nParameters (* required):\n")
    for parameter in found.parameters.values():
        _print_parameter(shell, parameter)
    if found.actions:
        shell.say("\nOperations, with the times that the agent advises:\n")
    for action in found.actions:
        words = [action.name.ljust(14)]
        if action.timeout_ms is not None:
            words.append(f"timeout={action.timeout_ms / 1000:g}s")
        if action.interval_ms:
            words.append(f"interval={action.interval_ms / 1000:g}s")
        words.extend(
            f"{key}={value}"
            for key, value in (("role", action.role), ("depth", action.depth))
            if value not in ("", "0")
        )
        shell.say("  " + " ".join(words).rstrip())


def _print_parameter(shell: Shell, parameter: Parameter) -> None:
    choices = f": {', '.join(parameter.choices)}" if parameter.choices else ""
    default = f", [{parameter.default}]" if parameter.default not in (None, "") else ""
    deprecated = ", deprecated" if parameter.deprecated else ""
    head = f"{parameter.name}{'*' if parameter.required else ''} ({parameter.type}{choices}{default}{deprecated})"
    shell.say(f"  {head}{': ' + ' '.join(parameter.shortdesc.split()) if parameter.shortdesc else ''}")
    if parameter.longdesc and parameter.longdesc != parameter.shortdesc:
        shell.say(_paragraphs(parameter.longdesc, "      "))


def _paragraphs(text: str, indent: str) -> str:
    """Running text in lines of a terminal's width; paragraphs stay apart."""
    parts = [" ".join(part.split()) for part in text.strip().split("\n\n")]
    return "\n\n".join(textwrap.fill(part, 100, initial_indent=indent, subsequent_indent=indent) for part in parts)
