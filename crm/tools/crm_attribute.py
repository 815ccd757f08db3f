"""`crm_attribute`: node attributes, cluster options and defaults; promotion scores for the agents of promotable clones.

Theory of operation. Where a value lives follows from the options, as documented for Pacemaker: `-t` names a section; with a node, a lifetime of `reboot` means the status
section (transient), `forever` the node's own attributes; `--promotion` is transient; with none of these a cluster option is meant.
Transient values go through the daemon's attribute methods, all others are pairs in the CIB: the pair that is there is changed
where it stands, a new one gets the place and id that Pacemaker's tools would give it.
"""

from __future__ import annotations

import os
import sys

from crm.api import errors
from crm.api.errors import ApiError
from crm.tools import exits
from crm.tools.cluster import connect, local_node, query
from crm.tools.command import Failure, Given, only_command, run, usage
from crm.tools.xmltext import counted, element, elements, id_part, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_attribute"
PURPOSE: Final = "query and update cluster options and node attributes"
COMMANDS: Final = ("query", "update", "delete")
TABLE: Final[Table] = (
    "Selecting attributes:",
    ("n", "name", "NAME", "The attribute or option; for queries optional (all are shown)"),
    ("P", "pattern", "PATTERN", "All attributes matching this pattern (with -G, or with -v/-D and -l reboot)"),
    ("p", "promotion", "[RESOURCE]", "The promotion score of RESOURCE, else of OCF_RESOURCE_INSTANCE"),
    ("s", "set-name", "NAME", "(Advanced) The attribute within the set with this XML ID"),
    ("i", "id", "XML_ID", "(Advanced) The attribute with this XML ID"),
    "Commands:",
    ("G", "query", "", "Query the current value (the default)"),
    ("v", "update", "VALUE", "Update the value (value++ and value+=N count)"),
    ("D", "delete", "", "Delete the attribute or option"),
    "Additional options:",
    ("d", "default", "VALUE", "(Advanced) Value to show if none is set"),
    ("l", "lifetime", "LIFETIME", "Lifetime of the node attribute: reboot, forever"),
    ("NU", "node", "NODE", "An attribute of this node (instead of a cluster option)"),
    ("t", "type", "SECTION", "Where: crm_config, rsc_defaults, op_defaults; nodes, status"),
    ("z", "utilization", "", "An utilization attribute of the node"),
    ("qQ", "quiet", "", "Print only the value"),
    ("", "get-value", "", ""),
    ("", "attr-value", "VALUE", ""),
    ("", "attr-name", "NAME", ""),
    ("", "delete-attr", "", ""),
    ("", "uname", "NODE", ""),
    ("!", "inhibit-policy-engine", "", ""),
)
_ALIASES: Final = {
    "get-value": "query",
    "attr-value": "update",
    "attr-name": "name",
    "delete-attr": "delete",
    "uname": "node",
}
_LIFETIMES: Final = {"reboot": "status", "forever": "nodes"}
_SET_IDS: Final = {
    "crm_config": "cib-bootstrap-options",
    "rsc_defaults": "rsc_defaults-options",
    "op_defaults": "op_defaults-options",
}
_SECTIONS: Final = ("nodes", "status", "crm_config", "rsc_defaults", "op_defaults")


class Place:
    """Where a value lives: `scope` is a section; `node` is its name, "" for options. `set_id` and `pair_id` narrow it down when given."""

    def __init__(self, scope: str, name: str, node: str = "") -> None:
        self.scope = scope
        self.name = name
        self.node = node
        self.set_tag = "cluster_property_set" if scope == "crm_config" else "meta_attributes"
        if node:
            self.set_tag = "instance_attributes"
        self.set_id = ""
        self.pair_id = ""

    def holder(self) -> str:
        """The XPath of the element whose sets may have the value."""
        if self.scope == "nodes":
            return f"//nodes/node[@uname={quoted(self.node)} or @id={quoted(self.node)}]"
        return f"/cib/configuration/{self.scope}"

    def pairs(self) -> str:
        """The XPath of the pairs meant."""
        set_is = f"[@id={quoted(self.set_id)}]" if self.set_id else ""
        conditions = f"[@name={quoted(self.name)}]" if self.name else ""
        if self.pair_id:
            conditions += f"[@id={quoted(self.pair_id)}]"
        return f"{self.holder()}/{self.set_tag}{set_is}/nvpair{conditions}"


