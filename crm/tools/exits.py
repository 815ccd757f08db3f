"""Exit codes of the Pacemaker-compatible commands: the documented CRM_EX_* values, and which of them an answer of the API means.

Scripts and agents tell "there is no such thing" (105) from "nobody answers" (102), so that each refusal of the local API has its code here, once.
"""

from __future__ import annotations

from crm.api import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OK: Final = 0
ERROR: Final = 1
INVALID_PARAM: Final = 2
UNIMPLEMENTED: Final = 3
INSUFFICIENT_PRIV: Final = 4
USAGE: Final = 64
DATAERR: Final = 65
NOINPUT: Final = 66
NOHOST: Final = 68
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
CANTCREAT: Final = 73
IOERR: Final = 74
TEMPFAIL: Final = 75
CONFIG: Final = 78
DISCONNECT: Final = 102
OLD: Final = 103
NOSUCH: Final = 105
QUORUM: Final = 106
UNSAFE: Final = 107
EXISTS: Final = 108
MULTIPLE: Final = 109
UNSATISFIED: Final = 113
TIMEOUT: Final = 124

_OF_ERROR: Final = {
    errors.BAD_REQUEST: USAGE,
    errors.UNKNOWN_METHOD: UNIMPLEMENTED,
    errors.PERMISSION_DENIED: INSUFFICIENT_PRIV,
    errors.NOT_FOUND: NOSUCH,
    errors.EXISTS: EXISTS,
    errors.INVALID: CONFIG,
    errors.CONFLICT: OLD,
    "old-data": OLD,
    errors.NOT_APPLIED: TEMPFAIL,
    errors.UNCERTAIN: ERROR,
    errors.NO_QUORUM: QUORUM,
    errors.TIMEOUT: TIMEOUT,
    errors.UNAVAILABLE: DISCONNECT,
    errors.SHUTTING_DOWN: DISCONNECT,
    errors.TOO_LARGE: DATAERR,
    errors.INTERNAL: SOFTWARE,
}


def of_error(code: str) -> int:
    """The exit code for an `ApiError`'s code; 1 for what has none of its own."""
    return _OF_ERROR.get(code, ERROR)
