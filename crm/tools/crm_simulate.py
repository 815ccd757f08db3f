"""`crm_simulate`: what would the cluster do? For a CIB file, standard input or the live cluster, after synthetic events if asked.

Nothing here decides anything: the CIB is changed by `crm.policy.inject`, scheduled by the policy engine, executed on paper by
`crm.policy.simulate`; this module parses options and puts the texts together. Heavy imports wait until options are known to be right.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.inject import OperationSpec

EX_OK, EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_SOFTWARE = 0, 64, 65, 66, 69, 70

_OPSPEC = """\
Operation Specification:
  The OPSPEC in any command line option is of the form ${resource}_${task}_${interval_in_ms}@${node}=${rc}
  (memcached_monitor_20000@bart.example.com=7, for example).

Examples:
  Pretend a recurring monitor found memcached stopped on node fred.example.com and, during recovery, that its stop failed:
    crm_simulate -LS --op-inject memcached:0_monitor_20000@bart.example.com=7 \\
      --op-fail memcached:0_stop_0@fred.example.com=1 --save-output /tmp/memcached-test.xml
  Now see what the reaction to the stop failure would be:
    crm_simulate -S --xml-file /tmp/memcached-test.xml
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, and the exit status that Pacemaker's commands have for it."""
        self.exit(EX_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class Failure(Exception):
    """The command ends with this message and exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.repeat < 1:
        parser.error(f"argument -N/--repeat: expected a number of at least 1, got {options.repeat}")
    if options.in_place and (options.xml_pipe or options.live_check or options.xml_file in (None, "-")):
        parser.error("argument -X/--in-place: which file? It needs -x/--xml-file FILE")
    try:
        if options.profile is not None:
            return _profile(Path(options.profile), options.repeat)
        return _run(options)
    except Failure as failure:
        print(f"crm_simulate: {failure}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_OK


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="crm_simulate",
        description="crm_simulate - simulate a cluster's response to events",
        epilog=_OPSPEC,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("Operations").add_argument
    add("-R", "--run", action="store_true", help="show what actions the cluster will take in response to the input")
    add(
        "-S",
        "--simulate",
        action="store_true",
        help="like --run, but also take them in simulation; show the new status",
    )
    add("-X", "--in-place", action="store_true", help="like --simulate, but also store the results in the input file")
    add("-s", "--show-scores", action="store_true", help="show allocation scores")
    add("-U", "--show-utilization", action="store_true", help="show utilization information")
    add("-P", "--profile", metavar="DIR", help="time the scheduling of every XML file in a directory")
    add("-N", "--repeat", type=int, default=1, metavar="N", help="with --profile, repeat each N times")
    events = parser.add_argument_group("Synthetic Cluster Events")
    add = events.add_argument

    def many(*names: str, metavar: str, help: str) -> None:
        events.add_argument(*names, metavar=metavar, help=help, action="append", default=[])

    many("-u", "--node-up", metavar="NODE", help="simulate bringing a node online")
    many("-d", "--node-down", metavar="NODE", help="simulate taking a node offline")
    many("-f", "--node-fail", metavar="NODE", help="simulate a node failing")
    many("-i", "--op-inject", metavar="OPSPEC", help="generate a failure for the cluster to react to")
    many(
        "-F",
        "--op-fail",
        metavar="OPSPEC",
        help="if this task occurs in the simulation, it fails with that code",
    )
    add("-t", "--set-datetime", metavar="DATETIME", help="set date and time (ISO 8601)")
    add("-q", "--quorum", metavar="QUORUM", help="'1' (or 'true'): the cluster has quorum")
    add("-w", "--watchdog", metavar="DEVICE", help="'1' (or 'true'): the cluster has an active watchdog device")
    many("-g", "--ticket-grant", metavar="TICKET", help="simulate granting a ticket")
    many("-r", "--ticket-revoke", metavar="TICKET", help="simulate revoking a ticket")
    many("-b", "--ticket-standby", metavar="TICKET", help="simulate making a ticket standby")
    many("-e", "--ticket-activate", metavar="TICKET", help="simulate activating a ticket")
    add = parser.add_argument_group("Artifact Options").add_argument
    add("-I", "--save-input", metavar="FILE", help="save the input configuration")
    add("-O", "--save-output", metavar="FILE", help="save the output configuration")
    add("-G", "--save-graph", metavar="FILE", help="save the transition graph (XML)")
    add("-D", "--save-dotfile", metavar="FILE", help="save the transition graph (DOT)")
    add(
        "-a", "--all-actions", action="store_true", help="draw all possible actions, even if not part of the transition"
    )
    add = parser.add_argument_group("Data Source").add_argument
    add("-L", "--live-check", action="store_true", help="use the running cluster's CIB")
    add("-x", "--xml-file", metavar="FILE", help="read the CIB from a file ('-': standard input)")
    add("-p", "--xml-pipe", action="store_true", help="read the CIB from standard input")
    add = parser.add_argument_group("Application Options").add_argument
    add("-V", "--verbose", action="count", default=0, help="show more; may be given several times")
    add("-Q", "--quiet", action="store_true", help="show only what is essential")
    add("--output-as", choices=["text"], default="text", help=argparse.SUPPRESS)
    return parser


# --- input ------------------------------------------------------------------------------------------------------------


def _read_cib(options: argparse.Namespace) -> _Element:
    from crm.cib import xml
    from crm.tools.cluster import cib_file

    # Where the environment names a file or a shadow, that is what counts as the running cluster's CIB.
    source = options.xml_file if options.xml_file and not options.live_check else cib_file()
    try:
        if options.xml_pipe or source == "-":
            return xml.parse(sys.stdin.buffer.read(), comments=False)
        if source is None:
            return xml.parse(_live_cib(), comments=False)
        return xml.parse(_file(Path(source)), comments=False)
    except EOFError:
        raise Failure(f"Could not read '{source}': it ends too early, or is too large", EX_DATAERR) from None
    except OSError as error:
        raise Failure(f"Could not read '{source}': {error.strerror or error}", EX_NOINPUT) from None
    except ValueError as error:
        raise Failure(f"Could not parse the CIB: {error}", EX_DATAERR) from None


def _file(path: Path) -> bytes:
    """The text of a CIB file; the inputs of decisions that the daemon keeps are compressed."""
    data = path.read_bytes()
    if not data.startswith(b"BZh"):
        return data

    import bz2

    from crm.cib import xml

    decompressor = bz2.BZ2Decompressor()
    text = decompressor.decompress(data, max_length=xml.MAX_BYTES + 1)
    if not decompressor.eof:
        raise EOFError
    return text


def _live_cib() -> bytes:
    from crm.api.client import Client
    from crm.api.errors import ApiError

    try:
        with Client() as client:
            answer = client.call("cib.query")
    except (ApiError, OSError) as error:
        raise Failure(f"Could not connect to the cluster: {error}", EX_UNAVAILABLE) from None
    return str(answer["xml"]).encode()


def _inject(cib: _Element, options: argparse.Namespace, now: int) -> list[str]:
    """The synthetic events, in Pacemaker's order; the lines that report them."""
    from crm.policy import inject
    from crm.policy.values import parse_boolean

    lines: list[str] = []
    try:
        for name, text in (("-q/--quorum", options.quorum), ("-w/--watchdog", options.watchdog)):
            if text is not None and parse_boolean(text) is None:
                raise Failure(f"argument {name}: '{text}' is neither true nor false", EX_USAGE)
        if options.quorum is not None:
            lines.append(inject.quorum(cib, options.quorum))
        if options.watchdog is not None:
            lines.append(inject.watchdog(cib, options.watchdog))
        lines += [inject.node_up(cib, node) for node in options.node_up]
        lines += [inject.node_down(cib, node) for node in options.node_down]
        lines += [inject.node_fail(cib, node) for node in options.node_fail]
        for tickets, attribute, value in (
            (options.ticket_grant, "granted", "true"),
            (options.ticket_revoke, "granted", "false"),
            (options.ticket_standby, "standby", "true"),
            (options.ticket_activate, "standby", "false"),
        ):
            lines += [inject.ticket(cib, ticket, attribute, value) for ticket in tickets]
        for text in options.op_inject:
            lines += inject.operation(cib, text, inject.parse_spec(text), now)
    except inject.InjectionError as error:
        raise Failure(str(error), EX_USAGE) from None
    return lines


def _failures(options: argparse.Namespace) -> tuple[OperationSpec, ...]:
    from crm.policy import inject

    try:
        return tuple(inject.parse_spec(text) for text in options.op_fail)
    except inject.InjectionError as error:
        raise Failure(str(error), EX_USAGE) from None


def _save(path: str, data: bytes) -> None:
    try:
        if path == "-":
            sys.stdout.write(data.decode())
        else:
            Path(path).write_bytes(data)
    except OSError as error:
        raise Failure(f"Could not write '{path}': {error.strerror}", EX_SOFTWARE) from None


# --- the run ----------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    cib = _read_cib(options)
    failures = _failures(options)
    if cib.tag != "cib":
        raise Failure(f"the root element is <{cib.tag}>, expected <cib>", EX_DATAERR)

    from crm.policy.render import simulation
    from crm.policy.state import effective_now

    now, source = effective_now(cib, options.set_datetime, int(time.time()))
    if options.set_datetime is not None and source != "argument":
        raise Failure(f"'{options.set_datetime}' is not a date and time in ISO 8601", EX_USAGE)
    date = simulation.date_line(cib, options.set_datetime)
    out = [] if options.quiet or date is None else [date]
    if not options.quiet:
        out += simulation.current_status(cib, now)
    events = _inject(cib, options, now)
    if events and not options.quiet:
        out += ["Performing Requested Modifications:", *(f"  * {line}" for line in events)]
        out += ["" if date is None else f"{date}\n"]
    if options.save_input is not None:
        _save(options.save_input, _document(cib))
    wanted = options.run or options.simulate or options.in_place
    if not (wanted or options.save_graph or options.save_dotfile or options.show_scores or options.show_utilization):
        print("\n".join(out).rstrip("\n"), end="\n" if out else "")
        return EX_OK
    return _schedule(options, cib, now, date, out, failures)


def _schedule(
    options: argparse.Namespace,
    cib: _Element,
    now: int,
    date: str | None,
    out: list[str],
    failures: tuple[OperationSpec, ...],
) -> int:
    from crm.policy.render import simulation
    from crm.policy.schedule import schedule

    # A file may be for others' eyes, its passwords hidden; what the cluster itself answers is complete.
    transition = schedule(
        cib,
        now,
        masked=not options.live_check,
        show_scores=options.show_scores,
        show_utilization=options.show_utilization,
    )
    out += _scores(options, transition.assignment.score_lines, transition.assignment.utilization_lines)
    if not options.quiet and (options.run or options.simulate or options.in_place):
        out += simulation.transition_summary(transition)
    if options.save_graph is not None:
        _save(options.save_graph, transition.to_xml().encode())
    if options.save_dotfile is not None:
        from crm.policy.render.dot import dot_text

        _save(options.save_dotfile, dot_text(transition, options.all_actions, options.verbose > 0).encode())
    status = EX_OK
    if options.simulate or options.in_place:
        from crm.policy.simulate import execute

        execution = execute(cib, transition, int(time.time()), failures)
        if not options.quiet:
            out += simulation.executed(execution)
            if date is not None:
                out.append(date)
            out += ["", *simulation.revised_status(cib, now)]
        if not execution.complete and not execution.failed:
            print("Transition failed: terminated\nAn invalid transition was produced", file=sys.stderr)
            status = EX_SOFTWARE
        if options.in_place and options.xml_file:
            _save(options.xml_file, _document(cib))
        if options.save_output is not None:
            _save(options.save_output, _document(cib))
    text = "\n".join(out).rstrip("\n")
    if text:
        print(text)
    return status


def _scores(options: argparse.Namespace, scores: list[str], utilization: list[str]) -> list[str]:
    shown = (scores if options.show_scores else []) + (utilization if options.show_utilization else [])
    if not (options.show_scores or options.show_utilization):
        return []
    if options.quiet:
        return shown
    if options.show_scores and options.show_utilization:
        title = "Assignment Scores and Utilization Information:"
    else:
        title = "Assignment Scores:" if options.show_scores else "Utilization Information:"
    return [title, *(f"  * {line}" for line in shown), ""]


def _document(cib: _Element) -> bytes:
    from lxml import etree

    etree.indent(cib)
    return etree.tostring(cib) + b"\n"


def _profile(directory: Path, repeat: int) -> int:
    """Schedule every file of a directory and print how long it took."""
    from crm.cib import xml
    from crm.policy.schedule import schedule
    from crm.policy.state import effective_now

    if not directory.is_dir():
        raise Failure(f"'{directory}' is not a directory", EX_NOINPUT)
    status = EX_OK
    print("Timings:")
    for path in sorted(directory.glob("*.xml")):
        began = time.process_time()
        try:
            for _ in range(repeat):
                cib = xml.parse(path.read_bytes(), comments=False)
                schedule(cib, effective_now(cib, None, int(time.time()))[0]).to_xml()
        except (OSError, ValueError) as error:
            print(f"crm_simulate: Could not read '{path}': {error}", file=sys.stderr)
            status = EX_DATAERR
            continue
        print(f"  * Testing {path} ... {time.process_time() - began:.2f} secs")
    return status


if __name__ == "__main__":
    sys.exit(main())