def place_of(given: Given, cluster: Cluster) -> Place:
    """What the options mean. Failure (usage) when they contradict each other."""
    name, node, lifetime, section = given.text("name"), given.text("node"), given.get("lifetime"), given.get("type")
    if lifetime is not None and lifetime not in _LIFETIMES:
        usage(f"Invalid value '{lifetime}' for lifetime (reboot or forever expected)")
    if given.has("promotion"):
        resource = given.text("promotion") or os.environ.get("OCF_RESOURCE_INSTANCE", "")
        if not resource:
            usage("-p/--promotion must be called from an OCF resource agent or with a resource ID specified")
        name, section = f"master-{resource}", _LIFETIMES[lifetime or "reboot"]
    if section in (None, *_LIFETIMES.values()) and lifetime is not None:
        section = _LIFETIMES[lifetime]
    if section is None:
        section = "nodes" if node or given.has("utilization") else "crm_config"
    if section == "tickets":
        raise Failure("attributes of tickets are not supported", exits.UNIMPLEMENTED)
    if section not in _SECTIONS:
        usage(f"Invalid value '{section}' for type ({', '.join(_SECTIONS)} expected)")
    if section in ("nodes", "status") and not node:
        node = local_node(cluster)
    place = Place(section, name, node if section in ("nodes", "status") else "")
    if given.has("utilization"):
        place.scope, place.set_tag = "nodes", "utilization"
    place.set_id, place.pair_id = given.text("set-name"), given.text("id")
    return place


def work(given: Given) -> int:
    for name in [name for name in given.order if name in _ALIASES]:
        given.add(_ALIASES[name], given.values[name][-1])
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    command = only_command(given, COMMANDS, "query")
    cluster = connect()
    place = place_of(given, cluster)
    quiet = given.has("quiet")
    if given.has("pattern"):
        return matching(cluster, place, command, given)
    if command == "query":
        return show(cluster, place, given.get("default"), quiet)
    if not place.name and not place.pair_id:
        usage("-n/--name is missing")
    if command == "update":
        update(cluster, place, given.text("update"))
    else:
        deleted(delete(cluster, place), place, quiet)
    return exits.OK


# --- query ------------------------------------------------------------------------------------------------------------


def values(cluster: Cluster, place: Place) -> list[tuple[str, str]]:
    """(name, value) of what is there."""
    if place.scope == "status":
        answer = cluster.call("attribute.query", node=place.node, name=place.name or None, lifetime="reboot")
        return [pair for found in answer["values"].values() for pair in found.items()]
    text = query(cluster, xpath=place.pairs())
    return [(pair.get("name", ""), pair.get("value", "")) for pair in elements(text, "nvpair")]


def show(cluster: Cluster, place: Place, default: str | None, quiet: bool) -> int:
    found = values(cluster, place)
    shown = f" id={place.pair_id} " if place.pair_id and found else "  "
    if not found and default is not None:
        found = [(place.name, default)]
    if not found:
        if place.node:
            known_node(cluster, place)
        raise Failure("Error performing operation: No such device or address", exits.NOSUCH)
    print_values(found, place.scope, quiet, shown)
    return exits.OK


def print_values(found: list[tuple[str, str]], scope: str, quiet: bool, shown: str = "  ") -> None:
    for name, value in found:
        print(value if quiet else f"scope={scope}{shown}name={name} value={value}")


