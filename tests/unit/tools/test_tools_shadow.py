"""`crm_shadow`, and commands on a shadow."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm.cib import xml
from crm.tools import crm_resource, crm_shadow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRM_SHADOW_DIR", str(tmp_path))
    monkeypatch.setenv("VIGIL_RUN_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("CIB_shadow", raising=False)
    monkeypatch.delenv("CIB_file", raising=False)
    return tmp_path


def test_a_shadow_is_made_worked_on_and_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crm_shadow.main(["-b", "-e", "trial"]) == 0
    assert "export CIB_shadow=trial" in capsys.readouterr().out
    assert (folder / "trial.xml").stat().st_mode & 0o777 == 0o600
    document = xml.load(folder / "trial.xml")
    resources = document.find("configuration/resources")
    assert resources is not None
    resources.append(xml.parse_fragment('<primitive id="web" class="ocf" provider="vigil" type="Dummy"/>'))
    (folder / "trial.xml").write_text(xml.to_text(document))
    monkeypatch.setenv("CIB_shadow", "trial")
    assert crm_shadow.main(["-w"]) == 0 and crm_shadow.main(["-F"]) == 0
    assert capsys.readouterr().out == f"trial\n{folder}/trial.xml\n"
    assert crm_resource.main(["-l"]) == 0
    assert capsys.readouterr().out == "web\n"
    assert crm_resource.main(["-r", "web", "-m", "-p", "priority", "-v", "5"]) == 0
    assert crm_shadow.main(["-p"]) == 0
    assert 'name="priority" value="5"' in capsys.readouterr().out
    assert crm_shadow.main(["-D", "trial"]) == 107, "not without --force"
    assert crm_shadow.main(["-D", "trial", "-f"]) == 0
    assert crm_resource.main(["-l"]) == 66


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-e", "../x"], 64),
        (["-C", "nothing", "-f"], 105),
        (["-w"], 105),
        (["-c", "trial"], 102),
        ([], 64),
    ],
)
def test_what_cannot_be_done_is_refused(folder: Path, words: list[str], code: int) -> None:
    assert crm_shadow.main(words) == code
    assert list(folder.iterdir()) == []


def test_an_existing_shadow_is_not_overwritten(folder: Path) -> None:
    assert crm_shadow.main(["-b", "-e", "trial"]) == 0
    assert crm_shadow.main(["-b", "-e", "trial"]) == 73
    assert crm_shadow.main(["-b", "-e", "trial", "-f"]) == 0
