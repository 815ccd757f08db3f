"""The interactive shell: levels, collected edits, scripts, completion; the prompt itself through a pipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from crm.cib import xml
from crm.shell import interactive
from crm.shell.catalogue import Installed
from crm.shell.completion import ShellCompleter, candidates, known_of
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar.statements import parse
from crm.shell.shell import Shell
from crm.shell.walker import Outcome, Walker, run_text

TEXT = """
node 1: n1
node 2: n2
primitive ip ocf:vigil:IPaddr params ip=10.0.0.1
primitive web ocf:vigil:WebServer params port=8080
group front ip web
"""


@pytest.fixture
def cib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    configuration = Configuration(xml.empty())
    configuration.apply(parse(TEXT), Mode.CREATE)
    path = tmp_path / "cib.xml"
    path.write_text(xml.to_text(configuration.root))
    monkeypatch.setenv("CRM_HISTORY_FILE", str(tmp_path / "history"))
    return path


@pytest.fixture
def shell(cib: Path) -> Shell:
    return Shell(cib_file=str(cib))


def shown(path: Path) -> str:
    return Configuration(xml.load(path)).text()


# Levels


def test_the_prompt_names_the_session_and_the_level(shell: Shell) -> None:
    walker = Walker(shell)
    assert walker.prompt == "crm(cib)# "
    walker.execute("configure")
    assert walker.prompt == "crm(cib)configure# "
    walker.execute("primitive d ocf:vigil:Dummy")
    assert walker.prompt == "crm(cib)configure*# "


def test_up_and_quit_leave_levels(shell: Shell) -> None:
    walker = Walker(shell)
    assert walker.execute("resource") is Outcome.GOOD
    assert walker.path == ("resource",)
    assert walker.execute("up") is Outcome.GOOD
    assert walker.path == ()
    assert walker.execute("cd /node") is Outcome.GOOD
    assert walker.path == ("node",)
    assert walker.execute("quit") is Outcome.QUIT


def test_a_command_of_another_level_can_be_given_from_the_top(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert Walker(shell).execute("configure show front") is Outcome.GOOD
    assert capsys.readouterr().out == "group front ip web\n"


def test_help_and_ls_show_what_there_is(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    walker = Walker(shell, ("resource",))
    walker.execute("ls")
    assert "restart" in capsys.readouterr().out
    assert walker.execute("help") is Outcome.GOOD
    assert "Usage" in capsys.readouterr().out
    assert walker.execute("help move") is Outcome.GOOD
    assert "LIFETIME" in capsys.readouterr().out


def test_a_failure_is_printed_and_the_shell_goes_on(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    walker = Walker(shell)
    assert walker.execute("resource start nothing") is Outcome.FAILED
    assert walker.execute("bogus") is Outcome.FAILED
    assert walker.execute('resource start "never closed') is Outcome.FAILED
    assert "there is no resource 'nothing'" in capsys.readouterr().err
    assert walker.execute("resource stop web") is Outcome.GOOD


# Editing


def test_edits_are_collected_until_they_are_committed(
    shell: Shell, cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cib.read_bytes()
    walker = Walker(shell, ("configure",))
    walker.execute("primitive d ocf:vigil:Dummy \\\n\tmeta target-role=Stopped")
    walker.execute("location l d inf: n1")
    assert cib.read_bytes() == before
    walker.execute("show changed")
    assert (
        capsys.readouterr().out == "primitive d ocf:vigil:Dummy \\\n\tmeta target-role=Stopped\nlocation l d inf: n1\n"
    )
    assert walker.execute("commit") is Outcome.GOOD
    assert "location l d inf: n1" in shown(cib)
    assert not shell.pending.changed  # type: ignore[union-attr]


def test_quotes_of_a_statement_are_those_of_the_language(shell: Shell, cib: Path) -> None:
    walker = Walker(shell, ("configure",))
    walker.execute('primitive d ocf:vigil:Dummy params fake="two words"')
    walker.execute("commit")
    assert 'fake="two words"' in shown(cib)


def test_a_commit_with_errors_is_refused_and_the_edits_stay(
    shell: Shell, cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cib.read_bytes()
    walker = Walker(shell, ("configure",))
    walker.execute("location l nothing inf: n1")
    walker.execute("colocation c inf: web nobody")
    assert walker.execute("commit") is Outcome.FAILED
    error = capsys.readouterr().err
    assert "'nothing'" in error
    assert "'nobody'" in error
    assert cib.read_bytes() == before
    assert walker.execute("delete l c") is Outcome.GOOD
    assert walker.execute("commit") is Outcome.GOOD


def test_a_doubtful_parameter_is_said_at_once(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    walker = Walker(shell, ("configure",))
    assert walker.execute("primitive w ocf:vigil:WebServer params prt=80") is Outcome.GOOD
    assert "did you mean port?" in capsys.readouterr().err
    assert walker.execute("commit") is Outcome.FAILED
    assert walker.execute("commit force") is Outcome.GOOD


@pytest.mark.parametrize(
    ("answer", "outcome", "committed"),
    [("yes", Outcome.QUIT, True), ("no", Outcome.QUIT, False), ("cancel", Outcome.FAILED, False)],
)
def test_leaving_with_edits_asks(
    shell: Shell, cib: Path, monkeypatch: pytest.MonkeyPatch, answer: str, outcome: Outcome, committed: bool
) -> None:
    monkeypatch.setattr("builtins.input", lambda question: answer)
    walker = Walker(shell, ("configure",))
    walker.execute("location l web inf: n1")
    assert walker.execute("quit") is outcome
    assert ("location l web" in shown(cib)) is committed


def test_a_command_that_drives_the_cluster_does_not_wait_for_a_commit(shell: Shell, cib: Path) -> None:
    walker = Walker(shell, ("configure",))
    walker.execute("location l web inf: n1")
    monkey_answer = walker.execute("commit")
    assert monkey_answer is Outcome.GOOD
    walker.execute("property no-quorum-policy=freeze")
    assert walker.execute("resource stop ip") is Outcome.GOOD
    assert "target-role=Stopped" in shown(cib)
    assert "no-quorum-policy" not in shown(cib)
    assert walker.execute("commit") is Outcome.GOOD
    assert "target-role=Stopped" in shown(cib)
    assert "no-quorum-policy=freeze" in shown(cib)


def test_refresh_drops_what_was_edited(shell: Shell, cib: Path) -> None:
    walker = Walker(shell, ("configure",))
    walker.execute("location l web inf: n1")
    walker.execute("refresh")
    assert walker.prompt == "crm(cib)configure# "


# Scripts


def test_a_script_runs_line_by_line_and_commits_when_it_leaves(shell: Shell, cib: Path) -> None:
    script = "# a script\nconfigure\nprimitive d ocf:vigil:Dummy \\\n  meta target-role=Stopped\nlocation l d inf: n1\nup\nresource stop web\n"
    assert run_text(shell, script, "x.crm") == 0
    assert "location l d inf: n1" in shown(cib)
    assert "target-role=Stopped" in shown(cib)


def test_a_script_stops_at_the_first_failure_and_names_the_line(
    shell: Shell, cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "configure\nlocation l web inf: n1\nprimitive web ocf:vigil:Dummy\nlocation never web inf: n2\n"
    assert run_text(shell, script, "x.crm") == 1
    assert "crm: x.crm, line 3: stopped here" in capsys.readouterr().err
    assert "location" not in shown(cib)


def test_a_script_file_and_piped_input_are_the_same(
    cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from crm.shell.main import start

    (tmp_path / "s.crm").write_text("configure show front\n")
    assert start(["--cib", str(cib), "-f", str(tmp_path / "s.crm")]) == 0
    assert capsys.readouterr().out == "group front ip web\n"
    assert start(["--cib", str(cib), "-f", str(tmp_path / "none")]) == 1


# Completion


def completions(path: tuple[str, ...], text: str, cib: Path) -> set[str]:
    known = known_of(Configuration(xml.load(cib)), Installed())
    words = text.split()
    if not text or text.endswith(" "):
        words.append("")
    return {each for each in candidates(path, words, known) if each.startswith(words[-1])}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ((), "sta", {"status"}),
        ((), "configure pri", {"primitive"}),
        ((), "resource sto", {"stop"}),
        ((), "resource stop w", {"web"}),
        ((), "resource move web --", {"--promoted", "--wait", "--help"}),
        (("resource",), "stop ", {"ip", "web", "front"}),
        (("node",), "standby n", {"n1", "n2"}),
        (("maintenance",), "on w", {"web"}),
        (("maintenance",), "off n", {"n1", "n2"}),
        (("resource",), "trace web mon", {"monitor"}),
        ((), "cib diff li", {"live"}),
        (("configure",), "primitive x ocf:vigil:Web", {"ocf:vigil:WebServer"}),
        (("configure",), "primitive x ocf:vi", {"ocf:vigil:"}),
        (("configure",), "primitive x ocf:vigil:WebServer params po", {"port="}),
        (("configure",), "primitive x ocf:vigil:WebServer meta target-role=St", {"target-role=Started", "target-role=Stopped"}),
        (("configure",), "primitive x ocf:vigil:WebServer op mon", {"monitor"}),
        (("configure",), "primitive x ocf:vigil:WebServer op monitor int", {"interval=", "interval-origin="}),
        (("configure",), "location l we", {"web"}),
        (("configure",), "location l web inf: n", {"n1", "n2"}),
        (("configure",), "location l web rule #un", {"#uname"}),
        (("configure",), "colocation c inf: web:Pro", {"web:Promoted"}),
        (("configure",), "order o Man", {"Mandatory:"}),
        (("configure",), "order o web:pro", {"web:promote"}),
        (("configure",), "property no-quorum-policy=fr", {"no-quorum-policy=freeze"}),
        (("configure",), "delete fr", {"front"}),
        (("configure",), "group g w", {"web"}),
        (("configure",), "clone c fr", {"front"}),
    ],
)  # fmt: skip
def test_what_can_come_next(cib: Path, path: tuple[str, ...], text: str, expected: set[str]) -> None:
    found = completions(path, text, cib)
    if "--" in text:
        assert {"--promoted", "--wait"} <= found
    else:
        assert found == expected


def test_completion_never_fails_even_without_a_cluster(tmp_path: Path) -> None:
    completer = ShellCompleter(Walker(Shell(run_dir=str(tmp_path))))
    event = CompleteEvent()
    assert list(completer.get_completions(Document("resource stop "), event)) == []
    assert [each.text for each in completer.get_completions(Document("resou"), event)] == ["resource"]


# The prompt


def test_lines_typed_at_the_prompt_are_carried_out(cib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("configure\nprimitive d ocf:vigil:Dummy \\\nmeta target-role=Stopped\ncommit\nquit\n")
        assert interactive.loop(Shell(cib_file=str(cib))) == 0
    assert "primitive d ocf:vigil:Dummy \\\n\tmeta target-role=Stopped" in shown(cib)


def test_tab_completes_at_the_prompt(cib: Path) -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("resou\t stop we\t\nquit\n")
        assert interactive.loop(Shell(cib_file=str(cib))) == 0
    assert "params port=8080 \\\n\tmeta target-role=Stopped" in shown(cib)
