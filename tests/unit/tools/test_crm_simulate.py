"""`crm_simulate` on a small cluster: its text, its events, its files, its refusals."""

from __future__ import annotations

import bz2
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from crm.tools import crm_simulate

CIB = """\
<cib crm_feature_set="3.16.0" validate-with="pacemaker-3.7" epoch="1" num_updates="0" admin_epoch="0" have-quorum="1" dc-uuid="1">
<configuration><crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set></crm_config>
<nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
<resources><primitive id="A" class="ocf" provider="pacemaker" type="Dummy"><operations><op id="A-m" name="monitor" interval="10s"/></operations></primitive>
<clone id="C"><primitive id="B" class="ocf" provider="pacemaker" type="Dummy"/></clone></resources>
<constraints><rsc_ticket id="t" ticket="T1" rsc="A"/></constraints></configuration>
<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="1"><lrm_resources/></lrm></node_state>
<node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"><lrm id="2"><lrm_resources/></lrm></node_state></status></cib>
"""
STOPPED = """\
Current cluster status:
  * Node List:
    * Online: [ n1 n2 ]

  * Full List of Resources:
    * A	(ocf:pacemaker:Dummy):	 Stopped
    * Clone Set: C [B]:
      * Stopped: [ n1 n2 ]
"""


@pytest.fixture
def cib(tmp_path: Path) -> Path:
    path = tmp_path / "cib.xml"
    path.write_text(CIB)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = crm_simulate.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_an_operation_only_the_status_is_shown(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "-x", cib) == (0, STOPPED, "")


