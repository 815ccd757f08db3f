"""`attrd_updater`: transient node attributes, as agents set and read them.

A value with a delay (`-d`) is held back until it has come to rest; a query on the same node sees it at once.
"""

from __future__ import annotations

import sys

from crm.tools import exits
from crm.tools.cluster import connect, local_node, milliseconds
from crm.tools.command import Failure, Given, only_command, run, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "attrd_updater"
PURPOSE: Final = "query and update node attributes"
COMMANDS: Final = ("update", "update-both", "update-delay", "query", "delete", "refresh")
TABLE: Final[Table] = (
    "Required Arguments:",
    ("n", "name", "NAME", "The attribute's name"),
    "Command:",
    ("Uv", "update", "VALUE", "Update the value (value++ and value+=N count)"),
    ("B", "update-both", "VALUE", "Update the value and the time to wait. Requires -d"),
    ("Y", "update-delay", "", "Update the time to wait. Requires -d"),
    ("Q", "query", "", "Query the value"),
    ("D", "delete", "", "Delete the attribute"),
    ("R", "refresh", "", "Accepted, nothing to do: the status section is always up to date"),
    "Additional Options:",
    ("d", "delay", "SECONDS", "The time to wait (dampening) for further changes"),
    ("N", "node", "NODE", "The attribute of this node (instead of the local one)"),
    ("A", "all", "", "Show values for all nodes (query only)"),
    ("p", "private", "", "Not supported: all attributes are in the status section"),
    ("q", "quiet", "", "Print only what is essential"),
    ("sS", "set", "SET", ""),
    ("l", "lifetime", "SECTION", ""),
)


def work(given: Given) -> int:
    command = only_command(given, COMMANDS)
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    if command == "refresh":
        return exits.OK
    name = given.text("name")
    if not name:
        usage("Command requires --name argument")
    if command in ("update-both", "update-delay") and not given.has("delay"):
        usage(f"-{'B' if command == 'update-both' else 'Y'} requires -d/--delay")
    if command == "update-delay":
        # The time to wait comes with each value; there is none to remember.
        return exits.OK
    cluster = connect()
    if command == "query":
        return _query(cluster, name, given)
    value = None if command == "delete" else given.text(command)
    delay_ms = milliseconds(given.text("delay"), "--delay") if given.has("delay") else 0
    cluster.call(
        "attribute.update",
        node=given.get("node") or local_node(cluster),
        name=name,
        value=value,
        lifetime="reboot",
        delay_ms=delay_ms or None,
    )
    return exits.OK


def _query(cluster: Cluster, name: str, given: Given) -> int:
    node = None if given.has("all") else given.get("node") or local_node(cluster)
    answer = cluster.call("attribute.query", node=node, name=name, lifetime="reboot", held=True)
    found = {host: values[name] for host, values in answer["values"].items() if name in values}
    if not found:
        raise Failure(f"Could not query value of {name}: attribute does not exist", exits.NOSUCH)
    for host, value in sorted(found.items()):
        print(f'name="{name}" host="{host}" value="{value}"')
    return exits.OK


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
