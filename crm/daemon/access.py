"""Who may ask what: clients of the local API and the access control lists.

Theory of operation. The socket takes root, the daemon's own user, and members of one group. Root and the daemon's user (and hacluster) may do everything. So may the
others, until `enable-acl` is true: then the lists of the CIB say what they may read and change (`crm.cib.acl`), whichever method they use.

Most methods look at the lists themselves, since it depends on the request. What a method does not look at is refused here, before it runs: what
tells of the whole cluster needs read permission on `<cib>`, everything else write permission. So a method that is added later and knows nothing of lists is closed, not open.
"""

from __future__ import annotations

import grp
import os
from typing import Final

from lxml import etree

from crm.api import errors
from crm.api.errors import ApiError
from crm.api.server import Call
from crm.api.users import group_names, groups_of, user_name
from crm.cib import acl, xml
from crm.cib.acl import Access, Permissions

CHECKED: Final = frozenset(
    {
        *("cib.query", "cib.apply", "cib.history", "cib.version", "status", "membership", "wait"),
        *("attribute.query", "attribute.update", "resource.cleanup", "resource.refresh", "resource.fail"),
    }
)
"""Methods that ask the lists themselves, or tell nothing that they protect."""
READING: Final = frozenset({"events", "events.recent", "events.query", "messaging.query", "metrics"})
"""Methods that tell of everything."""


NAMING: Final = frozenset({"cib.query", "cib.apply"})
"""Methods with a parameter `user`: root asks in the name of somebody else."""


class Visitor:
    """The client of one call, and what the lists of `document` let it do."""

    def __init__(self, call: Call, document: etree._Element) -> None:
        self.user, self.groups = user_of(call)
        self._document = document
        self.restricted = acl.restricted(document, self.user)
        self._permissions = Permissions(document, self.user, self.groups) if self.restricted else None

    @property
    def reads_everything(self) -> bool:
        return self._of(self._document) in (Access.READ, Access.WRITE)

    def readable(self, document: etree._Element | None = None) -> etree._Element:
        """The CIB (or an earlier version of it) without what may not be read. ApiError when nothing is left."""
        found = acl.readable(
            self._document if document is None else document, self.user, self.groups, rules=self._document
        )
        if found is None:
            raise ApiError(errors.PERMISSION_DENIED, "the access control lists let you read nothing")
        return found

    def need_write(self, *elements: etree._Element) -> None:
        """ApiError that names each of these elements of the CIB which may not be changed."""
        denied = [xml.path_of(element) for element in elements if self._of(element) is not Access.WRITE]
        if denied:
            more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
            text = f"permission denied: user {self.user} may not change {denied[0]}{more}"
            raise ApiError(errors.PERMISSION_DENIED, text)

    def _of(self, element: etree._Element) -> Access:
        return Access.WRITE if self._permissions is None else self._permissions.of(element)


def guard(call: Call, document: etree._Element) -> None:
    """ApiError when the lists say nothing of this method to this user."""
    if call.method in CHECKED:
        return
    visitor = Visitor(call, document)
    if call.method in READING:
        if not visitor.reads_everything:
            text = f"permission denied: {call.method} needs permission to read the whole CIB"
            raise ApiError(errors.PERMISSION_DENIED, text)
    else:
        visitor.need_write(document)


def user_of(call: Call) -> tuple[str, tuple[str, ...]]:
    """User and groups, for the lists; nobody in particular for root and the daemon's own user.

    Those, and hacluster, may ask in the name of another user (`user`): what would that one see, may that one do?
    """
    peer = call.peer
    wanted = call.text("user") if call.method in NAMING else None
    unrestricted = peer.uid in (0, os.geteuid())
    if wanted is not None:
        if not unrestricted and user_name(peer.uid) not in acl.UNRESTRICTED:
            raise ApiError(errors.PERMISSION_DENIED, "only root and hacluster may ask in the name of another user")
        return ("", ()) if wanted in acl.UNRESTRICTED else (wanted, groups_of(wanted))
    if unrestricted:
        return "", ()
    return user_name(peer.uid), group_names((peer.gid, *peer.groups))


def group_id(group: str) -> int | None:
    """The group of that name or number; None when there is none, or none is wanted."""
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        return None
