"""Traced runs of real agents."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from agents import trace
from agents.ledger import Ledger
from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId, ExecStatus, Operation, OperationResult

DUMMY = AgentId("ocf", "vigil", "Dummy")


def _run(tmp_path: Path, action: str, agent: AgentId = DUMMY, **parameters: str) -> OperationResult:
    paths = AgentPaths(run_dir=tmp_path / "run", rsctmp=tmp_path, ocf_search=(tmp_path / "ocf",))
    runner = Runner(paths, Ledger(tmp_path / "ledger"))
    return asyncio.run(runner.run(Operation(agent, action, "web", parameters)))


def test_a_traced_run_leaves_its_steps_in_a_file_and_ends_as_it_would_without(tmp_path: Path) -> None:
    assert _run(tmp_path, "monitor", trace_ra="1").rc == 7
    (file,) = (tmp_path / "run/trace_ra/Dummy").iterdir()
    assert file.name.startswith("web.monitor.20")
    assert "+ OK=0" in file.read_text()


def test_the_reason_of_a_failure_is_still_told(tmp_path: Path) -> None:
    plain = _run(tmp_path, "start", fail_on="start")
    traced = _run(tmp_path, "start", fail_on="start", trace_ra="true", trace_dir=str(tmp_path / "traces"))
    assert plain.exit_reason and (traced.rc, traced.exit_reason) == (plain.rc, plain.exit_reason)
    assert traced.stderr == plain.stderr, "the trace is not mixed into what the agent says"
    assert len(list((tmp_path / "traces/Dummy").iterdir())) == 1


def test_without_the_parameter_nothing_is_written(tmp_path: Path) -> None:
    _run(tmp_path, "monitor")
    _run(tmp_path, "monitor", trace_ra="0")
    assert not (tmp_path / "run/trace_ra").exists()


def test_an_agent_that_is_no_shell_script_runs_as_always(tmp_path: Path) -> None:
    folder = tmp_path / "ocf" / "test"
    folder.mkdir(parents=True)
    program = folder / "Python"
    program.write_text("#!/usr/bin/env python3\nraise SystemExit(8)\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    result = _run(tmp_path, "monitor", AgentId("ocf", "test", "Python"), trace_ra="1")
    assert (result.rc, result.status) == (8, ExecStatus.DONE)


def test_a_folder_that_cannot_be_written_never_stops_an_agent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _run(tmp_path, "monitor", trace_ra="1", trace_dir=str(tmp_path / "file")).rc == 7


def test_old_traces_go(tmp_path: Path) -> None:
    folder = tmp_path / "run/trace_ra/Dummy"
    folder.mkdir(parents=True)
    for number in range(trace.KEEP + 10):
        (folder / f"old.{number}").write_text("")
    _run(tmp_path, "monitor", trace_ra="1")
    assert len(list(folder.iterdir())) == trace.KEEP
