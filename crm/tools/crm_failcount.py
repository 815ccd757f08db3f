"""`crm_failcount`: how often a resource has failed on a node, and forgetting it.

A count is the sum of those of the resource's operations, each a transient attribute of the node; forgetting clears the failures from the history too, as
`crm_resource --cleanup` does.
"""

from __future__ import annotations

import sys

from crm.tools import exits
from crm.tools.cluster import connect, local_node, milliseconds
from crm.tools.command import Given, only_command, run, usage
from crm.tools.crm_attribute import Place, known_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_failcount"
PURPOSE: Final = "query or delete resource fail counts"
INFINITY: Final = 1_000_000
TABLE: Final[Table] = (
    "Commands:",
    ("G", "query", "", "Query the current value of the resource's fail count"),
    ("D", "delete", "", "Delete resource's recorded failures"),
    "Additional Options:",
    ("ri", "resource", "RESOURCE", "The resource (required)"),
    ("n", "operation", "OPERATION", "This operation only (instead of all)"),
    ("I", "interval", "TIME", "With an operation, its interval"),
    ("NU", "node", "NODE", "The node (default: this one)"),
    ("qQ", "quiet", "", "Print only the value (if querying)"),
)


def work(given: Given) -> int:
    command = only_command(given, ("query", "delete"))
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    resource, operation = given.text("resource"), given.get("operation")
    if not resource:
        usage("the name of a resource is missing (-r)")
    interval_ms = milliseconds(given.text("interval"), "--interval") if given.has("interval") else 0
    cluster = connect()
    node = given.get("node") or local_node(cluster)
    known_node(cluster, Place("nodes", "", node))
    if command == "delete":
        which = {} if operation is None else {"operation": operation, "interval_ms": interval_ms}
        cluster.call("resource.cleanup", resource=resource, node=node, **which)
        return exits.OK
    name = f"fail-count-{resource}" + (f"#{operation}_{interval_ms}" if operation else "")
    count = counted(cluster, node, name, single=operation is not None)
    print(count if given.has("quiet") else f"scope=status  name={name} value={count}")
    return exits.OK


def counted(cluster: Cluster, node: str, name: str, *, single: bool) -> str:
    """Of one operation, or the sum over all."""
    values = cluster.call("attribute.query", node=node, lifetime="reboot")["values"]
    total = 0
    for attributes in values.values():
        for key, value in attributes.items():
            if key == name or (not single and key.startswith(f"{name}#")):
                total += INFINITY if value == "INFINITY" else int(value) if value.isdigit() else 0
    return "INFINITY" if total >= INFINITY else str(total)


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