def known_node(cluster: Cluster, place: Place) -> str:
    """The node's id. Failure when there is none of that name."""
    node = f"//nodes/node[@uname={quoted(place.node)} or @id={quoted(place.node)}]"
    found = elements(query(cluster, xpath=node), "node")
    if not found:
        raise Failure(f"Could not map name={place.node} to a UUID", exits.NOSUCH)
    return found[0].get("id", "")


# --- change -----------------------------------------------------------------------------------------------------------


def update(cluster: Cluster, place: Place, value: str) -> None:
    if place.scope == "status":
        cluster.call("attribute.update", node=place.node, name=place.name, value=value, lifetime="reboot")
        return
    found = elements(query(cluster, xpath=place.pairs()), "nvpair")
    if len(found) > 1:
        ids = ", ".join(pair.get("id", "") for pair in found)
        raise Failure(f"{place.name} is set {len(found)} times ({ids}): choose one with -i or -s", exits.MULTIPLE)
    if found:
        text = element("nvpair", {"id": found[0].get("id", ""), "value": counted(value)})
        cluster.call("cib.apply", operation="modify", xml=text, scope=place.scope, client=NAME)
    else:
        create(cluster, place, counted(value))


def create(cluster: Cluster, place: Place, value: str) -> None:
    """The pair in the set that is named, else the first of its kind, else a new one."""
    holder_id = known_node(cluster, place) if place.node else ""
    set_id = place.set_id
    if not set_id:
        own = elements(
            query(cluster, xpath=f"{place.holder()}/{place.set_tag}[not(rule) and not(@id-ref)]"), place.set_tag
        )
        default = f"nodes-{holder_id}" if place.node else _SET_IDS[place.scope]
        if place.set_tag == "utilization":
            default += "-utilization"
        set_id = own[0].get("id", default) if own else default
    pair = {"id": place.pair_id or f"{set_id}-{id_part(place.name)}", "name": place.name, "value": value}
    text = element(place.set_tag, {"id": set_id}, element("nvpair", pair))
    if place.node:
        text = element("node", {"id": holder_id}, text)
    cluster.call("cib.apply", operation="modify", xml=text, scope=place.scope, allow_create=True, client=NAME)


def delete(cluster: Cluster, place: Place) -> list[dict[str, str]]:
    """What was deleted: the pairs."""
    if place.scope == "status":
        there = values(cluster, place)
        cluster.call("attribute.update", node=place.node, name=place.name, lifetime="reboot")
        return [{"name": name} for name, _ in there]
    found = elements(query(cluster, xpath=place.pairs()), "nvpair")
    for pair in found:
        try:
            path = f"{place.holder()}/{place.set_tag}/nvpair[@id={quoted(pair.get('id', ''))}]"
            cluster.call("cib.apply", operation="delete", xpath=path, client=NAME)
        except ApiError as error:
            if error.code != errors.NOT_FOUND:
                raise
    return found


def deleted(pairs: list[dict[str, str]], place: Place, quiet: bool) -> None:
    what = "attribute" if place.node else "option"
    for pair in pairs if not quiet else ():
        identity = f"id={pair['id']} " if "id" in pair else ""
        print(f"Deleted {place.scope} {what}: {identity}name={pair.get('name', '')}")


def matching(cluster: Cluster, place: Place, command: str, given: Given) -> int:
    """All attributes whose name matches a pattern."""
    import re

    try:
        pattern = re.compile(given.text("pattern"))
    except re.error as error:
        usage(f"invalid pattern '{given.text('pattern')}': {error}")
    if command != "query" and place.scope != "status":
        usage("a pattern can be changed with -l reboot only")
    place.name = ""
    found = [(name, value) for name, value in values(cluster, place) if pattern.search(name)]
    if command == "query":
        if not found:
            raise Failure("Error performing operation: No such device or address", exits.NOSUCH)
        print_values(found, place.scope, given.has("quiet"))
    for name, _ in found if command != "query" else ():
        value = given.text("update") if command == "update" else None
        cluster.call("attribute.update", node=place.node, name=name, value=value, lifetime="reboot")
    return exits.OK


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
