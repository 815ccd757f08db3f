"""`attrd_updater`: transient node attributes, as agents set and read them.

A delay (`-d`) is the attribute's: from its first change on, the changes of all nodes are held back for so long, and written together then; a
query sees them at once. A private attribute is known to all nodes and never in the CIB.
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
    ("P", "pattern", "PATTERN", "Update or delete all attributes whose name matches this regular expression"),
    "Command:",
    ("Uv", "update", "VALUE", "Update the value (value++ and value+=N count)"),
    ("B", "update-both", "VALUE", "Update the value and the time to wait (dampening). Requires -d"),
    ("Y", "update-delay", "", "Update the time to wait (dampening). Requires -d"),
    ("Q", "query", "", "Query the value"),
    ("D", "delete", "", "Delete the attribute"),
    ("R", "refresh", "", "Accepted, nothing to do: the status section is always up to date"),
    "Additional Options:",
    ("d", "delay", "SECONDS", "The time to wait (dampening) for further changes, of an attribute that has none yet"),
    ("N", "node", "NODE", "The attribute of this node (instead of the local one)"),
    ("A", "all", "", "Show values for all nodes (query only)"),
    ("p", "private", "", "When the attribute is new: never write it to the CIB"),
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
    pattern = given.get("pattern")
    if pattern is not None and (name or command == "query"):
        usage("--pattern goes with --update, --update-both, --update-delay or --delete, and without --name")
    if not name and pattern is None:
        usage("Command requires --name or --pattern argument")
    if command in ("update-both", "update-delay") and not given.has("delay"):
        usage(f"-{'B' if command == 'update-both' else 'Y'} requires -d/--delay")
    cluster = connect()
    if command == "query":
        return _query(cluster, name, given)
    value = given.text(command) if command in ("update", "update-both") else None
    cluster.call(
        "attribute.update",
        node=given.get("node") or local_node(cluster),
        name=name or None,
        pattern=pattern,
        value=value,
        lifetime="reboot",
        delay_ms=milliseconds(given.text("delay"), "--delay") if given.has("delay") else None,
        delay={"update-both": "both", "update-delay": "only"}.get(command),
        private=True if given.has("private") else None,
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
