"""A program, not a test: runs operations one after the other and prints their results, for tests in a namespace of their own.

Standard input: {"operations": [{"agent", "action", "parameters"}, ...], "rsctmp": folder}. An entry {"shell": text} runs a command instead.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId, Operation


def shell(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)


async def main() -> None:
    wanted = json.load(sys.stdin)
    runner = Runner(AgentPaths(rsctmp=Path(wanted["rsctmp"])))
    results: list[dict[str, Any]] = []
    for entry in wanted["operations"]:
        if "shell" in entry:
            done = await asyncio.to_thread(shell, entry["shell"])
            results.append({"rc": done.returncode, "stdout": done.stdout, "reason": done.stderr})
            continue
        operation = Operation(
            AgentId.parse(entry["agent"]),
            entry["action"],
            "test",
            entry.get("parameters", {}),
            timeout_ms=15_000,
            node="n1",
        )
        result = await runner.run(operation)
        results.append(
            {"rc": result.rc, "stdout": result.stdout, "reason": result.exit_reason, "stderr": result.stderr}
        )
    json.dump(results, sys.stdout)


asyncio.run(main())
