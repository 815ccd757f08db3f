"""`crm_node`: who this node is, and who else is there."""

from __future__ import annotations

import os
import sys

from crm.tools import exits
from crm.tools.cluster import ON_NODE, connect, query
from crm.tools.command import Failure, Given, only_command, run, usage
from crm.tools.xmltext import elements, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_node"
PURPOSE: Final = "display low-level node information"
COMMANDS: Final = ("cluster-id", "list", "name", "partition", "quorum", "name-for-id", "remove")
TABLE: Final[Table] = (
    "Commands:",
    ("i", "cluster-id", "", "Display this node's cluster id"),
    ("l", "list", "", "Display all known members (past and present) of this cluster"),
    ("n", "name", "", "Display the name used by the cluster for this node"),
    ("p", "partition", "", "Display the members of this partition"),
    ("q", "quorum", "", "Display a 1 if our partition has quorum, 0 if not"),
    ("N", "name-for-id", "ID", "Display the name of the node with this ID"),
    ("R", "remove", "NAME", "(Advanced) Remove the (stopped) node from configuration and status. Requires -f"),
    "Additional Options:",
    ("f", "force", "", "Do it although it is dangerous"),
    ("Q", "quiet", "", "Be less descriptive"),
)


def work(given: Given) -> int:
    if not given.order:
        usage("nothing to do; --help shows the commands")
    command = only_command(given, COMMANDS)
    if command == "name" and os.environ.get(ON_NODE):
        print(os.environ[ON_NODE])
        return exits.OK
    cluster = connect()
    known = cluster.call("membership")
    match command:
        case "cluster-id":
            print(known["id"])
        case "name":
            print(known["node"])
        case "list":
            for node in known["nodes"]:
                print(node["id"], node["name"], "member" if node["member"] else "lost")
        case "partition":
            print(*(node["name"] for node in known["members"]))
        case "quorum":
            print(1 if known["quorate"] else 0)
        case "name-for-id":
            print(_name_for(known, given.text("name-for-id")))
        case _:
            _remove(cluster, known, given)
    return exits.OK


def _name_for(known: dict[str, Any], identity: str) -> str:
    for node in known["nodes"]:
        if node["id"] == identity:
            return str(node["name"])
    raise Failure(f"there is no node with the id {identity}", exits.NOSUCH)


def _remove(cluster: Cluster, known: dict[str, Any], given: Given) -> None:
    name = given.text("remove")
    if any(node["name"] == name for node in known["members"]):
        raise Failure(f"{name} is a member of the cluster: stop it first", exits.UNSAFE)
    if not given.has("force"):
        text = "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, "
        raise Failure(f"{text}the --force flag is required in order to proceed.", exits.UNSAFE)
    state = elements(query(cluster, xpath=f"//status/node_state[@uname={quoted(name)}]"), "node_state")
    if any(each.get("expected") == "member" for each in state):
        # Without its state nothing would stop what it may still be running from being started elsewhere.
        raise Failure(
            f"{name} is lost and not known to be off: fence it, or confirm it with stonith_admin -C", exits.UNSAFE
        )
    steps = [
        {"operation": "delete", "xpath": path}
        for path in (f"//nodes/node[@uname={quoted(name)}]", f"//status/node_state[@uname={quoted(name)}]")
        if query(cluster, xpath=path) is not None
    ]
    if not steps:
        raise Failure(f"there is no node {name}", exits.NOSUCH)
    cluster.call("cib.apply", operation="transaction", steps=steps, client=NAME)


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
