"""What daemons write: plain lines for a file, priorities for the journal."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from messaging import logs
from messaging.journalstream import is_journal


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("vigil", level, __file__, 1, text, None, None)


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)]
)
def test_each_line_for_the_journal_has_its_priority(level: int, priority: int) -> None:
    said = logs.JournalFormatter("crm").format(record(level, "n2 is lost\nfor good"))
    assert said.splitlines() == [f"<{priority}>crm: n2 is lost", f"<{priority}>for good"]


def test_a_traceback_is_as_important_as_what_it_belongs_to() -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        line = logging.LogRecord("vigil", logging.ERROR, __file__, 1, "internal error", None, sys.exc_info())
    said = logs.JournalFormatter("crm").format(line).splitlines()
    assert len(said) > 2 and all(each.startswith("<3>") for each in said)


def test_a_line_for_a_file_says_when_who_and_how_bad() -> None:
    said = logs.plain("crm").format(record(logging.WARNING, "n2 is lost"))
    assert said.endswith(" crm WARNING n2 is lost") and said[4] == "-"


def test_the_journal_is_told_from_a_file_of_the_same_process(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        found = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert is_journal(stream.fileno(), environment)
        assert not is_journal(other.fileno(), environment)
        assert not is_journal(stream.fileno(), {})
        assert not is_journal(stream.fileno(), {"JOURNAL_STREAM": "what"})


def test_a_log_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log" / "vigil.log"
    path.parent.mkdir()
    handler = logs.LogFile(path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.emit(record(logging.INFO, "one"))
    path.rename(tmp_path / "vigil.log.1")
    handler.emit(record(logging.INFO, "two"))
    path.unlink()
    handler.emit(record(logging.INFO, "three"))
    assert (tmp_path / "vigil.log.1").read_text() == "one\n" and path.read_text() == "three\n"
    path.unlink()
    path.parent.rmdir()
    handler.emit(record(logging.INFO, "nowhere to go"))
    path.parent.mkdir()
    handler.emit(record(logging.INFO, "back"))
    assert path.read_text() == "back\n"
    handler.close()
