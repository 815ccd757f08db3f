"""`crm_mon`: the state of the cluster as text, once or again and again.

The listing is the one of `crm_simulate`, from the same reader; `crm status` is the one for people in front of a terminal.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from crm.cib import xml
from crm.policy.model import ClusterState, NodeKind, Primitive
from crm.policy.render.status import header_lines, status_lines
from crm.policy.state import effective_now, unpack
from crm.tools import exits
from crm.tools.cluster import connect, milliseconds
from crm.tools.command import Failure, Given, run, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crm.tools.command import Table

NAME: Final = "crm_mon"
PURPOSE: Final = "provide a summary of the cluster's current state"
INTERVAL_MS: Final = 5000
_CLEAR_SCREEN: Final = "\033[H\033[J"
_HIDDEN: Final = ("fail-count-", "last-failure-")
TABLE: Final[Table] = (
    "Display Options:",
    ("1", "one-shot", "", "Display the cluster status once and exit (always, where the output is no terminal)"),
    ("i", "interval", "TIMESPEC", "Update frequency (default is 5 seconds)"),
    ("r", "inactive", "", "Display inactive resources (they always are)"),
    ("f", "failcounts", "", "Display resource fail counts"),
    ("A", "show-node-attributes", "", "Display node attributes"),
    ("D", "hide-headers", "", "Hide all headers"),
    ("s", "simple-status", "", "Display the cluster status once as a simple one line output (suitable for nagios)"),
    ("n", "group-by-node", "", ""),
    ("o", "operations", "", ""),
    ("t", "timing-details", "", ""),
    ("c", "tickets", "", ""),
    ("L", "neg-locations", "[PREFIX]", ""),
    ("m", "fence-history", "[LEVEL]", ""),
    ("R", "show-detail", "", ""),
    ("b", "brief", "", ""),
    ("N", "disable-ncurses", "", ""),
    ("", "output-as", "FORMAT", "text (the default) or xml"),
    ("X", "as-xml", "", "The older form of --output-as=xml"),
    ("h", "as-html", "FILE", ""),
    ("d", "daemonize", "", ""),
    ("w", "web-cgi", "", ""),
    ("E", "external-agent", "FILE", ""),
    ("Q", "quiet", "", "Be less descriptive"),
)
_UNSUPPORTED: Final = ("as-html", "daemonize", "web-cgi", "external-agent")


def work(given: Given) -> int:
    for name in _UNSUPPORTED:
        if given.has(name):
            raise Failure(f"--{name} is not supported; crm status --json is for programs", exits.UNIMPLEMENTED)
    if given.get("output-as", "text") not in ("text", "console", "xml"):
        raise Failure(f"--output-as={given.text('output-as')} is not supported", exits.UNIMPLEMENTED)
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    pause_s = milliseconds(given.text("interval"), "--interval") / 1000 if given.has("interval") else INTERVAL_MS / 1000
    cluster = connect()
    while True:
        document = xml.parse(cluster.call("cib.query")["xml"], comments=False)
        state = unpack(document, effective_now(document, None, int(time.time()))[0])
        if given.has("simple-status"):
            return simple(state)
        if given.has("as-xml") or given.get("output-as") == "xml":
            from crm.tools.crm_mon_xml import document as answer

            print(answer(state, " ".join((NAME, *sys.argv[1:])), older=given.has("as-xml")), end="")
            return exits.OK
        screen = sys.stdout.isatty() and not given.has("one-shot")
        print((_CLEAR_SCREEN if screen else "") + "\n".join(listing(state, given)))
        if not screen:
            return exits.OK
        time.sleep(pause_s)


def listing(state: ClusterState, given: Given) -> list[str]:
    lines: list[str] = []
    if not given.has("hide-headers"):
        lines += [*_summary(state), *header_lines(state), ""]
    # The simulation's listing is one level deeper, below its own title.
    lines += [line[4:] if line.startswith("  * ") and line.endswith(":") else line[2:] for line in status_lines(state)]
    if given.has("show-node-attributes"):
        lines += ["", "Node Attributes:", *_attributes(state)]
    if given.has("failcounts"):
        lines += ["", "Migration Summary:", *_fail_counts(state)]
    failures = list(_failures(state))
    return [*lines, "", "Failed Resource Actions:", *failures] if failures else lines


def _summary(state: ClusterState) -> list[str]:
    instances = sum(1 for rsc in state.all_resources if isinstance(rsc, Primitive) and not rsc.removed)
    quorum = "with" if state.quorate else "WITHOUT"
    dc = "NONE" if state.dc_node is None else f"{state.dc_node.name} - partition {quorum} quorum"
    changed = [state.cib.get("cib-last-written", ""), state.cib.get("update-client"), state.cib.get("update-origin")]
    by = f" by {changed[1]}" if changed[1] else ""
    on = f" on {changed[2]}" if changed[2] else ""
    nodes = sum(1 for node in state.nodes if node.kind is not NodeKind.BUNDLE)
    return [
        "Cluster Summary:",
        f"  * Current DC: {dc}",
        f"  * Last updated: {time.strftime('%a %b %e %H:%M:%S %Y')}",
        f"  * Last change:  {changed[0]}{by}{on}",
        f"  * {nodes} node{'' if nodes == 1 else 's'} configured",
        f"  * {instances} resource instance{'' if instances == 1 else 's'} configured",
    ]


def _attributes(state: ClusterState) -> Iterator[str]:
    for node in state.nodes:
        shown = {name: value for name, value in node.attributes.items() if not name.startswith(("#", *_HIDDEN))}
        if shown:
            yield f"  * Node: {node.name}:"
            yield from (f"    * {name:32}\t: {value:10}" for name, value in sorted(shown.items()))


def _fail_counts(state: ClusterState) -> Iterator[str]:
    for node in state.nodes:
        counted = [r for r in state.all_resources if isinstance(r, Primitive) and r.fail_counts.get(node)]
        if counted:
            yield f"  * Node: {node.name}:"
        for rsc in counted:
            threshold = rsc.meta.get("migration-threshold")
            limit = f" migration-threshold={threshold}" if threshold else ""
            yield f"    * {rsc.config_id}:{limit} fail-count={rsc.fail_counts[node]}"


def _failures(state: ClusterState) -> Iterator[str]:
    for failed in state.failed_ops:
        entry = failed.entry
        reason = entry.xml.get("exit-reason")
        why = f", exitreason='{reason}'" if reason else ""
        when = entry.xml.get("last-rc-change", "")
        at = (
            f", last-rc-change='{time.strftime('%Y-%m-%d %H:%M:%S %z', time.localtime(int(when)))}'"
            if when.isdigit()
            else ""
        )
        took = entry.xml.get("exec-time", "0")
        yield (
            f"  * {entry.xml.get('operation_key')} on {failed.node.name}: rc={entry.rc} status={entry.status} "
            f"(call={entry.xml.get('call-id')}{why}{at}, exec={took}ms)"
        )


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
