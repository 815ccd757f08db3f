"""`crm_resource`: look at resources, set their values, move them, clear their failures.

This module knows the options only; each group of commands is a module of `crm.tools.resources`, loaded when it is asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module

from crm.tools.cluster import connect
from crm.tools.command import Given, only_command, run, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_resource"
PURPOSE: Final = "perform tasks related to cluster resources"
TABLE: Final[Table] = (
    "Queries:",
    ("L", "list", "", "List all cluster resources with status (the default)"),
    ("l", "list-raw", "", "List IDs of all instantiated resources (individual members rather than groups etc.)"),
    ("O", "list-operations", "", "List resource operations, optionally of --resource and/or --node"),
    ("o", "list-all-operations", "", "The same"),
    ("q", "query-xml", "", "Show XML configuration of resource (after any template expansion)"),
    ("w", "query-xml-raw", "", "Show XML configuration of resource (before any template expansion)"),
    (
        "g",
        "get-parameter",
        "PARAM",
        "Display a parameter (with --meta: meta-attribute, with --utilization: utilization)",
    ),
    ("W", "locate", "", "Show node(s) currently running resource"),
    ("a", "constraints", "", "Display the location and colocation constraints that name the resource"),
    ("A", "stack", "", "Display the constraints of the resource, and of those that it is colocated with"),
    ("Y", "why", "", "Show why resources are (not) running, optionally --resource and --node"),
    ("G", "get-property", "PROP", "Display an attribute of the resource's element (class, type...)"),
    ("", "digests", "", "(Advanced) Show the digests by which changes are noticed. Required: -r, -N"),
    ("", "list-standards", "", "List the classes of agents"),
    ("", "list-ocf-providers", "", "List the providers of OCF agents"),
    ("", "list-agents", "STD:PROV", "List the agents of a class (and provider)"),
    ("", "list-ocf-alternatives", "AGENT", "List the providers of an OCF agent"),
    ("", "show-metadata", "SPEC", "Show the meta-data of an agent (CLASS:PROVIDER:TYPE)"),
    "Commands:",
    ("", "validate", "[LEVEL]", "Have the agent validate the parameters of -r, or of --class, --agent and --option"),
    ("C", "cleanup", "", "Clear history and fail count where there are failures; optionally --resource, --node"),
    ("R", "refresh", "", "Clear the history (including failures), so that everything is probed; optionally -r, -N"),
    ("p", "set-parameter", "PARAM", "Set a parameter (requires -v)"),
    ("d", "delete-parameter", "PARAM", "Delete a parameter"),
    "Locations:",
    ("M", "move", "", "Move the resource to --node, else away from where it is"),
    ("B", "ban", "", "Keep the resource off --node, else off where it is"),
    ("U", "clear", "", "Remove the constraints of --move and --ban; optionally of --node, --promoted, --expired"),
    ("e", "expired", "", "With --clear: only constraints whose lifetime has expired"),
    ("u", "lifetime", "TIMESPEC", "Lifespan (ISO 8601 duration) of created constraints (with -B, -M)"),
    ("", "promoted", "", "Limit scope of command to promoted role (with -B, -M, -U)"),
    ("", "master", "", ""),
    "Advanced:",
    ("D", "delete", "", "Delete a resource from the CIB. Required: -t"),
    ("", "restart", "", "Restart this resource and anything that depends on it; with --node, a clone there only"),
    ("", "wait", "", "Wait until the cluster settles into a stable state"),
    ("F", "fail", "", "Tell the cluster that this resource has failed on --node"),
    ("S", "set-property", "PROP", "Set an attribute of the resource's element. Required: -t, -v"),
    ("", "force-check", "[LEVEL]", "Have the agent look at the resource on this node, past the cluster"),
    ("", "force-start", "", "Start the resource on this node, past the cluster"),
    ("", "force-stop", "", "Stop the resource on this node, past the cluster"),
    ("", "force-promote", "", "Promote the resource on this node, past the cluster"),
    ("", "force-demote", "", "Demote the resource on this node, past the cluster"),
    "Additional Options:",
    ("r", "resource", "ID", "Resource ID"),
    ("NH", "node", "NAME", "Node name"),
    ("t", "resource-type", "ELEMENT", "Resource XML element (primitive, group, etc.) (with -D)"),
    ("v", "parameter-value", "VALUE", "Value to use with -p"),
    ("m", "meta", "", "Use meta-attributes instead of parameters (with -p, -g, -d)"),
    ("z", "utilization", "", "Use utilization attributes instead of parameters (with -p, -g, -d)"),
    ("", "element", "", "Use attributes of the resource's element (with -p, -g, -d)"),
    ("", "class", "CLASS", "The class of the agent (with --validate)"),
    ("", "provider", "PROVIDER", "The provider of the agent (with --validate)"),
    ("", "agent", "AGENT", "The agent's type (with --validate)"),
    ("", "option", "NAME=VALUE", "A parameter (with --validate and --class; may be given several times)"),
    ("s", "set-name", "ID", "(Advanced) XML ID of attributes element to use (with -p, -d)"),
    ("i", "nvpair", "ID", "(Advanced) XML ID of nvpair element to use (with -p, -d)"),
    ("T", "timeout", "TIMESPEC", "Abort if command does not finish in this time (with --restart, --wait)"),
    ("f", "force", "", "See the individual commands"),
    ("Q", "quiet", "", "Print only what is essential"),
    ("n", "operation", "OPERATION", "Clear only if this operation has failed (with -C -r)"),
    ("I", "interval", "N", "Interval of --operation to clear (default 0; with -C -r -n)"),
    ("P", "reprobe", "", ""),
    ("", "recursive", "", ""),
    ("", "host-uname", "NAME", ""),
    ("", "locate-all", "", ""),
    ("", "un-move", "", ""),
)
_COMMANDS: Final = {
    "list": ("listing", "show_list"),
    "list-raw": ("listing", "show_ids"),
    "list-operations": ("listing", "show_operations"),
    "list-all-operations": ("listing", "show_operations"),
    "query-xml": ("listing", "show_xml"),
    "query-xml-raw": ("listing", "show_xml"),
    "locate": ("listing", "locate"),
    "constraints": ("relations", "show"),
    "stack": ("relations", "show"),
    "digests": ("hashes", "show"),
    "get-property": ("values", "show_property"),
    "set-property": ("values", "change_property"),
    "why": ("listing", "why"),
    "get-parameter": ("values", "show"),
    "set-parameter": ("values", "change"),
    "delete-parameter": ("values", "remove"),
    "move": ("moves", "move"),
    "ban": ("moves", "ban"),
    "clear": ("moves", "clear"),
    "cleanup": ("work", "clear_history"),
    "refresh": ("work", "clear_history"),
    "wait": ("work", "wait"),
    "restart": ("work", "restart"),
    "delete": ("work", "delete"),
    "fail": ("work", "fail"),
    "validate": ("by_hand", "run"),
    "force-check": ("by_hand", "run"),
    "force-start": ("by_hand", "run"),
    "force-stop": ("by_hand", "run"),
    "force-promote": ("by_hand", "run"),
    "force-demote": ("by_hand", "run"),
    "list-standards": ("installed", "standards"),
    "list-ocf-providers": ("installed", "providers"),
    "list-agents": ("installed", "agents"),
    "list-ocf-alternatives": ("installed", "alternatives"),
    "show-metadata": ("installed", "metadata"),
}
"""Module of `crm.tools.resources` and function."""
CHOICES: Final = tuple(_COMMANDS)
_WITHOUT_RESOURCE: Final = (
    *("list", "list-raw", "list-operations", "list-all-operations", "why"),
    *("cleanup", "refresh", "wait", "clear", "move", "ban"),
    *("list-standards", "list-ocf-providers", "list-agents", "list-ocf-alternatives", "show-metadata"),
)
_WITH_PARAMETERS: Final = (
    *("validate", "digests", "force-check", "force-start", "force-stop", "force-promote", "force-demote"),
)
"""Commands that take NAME=VALUE words, which change parameters for this once."""
_ALIASES: Final = {"reprobe": "refresh", "un-move": "clear", "master": "promoted", "host-uname": "node"}


def work(given: Given) -> int:
    for name in [name for name in given.order if name in _ALIASES]:
        given.add(_ALIASES[name], given.values[name][-1])
    command = only_command(given, CHOICES, "list")
    value = given.text(command)
    if command in _WITH_PARAMETERS and "=" in value:  # it belongs to what follows, not to the option
        given.rest.insert(0, value)
        given.values[command] = [""]
    if given.rest and command not in _WITH_PARAMETERS:
        usage(f"unexpected word '{given.rest[0]}'")
    module, function = _COMMANDS[command]
    if command == "validate" and given.has("class", "provider", "agent"):
        function = "validate_agent"
    elif command not in _WITHOUT_RESOURCE and not given.text("resource"):
        usage("Must supply a resource id with -r")
    cluster = connect(None if command in ("wait", "restart") else 60.0)
    # Only the module that is needed: values are set in monitors, and must not wait for the policy engine to load.
    handler: Callable[[Cluster, Given], int] = getattr(import_module(f"crm.tools.resources.{module}"), function)
    return handler(cluster, given)


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
