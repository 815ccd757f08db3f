"""Tracing of OCF agents: what a shell agent does, line by line, in a file for each run.

An operation with the parameter `trace_ra` (true) is traced: an agent that is a shell script runs in `bash -x`, and the trace goes to
`trace_dir`/TYPE/RESOURCE.ACTION.TIME; without `trace_dir` to RUN_DIR/trace_ra. Its own output and exit code stay what they are. Other agents
(in Python, say) run as always.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Final

from agents.paths import DEFAULT_RUN_DIR, AgentPaths
from agents.types import Operation

KEEP: Final = 200
"""Files kept for one agent type; beyond it the oldest go: a traced monitor makes one each time."""
_SHELL = re.compile(rb"#!\s*/(?:usr/)?bin/(?:env\s+)?(?:ba|da)?sh\b")
_BASH: Final = "/bin/bash"
_RUN: Final = 'exec 9>>"$1" || exit 1; shift; BASH_XTRACEFD=9 exec ' + f'{_BASH} -x "$@"'


def wanted(operation: Operation) -> bool:
    value = operation.parameters.get("trace_ra", "")
    return value.lower() in ("1", "true", "yes", "on", "y") and operation.action != "meta-data"


def traced(argv: tuple[str, ...], operation: Operation, paths: AgentPaths) -> tuple[str, ...]:
    """The command that runs this one with a trace; this one itself when it cannot be traced."""
    try:
        with Path(argv[0]).open("rb") as agent:
            if _SHELL.match(agent.readline(200)) is None or not Path(_BASH).exists():
                return argv
        file = _file(operation, paths)
    except OSError:
        return argv
    return (_BASH, "-c", _RUN, "trace", str(file), *argv)


def _file(operation: Operation, paths: AgentPaths) -> Path:
    root = Path(operation.parameters.get("trace_dir") or (paths.run_dir or DEFAULT_RUN_DIR) / "trace_ra")
    folder = root / operation.agent.type
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[: -KEEP + 1]:
        old.unlink(missing_ok=True)
    return folder / f"{operation.resource}.{operation.action}.{datetime.now():%Y-%m-%d.%H:%M:%S.%f}"
