"""The words between an operation and its agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.paths import AgentPaths
from agents.types import AgentError, AgentId, ExecStatus, OcfCode, OperationResult


@pytest.mark.parametrize(
    "text", ["ocf:heartbeat:IPaddr2", "systemd:nginx", "lsb:foo", "service:x", "stonith:fence_dummy", "systemd:a@b:c"]
)
def test_an_agent_is_written_as_it_was_read(text: str) -> None:
    assert str(AgentId.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dummy", "unknown class 'Dummy'"),
        ("ocf:Dummy", "expected ocf:PROVIDER:TYPE"),
        ("ocf::Dummy", "expected ocf:PROVIDER:TYPE"),
        ("ocf:a:b:c", "too many parts"),
        ("systemd:", "expected systemd:TYPE"),
        ("ocf:../..:sh", "cannot be a file name"),
        ("lsb:../../bin/sh", "cannot be a file name"),
    ],
)
def test_what_names_no_agent_is_refused_with_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(AgentError, match=words.replace("(", "\\(")):
        AgentId.parse(text)


def test_paths_follow_the_environment_and_keep_nodes_of_one_machine_apart() -> None:
    usual = AgentPaths.from_environment({})
    assert (usual.ocf_root, usual.rsctmp) == (Path("/usr/lib/ocf"), Path("/run/resource-agents"))
    own = AgentPaths.from_environment({"VIGIL_RUN_DIR": "/lab/n1/run", "VIGIL_OCF_PATH": "/a:/b", "OCF_ROOT": "/o"})
    assert own.rsctmp == Path("/lab/n1/run/resource-agents")
    assert own.provider_folders() == (Path("/a"), Path("/b"), Path("/o/resource.d"))
    told = AgentPaths.from_environment({"VIGIL_RUN_DIR": "/lab/n1/run", "HA_RSCTMP": "/r", "VIGIL_FENCE_PATH": "/f"})
    assert (told.rsctmp, told.fence_search[0]) == (Path("/r"), Path("/f"))


def test_every_code_and_status_has_words() -> None:
    assert all(code.text for code in OcfCode)
    assert all(status.text for status in ExecStatus)
    assert OcfCode.text_of(77) == "error"


def test_a_result_is_good_only_when_the_run_ended_and_the_agent_said_so() -> None:
    assert OperationResult(0).ok
    assert not OperationResult(0, ExecStatus.TIMEOUT).ok
    assert not OperationResult(7).ok
