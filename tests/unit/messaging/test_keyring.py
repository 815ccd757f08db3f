"""Key files: what is accepted, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from messaging import keyring
from messaging.errors import SetupError

KEY_A, KEY_B = "ab" * 32, "cd" * 32


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="ascii")
    path.chmod(mode)
    return path


def test_the_first_key_signs_and_all_keys_verify(tmp_path: Path) -> None:
    ring = keyring.load(write(tmp_path / "keys", f"# old below\n2 {KEY_B}\n\n1 {KEY_A}\n"))
    assert ring.sending.key_id == 2
    assert sorted(ring.keys) == [1, 2]
    tag = ring.keys[1].mac(b"a", b"b")
    assert ring.keys[1].verify(tag, b"ab")
    assert not ring.keys[2].verify(tag, b"ab")
    assert not ring.keys[1].verify(tag, b"ac")


def test_a_generated_key_loads(tmp_path: Path) -> None:
    ring = keyring.load(write(tmp_path / "keys", keyring.generate(7)))
    assert ring.sending.key_id == 7
    assert keyring.generate() != keyring.generate()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_file_others_can_read_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "keys", f"1 {KEY_A}\n", mode)
    with pytest.raises(SetupError, match=f"mode {mode:04o}.*chmod 600"):
        keyring.load(path)


def test_a_missing_key_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="crm cluster keygen"):
        keyring.load(tmp_path / "nothing")


def test_all_faulty_lines_are_told_at_once() -> None:
    text = f"1 {KEY_A}\nx {KEY_A}\n1 {KEY_B}\n3 abcd\n4 zz\n70000 {KEY_A}\n5 {KEY_A} more\n"
    with pytest.raises(SetupError) as told:
        keyring.parse(text, "keys")
    lines = str(told.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "5", "6", "7"]
    assert "used twice" in lines[1]
    assert "2 bytes" in lines[2]


def test_an_empty_key_file_is_refused() -> None:
    with pytest.raises(SetupError, match="no key"):
        keyring.parse("# nothing\n", "keys")
