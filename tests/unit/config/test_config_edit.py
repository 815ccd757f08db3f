"""Nodes are added to, removed from and renamed in a file that people have written; their comments stay."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from crm import config
from crm.config import ConfigError
from crm.config.__main__ import main
from crm.config.edit import Add, Remove, Rename, edit

TEXT = """\
# our web cluster
[cluster]
name = "web"

[node]
name = "a"  # this one

# first rack
[[nodes]]
name = "a"
id = 1
addresses = ["10.0.0.1"]

# second rack
[[nodes]]
name = "b"  # the newer one
id = 2
addresses = [
  "10.0.0.2",
]

# keep this
[quorum]
policy = "majority"
"""


def names(text: str) -> list[str]:
    return [node.name for node in config.loads(text).nodes]


def test_a_node_is_put_after_the_last_and_nothing_else_is_touched() -> None:
    text = edit(TEXT, Add("c", ("10.0.0.3",)))
    block = '[[nodes]]\nname = "c"\nid = 3\naddresses = ["10.0.0.3"]\n\n'
    assert text == TEXT.replace("# keep this\n", f"{block}# keep this\n")
    assert edit(text, Add("c", ("10.0.0.3",))) == text, "made already"


def test_what_was_added_is_taken_out_again() -> None:
    text = edit(TEXT, Add("c", ("10.0.0.3:6000",), id=7, votes=2))
    assert config.loads(text).nodes[2].id == 7
    assert edit(text, Remove("c")) == TEXT
    assert edit(TEXT, Remove("c")) == TEXT, "made already"


def test_a_node_in_between_is_taken_out() -> None:
    text = edit(edit(TEXT, Add("c", ("10.0.0.3",))), Remove("b"))
    assert names(text) == ["a", "c"]
    assert "# second rack" in text
    assert "# keep this" in text


def test_a_node_is_renamed_also_where_the_file_is_its_own() -> None:
    text = edit(TEXT, Rename("a", "alpha"))
    assert text == TEXT.replace('name = "a"', 'name = "alpha"')
    assert config.loads(text).node.name == "alpha"
    assert edit(text, Rename("a", "alpha")) == text, "made already"
    assert edit(TEXT, Rename("b", "beta")) == TEXT.replace('name = "b"', 'name = "beta"')


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_rendered_files_follow_when_nodes_come_and_go(count: int) -> None:
    made = config.example("web", [(f"n{n}", [f"10.0.0.{n}"]) for n in range(1, count + 1)])
    text = edit(config.render(made), Add("new", ("10.0.0.99",)))
    quorum = config.loads(text).quorum
    assert quorum.expected_votes == count + 1
    assert quorum.two_node == (count == 1)
    if count > 1:
        assert config.loads(edit(text, Remove(f"n{count}"))).quorum.two_node == (count == 2)


def test_what_only_said_what_followed_is_taken_out_and_what_was_decided_stays() -> None:
    text = TEXT.replace('policy = "majority"\n', "expected_votes = 2\ntwo_node = true\nwait_for_all = true\n")
    after = edit(text, Add("c", ("10.0.0.3",)))
    assert "two_node" not in after
    assert "expected_votes" not in after
    reserved = TEXT.replace('policy = "majority"\n', "expected_votes = 5\nwait_for_all = true\n")
    assert config.loads(edit(reserved, Add("c", ("10.0.0.3",)))).quorum.expected_votes == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Add("b", ("10.0.0.9",)), "there is a node b already"),
        (Add("c", ("10.0.0.2",)), "address 10.0.0.2:5410 is already that of b"),
        (Add("c", ("10.0.0.3", "10.1.0.3")), "one address for each of the 1 links"),
        (Add("c!", ("10.0.0.3",)), "expected letters, digits"),
        (Remove("a"), "the node that this file is for"),
        (Rename("b", "a"), "name a is already that of"),
        (Rename("x", "y"), "there is no node x"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(change: Add | Remove | Rename, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        edit(TEXT, change)


def test_nodes_that_are_written_in_one_line_are_left_to_their_author() -> None:
    inline = '[cluster]\nname = "web"\n[node]\nname = "a"\n'
    text = 'nodes = [{name = "a", id = 1, addresses = ["10.0.0.1"]}]\n' + inline
    with pytest.raises(ConfigError, match="change the file by hand"):
        edit(text, Add("c", ("10.0.0.3",)))


def test_the_command_writes_the_changed_file_and_tells_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "vigil.toml", tmp_path / "vigil.toml.next"
    file.write_text(TEXT, encoding="utf-8")
    file.chmod(0o640)
    assert main(["edit", str(file), "--output", str(output), "add", "c", "0", "1", "10.0.0.3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [node["name"] for node in told["nodes"]] == ["a", "b", "c"]
    assert told["expected_votes"] == 3
    assert names(output.read_text(encoding="utf-8")) == ["a", "b", "c"]
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert file.read_text(encoding="utf-8") == TEXT
    assert main(["edit", str(file), "--output", str(output), "remove", "a"]) == 78
    assert main(["edit", str(file), "--output", str(output), "explode", "a"]) == 2
