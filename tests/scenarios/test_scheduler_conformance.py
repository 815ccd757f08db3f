"""The policy engine against what Pacemaker 3.0.2 decides, case by case (docs/conformance.md).

The cases lie beside the checkout (../shared/conformance) and are not part of it; without them this test says so.
The floors are what has been reached: a case that is lost fails the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT.parent / "shared" / "conformance" / "check.py"
CASES = 636
FLOORS = {
    **dict.fromkeys(
        ("decisions", "order", "params", "actions", "edges", "status", "transition", "summary", "scores"), CASES
    ),
    "graph": 635,
}


def test_every_decision_is_the_one_of_the_cases() -> None:
    if not CHECK.exists():
        pytest.skip(f"the scheduler cases are not beside this checkout ({CHECK} is missing)")
    floors = [f"{level}={number}" for level, number in FLOORS.items()]
    result = subprocess.run(
        [sys.executable, str(CHECK), "--engine", "crm.policy.conformance:run", "--list", "--min", *floors],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
