"""Fencing must not be disabled where both halves of a cluster may go on after a split, unless the operator accepts that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from crm import config
from crm.cib import without_fencing
from crm.cib.operations import Kind, Operation
from crm.daemon import settings
from crm.shell.main import start

NODES = "".join(f'[[nodes]]\nname = "n{n}"\nid = {n}\naddresses = ["10.0.0.{n}"]\n' for n in (1, 2))
PING = 'type = "ping"\ntargets = ["10.0.0.254"]\n'


def option(name: str, value: str) -> str:
    pair = f'<nvpair id="x" name="{name}" value="{value}"/>'
    return f'<crm_config><cluster_property_set id="o">{pair}</cluster_property_set></crm_config>'


def file(folder: Path, tie_breaker: str) -> str:
    (folder / "keys").write_text(f"1 {'ab' * 32}\n")
    (folder / "keys").chmod(0o600)
    path = folder / "vigil.toml"
    path.write_text(
        f'[cluster]\nname = "web"\nkey_file = "{folder}/keys"\n[node]\nname = "n1"\n{NODES}'
        f'[quorum.tie_breaker]\n{tie_breaker}[paths]\nstate_dir = "{folder}"\n'
    )
    return str(path)


@pytest.mark.parametrize("name", ["fencing-enabled", "stonith-enabled"])
@pytest.mark.parametrize(("value", "disabled"), [("false", True), ("OFF", True), ("0", True), ("true", False)])
def test_a_change_that_disables_fencing_is_seen_wherever_it_stands(name: str, value: str, disabled: bool) -> None:
    text = option(name, value)
    assert without_fencing.is_disabled_by(Operation(Kind.MODIFY, xml=text, scope="crm_config")) == disabled
    assert (
        without_fencing.is_disabled_by(Operation(Kind.REPLACE, steps=(Operation(Kind.MODIFY, xml=text),))) == disabled
    )
    document = etree.fromstring(f"<cib><configuration>{text}</configuration></cib>")
    assert without_fencing.is_disabled(document) == disabled


def test_other_changes_are_none_of_it() -> None:
    assert not without_fencing.is_disabled_by(Operation(Kind.MODIFY, xml=option("no-quorum-policy", "stop")))
    assert not without_fencing.is_disabled_by(Operation(Kind.DELETE, xpath="//nvpair[@name='stonith-enabled']"))
    assert not without_fencing.is_disabled(etree.fromstring("<cib/>"))


@pytest.mark.parametrize(
    ("tie_breaker", "needs"),
    [
        ("", ""),
        (PING, "ping"),
        (PING + "accept_without_fencing = true\n", ""),
        ('type = "qdisk"\ndevice = "/dev/sdx"\n', ""),
        ('type = "qdisk"\ndevice = "/dev/sdx"\nmaster_wins = false\n', "qdisk"),
    ],
)
def test_which_tie_breakers_need_fencing(tmp_path: Path, tie_breaker: str, needs: str) -> None:
    resolved = json.loads(config.load(file(tmp_path, tie_breaker)).to_resolved_json())
    assert settings.from_document(resolved).needs_fencing == needs


def test_accepting_what_cannot_happen_is_a_misunderstanding(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="accept_without_fencing"):
        config.load(file(tmp_path, "accept_without_fencing = true\n"))


def test_the_check_finds_it_in_the_cib_on_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = file(tmp_path, PING)
    assert start(["cluster", "check", "--config", path]) == 0
    (tmp_path / "cib").mkdir()
    cib = f"<cib><configuration>{option('stonith-enabled', 'false')}</configuration></cib>"
    (tmp_path / "cib" / "cib.xml").write_text(cib)
    assert start(["cluster", "check", "--config", path]) == 1
    assert "both halves of the cluster may go on" in capsys.readouterr().err
    file(tmp_path, PING + "accept_without_fencing = true\n")
    assert start(["cluster", "check", "--config", path]) == 0
