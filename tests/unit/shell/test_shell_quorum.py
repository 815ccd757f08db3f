"""`crm cluster quorum what-if` in words, from a configuration file; the arithmetic itself is compared with the cluster elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from crm.shell import quorum
from crm.shell.main import start
from crm.shell.quorum import Consequences
from messaging import forecast
from messaging.quorum import Rules

HEAD = '[cluster]\nname = "web"\n[node]\nname = "n1"\n'


def file(folder: Path, count: int, rules: str = "") -> str:
    nodes = "".join(f'[[nodes]]\nname = "n{n}"\nid = {n}\naddresses = ["10.0.0.{n}"]\n' for n in range(1, count + 1))
    path = folder / "vigil.toml"
    path.write_text(f"{HEAD}{nodes}{rules}", encoding="utf-8")
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], config: str, *words: str) -> list[str]:
    assert start(["cluster", "quorum", "what-if", "--config", config, *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_each_side_of_a_split_is_told_its_verdict_and_what_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, file(tmp_path, 3), "--split", "n1/n2,n3") == [
        "n1: NOT quorate: 1 of 3 votes; 2 needed",
        "    it stops all its resources (no-quorum-policy=stop, unless the CIB says otherwise)",
        "n2, n3: quorate: 2 of 3 votes; majority",
        "    it goes on, and fences n1 before it recovers what ran there, unless fencing is disabled in the CIB",
        "an even split is decided by nothing: no side of an even split has quorum",
    ]


def test_who_is_named_nowhere_is_the_other_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = asked(capsys, file(tmp_path, 5), "--down", "n5", "--split", "n1")
    assert [line for line in lines if not line.startswith((" ", "an "))] == [
        "n1: NOT quorate: 1 of 5 votes; 3 needed",
        "n2, n3, n4: quorate: 3 of 5 votes; majority",
    ]


def test_under_two_node_both_sides_go_on_and_one_fences_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asked(capsys, file(tmp_path, 2), "--split", "n1/n2")
    assert "    several sides may go on: it fences at once, before the others" in lines
    assert "    several sides may go on: it fences a moment later, so that the preferred side is first" in lines
    assert "two_node: both sides go on and fencing decides" in lines[-1]


def test_after_a_boot_wait_for_all_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = file(tmp_path, 2)
    assert asked(capsys, config, "--down", "n2")[0].startswith("n1: quorate")
    assert "wait_for_all: 1 not seen" in asked(capsys, config, "--down", "n2", "--cold")[0]


def test_what_depends_on_the_ping_target_says_so_unless_it_is_told_who_sees_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = file(tmp_path, 2, '[quorum.tie_breaker]\ntype = "ping"\ntargets = ["10.0.0.254"]\n')
    lines = asked(capsys, config, "--split", "n1/n2")
    assert lines[0].startswith("n1: quorate if it sees what its tie-breaker ping looks at")
    assert any(line.startswith("    if not, it stops all its resources") for line in lines)
    told = asked(capsys, config, "--split", "n1/n2", "--seeing", "n2")
    assert told[0].startswith("n1: NOT quorate")
    assert any(line.startswith("n2: quorate:") for line in told)


def test_the_window_of_the_last_man_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = file(tmp_path, 5, "[quorum]\nlast_man_standing = true\nauto_tie_breaker = true\n")
    lines = asked(capsys, config, "--down", "n4,n5")
    assert lines[0] == "n1, n2, n3: quorate: 3 of 5 votes; majority"
    assert "the votes of n1, n2, n3 alone are counted (expected 3)" in lines[2]
    assert lines[-1] == "an even split is decided by auto_tie_breaker lowest: the side with n1"


def test_who_is_away_now_does_not_help_the_rest_unless_it_is_named() -> None:
    names = {1: "n1", 2: "n2", 3: "n3"}
    standing = forecast.whole(dict.fromkeys(names, 1), 3, Rules())
    away = quorum.absent({"members": [1, 2]}, names)
    then = Consequences("stop", True)

    def asking(**words: Any) -> list[str]:
        return quorum.what_if(standing, names, quorum.Question(**words), then, away)

    lines = asking(down="n1")
    assert lines[0] == "not here now, and taken to stay away unless named in --split: n3"
    assert lines[1] == "n2: NOT quorate: 1 of 3 votes; 2 needed"
    assert "n1, n2: quorate: 2 of 3 votes; majority" in asking(down="n3")
    assert asking(split="n1/n2,n3")[2].startswith("n2, n3: quorate")
    assert asking(down="n1", cold=True)[0].startswith("n2, n3: quorate")
    assert quorum.absent({"members": []}, names) == frozenset(), "a node without a view does not know who is away"


def test_who_is_away_already_is_not_fenced_again() -> None:
    names = {1: "n1", 2: "n2", 3: "n3", 4: "n4", 5: "n5"}
    standing = forecast.whole(dict.fromkeys(names, 1), 5, Rules())
    question, then = quorum.Question(down="n4"), Consequences("stop", True)
    lines = quorum.what_if(standing, names, question, then, frozenset({5}))
    assert lines[2] == "    it goes on, and fences n4 before it recovers what ran there"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--down", "n9"], "--down: no node n9; there are n1, n2, n3"),
        (["--split", "n1/n1,n2"], "n1: said to be in two places"),
        (["--down", "n1,n2,n3"], "nobody is left"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert start(["cluster", "quorum", "what-if", "--config", file(tmp_path, 3), *words]) == 1
    assert says in capsys.readouterr().err


def test_the_options_of_what_if_are_not_taken_for_the_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert start(["cluster", "quorum", "--down", "n1"]) == 1
    assert "what-if" in capsys.readouterr().err


def test_what_the_cib_says_about_quorum_and_fencing() -> None:
    properties = '<nvpair name="no-quorum-policy" value="freeze"/><nvpair name="stonith-enabled" value="false"/>'
    cib = etree.fromstring(
        f"<cib><configuration><crm_config><cluster_property_set>{properties}</cluster_property_set></crm_config>"
        "</configuration></cib>"
    )
    assert quorum.consequences(cib) == Consequences("freeze", fencing=False)
    assert quorum.consequences(etree.fromstring("<cib/>")) == Consequences("stop", fencing=True)
