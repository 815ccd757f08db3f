"""Where a daemon's words go: a log file, or standard error; and how they look there.

Theory of operation. In a file and on a terminal each line begins with the time, the daemon and the level. The journal of systemd has the time itself and takes the
level as a prefix (`<4>`, sd-daemon(3)), so that `journalctl -p warning` finds what matters.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from messaging.journalstream import is_journal

PLAIN = "%(asctime)s.%(msecs)03d {name} %(levelname)s %(message)s"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def start(name: str, file: Path | None, level: str) -> None:
    """From now on everything that is logged is written. OSError when the file cannot be."""
    journal = file is None and is_journal(2, os.environ)
    handler = logging.StreamHandler() if file is None else LogFile(file)
    handler.setFormatter(JournalFormatter(name) if journal else plain(name))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def plain(name: str) -> logging.Formatter:
    return logging.Formatter(PLAIN.format(name=name), datefmt="%Y-%m-%dT%H:%M:%S")


class LogFile(logging.FileHandler):
    """Begins the file anew when somebody has moved or removed it (logrotate). Where that fails it goes on with the old one: a log never stops a daemon."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = self.stream
        if stream is not None and self._is_elsewhere(stream.fileno()):
            try:
                fresh = self._open()
            except OSError:
                pass
            else:
                stream.close()
                self.stream = fresh
        super().emit(record)

    def _is_elsewhere(self, descriptor: int) -> bool:
        try:
            there, ours = Path(self.baseFilename).stat(), os.fstat(descriptor)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


class JournalFormatter(logging.Formatter):
    """Each line with its priority: a traceback is as important as what it belongs to."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
