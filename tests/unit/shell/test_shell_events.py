"""`crm events` without a cluster: times as people write them, files of several nodes as one story, lines for people and for programs."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crm.shell.commands.events import moment_ms
from crm.shell.session import ShellError
from crm.shell.tree import run

NOON = datetime(2026, 11, 21, 12, 0, 0).astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", NOON - 30),
        ("10m", NOON - 600),
        ("10min", NOON - 600),
        ("2h", NOON - 7200),
        ("3d", NOON - 3 * 86400),
        ("11:30", NOON - 1800),
        ("11:59:30", NOON - 30),
        ("12:01", NOON + 60 - 86400),
        ("2026-11-21 10:00", NOON - 7200),
        ("2026-11-21", NOON - 12 * 3600),
    ],
)
def test_times_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert moment_ms(text, NOON) == int(expected * 1000)


@pytest.mark.parametrize("text", ["soon", "10", "25:00", "10 parsecs", ""])
def test_what_is_no_time_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ShellError, match="expected 10m"):
        moment_ms(text, NOON)


def record(node: str, order: int, event: str, cause: str = "", **fields: Any) -> str:
    at = int(NOON * 1000) + order
    return json.dumps(
        {"node": node, "order": order, "time_ms": at, "event": event, "cause": cause, "seq": order, **fields}
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    first = [
        record("n1", 1, "peer_late", "late-n2.5", peer="n2", silent_ms=600),
        record("n1", 3, "peer_lost", "view-7.1", peer="n2", after=["late-n2.5"]),
        record("n1", 5, "decide", "view-7.1", number=4, reason="the view changed"),
        record("n1", 6, "fenced", "view-7.1", target="n2", action="off", text=""),
        record("n1", 9, "change", "change-n1.1", reason="web cleaned up"),
    ]
    second = [
        record("n3", 2, "peer_late", "late-n2.5", peer="n2", silent_ms=604),
        record("n3", 4, "peer_lost", "view-7.1", peer="n2", after=["late-n2.5"]),
        record("n3", 7, "action_result", "view-7.1", operation="start", resource="web", rc=0, ok=True, exec_ms=12),
        '{"node": "n3", "order": 8, "ev',
    ]
    paths = []
    for name, lines in (("n1", first), ("n3", second)):
        path = tmp_path / name
        path.write_text("\n".join(lines))
        paths.append(str(path))
    return paths


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(["events", *words]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_the_files_of_several_nodes_make_one_story(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for path in files for word in ("--file", path)]
    lines = said(capsys, *options, "--cause", "view-7.1").splitlines()
    shown = [line.split("  ", 1)[1].strip() for line in lines[1:]]
    assert [" ".join(line.split()) for line in shown] == [
        "n1,n3 heartbeat of n2 missed: silent for 600 ms [late-n2.5]",
        "n1,n3 n2 is lost",
        "n1 n2 was fenced (off)",
        "n3 start of web ok in 12 ms",
    ]


def test_details_come_when_everything_is_asked_for_and_programs_get_them_always(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "deciding" not in said(capsys, "--file", files[0])
    assert "deciding (transition 4): the view changed" in said(capsys, "--file", files[0], "--all")
    records = [json.loads(line) for line in said(capsys, "--file", files[0], "--json").splitlines()]
    assert [each["order"] for each in records] == [1, 3, 5, 6, 9]


def test_only_the_last_ones_only_one_node_only_since_a_moment(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for path in files for word in ("--file", path)]
    assert len(said(capsys, *options, "-n", "2").splitlines()) == 3
    assert "n1" not in said(capsys, *options, "--node", "n3").replace("late-n1", "")
    assert said(capsys, *options, "--since", time.strftime("%Y-%m-%d", time.localtime(NOON)))
    assert "nothing happened" in said(capsys, *options, "--since", "2026-11-22", code=1)


def test_only_what_concerns_a_resource_or_a_node_only_a_kind_only_until_then(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for path in files for word in ("--file", path)]
    assert [line.split("  ")[-2] for line in said(capsys, *options, "--about", "web").splitlines()[1:]] == [
        "start of web ok in 12 ms",
        "web cleaned up",
    ]
    assert len(said(capsys, *options, "--about", "n2", "--kind", "fencing").splitlines()) == 2
    assert "deciding" in said(capsys, *options, "--kind", "decide"), "who names a detail wants to see it"
    assert "nothing happened" in said(capsys, *options, "--until", "2026-11-20", code=1)
    assert "nothing of that kind happened" in said(capsys, *options, "--about", "db", code=1)
    assert "'fence' is no kind of record" in said(capsys, *options, "--kind", "fence", code=1)


def test_a_terminal_gets_lines_of_its_width_and_a_pipe_whole_ones(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = said(capsys, "--file", files[0]).splitlines()
    monkeypatch.setenv("COLUMNS", "60")
    lines = said(capsys, "--file", files[0]).splitlines()
    assert max(map(len, lines)) <= 60 < max(map(len, whole))
    assert " ".join(" ".join(lines).split()) == " ".join(" ".join(whole).split())
    assert any(line.startswith(" " * 22) and "[late-n2.5]" in line for line in lines), "below where the words begin"


def test_details_take_no_place_from_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events"
    details = [record("n1", number, "decide", number=number, reason="x") for number in range(2, 500)]
    path.write_text("\n".join([record("n1", 1, "fenced", target="n2", action="off"), *details]))
    assert "n2 was fenced" in said(capsys, "--file", str(path))


def test_what_cannot_be_answered_is_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is known of 'view-9.9'" in said(capsys, "--file", files[0], "--cause", "view-9.9", code=1)
    assert "cannot read /nowhere" in said(capsys, "--file", "/nowhere", code=1)
    assert "--follow goes on without an end" in said(capsys, "--follow", "--until", "1m", code=1)
    assert "--follow needs a running cluster" in said(capsys, "--file", files[0], "--follow", code=1)
