"""`crm_standby`: query, set or clear the standby mode of a node."""

from __future__ import annotations

import sys

from crm.tools import crm_attribute, exits
from crm.tools.cluster import connect, local_node
from crm.tools.command import Given, only_command, run, usage
from crm.tools.crm_attribute import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_standby"
PURPOSE: Final = "query, enable, or disable standby mode for a node"
ATTRIBUTE: Final = "standby"
TABLE: Final[Table] = (
    "Commands:",
    ("G", "query", "", "Query the current value (on/off)"),
    ("v", "update", "VALUE", "Update the value (on/off)"),
    ("D", "delete", "", "Let standby mode use its default value"),
    "Additional Options:",
    ("NU", "node", "NODE", "The node (default: this one)"),
    ("l", "lifetime", "LIFETIME", "Until when: reboot, forever (the default)"),
    ("i", "id", "XML_ID", "(Advanced) XML ID of the standby attribute"),
    ("qQ", "quiet", "", "Print only the value"),
)


def work(given: Given) -> int:
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    lifetime = given.get("lifetime")
    scopes = {None: ("nodes", "status"), "forever": ("nodes",), "reboot": ("status",)}.get(lifetime)
    if scopes is None:
        usage(f"Invalid value '{lifetime}' for lifetime (reboot or forever expected)")
    cluster = connect()
    node = given.get("node") or local_node(cluster)
    places = [Place(scope, ATTRIBUTE, node) for scope in scopes]
    for place in places:
        place.pair_id = given.text("id") if place.scope == "nodes" else ""
    match only_command(given, crm_attribute.COMMANDS, "query"):
        case "query":
            return _show(cluster, places, given.has("quiet"))
        case "update":
            crm_attribute.update(cluster, places[0], given.text("update"))
        case _:
            for place in places:
                crm_attribute.deleted(crm_attribute.delete(cluster, place), place, given.has("quiet"))
    return exits.OK


def _show(cluster: Cluster, places: list[Place], quiet: bool) -> int:
    for place in places:
        if crm_attribute.values(cluster, place):
            return crm_attribute.show(cluster, place, None, quiet)
    crm_attribute.known_node(cluster, places[0])
    return crm_attribute.show(cluster, places[-1], "off", quiet)


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
