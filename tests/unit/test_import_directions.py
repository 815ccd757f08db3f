"""Imports go one way (docs/architecture.md): this test is where the arrows are written down for the machine.

Every import statement of the code counts, those inside functions too. Imports for type checkers only (`if TYPE_CHECKING`) may
not point to a layer above either: a type that is needed below belongs below. Within a layer they may, since two types can
name each other; they are left out where circles are looked for.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# part -> the parts of ours that it may import (itself always)
ALLOWED: dict[str, set[str]] = {
    "messaging": set(),
    "agents": set(),
    "fencing": {"agents"},
    "crm.config": {"messaging"},
    "crm.cib": set(),
    "crm.events": set(),
    "crm.alerts": {"crm.cib", "crm.policy"},
    "crm.metrics": {"crm.cib", "crm.policy"},
    "crm.policy": {"crm.cib"},
    "crm.controller": {"crm.attributes", "crm.cib", "crm.policy", "crm.events", "messaging"},
    "crm.executor": {"crm.cib", "agents"},
    "crm.attributes": {"crm.cib"},
    "crm.api": {"crm.cib"},
    "crm.daemon": {
        *("messaging", "agents", "fencing", "crm.config", "crm.cib", "crm.policy"),
        *("crm.controller", "crm.executor", "crm.attributes", "crm.api", "crm.events", "crm.alerts", "crm.metrics"),
    },
    "crm.simulator": {
        *("messaging", "agents", "fencing", "crm.config", "crm.cib", "crm.policy"),
        *(
            "crm.daemon",
            "crm.controller",
            "crm.executor",
            "crm.attributes",
            "crm.api",
            "crm.events",
            "crm.alerts",
            "crm.metrics",
        ),
    },
    "crm.lab": {"crm.api", "crm.cib", "crm.config", "messaging"},
    "crm.tools": {"crm.api", "crm.cib", "crm.policy", "crm.config", "agents"},
    "crm.shell": {
        *(
            "crm.api",
            "crm.cib",
            "crm.policy",
            "crm.config",
            "crm.events",
            "crm.lab",
            "crm.tools",
            "messaging",
            "agents",
        ),
    },
}


def part_of(module: str) -> str | None:
    """The part a module name belongs to; None for what is not ours."""
    for part in ALLOWED:
        if module == part or module.startswith(part + "."):
            return part
    return None


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("messaging", "agents", "fencing", "crm"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found.append((name, path))
    return found


def for_type_checkers(tree: ast.Module) -> set[ast.AST]:
    """The nodes below `if TYPE_CHECKING:`."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                found.update(ast.walk(statement))
    return found


def imported(module: str, path: Path, *, at_run_time: bool = False) -> set[str]:
    """Full names of everything the module imports."""
    names: set[str] = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = for_type_checkers(tree) if at_run_time else set()
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                ancestors = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*ancestors, base] if base else ancestors)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_a_module_imports_only_what_its_layer_may(module: str, path: Path) -> None:
    own = part_of(module)
    if own is None:
        assert module == "crm", f"{module} belongs to no layer: add it to docs/architecture.md and here"
        return
    wrong = {
        name
        for name in imported(module, path)
        if (other := part_of(name)) and other != own and other not in ALLOWED[own]
    }
    assert not wrong, f"{module} ({own}) may not import {', '.join(sorted(wrong))}"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    names = {name for name, _ in modules()}
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        targets = set()
        for full in imported(name, path, at_run_time=True):
            target = full if full in names else full.rpartition(".")[0]
            if target in names and target != name and not name.startswith(target + "."):
                targets.add(target)
        graph[name] = targets
    done: set[str] = set()
    for start in graph:
        trail: list[str] = []
        _walk(start, graph, done, trail)


def _walk(name: str, graph: dict[str, set[str]], done: set[str], trail: list[str]) -> None:
    assert name not in trail, f"imports go in a circle: {' -> '.join([*trail[trail.index(name) :], name])}"
    if name in done:
        return
    for target in sorted(graph[name]):
        _walk(target, graph, done, [*trail, name])
    done.add(name)
