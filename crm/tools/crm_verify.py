"""`crm_verify`: is this configuration right? All that is wrong with it, at once.

Errors make the exit code 78 (invalid configuration). Warnings and notices are shown with -V.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crm.tools import exits
from crm.tools.cluster import cib_file, connect
from crm.tools.command import Failure, Given, run, usage

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.tools.command import Table

NAME: Final = "crm_verify"
PURPOSE: Final = "check a configuration for errors"
TABLE: Final[Table] = (
    "Data sources:",
    ("L", "live-check", "", "Check the configuration used by the running cluster"),
    ("x", "xml-file", "FILE", "Check the configuration in the named file"),
    ("p", "xml-pipe", "", "Check the configuration piped in via stdin"),
    ("X", "xml-text", "XML", "Check the configuration in the supplied string"),
    "Additional options:",
    ("S", "save-xml", "FILE", "Save the verified XML to the named file (most useful with -L)"),
    ("q", "quiet", "", "Print nothing"),
)


def work(given: Given) -> int:
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    text, source = _text(given)
    from crm.cib import verify, xml

    try:
        document = xml.parse_fragment(text, source=source)
    except xml.CibSyntaxError as error:
        raise Failure(f"Couldn't parse input: {error}", exits.DATAERR) from None
    if given.has("save-xml"):
        try:
            Path(given.text("save-xml")).write_text(xml.to_text(document), encoding="utf-8")
        except OSError as error:
            text = f"Could not write {given.text('save-xml')}: {error.strerror}"
            raise Failure(text, exits.CANTCREAT) from None
    verbose = len(given.values.get("verbose", ()))
    findings: list[tuple[str, str]] = []
    for item in verify.verify(document):
        place = f"{source}:{item.line}: " if item.line else ""
        findings.append((str(item.severity), f"{place}{item.element}: {item.message}"))
    if document.tag == "cib" and not any(severity == "error" for severity, _ in findings):
        findings += _cluster_problems(document)
    wrong = any(severity == "error" for severity, _ in findings)
    for severity, line in findings if not given.has("quiet") else ():
        if severity == "error" or verbose:
            print(f"{severity}: {line}", file=sys.stderr)
    if not wrong:
        return exits.OK
    raise Failure("" if given.has("quiet") else "Errors found during check: config not valid", exits.CONFIG)


def _text(given: Given) -> tuple[str | bytes, str]:
    if given.has("xml-text"):
        return given.text("xml-text"), "XML"
    if given.has("xml-pipe"):
        return sys.stdin.buffer.read(), "standard input"
    path = given.get("xml-file") or cib_file()
    if path is None:
        if not given.has("live-check"):
            usage("No configuration source specified: use -L, -x, -p or -X")
        return str(connect().call("cib.query")["xml"]), "live CIB"
    try:
        return Path(path).read_bytes(), path
    except OSError as error:
        raise Failure(f"Couldn't read {path}: {error.strerror}", exits.NOINPUT) from None


def _cluster_problems(document: _Element) -> list[tuple[str, str]]:
    """What is well-formed, but will not work: the policy engine's view of it."""
    from crm.policy.state import unpack

    state = unpack(document, int(time.time()))
    found = [(item.severity, f"{item.element} {item.id}: {item.message}") for item in state.problems]
    if state.options.fencing_enabled and not state.has_fence_device and state.resources:
        found.append(
            (
                "error",
                "fencing is enabled (stonith-enabled) and there is no fence device: resources will not be started",
            )
        )
    return found


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
