"""`stonith_admin`: fence a node, confirm that one is off, and see what has been fenced.

A fencing returns when a device has confirmed it, or has failed; the exit code says which. Devices are those of the configuration; nothing is registered by hand.
"""

from __future__ import annotations

import sys
import time

from crm.tools import exits
from crm.tools.cluster import connect, query
from crm.tools.command import Failure, Given, run, usage
from crm.tools.xmltext import elements

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "stonith_admin"
PURPOSE: Final = "fence nodes and look at fencing"
_FENCE: Final = {"fence": "off", "reboot": "reboot", "unfence": "on"}
_ELSEWHERE: Final = {
    "register": "crm configure primitive",
    "deregister": "crm configure delete",
    "register-level": "crm configure fencing_topology",
    "deregister-level": "crm configure fencing_topology",
    "list": "",
    "list-targets": "",
    "query": "crm status",
    "list-installed": "crm ra list stonith",
    "metadata": "crm ra info",
    "validate": "crm configure verify",
}
TABLE: Final[Table] = (
    "Fencing Commands:",
    ("F", "fence", "HOST", "Switch the host off"),
    ("B", "reboot", "HOST", "Reboot the host"),
    ("U", "unfence", "HOST", "Unfence (switch on) the host"),
    ("C", "confirm", "HOST", "Tell the cluster that the host is now safely down"),
    "Queries:",
    ("H", "history", "NODE", "Show the fencing operations of the node ('*' for all nodes)"),
    ("h", "last", "NODE", "Indicate when the node was last fenced"),
    ("L", "list-registered", "", "List all configured devices"),
    ("R", "register", "DEVICE", ""),
    ("D", "deregister", "DEVICE", ""),
    ("r", "register-level", "TARGET", ""),
    ("d", "deregister-level", "TARGET", ""),
    ("l", "list", "HOST", ""),
    ("s", "list-targets", "DEVICE", ""),
    ("Q", "query", "DEVICE", ""),
    ("I", "list-installed", "", ""),
    ("M", "metadata", "", ""),
    ("K", "validate", "", ""),
    "Additional Options:",
    ("t", "timeout", "SECONDS", "How long to wait for the end (default 120)"),
    ("q", "quiet", "", "Be less descriptive"),
    ("T", "tag", "TAG", ""),
    ("b", "broadcast", "", ""),
    ("c", "cleanup", "", ""),
    ("a", "agent", "AGENT", ""),
    ("o", "option", "PARAM", ""),
    ("e", "env-option", "PARAM", ""),
    ("v", "device", "DEVICE", ""),
    ("i", "index", "LEVEL", ""),
    ("y", "delay", "SECONDS", ""),
    ("n", "as-node-id", "", ""),
    ("", "tolerance", "SECONDS", ""),
)
COMMANDS: Final = (*_FENCE, "confirm", "history", "last", "list-registered", *_ELSEWHERE)


def work(given: Given) -> int:
    command = given.chosen(COMMANDS)
    if command is None:
        usage("nothing to do; --help shows the commands")
    if command in _ELSEWHERE:
        instead = f"; see: {_ELSEWHERE[command]}" if _ELSEWHERE[command] else ""
        raise Failure(f"--{command} is not supported{instead}", exits.UNIMPLEMENTED)
    limit = given.get("timeout", "120") or ""
    if not limit.isdigit():
        usage(f"--timeout: expected seconds, not '{limit}'")
    cluster = connect(float(limit))
    if command in _FENCE:
        cluster.call("node.fence", node=given.text(command), action=_FENCE[command])
    elif command == "confirm":
        cluster.call("node.confirm_fenced", node=given.text("confirm"))
    elif command == "list-registered":
        _list(cluster, given.has("quiet"))
    else:
        return _history(cluster, command, given)
    return exits.OK


def _list(cluster: Cluster, quiet: bool) -> None:
    text = query(cluster, xpath="//resources//primitive[@class='stonith']")
    names = [device.get("id", "") for device in elements(text, "primitive") if device.get("class") == "stonith"]
    for name in names:
        print(f" * {name}")
    if not quiet:
        print(f"{len(names)} fence device{'' if len(names) == 1 else 's'} found")


def _history(cluster: Cluster, command: str, given: Given) -> int:
    wanted = given.text(command)
    records = [r for r in cluster.call("status")["fencing"]["history"] if wanted in ("*", "", r["target"])]
    if command == "last":
        done = [record["ended"] for record in records if record["outcome"] == "done" and record["ended"]]
        print(f"Node {wanted} last fenced at: {_when(max(done)) if done else 'never'}")
        return exits.OK
    for record in records:
        print(record["ended"] or record["began"] if given.has("quiet") else sentence(record))
    if not given.has("quiet"):
        print(f"{len(records)} event{'' if len(records) == 1 else 's'} found")
    return exits.OK


def sentence(record: Mapping[str, Any]) -> str:
    """An entry of the fencing history, as the daemon's status has it."""
    what = f"{record['action']} of {record['target']}"
    device = f" by {record['device']}" if record["device"] else ""
    why = f" ({record['reason']})" if record["reason"] else ""
    outcome = {"done": "succeeded", "failed": "failed", "pending": "is under way"}.get(
        record["outcome"], record["outcome"]
    )
    text = f": {record['text']}" if record["text"] and record["outcome"] != "done" else ""
    return f"{what}{why} {outcome}{device} at {_when(record['ended'] or record['began'])}{text}"


def _when(epoch_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(epoch_s))


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
