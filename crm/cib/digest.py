"""Digests of operation parameters: how a changed definition is noticed.

Theory of operation. Whoever records an operation's result stores a digest of the parameters it ran with; whoever decides later computes
the digest of the parameters it would run with now. Different digests mean a changed definition. Both must agree to the bit, also with
digests that Pacemaker recorded: MD5 over one blank, `<parameters`, the attributes sorted by name in byte order, `/>` and a line break.
(MD5 is what is recorded in the CIBs of the world. It protects against nothing here.)

What belongs to the cluster and not to the resource is left out, except that a recurring operation includes its timeout.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

META: Final = "CRM_meta_"
TIMEOUT: Final = "CRM_meta_timeout"
_NOT_DIGESTED: Final = frozenset(("id", "crm_feature_set", "op-digest", "on_node", "on_node_uuid", "pcmk_external_ip"))
_TRACING: Final = frozenset(("trace_ra", "trace_dir", "trace_file"))
_SPECIAL = re.compile(r'[<>&"\x00-\x1f\x7f]')
_NAMED: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}


def operation_digest(params: Mapping[str, str]) -> str:
    """The digest of exactly these parameters; see `digested_parameters` for which they are."""
    ordered = sorted(params.items(), key=lambda item: item[0].encode())
    text = "".join(f' {name}="{_SPECIAL.sub(_escape, value)}"' for name, value in ordered)
    return hashlib.md5(f" <parameters{text}/>\n".encode(), usedforsecurity=False).hexdigest()


def digested_parameters(params: Mapping[str, str], interval_ms: int = 0) -> dict[str, str]:
    """Of all attributes of an operation in a graph, those that its digest is about.

    Tracing changes nothing of a resource, so it is no reason to restart it; a recurring operation is ordered anew, to be traced from then on.
    """
    left_out = _NOT_DIGESTED if interval_ms else _NOT_DIGESTED | _TRACING
    kept = {name: value for name, value in params.items() if not name.startswith(META) and name not in left_out}
    if interval_ms and TIMEOUT in params:
        kept[TIMEOUT] = params[TIMEOUT]
    return kept


def without(params: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """What a secure digest is about: everything but the private parameters."""
    left_out = frozenset(names)
    return {name: value for name, value in params.items() if name not in left_out}


def only(params: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """What a restart digest is about: the parameters whose change needs a restart."""
    wanted = frozenset(names)
    return {name: value for name, value in params.items() if name in wanted}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _NAMED.get(character) or f"&#x{ord(character):X};"
