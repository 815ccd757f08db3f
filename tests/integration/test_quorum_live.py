"""Votes of real daemons: the last man goes on, waiting ends by the operator's word, and what was agreed outlives a power cut."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from harness import Cluster, wait_for

from crm.api.client import Client
from crm.shell.main import start

pytestmark = pytest.mark.integration

LAST_MAN = """\
last_man_standing = true
last_man_standing_window_ms = 2500
auto_tie_breaker = true
"""


def crm(cluster: Cluster, name: str, *words: str) -> tuple[int, str, str]:
    """A command on a node, in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"VIGIL_RUN_DIR": str(cluster.nodes[name].run_dir)}),
        mock.patch("sys.stdin", io.StringIO()),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = start(list(words))
    return code, output.getvalue(), errors.getvalue()


def quorum(cluster: Cluster, name: str) -> dict[str, Any]:
    with Client(str(cluster.nodes[name].run_dir), timeout_s=30) as client:
        answer: dict[str, Any] = client.call("messaging.query", name="quorum")
    return answer


def wait_expected(cluster: Cluster, votes: int, *names: str) -> None:
    """Until each of these nodes expects so many votes."""
    for name in names:
        wait_for(lambda name=name: quorum(cluster, name)["expected_votes"] == votes, f"{name} to expect {votes} votes")  # type: ignore[misc]


def test_a_cluster_goes_on_to_the_last_man_and_its_word_outlives_a_power_cut(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", 3, quorum=LAST_MAN) as cluster:
        cluster.start()
        cluster.wait_online()
        for dead, left in (("n3", ("n1", "n2")), ("n2", ("n1",))):
            cluster.crash(dead)
            wait_expected(cluster, len(left), *left)
            assert quorum(cluster, "n1")["quorate"]
        cluster.start("n2", "n3")
        cluster.wait_online()
        wait_expected(cluster, 3, "n1", "n2", "n3")

        cluster.crash("n3")
        wait_expected(cluster, 2, "n1", "n2")
        for name in ("n1", "n2"):
            cluster.crash(name)
        cluster.start("n2", "n3")
        wait_for(lambda: cluster.online("n3") == {"n2", "n3"}, "two nodes to be together")
        answer = quorum(cluster, "n3")
        assert not answer["quorate"], answer["reason"]
        assert answer["electorate"] == ["n1", "n2"], "n1 may have gone on without them, for all that they know"

        code, _, errors = crm(cluster, "n3", "cluster", "quorum", "unblock")
        assert code == 1
        assert "n1" in errors
        assert "--force" in errors, "nobody is there to be asked"
        assert crm(cluster, "n3", "--force", "cluster", "quorum", "unblock")[0] == 0
        assert not quorum(cluster, "n3")["quorate"], "one of two votes, and n1 decides"
        code, _, errors = crm(cluster, "n3", "cluster", "expected-votes", "2")
        assert code == 1
        assert "DANGER: not here are n1" in errors
        code, said, errors = crm(cluster, "n3", "--force", "cluster", "expected-votes", "2")
        assert code == 0, errors
        assert said.startswith("quorate: 2 of 2 votes; majority")
        cluster.start("n1")
        cluster.wait_online()
        wait_expected(cluster, 3, "n1")
