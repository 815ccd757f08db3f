"""`crmadmin`: who coordinates, what a node's controller is doing, which nodes there are."""

from __future__ import annotations

import sys

from crm.tools import exits
from crm.tools.cluster import connect, milliseconds, query
from crm.tools.command import Failure, Given, only_command, run, usage
from crm.tools.xmltext import elements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crmadmin"
PURPOSE: Final = "query the cluster's controllers"
COMMANDS: Final = ("status", "pacemakerd", "dc_lookup", "nodes")
TABLE: Final[Table] = (
    "Commands:",
    ("S", "status", "NODE", "Display the state of the node's controller"),
    ("D", "dc_lookup", "", "Display the name of the node that coordinates the cluster"),
    ("N", "nodes", "[TYPE]", "Display the names of all nodes (all, cluster, guest, remote)"),
    ("P", "pacemakerd", "", ""),
    "Additional Options:",
    ("t", "timeout", "TIMESPEC", "Time to wait for the answer"),
    ("B", "bash-export", "", "Display nodes in the form 'export uname=id' (with -N)"),
    ("q", "quiet", "", "Display only the essential information"),
    ("i", "ipc-name", "NAME", ""),
)


def work(given: Given) -> int:
    command = only_command(given, COMMANDS)
    timeout_s = milliseconds(given.text("timeout"), "--timeout") / 1000 if given.has("timeout") else 60.0
    cluster = connect(timeout_s)
    match command:
        case "dc_lookup":
            return _dc(cluster, given.has("quiet"))
        case "nodes":
            return _nodes(cluster, given)
        case "status":
            return _status(cluster, given)
    raise Failure(f"--{command} is not supported", exits.UNIMPLEMENTED)


def _dc(cluster: Cluster, quiet: bool) -> int:
    dc = cluster.call("membership")["dc"]
    if dc is None:
        raise Failure("Designated Controller is: unknown", exits.NOSUCH)
    print(dc if quiet else f"Designated Controller is: {dc}")
    return exits.OK


def _nodes(cluster: Cluster, given: Given) -> int:
    wanted = (given.text("nodes") or "all").split(",")
    unknown = [kind for kind in wanted if kind not in ("all", "cluster", "guest", "remote")]
    if unknown:
        usage(f"'{unknown[0]}' is no type of nodes (all, cluster, guest, remote)")
    for node in sorted(elements(query(cluster, scope="nodes"), "node"), key=lambda each: each.get("uname", "")):
        kind = "remote" if node.get("type") == "remote" else "cluster"
        if "all" in wanted or kind in wanted:
            name, identity = node.get("uname", ""), node.get("id", "")
            shown = name if given.has("quiet") else f"{kind} node: {name} ({identity})"
            print(f"export {name}={identity}" if given.has("bash-export") else shown)
    return exits.OK


def _status(cluster: Cluster, given: Given) -> int:
    """Of the node's controller as the others see it; of its own state machine where this node knows it."""
    name = given.text("status")
    answer = cluster.call("status")
    node = next((each for each in answer["nodes"] if name in (each["name"], each["id"])), None)
    if node is None:
        raise Failure(f"there is no node {name}", exits.NOSUCH)
    state = node["state"]
    if node["name"] == answer["node"]:
        state = f"{answer['controller'].get('state', '')} ({state})"
    print(state if given.has("quiet") else f"Status of the controller on {node['name']}: {state}")
    return exits.OK if node["state"] == "online" else exits.ERROR


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
