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
    ("5", "md5-sum", "", "Calculate the on-disk digest of the given XML"),
    ("6", "md5-sum-versioned", "", "Calculate the digest of the given XML as patches have it"),
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
    ("U", "user", "NAME", "Do it with the permissions of this user (for root and hacluster)"),
    ("S", "show-access", "[HOW]", "With -Q and -U: what the access control lists say (color, text, namespace)"),
    ("s", "sync-call", "", ""),
    ("l", "local", "", ""),
    ("N", "node", "NAME", ""),
)
COMMANDS: Final = (
    *("query", "create", "modify", "replace", "delete", "delete-all", "patch", "bump", "upgrade", "erase", "empty"),
    *("md5-sum", "md5-sum-versioned"),
)
_NEEDS_XML: Final = ("create", "modify", "replace", "patch")
_DANGEROUS: Final = ("upgrade", "erase", "delete-all")


def work(given: Given) -> int:
    command = given.chosen(COMMANDS)
    if command is None:
        usage("nothing to do; --help shows the commands")
    if given.rest and command != "empty":
        usage(f"unexpected word '{given.rest[0]}'")
    if command in _DANGEROUS and not given.has("force"):
        text = "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, "
        raise Failure(f"{text}the --force flag is required in order to proceed.", exits.UNSAFE)
    if command in ("empty", "md5-sum", "md5-sum-versioned"):
        return _without_cluster(command, given)
    if given.has("show-access"):
        _check_show_access(command, given)
    timeout = given.get("timeout")
    if timeout is not None and not timeout.isdigit():
        usage(f"--timeout: expected seconds, not '{timeout}'")
    cluster = connect(float(timeout) if timeout is not None else 60.0)
    return _query(cluster, given) if command == "query" else _change(cluster, command, given)


# --- without a cluster ------------------------------------------------------------------------------------------------


def _without_cluster(command: str, given: Given) -> int:
    from crm.cib import patchset, schema, xml

    if command == "empty":
        document = xml.empty()
        if given.rest:
            document.set("validate-with", given.rest[0])
            try:
                schema.declared(document)
            except ValueError as error:
                usage(str(error))
        print(xml.to_text(document), end="")
        return exits.OK
    text = _given_xml(given)
    if text is None:
        usage("Please supply XML to process with -X, -x or -p")
    try:
        root = xml.parse_fragment(text)
    except xml.CibSyntaxError as error:
        raise Failure(f"Couldn't parse input: {error}", exits.CONFIG) from None
    versioned = command == "md5-sum-versioned"
    kind = f"Versioned ({root.get('crm_feature_set', 'no feature set')}) digest" if versioned else "Digest"
    print(f"{kind}: ", end="", file=sys.stderr, flush=True)
    print(patchset.digest_for(root) if versioned else patchset.disk_digest(root))
    return exits.OK


# --- query ------------------------------------------------------------------------------------------------------------


def _query(cluster: Cluster, given: Given) -> int:
    if given.has("show-access"):
        return _show_access(cluster, given)
    user = given.get("user")
    answer = cluster.call("cib.query", xpath=given.get("xpath"), scope=_scope(given), user=user)
    text = str(answer["xml"])
    if given.has("node-path") and given.has("xpath"):
        from crm.cib import xml

        document = xml.parse(cluster.call("cib.query", user=user)["xml"])
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


def _check_show_access(command: str, given: Given) -> None:
    if command != "query":
        usage("--show-access goes with --query and --user")
    if not given.has("user"):
        usage("The supplied command requires -U user specified.")
    from crm.tools.access_shown import FORMS

    form = given.text("show-access")
    if form and form not in FORMS:
        usage(f"Unrecognized value for --show-access: '{form}'; expected {', '.join(FORMS)}")


def _show_access(cluster: Cluster, given: Given) -> int:
    """The lists are evaluated here, on the whole CIB: who may not read it cannot ask what others may."""
    from crm.api.users import groups_of
    from crm.cib import acl, operations, xml
    from crm.tools import access_shown

    user, form = given.text("user"), given.text("show-access")
    document = xml.parse(cluster.call("cib.query")["xml"])
    if user in acl.UNRESTRICTED:
        raise Failure(f"Could not evaluate access per request: no list applies to {user or 'root'}", exits.CONFIG)
    if not acl.restricted(document, user):
        print(f"{NAME}: the lists are not in force (enable-acl); with them it would be:", file=sys.stderr)
    if form in ("", "auto"):
        form = "color" if sys.stdout.isatty() else "text"
    found = operations.query(document, _scope(given) or "", given.text("xpath"))
    if isinstance(found, operations.Refusal):
        code = errors.NOT_FOUND if found.code is operations.Code.NOT_FOUND else errors.BAD_REQUEST
        raise ApiError(code, found.message)
    children = not given.has("no-children")
    for element in found:
        print(access_shown.show(document, element, user, groups_of(user), form, children=children), end="")
    return exits.OK


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
    params["user"] = given.get("user")
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
