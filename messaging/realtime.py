"""Heartbeats must go out while the machine is busy: real-time scheduling and locked memory, where permitted.

Both are attempted and never required; what is not permitted is one line in the log. Memory is locked on fault
(MCL_ONFAULT), so that only what is used is resident.
"""

from __future__ import annotations

import ctypes
import os
import resource

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
PRIORITY = 2
"""Just above everything that is not real-time; kernel threads and watchdogs stay above."""

_SCHED_RESET_ON_FORK = 0x40000000


def harden() -> list[str]:
    """Take what is permitted. Returns what is not, for the log."""
    missing = []
    libc = ctypes.CDLL(None, use_errno=True)
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() != 0 and limit != resource.RLIM_INFINITY:
        # Within a limit, locking what comes would make a later allocation fail.
        missing.append(f"memory is not locked (RLIMIT_MEMLOCK is {limit})")
    elif libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        missing.append(f"memory is not locked ({os.strerror(ctypes.get_errno())})")
    try:
        os.sched_setscheduler(0, os.SCHED_RR | _SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError as error:
        missing.append(f"no real-time priority ({error.strerror})")
    return missing
