"""Whether a stream is the journal's: JOURNAL_STREAM of systemd.exec(5). On vigild's path, so nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether what is written to this descriptor goes to the journal."""
    try:
        device, inode = environment.get("JOURNAL_STREAM", "").split(":")
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (ValueError, OSError):
        return False
