"""`cibadmin`: query and change the CIB as XML.

A thin command: what to do and where comes from the options, the daemon does it, checks it, and says what is wrong. The text of a query is printed as it comes.
"""

from __future__ import annotations

import sys

from crm.api import errors
from crm.api.errors import ApiError
from crm.tools import exits
from crm.tools.cluster import connect
from crm.tools.command import Failure, Given, run, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from crm.tools.cluster import Cluster
    from crm.tools.command import Table

NAME: Final = "cibadmin"
PURPOSE: Final = "query and edit the cluster's configuration"
TABLE: Final[Table] = (
    "Commands:",
    ("Q", "query", "", "Query the contents of the CIB"),
    ("C", "create", "", "Create an object in the CIB (fails if it already exists)"),
    ("M", "modify", "", "Update an object (fails if it does not exist unless -c is also given)"),
    ("R", "replace", "", "Recursively replace an object in the CIB"),
    ("D", "delete", "", "Delete first object matching supplied criteria"),
    ("d", "delete-all", "", "With --xpath: remove all matching objects. Requires -f"),
    ("P", "patch", "", "Supply an update in the form of an XML diff"),
    ("B", "bump", "", "Increase the CIB's epoch value by 1"),
    ("u", "upgrade", "", "Upgrade the configuration to the latest syntax. Requires -f"),
    ("E", "erase", "", "Erase the whole configuration. Requires -f"),
    ("a", "empty", "", "Output an empty CIB"),
    "Data:",
    ("X", "xml-text", "XML", "XML from the supplied string"),
    ("x", "xml-file", "FILE", "XML from the named file"),
    ("p", "xml-pipe", "", "XML from stdin"),
    "Additional options:",
    ("o", "scope", "SECTION", "Limit scope of operation to this section of the CIB"),
    ("A", "xpath", "XPATH", "A valid XPath to use instead of --scope"),
    ("e", "node-path", "", "With -Q and an XPath: the path of each match instead of its XML"),
    ("n", "no-children", "", "With -Q: without the children"),
    ("c", "allow-create", "", "Allow target of --modify to be created if it does not exist"),
    ("f", "force", "", "Do it although it is dangerous"),
    ("t", "timeout", "SECONDS", "Time to wait for the answer"),
    ("s", "sync-call", "", ""),
    ("l", "local", "", ""),
    ("U", "user", "NAME", ""),
    ("N", "node", "NAME", ""),
    ("S", "show-access", "[HOW]", ""),
    ("5", "md5-sum", "", ""),
    ("6", "md5-sum-versioned", "", ""),
)
COMMANDS: Final = (
    *("query", "create", "modify", "replace", "delete", "delete-all", "patch", "bump", "upgrade", "erase", "empty"),
    *("md5-sum", "md5-sum-versioned", "show-access"),
)
_NEEDS_XML: Final = ("create", "modify", "replace", "patch")
_DANGEROUS: Final = ("upgrade", "erase", "delete-all")


def work(given: Given) -> int:
    command = given.chosen(COMMANDS)
    if command is None:
        usage("nothing to do; --help shows the commands")
    if command in ("md5-sum", "md5-sum-versioned", "show-access") or given.has("user"):
        what = command if not given.has("user") else "user"
        raise Failure(f"--{what} is not supported", exits.UNIMPLEMENTED)
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    if command in _DANGEROUS and not given.has("force"):
        text = "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, "
        raise Failure(f"{text}the --force flag is required in order to proceed.", exits.UNSAFE)
    if command == "empty":
        from crm.cib import xml

        print(xml.to_text(xml.empty()), end="")
        return exits.OK
    timeout = given.get("timeout")
    if timeout is not None and not timeout.isdigit():
        usage(f"--timeout: expected seconds, not '{timeout}'")
    cluster = connect(float(timeout) if timeout is not None else 60.0)
    return _query(cluster, given) if command == "query" else _change(cluster, command, given)


# --- query ------------------------------------------------------------------------------------------------------------


def _query(cluster: Cluster, given: Given) -> int:
    answer = cluster.call("cib.query", xpath=given.get("xpath"), scope=_scope(given))
    text = str(answer["xml"])
    if given.has("node-path") and given.has("xpath"):
        from crm.cib import xml

        document = xml.parse(cluster.call("cib.query")["xml"])
        text = "".join(f"{xml.path_of(found)}\n" for found in xml.xpath(document, given.text("xpath")))
    elif given.has("no-children"):
        text = _without_children(text)
    print(text, end="" if text.endswith("\n") else "\n")
    return exits.OK


def _without_children(text: str) -> str:
    from crm.cib import xml

    root = xml.parse_fragment(text)
    for found in list(root) if root.tag == "xpath-query" else [root]:
        for child in list(found):
            found.remove(child)
    return xml.to_text(root)


def _scope(given: Given) -> str | None:
    """Nothing when an XPath is given: that says more. `all` is the whole CIB."""
    scope = given.get("scope") if not given.has("xpath") else None
    return None if scope in ("all", "cib") else scope


# --- change -----------------------------------------------------------------------------------------------------------


def _change(cluster: Cluster, command: str, given: Given) -> int:
    params: dict[str, Any] = {"operation": "delete" if command == "delete-all" else command, "scope": _scope(given)}
    text = _given_xml(given)
    if command in _NEEDS_XML or (command == "delete" and not given.has("xpath")):
        if text is None:
            usage(f"--{command} needs XML: -X, -x or -p")
        params["xml"] = text
    if command == "delete-all" and not given.has("xpath"):
        usage("--delete-all requires --xpath")
    if given.has("xpath"):
        params["xpath"] = given.text("xpath")
    params["allow_create"] = True if given.has("allow-create") else None
    params["all_matches"] = True if command == "delete-all" else None
    try:
        cluster.call("cib.apply", client=NAME, **params)
    except ApiError as error:
        # What is not there need not be deleted: scripts rely on it.
        if error.code != errors.NOT_FOUND or not command.startswith("delete"):
            raise ApiError(error.code, f"Call failed: {error.message}", error.items) from None
    return exits.OK


def _given_xml(given: Given) -> str | None:
    if given.has("xml-text"):
        return given.text("xml-text")
    if given.has("xml-pipe"):
        return sys.stdin.read()
    path = given.get("xml-file")
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (pathlib costs 10 ms)
            return file.read()
    except OSError as error:
        raise Failure(f"Couldn't read {path}: {error.strerror}", exits.NOINPUT) from None
    except UnicodeDecodeError:
        raise Failure(f"{path} is not UTF-8 text", exits.DATAERR) from None


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
