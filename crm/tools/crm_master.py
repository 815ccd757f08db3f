"""`crm_master`: the older name of `crm_attribute --promotion`, which many agents still call."""

from __future__ import annotations

import sys

from crm.tools import crm_attribute
from crm.tools.command import Given, run, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from crm.tools.command import Table

NAME: Final = "crm_master"
PURPOSE: Final = "query, update, or delete a resource's promotion score (use crm_attribute --promotion)"
TABLE: Final[Table] = (
    "Commands:",
    ("G", "query", "", "Query the current value"),
    ("v", "update", "VALUE", "Update the value"),
    ("D", "delete", "", "Delete the score"),
    "Additional options:",
    ("l", "lifetime", "LIFETIME", "Until when: reboot, forever (the default)"),
    ("NU", "node", "NODE", "The node (default: this one)"),
    ("r", "resource-id", "RESOURCE", "The resource (default: OCF_RESOURCE_INSTANCE)"),
    ("i", "id", "XML_ID", "(Advanced) XML ID of the attribute"),
    ("qQ", "quiet", "", "Print only the value"),
    ("", "get-value", "", ""),
    ("", "attr-value", "VALUE", ""),
    ("", "delete-attr", "", ""),
    ("", "uname", "NODE", ""),
)


def work(given: Given) -> int:
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    given.add("promotion", given.text("resource-id"))
    if not given.has("lifetime"):
        given.add("lifetime", "forever")
    return crm_attribute.work(given)


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
