"""Words with a colour on a terminal, and none elsewhere."""

from __future__ import annotations

import re
import sys

import pytest

from crm.shell.commands.cluster import MARKS
from crm.shell.shell import Shell

LONG = "alice: NOT quorate: 1 of 2 votes; even split, tie-breaker qdisk does not hold here, and so on for longer than it is wide"


def test_a_pipe_gets_the_line_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Shell().say(LONG, MARKS)
    assert capsys.readouterr().out == LONG + "\n"


def test_a_terminal_gets_colours_and_lines_of_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Shell().say(LONG, MARKS)
    Shell().say("  n2    up     63 ms ago  upper", MARKS)
    out = capsys.readouterr().out
    assert "\x1b[1;31mNOT" in out and "\x1b[32mquorate" not in out
    assert "\x1b[32mup\x1b[0m" in out and "mupper" not in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    assert max(map(len, plain)) <= 60 and " ".join(" ".join(plain[:-1]).split()) == LONG
    assert plain[1].startswith("    "), "what goes on is indented"