def test_run_shows_what_would_be_done(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-R")
    assert out == STOPPED + (
        "\nTransition Summary:\n  * Start      B:0     (    n1 )\n  * Start      B:1     (    n2 )\n"
    )


def test_simulate_carries_it_out(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-S")
    assert out == STOPPED + (
        "\nTransition Summary:\n  * Start      B:0     (    n1 )\n  * Start      B:1     (    n2 )\n"
        "\nExecuting Cluster Transition:\n"
        "  * Resource action: A               monitor on n2\n"
        "  * Resource action: A               monitor on n1\n"
        "  * Resource action: B:0             monitor on n1\n"
        "  * Resource action: B:1             monitor on n2\n"
        "  * Pseudo action:   C_start_0\n"
        "  * Resource action: B:0             start on n1\n"
        "  * Resource action: B:1             start on n2\n"
        "  * Pseudo action:   C_running_0\n"
        "\nRevised Cluster Status:\n  * Node List:\n    * Online: [ n1 n2 ]\n\n  * Full List of Resources:\n"
        "    * A\t(ocf:pacemaker:Dummy):\t Stopped\n    * Clone Set: C [B]:\n      * Started: [ n1 n2 ]\n"
    )


def test_quiet_shows_scores_alone(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-sQ")
    assert out.splitlines()[0] == "pcmk__primitive_assign: A allocation score on n1: -INFINITY"
    assert all("allocation score on" in line for line in out.splitlines())


def test_scores_have_a_title_otherwise(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-s", "-U", "-R")
    assert "\nAssignment Scores and Utilization Information:\n  * pcmk__" in out
    assert "  * Original: n1 capacity:\n" in out


@pytest.mark.parametrize(
    ("option", "line", "effect"),
    [
        (("-d", "n1"), "Taking node n1 offline", "Start      B:0     (    n2 )"),
        (("-u", "nx"), "Bringing node nx online", "Start      B:2     (    nx )"),
        (("-f", "n1"), "Failing node n1", "Start      B:0     (    n2 )"),
        (("-q", "0"), "Setting quorum: 0", "due to no quorum (blocked)"),
        (("-w", "1"), "Setting watchdog: 1", "Start      B:1     (    n2 )"),
        (("-g", "T1"), "Granting ticket T1", "Start      A       (    n1 )"),
        (("-r", "T1"), "Revoking ticket T1", "Start      B:0     (    n1 )"),
        (("-b", "T1"), "Making ticket T1 standby", "Start      B:0     (    n1 )"),
        (("-e", "T1"), "Activating ticket T1", "Start      B:0     (    n1 )"),
    ],
)
def test_events_are_reported_and_take_effect(
    cib: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, ...], line: str, effect: str
) -> None:
    _, out, _ = run(capsys, "-x", cib, "-R", *option)
    assert f"\nPerforming Requested Modifications:\n  * {line}\n\nTransition Summary:\n" in out
    assert effect in out


def test_an_injected_failure_is_recovered_from(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-g", "T1", "-i", "A_monitor_10000@n1=7", "-S")
    assert "  * Injecting A_monitor_10000@n1=7 into the configuration\n" in out
    assert "  * Injecting attribute fail-count-A#monitor_10000=value++ into /node_state '1'\n" in out
    assert "  * Recover    A       (    n1 )\n" in out
    assert out.rstrip().endswith("    * Clone Set: C [B]:\n      * Started: [ n1 n2 ]")


def test_an_injected_failure_counts_in_a_history_that_does_not_say_where_it_comes_from(
    cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As people write histories by hand; and with parameters, which no injected entry can know the digest of."""
    started = (
        '<lrm_resources><lrm_resource id="A" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="A_last_0" operation="start" '
        'operation_key="A_start_0" call-id="7" rc-code="0" op-status="0" interval="0" transition-key="1:1:0:x"/></lrm_resource></lrm_resources>'
    )
    text = CIB.replace("<lrm_resources/>", started, 1).replace(
        "<operations>",
        '<instance_attributes id="i"><nvpair id="i1" name="state" value="/x"/></instance_attributes><operations>',
    )
    cib.write_text(text)
    _, out, _ = run(capsys, "-x", cib, "-g", "T1", "-i", "A_monitor_10000@n1=1", "-R")
    assert "  * Recover    A       (    n1 )\n" in out


def test_a_chosen_operation_fails_and_the_rest_waits(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "-x", cib, "-g", "T1", "-F", "A_start_0@n1=1", "-S")
    assert "Pretending action" in out and "failed with rc=1\n" in out
    assert "    * A\t(ocf:pacemaker:Dummy):\t FAILED n1\n" in out
    assert (status, err) == (0, "")


def test_a_time_can_be_set(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-x", cib, "-t", "2020-01-01", "-S")
    assert out.startswith("Setting effective cluster time: 2020-01-01\nCurrent cluster status:\n")
    _, out, _ = run(capsys, "-x", cib, "-t", "2020-01-01", "-g", "T1", "-R")
    assert "  * Granting ticket T1\nSetting effective cluster time: 2020-01-01\n\nTransition Summary:\n" in out


def test_the_compressed_inputs_that_the_daemon_keeps_can_be_replayed(
    cib: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept, cut = tmp_path / "pe-input-1.bz2", tmp_path / "cut.bz2"
    kept.write_bytes(bz2.compress(cib.read_bytes()))
    cut.write_bytes(kept.read_bytes()[:-20])
    assert run(capsys, "-x", kept, "-R") == run(capsys, "-x", cib, "-R")
    assert run(capsys, "-x", cut, "-R")[::2] == (
        65,
        f"crm_simulate: Could not read '{cut}': it ends too early, or is too large\n",
    )


def test_graph_dot_input_and_output_are_saved(cib: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graph, dot, before, after = (tmp_path / name for name in ("g.xml", "g.dot", "in.xml", "out.xml"))
    run(capsys, "-x", cib, "-g", "T1", "-S", "-G", graph, "-D", dot, "-I", before, "-O", after)
    synapses = etree.fromstring(graph.read_bytes()).findall("synapse")
    assert len(synapses) == 10
    lines = dot.read_text().splitlines()
    assert lines[0] == ' digraph "g" {' and lines[-1] == "}"
    assert '"A_monitor_0 n1" -> "A_start_0 n1" [ style = bold]' in lines
    assert '"A_start_0 n1" [ style=bold color="green" fontcolor="black"]' in lines
    assert etree.fromstring(before.read_bytes()).find("status/tickets/ticket_state").get("granted") == "true"
    entries = etree.fromstring(after.read_bytes()).iter("lrm_rsc_op")
    assert "A_monitor_10000" in {entry.get("id") for entry in entries}
    _, out, _ = run(capsys, "-x", after, "-R")
    assert out.endswith("Transition Summary:\n"), "nothing is left to do after what was simulated"


def test_the_input_can_be_changed_in_place(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "-x", cib, "-X")
    assert "B_start_0" in cib.read_text()


def test_a_directory_can_be_timed(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--profile", cib.parent, "--repeat", 2)
    assert status == 0
    assert out.splitlines()[0] == "Timings:" and out.splitlines()[1].startswith(f"  * Testing {cib} ... ")


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ("<cib", 65, "Could not parse the CIB"),
        ("<foo/>", 65, "expected <cib>"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, status: int, message: str
) -> None:
    path = tmp_path / "broken.xml"
    path.write_text(content)
    got, out, err = run(capsys, "-x", path, "-S")
    assert got == status and out == "" and message in err


def test_what_cannot_be_is_refused(cib: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "-x", tmp_path / "none", "-S")[0] == 66
    assert "Invalid operation spec: foo" in run(capsys, "-x", cib, "-S", "-i", "foo")[2]
    assert "Invalid resource name: X" in run(capsys, "-x", cib, "-S", "-i", "X_monitor_0@n1=0")[2]
    assert run(capsys, "--profile", tmp_path / "none")[0] == 66
    assert "'soon' is not a date and time" in run(capsys, "-x", cib, "-R", "-t", "soon")[2]


def test_the_command_starts_quickly(cib: Path) -> None:
    """0.25 s is the aim on an idle machine; processor time is what a busy one does not change much."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "crm.tools.crm_simulate", "-x", str(cib), "-R"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


@pytest.mark.parametrize(
    ("spec", "entries", "counted"),
    [
        ("A_monitor_10000@n1=7", ["A_last_failure_0"], True),
        ("A_monitor_10000@n1=0", ["A_monitor_10000"], False),
        ("A_monitor_0@n1=1", ["A_last_failure_0", "A_last_0"], True),
        ("A_monitor_0@n1=7", ["A_last_failure_0", "A_last_0"], False),
        ("A_start_0@n1=0", ["A_last_0"], False),
        ("A_stop_0@n1=1", ["A_last_failure_0", "A_last_0"], True),
    ],
)
def test_an_injected_result_is_recorded_where_pacemaker_records_it(
    cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, entries: list[str], counted: bool
) -> None:
    _, out, _ = run(capsys, "-x", cib, "-i", spec, "-I", tmp_path / "in.xml")
    saved = etree.parse(tmp_path / "in.xml")
    assert [entry.get("id") for entry in saved.iterfind(".//lrm_rsc_op")] == entries
    assert ("Injecting attribute fail-count-A#" in out) == counted


def test_what_an_injected_result_does_not_say_stays_as_it_was(
    cib: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its digest, an operation would look as if its definition had changed."""
    run(capsys, "-x", cib, "-S", "-g", "T1", "-O", tmp_path / "ran.xml")
    _, out, _ = run(capsys, "-x", tmp_path / "ran.xml", "-i", "A_start_0@n1=0", "-R")
    assert "Restart" not in out


def test_an_instance_of_a_unique_clone_is_named_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unique.xml"
    meta = '<meta_attributes id="m"><nvpair id="m1" name="globally-unique" value="true"/></meta_attributes>'
    path.write_text(CIB.replace('<clone id="C">', f'<clone id="C">{meta}'))
    status, _, err = run(capsys, "-x", path, "-i", "B_monitor_10000@n1=1", "-R")
    assert status == 64 and err == "crm_simulate: Invalid resource name: B (which instance? B:0, B:1, …)\n"
    assert run(capsys, "-x", path, "-i", "B:1_monitor_10000@n1=1", "-R")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-Z",), "unrecognized arguments: -Z"),
        (("-u",), "argument -u/--node-up: expected one argument"),
        (("--profile", ".", "--repeat", "0"), "argument -N/--repeat: expected a number of at least 1, got 0"),
        (("-X", "-p"), "argument -X/--in-place: which file? It needs -x/--xml-file FILE"),
    ],
)
def test_wrong_usage_is_told_in_one_line_with_the_status_for_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        crm_simulate.main(list(arguments))
    assert ended.value.code == 64
    assert capsys.readouterr().err == f"crm_simulate: {said} (see crm_simulate --help)\n"


def test_quorum_and_watchdog_are_true_or_false(cib: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "-x", cib, "-q", "maybe", "-R") == (
        64,
        "",
        "crm_simulate: argument -q/--quorum: 'maybe' is neither true nor false\n",
    )


def test_a_file_that_is_no_cib_does_not_keep_the_others_from_being_timed(
    cib: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cib.parent / "broken.xml").write_text("<not xml")
    status, out, err = run(capsys, "--profile", cib.parent)
    assert status == 65 and f"Testing {cib} ..." in out and err.startswith("crm_simulate: Could not read '")
