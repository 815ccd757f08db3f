"""`crm_mon`: the state of the cluster as text, once or again and again.

The sections are `crm_mon_text`'s; `crm status` is the status for people in front of a terminal.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from crm.cib import xml
from crm.policy.model import ClusterState, Primitive
from crm.policy.render.status import Detail
from crm.policy.state import effective_now, unpack
from crm.tools import exits
from crm.tools.cluster import cib_file, connect, milliseconds
from crm.tools.command import Failure, Given, run, usage
from crm.tools.crm_mon_text import DEFAULT, SECTIONS, SUMMARY, View, report

if TYPE_CHECKING:
    from typing import Any

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "crm_mon"
PURPOSE: Final = "provide a summary of the cluster's current state"
INTERVAL_MS: Final = 5000
_CLEAR_SCREEN: Final = "\033[H\033[J"
_FENCING: Final = (
    (),
    ("fencing-failed", "fencing-pending"),
    ("fencing-failed", "fencing-pending", "fencing-succeeded"),
)
_SWITCHES: Final = {
    "failcounts": "failcounts",
    "operations": "operations",
    "tickets": "tickets",
    "show-node-attributes": "attributes",
}
TABLE: Final[Table] = (
    "Display Options:",
    ("I", "include", "SECTION", "Show these sections, too (several, with commas)"),
    ("U", "exclude", "SECTION", "Leave these sections out"),
    ("", "node", "NODE", "Only what concerns this node, or the nodes with this tag"),
    ("", "resource", "RSC", "Only what concerns this resource, or the resources with this tag"),
    ("n", "group-by-node", "", "Resources below the node that runs them"),
    ("r", "inactive", "", "Also what is not running"),
    ("f", "failcounts", "", "Fail counts"),
    ("o", "operations", "", "What was done with each resource"),
    ("t", "timing-details", "", "The same with times and results"),
    ("c", "tickets", "", "Tickets"),
    ("m", "fence-history", "[LEVEL]", "Fencing: 0 nothing, 1 failed and pending (as without), 2 successful, too"),
    ("L", "neg-locations", "[PREFIX]", "Location constraints that keep resources away"),
    ("A", "show-node-attributes", "", "Node attributes"),
    ("D", "hide-headers", "", "No summary"),
    ("R", "show-detail", "", "Node ids, each instance of a clone, failures in full"),
    ("b", "brief", "", "Numbers instead of resources"),
    ("s", "simple-status", "", "One line and an exit code, for nagios"),
    "Output:",
    ("1", "one-shot", "", "Print the status once and exit (always, where the output is no terminal)"),
    ("i", "interval", "TIMESPEC", "How often the screen is renewed (5 seconds)"),
    ("", "output-as", "FORMAT", "text or console (the default), or xml"),
    ("", "text-fancy", "", ""),
    ("N", "disable-ncurses", "", ""),
    ("X", "as-xml", "", "The older form of --output-as=xml"),
    ("h", "as-html", "FILE", ""),
    ("d", "daemonize", "", ""),
    ("w", "web-cgi", "", ""),
    ("E", "external-agent", "FILE", ""),
    ("Q", "quiet", "", "No times in the summary"),
)
_UNSUPPORTED: Final = ("as-html", "daemonize", "web-cgi", "external-agent")


def work(given: Given) -> int:
    for name in _UNSUPPORTED:
        if given.has(name):
            raise Failure(f"--{name} is not supported; crm status --json is for programs", exits.UNIMPLEMENTED)
    form = given.get("output-as", "text")
    if form not in ("text", "console", "xml"):
        raise Failure(f"--output-as={form} is not supported; text, console and xml are", exits.UNIMPLEMENTED)
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    sections = chosen_sections(given)
    pause_s = milliseconds(given.text("interval"), "--interval") / 1000 if given.has("interval") else INTERVAL_MS / 1000
    cluster = connect()
    while True:
        document = xml.parse(cluster.call("cib.query")["xml"], comments=False)
        state = unpack(document, effective_now(document, None, int(time.time()))[0])
        if given.has("simple-status"):
            return simple(state)
        if given.has("as-xml") or form == "xml":
            from crm.tools.crm_mon_xml import document as answer

            print(answer(state, " ".join((NAME, *sys.argv[1:])), older=given.has("as-xml")), end="")
            return exits.OK
        screen = sys.stdout.isatty() and not given.has("one-shot")
        lines = report(state, view_of(given, sections, state), fencing_history(cluster) if cib_file() is None else ())
        print((_CLEAR_SCREEN if screen else "") + "\n".join(lines))
        if not screen:
            return exits.OK
        time.sleep(pause_s)


def chosen_sections(given: Given) -> frozenset[str]:
    """The default, changed by each option in the order in which they were given."""
    sections = set(DEFAULT)
    values = {name: iter(found) for name, found in given.values.items()}
    for name in given.order:
        value = next(values[name], "")
        match name:
            case "include" | "exclude":
                for word in value.split(","):
                    _change(sections, name == "include", word.partition(":")[0])
            case "fence-history":
                sections -= {"fencing-failed", "fencing-pending", "fencing-succeeded"}
                sections |= set(_FENCING[min(_level(value), len(_FENCING) - 1)])
            case "hide-headers":
                sections -= set(SUMMARY)
            case "timing-details":
                sections.add("operations")
            case "neg-locations":
                sections.add("bans")
            case _ if name in _SWITCHES:
                sections.add(_SWITCHES[name])
    return frozenset(sections)


def _change(sections: set[str], include: bool, word: str) -> None:
    if word in ("all", "none", "default"):
        if word == "default" and not include:
            usage("--exclude=default says nothing; name the sections")
        everything = (word == "all") is include
        sections.clear()
        sections |= set(DEFAULT) if word == "default" else set(SECTIONS) if everything else set()
        return
    named = {"summary": set(SUMMARY), "fencing": {"fencing-failed", "fencing-pending", "fencing-succeeded"}}
    found = named.get(word, {word})
    if not found <= set(SECTIONS):
        known = ", ".join(sorted((*SECTIONS, *named, "all", "none", *(["default"] if include else []))))
        usage(f"--{'include' if include else 'exclude'} options: {known}")
    if include:
        sections |= found
    else:
        sections -= found


def _level(text: str) -> int:
    if not text:
        return 2
    if not text.isdigit():
        usage(f"--fence-history expects 0 to 3, not '{text}'")
    return int(text)


def view_of(given: Given, sections: frozenset[str], state: ClusterState) -> View:
    nodes = _named(given.get("node"), state)
    detail = Detail(
        inactive=given.has("inactive"), instances=given.has("show-detail"), brief=given.has("brief"), nodes=nodes
    )
    prefixes = [
        word[5:] for value in given.values.get("include", []) for word in value.split(",") if word.startswith("bans:")
    ]
    return View(
        sections=sections,
        detail=detail,
        by_node=given.has("group-by-node"),
        timing=given.has("timing-details"),
        quiet=given.has("quiet"),
        bans=given.text("neg-locations") or next(reversed(prefixes), ""),
        nodes=nodes,
        resources=_named(given.get("resource"), state),
        software=("unknown", "unknown") if cib_file() else ("vigil", version("vigil")),
    )


def _named(name: str | None, state: ClusterState) -> frozenset[str] | None:
    """What a name means: that one, or all that a tag of this name names. None without a name."""
    if name is None:
        return None
    tagged = state.tags.get(name, [])
    return frozenset([name, *tagged, *(node.name for node in state.nodes if node.id in tagged)])


def fencing_history(cluster: Cluster) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = cluster.call("status")["fencing"]["history"]
    return history


def simple(state: ClusterState) -> int:
    """One line and a code as nagios wants them: 0 all is well, 1 something is offline or there is no DC."""
    if state.dc_node is None:
        print("CLUSTER WARN: No DC")
        return exits.ERROR
    offline = [node.name for node in state.nodes if not node.online and not node.is_remote]
    if offline:
        print(f"CLUSTER WARN: offline node: {', '.join(offline)}")
        return exits.ERROR
    online = sum(1 for node in state.nodes if node.online)
    instances = sum(1 for rsc in state.all_resources if isinstance(rsc, Primitive) and not rsc.removed)
    print(f"CLUSTER OK: {online} nodes online, {instances} resource instances configured")
    return exits.OK


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
