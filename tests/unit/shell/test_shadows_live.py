"""Shadows committed to a real node whose configuration others have changed meanwhile: nobody's change is lost without a word."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

import pytest
from test_shell_live import Node, until
from test_shell_live import node as node

from crm.tools import crm_shadow


@pytest.fixture
def shadows(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("CRM_SHADOW_DIR", str(tmp_path))
    monkeypatch.delenv("CIB_shadow", raising=False)
    node.good("cluster", "wait")
    return node


NEVER = ("ocf:vigil:Dummy", "meta", "target-role=Stopped")


def tool(node: Node, *words: str) -> tuple[int, str]:
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, node.environment, clear=True),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        return crm_shadow.main(list(words)), output.getvalue() + errors.getvalue()


def in_shadow(node: Node, name: str, *words: str) -> None:
    node.good("--cib", str(Path(os.environ["CRM_SHADOW_DIR"]) / f"{name}.xml"), *words)


def test_what_others_changed_while_a_shadow_was_worked_on_stays(shadows: Node) -> None:
    for number, commit in enumerate((("crm_shadow",), ("cib", "commit"))):
        assert tool(shadows, "-b", "-c", f"s{number}")[0] == 0
        in_shadow(shadows, f"s{number}", "configure", "primitive", f"mine{number}", *NEVER)
        shadows.good("configure", "primitive", f"theirs{number}", *NEVER)
        if commit == ("crm_shadow",):
            assert tool(shadows, "-C", f"s{number}")[0] == 107, "not without --force"
            assert tool(shadows, "-f", "-C", f"s{number}") == (0, "")
        else:
            shadows.good(*commit, f"s{number}")
        shown = shadows.good("configure", "show")
        assert f"primitive mine{number} " in shown and f"primitive theirs{number} " in shown
        # What was committed is the base of what comes next: nothing is undone by a second commit.
        shadows.good("configure", "delete", f"mine{number}")
        assert tool(shadows, "-f", "-C", f"s{number}") == (0, "")
        assert f"mine{number}" not in shadows.good("configure", "show")


def test_the_same_object_changed_in_both_is_a_conflict_and_force_decides(shadows: Node) -> None:
    shadows.good("configure", "property", "batch-limit=5")
    shadows.good("cib", "new", "both")
    in_shadow(shadows, "both", "configure", "property", "batch-limit=6")
    shadows.good("configure", "property", "batch-limit=7")
    code, _, errors = shadows.crm("cib", "commit", "both")
    assert code == 1 and "the same objects" in errors and "cib-bootstrap-options" in errors
    assert "batch-limit=7" in shadows.good("configure", "show")
    shadows.good("cib", "commit", "--force", "both")
    assert "batch-limit=6" in shadows.good("configure", "show")
    shadows.good("configure", "property", "batch-limit=0")


def test_a_shadow_that_does_not_fit_any_more_is_refused_and_changes_nothing(shadows: Node) -> None:
    shadows.good("configure", "primitive", "goes", *NEVER)
    assert tool(shadows, "-b", "-c", "late")[0] == 0
    in_shadow(shadows, "late", "resource", "meta", "goes", "set", "priority", "5")
    shadows.good("configure", "delete", "goes")
    before = shadows.good("configure", "show")
    code, said = tool(shadows, "-f", "-C", "late")
    assert code == 105 and "others have changed meanwhile" in said
    assert shadows.good("configure", "show") == before


def test_a_shadow_begun_empty_replaces_everything(shadows: Node, tmp_path: Path) -> None:
    shadows.good("configure", "primitive", "old", *NEVER)
    assert tool(shadows, "-b", "-e", "fresh")[0] == 0
    in_shadow(shadows, "fresh", "configure", "property", "cluster-name=live", "fencing-enabled=false")
    assert tool(shadows, "-f", "-C", "fresh") == (0, "")
    assert "primitive old" not in shadows.good("configure", "show")
    until(lambda: "1 of 1 nodes online" in shadows.good("status"), "the node is entered again")
    assert tool(shadows, "-f", "-D", "fresh")[0] == 0 and not list(tmp_path.iterdir())
