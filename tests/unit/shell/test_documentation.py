"""What the guides and references tell people to type is what the programs take: commands, options, configuration, links."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from crm.config import all_keys, loads
from crm.shell.grammar.statements import parse
from crm.shell.tree import LEVELS, app, run

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IN_TEXT = re.compile(r"`(crm [^`]+)`")
TYPED = re.compile(r"(?:\[\w+\] )?[#$]? ?(crm .*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CIB = (
    '<cib validate-with="pacemaker-3.9" admin_epoch="0" epoch="1" num_updates="0"><configuration><crm_config/><nodes>'
    '<node id="1" uname="n1"/><node id="2" uname="n2"/></nodes><resources/><constraints/></configuration><status/></cib>'
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def typed(page: Path) -> Iterator[str]:
    """Command lines as in `crm status  # explanation` and in running text, without what explains them."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            match = TYPED.match(line.strip())
            if match is not None:
                # Several columns explain, or hold another command.
                yield from (part for part in re.split(r"  +(?:# )?", match[1]) if part.startswith("crm "))
        else:
            yield from IN_TEXT.findall(line)


COMMANDS = sorted({(name(page), line.partition(" #")[0]) for page in PAGES for line in typed(page)})


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 100


@pytest.mark.parametrize("page", sorted({page for page, _ in COMMANDS}))
def test_commands_that_are_named_exist_with_their_options(page: str) -> None:
    root: Any = typer.main.get_command(app)
    wrong = [f"{line}: {what}" for where, line in COMMANDS if where == page for what in unknown(root, line)]
    assert wrong == []


def unknown(command: Any, line: str) -> Iterator[str]:
    """Words of a command line that are neither a command where a command is due, nor an option of the command, nor for the reader to fill in."""
    known = {"-h", "--help"} | options_of(command)
    for word in re.split(r"[\s\[\]|]+|\.\.\.", line)[1:]:
        if word == "--":
            return  # what follows is another command's
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            option = word.partition("=")[0].rstrip(",.")
            if option not in known:
                yield f"no option {option}"
        elif word and hasattr(command, "commands") and not word.isupper():
            below = command.get_command(command.make_context("crm", [], resilient_parsing=True), word.rstrip(",.:"))
            if below is None:
                yield f"no command {word}"
                return
            command = below
            known |= options_of(command)


def options_of(command: Any) -> set[str]:
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


def test_what_does_not_exist_would_be_found() -> None:
    root: Any = typer.main.get_command(app)
    assert list(unknown(root, "crm --preview node standby n3 --wait --nonsense")) == ["no option --nonsense"]
    assert list(unknown(root, "crm lab run n1 -- crm --nonsense")) == []
    assert list(unknown(root, "crm node dance n3")) == ["no command dance"]
    assert list(unknown(root, "crm LEVEL COMMAND [--wait]")) == []


CONFIGURED = sorted(
    (page, line)
    for page, line in COMMANDS
    if re.match(r"crm configure (alert|primitive|property|location|group) .*=?", line) and line.split()[3:]
)


@pytest.mark.parametrize(("page", "line"), CONFIGURED)
def test_a_configuration_that_is_shown_is_taken(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(CIB)
    monkeypatch.setenv("CIB_file", str(path))
    words = shlex.split(line)[1:]
    if any(word.isupper() or "NAME" in word for word in words[2:]):
        return
    assert run(words) == 0, f"{page}: {line}: {capsys.readouterr().err}"
    assert path.read_text() != CIB


KEYWORDS = "primitive|group|clone|ms|location|colocation|order|property|alert|tag|role|rsc_ticket|rsc_template|fencing_topology"
STATEMENT = re.compile(rf"^    (?:crm\(live\)configure\*?# )?((?:{KEYWORDS}) .*?[^\\])$", re.MULTILINE | re.DOTALL)
STATEMENTS = [
    (name(page), text)
    for page in PAGES
    for text in STATEMENT.findall(page.read_text(encoding="utf-8"))
    if not re.search(r"\b(ID|NAME|RESOURCE|MEMBER|DEVICE|ELEMENT)\b", text)
]


def test_statements_of_the_configure_language_that_are_shown_are_understood() -> None:
    assert len(STATEMENTS) > 10
    for page, text in STATEMENTS:
        assert parse(text + "\n"), page


def toml_of(page: Path) -> Iterator[str]:
    """Blocks in ```toml, and indented ones that begin with a table."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        plain = "\n".join(line[4:] for line in block.splitlines()).strip()
        if re.match(r"\[\[?[a-z_.]+\]\]?\s*(#.*)?$", plain.partition("\n")[0]):
            yield plain


TOML = [(name(page), block) for page in PAGES for block in toml_of(page)]


def _keys(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                yield from _keys(each, f"{above}{key}.")
        else:
            yield above + key


@pytest.mark.parametrize(("page", "block"), TOML)
def test_an_example_of_vigil_toml_has_keys_that_exist(page: str, block: str) -> None:
    document = tomllib.loads(block)
    assert set(_keys(document)) <= set(all_keys()), page
    if {"cluster", "nodes"} <= document.keys():
        loads(f"{block}\n[node]\nname = {document['nodes'][0]['name']!r}\n")


def test_there_are_examples_to_look_at() -> None:
    assert len(TOML) > 5 and len(CONFIGURED) > 4


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            wrong.append(link)
    assert wrong == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_every_page_of_the_documentation_is_reached_from_the_readme() -> None:
    reached, open_ = set(), [ROOT / "README.md"]
    while open_:
        page = open_.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            path = link.partition("#")[0]
            if path and "://" not in link:
                open_.append((page.parent / path).resolve())
    left = {name(page) for page in PAGES} - {name(page) for page in reached}
    assert {each for each in left if not each.startswith("docs/decisions/")} == set()


def test_metrics_of_an_example_exist() -> None:
    text = (ROOT / "docs/guide/events-and-metrics.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`((?:vigil|ha_cluster)_\w+)`", text))
    used = {
        found
        for line in re.findall(r"^\s+expr: (.*)$", text, re.MULTILINE)
        for found in re.findall(r"\b(?:vigil|ha_cluster)_\w+", line)
    }
    assert used and used <= told


def test_tests_that_a_page_names_exist() -> None:
    """A name that ends in `_...` is the beginning of one."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    wrong = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.findall(r"`(test_\w+?)(_?\.\.\.)?`", text):
            if not re.search(rf"def {found[0]}{'' if found[1] else chr(92) + 'b'}", code):
                wrong.append(f"{name(page)}: {found[0]}")
        wrong += [
            f"{name(page)}: {path}" for path in re.findall(r"`(tests/[\w/]+\.py)`", text) if not (ROOT / path).exists()
        ]
    assert wrong == []


ELSEWHERE = {"configure": "docs/reference/configure-language.md", "lab": "docs/guide/lab.md"}
"""Where the commands of a level are, beside the reference of the shell."""


def test_every_command_of_every_level_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/shell.md").read_text(encoding="utf-8")
    root: Any = typer.main.get_command(app)
    missing = []
    for level in LEVELS:
        command = root.get_command(root.make_context("crm", [], resilient_parsing=True), level)
        section = re.search(rf"^## crm {level}\n(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL)
        body = (section[1] if section else "") + "".join(re.findall(rf"`crm {level}[^`]*`", reference))
        if level in ELSEWHERE:
            body += (ROOT / ELSEWHERE[level]).read_text(encoding="utf-8")
        for each, below in getattr(command, "commands", {}).items():
            if not below.hidden and not re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", body):
                missing.append(f"{level} {each}")
    assert set(missing) <= {"lab demo"}, "that one is `make demo`"
