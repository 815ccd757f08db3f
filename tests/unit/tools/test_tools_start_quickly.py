"""Commands that agents call in every monitor start in some 20 ms: what would cost more is not loaded on their way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = (
    "lxml",
    "argparse",
    "asyncio",
    "dataclasses",
    "typing",
    "pydantic",
    "rich",
    "typer",
    "crm.cib",
    "crm.policy",
    "agents",
)
PROGRAM = """
import importlib, sys
before = set(sys.modules)
module = importlib.import_module(sys.argv[1])
if hasattr(module, "main"):
    code = module.main(sys.argv[2:])
    assert code == 102, code
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    "words",
    [
        "crm.tools.crm_attribute -N n1 -n x -G",
        "crm.tools.crm_attribute -l reboot -n x -v 1",
        "crm.tools.crm_master -N n1 -r st -v 10",
        "crm.tools.attrd_updater -n x -U 1 -d 5s",
        "crm.tools.crm_node -q",
        "crm.tools.crm_resource -r x -z -g cpu",
        "crm.tools.cibadmin -Q",
    ],
)
def test_nothing_heavy_is_loaded(tmp_path: os.PathLike[str], words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "VIGIL_RUN_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words.split()], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    assert "crm.api.client" in loaded
    assert not loaded & set(HEAVY)
