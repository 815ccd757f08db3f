"""The `crm` command on a CIB file: what it prints, what it writes, its exit codes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crm.cib import xml
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar.statements import parse
from crm.shell.main import start

TEXT = """
node 1: n1
node 2: n2
primitive ip ocf:vigil:IPaddr params ip=10.0.0.1 cidr_netmask=24
primitive web ocf:vigil:WebServer params port=8080
primitive pages ocf:vigil:Dummy
group front ip web
primitive data ocf:vigil:Stateful
clone copies data meta promotable=true
property cib-bootstrap-options: fencing-enabled=false
"""


@pytest.fixture
def cib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    configuration = Configuration(xml.empty())
    configuration.apply(parse(TEXT), Mode.CREATE)
    path = tmp_path / "cib.xml"
    path.write_text(xml.to_text(configuration.root))
    monkeypatch.setenv("CIB_file", str(path))
    monkeypatch.setenv("CRM_SHADOW_DIR", str(tmp_path / "shadows"))
    monkeypatch.delenv("VIGIL_RUN_DIR", raising=False)
    return path


def crm(line: str) -> int:
    return start(line.split())


def shown(path: Path) -> str:
    return Configuration(xml.load(path)).text()


def meta(path: Path, resource: str) -> dict[str | None, str | None]:
    pairs = xml.load(path).iterfind(f".//*[@id='{resource}']/meta_attributes/nvpair")
    return {pair.get("name"): pair.get("value") for pair in pairs}


# configure


def test_a_statement_is_committed_at_once_and_said_in_one_line(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure location l front -inf: n2") == 0
    assert capsys.readouterr().out == "committed: location l\n"
    assert "location l front -inf: n2" in shown(cib)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("configure primitive x ocf:vigil:WebServr", "did you mean WebServer?"),
        ("configure primitive x ocf:vigil:WebServer params prt=80", "has no parameter 'prt'; did you mean port?"),
        ("configure primitive x ocf:vigil:IPaddr", "parameter 'ip' of ocf:vigil:IPaddr is required"),
        ("configure location l nothing inf: n1", "'nothing'"),
        ("configure primitive web ocf:vigil:Dummy", "primitive web exists already"),
        ("configure group g", "the group has no members"),
        ("configure delete nothing", "there is no object 'nothing'"),
        ("configure show nothing", "there is no object 'nothing'"),
        ("configure load update /no/such/file", "cannot read /no/such/file: No such file or directory"),
        ("configure rename web ip", "the id 'ip' is in use already"),
        ("resource start nothing", "there is no resource 'nothing'"),
        ("resource start wbe", "did you mean web?"),
        ("resource promote web", "web is no promotable clone"),
        ("resource move web nowhere", "'nowhere' is neither a node (n1, n2) nor a lifetime"),
        ("resource move web", "web does not run; name the node that it must leave"),
        ("resource cleanup", "this needs a running cluster"),
        ("resource meta web put a b", "expected set NAME VALUE, show [NAME] or delete NAME"),
        ("node standby n3", "there is no node 'n3'; there are n1, n2"),
        ("node fence n1", "this needs a running cluster"),
        ("cluster wait", "this needs a running cluster"),
        ("ra list nothing", "'nothing' is no class of agents"),
        ("ra info ocf:vigil:Nothing", "is not installed"),
        ("why nothing", "there is no resource 'nothing'"),
        ("options nothing", "there is no option 'nothing'"),
        ("cib use nothing", "there is no shadow 'nothing'"),
        ("status --watch", "a file does not change by itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_exit_code_1_and_changes_nothing(
    cib: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    before = cib.read_bytes()
    assert crm(line) == 1
    error = capsys.readouterr().err
    assert error.startswith("crm: ")
    assert said in error
    assert cib.read_bytes() == before


@pytest.mark.parametrize("line", ["bogus", "configure bogus", "resource start", "resource move", "status --bogus"])
def test_what_is_not_understood_is_exit_code_2(cib: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert crm(line) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_misspelt_command_is_told_what_was_meant(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure primitve x") == 2
    assert "Did you mean 'primitive'?" in capsys.readouterr().err


def test_force_commits_despite_errors(cib: Path) -> None:
    assert crm("--force configure location l nothing inf: n1") == 0
    assert "location l nothing" in shown(cib)


def test_an_error_that_was_there_before_does_not_stop_a_change(cib: Path) -> None:
    assert crm("--force configure location l nothing inf: n1") == 0
    assert crm("configure location k web inf: n1") == 0


def test_show_prints_what_load_reads(cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm(f"configure save {tmp_path}/saved.crm") == 0
    assert stat.S_IMODE((tmp_path / "saved.crm").stat().st_mode) == 0o600
    before = cib.read_bytes()
    assert crm(f"configure load replace {tmp_path}/saved.crm") == 0
    assert cib.read_bytes() == before
    capsys.readouterr()
    assert crm("configure show") == 0
    assert capsys.readouterr().out == (tmp_path / "saved.crm").read_text()


def test_load_update_changes_what_the_file_names(cib: Path, tmp_path: Path) -> None:
    (tmp_path / "more.crm").write_text(
        "# a comment\nprimitive web ocf:vigil:WebServer \\\n\tparams port=9090\nlocation l web 1: n1\n"
    )
    assert crm(f"configure load update {tmp_path}/more.crm") == 0
    text = shown(cib)
    assert "port=9090" in text
    assert "location l web 1: n1" in text
    assert "group front ip web" in text


def test_a_file_with_errors_reports_all_of_them_with_their_lines(
    cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cib.read_bytes()
    (tmp_path / "bad.crm").write_text("primitive a\nlocation l web 1: n1\ncolocation c web ip\n")
    assert crm(f"configure load update {tmp_path}/bad.crm") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/bad.crm, line 1, column 12: primitive a:" in error
    assert f"{tmp_path}/bad.crm, line 3, column 14: colocation c:" in error
    assert cib.read_bytes() == before


def test_load_takes_xml_as_well(cib: Path, tmp_path: Path) -> None:
    other = Configuration(xml.empty())
    other.apply(parse("node 1: n1\nprimitive only ocf:vigil:Dummy"), Mode.CREATE)
    (tmp_path / "other.xml").write_text(xml.to_text(other.root))
    assert crm(f"configure load xml replace {tmp_path}/other.xml") == 0
    assert shown(cib) == other.text()


def test_edit_runs_the_editor_and_commits_what_it_leaves(cib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/port=8080/port=8081/")
    assert crm("configure edit web") == 0
    assert "port=8081" in shown(cib)


def test_an_object_deleted_in_the_editor_is_deleted(cib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i /pages/d")
    assert crm("configure edit web pages") == 0
    assert "pages" not in shown(cib)
    assert "primitive web" in shown(cib)


def test_an_edit_that_is_not_the_language_changes_nothing(
    cib: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cib.read_bytes()
    monkeypatch.setenv("EDITOR", "sed -i s/primitive/primitve/")
    assert crm("configure edit web") == 1
    assert "the edit was dropped" in capsys.readouterr().err
    assert cib.read_bytes() == before


def test_modgroup_adds_and_removes_members(cib: Path) -> None:
    assert crm("configure modgroup front add pages before web") == 0
    assert "group front ip pages web" in shown(cib)
    assert crm("configure modgroup front remove ip") == 0
    assert "group front pages web" in shown(cib)
    assert crm("configure modgroup front remove ip") == 1


def test_an_alert_whose_program_is_not_here_is_worth_a_warning(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure alert log file to /var/log/alerts") == 0
    assert "not" not in capsys.readouterr().err
    assert crm("configure alert gone /nowhere/agent") == 0
    assert "/nowhere/agent is not a program on this node" in capsys.readouterr().err
    assert crm("configure alert wrong male to ops@example.org") == 0
    assert "'male' is no agent that we ship (file, mail, webhook)" in capsys.readouterr().err


def test_verify_counts_and_fails_on_errors(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure verify") == 0
    assert "9 objects: " in capsys.readouterr().out
    assert crm("--force configure location l nothing inf: n1") == 0
    assert crm("configure verify") == 1
    assert "1 error" in capsys.readouterr().out


def test_a_password_is_never_shown_but_saved(cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("--force configure primitive f stonith:fence_none params passwd=geheim") == 0
    assert crm("configure show f") == 0
    assert "geheim" not in capsys.readouterr().out
    assert crm(f"configure save {tmp_path}/saved.crm") == 0
    assert "geheim" in (tmp_path / "saved.crm").read_text()


def test_a_minus_begins_no_option_inside_a_statement(cib: Path) -> None:
    assert crm("configure colocation apart -inf: web pages") == 0
    assert "colocation apart -inf: web pages" in shown(cib)


def test_erase_asks_and_without_somebody_to_ask_refuses(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("configure erase") == 1
    assert "--force" in capsys.readouterr().err
    assert crm("--force configure erase") == 0
    assert shown(cib) == "node 1: n1\nnode 2: n2\n"


# resource and node


def test_start_and_stop_set_the_target_role(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("resource stop web pages") == 0
    assert meta(cib, "web") == {"target-role": "Stopped"}
    assert meta(cib, "pages") == {"target-role": "Stopped"}
    assert crm("resource start web") == 0
    assert meta(cib, "web") == {"target-role": "Started"}


def test_a_groups_target_role_takes_the_place_of_its_members(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("resource stop web") == 0
    capsys.readouterr()
    assert crm("resource start front") == 0
    assert capsys.readouterr().out == "start front: target-role=Started; web had one of their own, now gone\n"
    assert meta(cib, "web") == {}
    assert meta(cib, "front") == {"target-role": "Started"}


def test_promote_and_demote(cib: Path) -> None:
    assert crm("resource demote copies") == 0
    assert meta(cib, "copies")["target-role"] == "Unpromoted"
    assert crm("resource promote copies") == 0
    assert meta(cib, "copies")["target-role"] == "Promoted"


def test_move_makes_the_constraint_that_crm_resource_makes(cib: Path) -> None:
    assert crm("resource move front n2") == 0
    constraint = xml.load(cib).find(".//rsc_location")
    assert constraint is not None
    assert dict(constraint.attrib) == {
        "id": "cli-prefer-front", "rsc": "front", "role": "Started", "node": "n2", "score": "INFINITY",
    }  # fmt: skip
    assert crm("resource move front n1") == 0
    assert len(xml.load(cib).findall(".//rsc_location")) == 1


def test_a_ban_with_a_lifetime_ends(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("resource ban web n1 5min") == 0
    rule = xml.load(cib).find(".//rsc_location[@id='cli-ban-web-on-n1']/rule")
    assert rule is not None
    assert rule.get("score") == "-INFINITY"
    date = rule.find("date_expression")
    assert date is not None
    assert date.get("operation") == "lt"
    capsys.readouterr()
    assert crm("status") == 0
    assert f"web must not run on n1, until {date.get('end')}" in capsys.readouterr().out
    assert crm("resource clear web") == 0
    assert xml.load(cib).find(".//rsc_location") is None


def test_manage_maintenance_and_attributes(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("resource unmanage web", "resource maintenance ip on", "resource meta web set priority 5"):
        assert crm(line) == 0
    assert meta(cib, "web") == {"is-managed": "false", "priority": "5"}
    assert meta(cib, "ip") == {"maintenance": "true"}
    assert crm("resource param web set port 81") == 0
    capsys.readouterr()
    assert crm("resource param web show port") == 0
    assert capsys.readouterr().out == "81\n"
    assert crm("resource param web delete port") == 0
    assert crm("resource param web show port") == 1


def test_standby_and_online_write_a_node_attribute(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("node standby n1") == 0
    assert "node 1: n1 \\\n\tattributes standby=on\n" in shown(cib)
    assert crm("node online n1") == 0
    assert "standby" not in shown(cib)
    assert crm("node utilization n1 set cpu 4") == 0
    assert "utilization cpu=4" in shown(cib)


def test_deleting_a_node_takes_its_constraints_along(cib: Path) -> None:
    assert crm("configure location l web inf: n2") == 0
    assert crm("--force node delete n2") == 0
    assert "n2" not in shown(cib)


def test_locate_says_when_nothing_runs(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("resource locate web") == 1
    assert capsys.readouterr().out == "web does not run\n"


# the rest


def test_status_of_a_file(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("status") == 0
    out = capsys.readouterr().out
    assert "from a file" in out
    assert "web" in out
    assert crm("status --json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [node["name"] for node in answer["nodes"]] == ["n1", "n2"]


def test_without_a_daemon_the_message_names_the_socket_and_how_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CIB_file", raising=False)
    assert start(["--run-dir", str(tmp_path), "status"]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/crm.sock" in error
    assert "systemctl start vigild" in error
    assert "CIB_file" in error
    assert start(["--run-dir", str(tmp_path), "configure", "show"]) == 1
    assert "systemctl start vigild" in capsys.readouterr().err


def test_shadows_are_copies_to_work_on(cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("cib new try") == 0
    path = tmp_path / "shadows" / "try.xml"
    assert start(["--cib", str(path), "configure", "delete", "front"]) == 0
    assert "group front" in shown(cib)
    assert "group front" not in shown(path)
    capsys.readouterr()
    assert crm("cib list") == 0
    assert capsys.readouterr().out == "try\n"
    assert crm("cib new try") == 1
    assert crm("cib delete try") == 0
    assert not path.exists()


def test_agents_describe_themselves(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("ra list ocf vigil") == 0
    assert set(capsys.readouterr().out.split()) >= {"Dummy", "IPaddr", "Stateful", "WebServer"}
    assert crm("ra info ocf:vigil:WebServer") == 0
    out = capsys.readouterr().out
    assert "port" in out
    assert "monitor" in out


def test_options_are_explained(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("options property stonith-enabled") == 0
    assert "fencing-enabled: true or false, default true" in capsys.readouterr().out


def test_why_answers_from_a_file(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm("why web") == 0
    assert "web" in capsys.readouterr().out


@pytest.mark.parametrize("level", ["", "configure", "resource", "node", "cluster", "cib", "ra", "status", "why", "lab"])
def test_every_level_has_help(cib: Path, capsys: pytest.CaptureFixture[str], level: str) -> None:
    assert start([*level.split(), "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


_WHAT = "start(['status']); print([name for name in ('typer', 'pydantic', 'asyncio') if name in sys.modules])"


def test_status_starts_quickly(cib: Path) -> None:
    """0.2 s on a free core. Here a loose bound on processor time: other work on the machine must not fail it, an import of typer must."""
    command = [sys.executable, "-c", "import sys; from crm.shell.main import start; sys.exit(start(['status']))"]
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 2.0
    seen = subprocess.run(
        [*command[:2], command[2].replace("sys.exit(start(['status']))", _WHAT)], check=True, capture_output=True
    )
    assert seen.stdout.split()[-1] == b"[]"


def test_a_reader_that_goes_away_is_no_traceback(cib: Path) -> None:
    command = [sys.executable, "-m", "crm.shell.main", "options"]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.close()
    deadline = time.monotonic() + 60
    while reader.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert b"Traceback" not in reader.stderr.read()
    reader.stderr.close()


def test_the_watchdog_is_shown_with_what_may_be_relied_on() -> None:
    from crm.shell.commands.cluster import watchdog_line

    own = {"device": "/dev/watchdog", "timeout_ms": 3000, "not_fed": ""}
    assert watchdog_line({"own": {}, "peers": {}}) == ""
    assert watchdog_line({"own": own, "peers": {"b": 9900, "c": 0}}) == (
        "watchdog: /dev/watchdog, 3000 ms, fed; a lost node has reset itself: b within 9900 ms"
    )
    hungry = watchdog_line({"own": {**own, "not_fed": "this node has no quorum"}, "peers": {}})
    assert hungry.endswith("NOT fed: this node has no quorum")


def test_constraints_of_a_resource_are_shown_in_both_directions(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crm("configure location far web 5: n2")
    crm("configure primitive near ocf:vigil:Dummy")
    crm("configure colocation both inf: near web")
    capsys.readouterr()
    assert crm("resource constraints web") == 0
    assert "Resources colocated with web:\n  * near (score=INFINITY, id=both)\n" in capsys.readouterr().out
    assert crm("resource constraints near --deep") == 0
    shown = capsys.readouterr().out
    assert "Resources near is colocated with:\n  * web (score=INFINITY, id=both)\n" in shown
    assert "    * Locations:\n      * Node n2 (score=5, id=far, rsc=web)\n" in shown
    assert crm("resource constraints nothing") == 1
    assert "there is no resource 'nothing'" in capsys.readouterr().err
