"""The tour: two nodes keep a web service alive, and the person watching sees each step happen.

Every claim on screen is checked: the tour's exit code is 0 only when the service came up, survived the power cut within its limit, moved to
the other node, and did not move again when the dead node returned. What could not be shown is listed at the end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table

from crm.api.errors import ApiError
from crm.lab import cluster, layout
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, LabError, TieBreaker, Timers

DEMO_TIMERS = Timers(keepalive_ms=200, warntime_ms=600, deadtime_ms=1000, initdead_ms=3000)
RECOVERY_LIMIT_MS = DEMO_TIMERS.deadtime_ms + 1000
FORM_LIMIT_S = 20.0
ANSWER_LIMIT_S = 20.0
REJOIN_LIMIT_S = 20.0
SETTLE_S = 1.0  # how long the service is watched after the rejoin
NAME = "demo"

# The daemons' events that make up the timeline, and what to call them.
STEPS = {
    "peer_lost": "death noticed",
    "view": "new view agreed, quorate",
    "dc": "DC elected",
    "fence_requested": "fencing requested",
    "fenced": "fencing confirmed",
}


def configuration(lab: Lab) -> str:
    """The cluster's configuration in the configure language, as somebody would type it."""
    lines = ["property stonith-enabled=true stonith-action=off"]
    lines.append(
        "primitive power stonith:fence_vigil_lab \\\n"
        f'    params ip={lab.power_address} ipport={lab.power_port()} pcmk_host_list="{" ".join(lab.nodes)}" \\\n'
        "    op monitor interval=60s"
    )
    web = f"primitive web ocf:vigil:WebServer \\\n    params port={lab.service_port()} \\\n    op monitor interval=2s"
    if lab.isolation is Isolation.MACHINE:
        lines.append(
            "primitive web-ip ocf:vigil:IPaddr \\\n"
            f"    params ip={lab.service_address} cidr_netmask={layout.PREFIX} \\\n"
            "    op monitor interval=5s"
        )
        lines += [web, "group web-service web-ip web \\\n    meta resource-stickiness=100"]
    else:
        lines += [web.replace(f"port={lab.service_port()}", f"address=127.0.0.1 port={lab.service_port()}")]
        lines.append("group web-service web \\\n    meta resource-stickiness=100")
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Tour:
    """One run. `broken` collects what was promised and did not happen."""

    lab: Lab
    screen: Console
    broken: list[str] = field(default_factory=list)

    # --- what the person sees -----------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.screen.print(f"\n[bold]{text}[/bold]")

    def note(self, text: str) -> None:
        self.screen.print(f"  {text}", highlight=False)

    def check(self, held: bool, good: str, bad: str) -> None:
        if held:
            self.screen.print(f"  [green]✓[/green] {good}", highlight=False)
        else:
            self.broken.append(bad)
            self.screen.print(f"  [red]✗[/red] {bad}", highlight=False)

    def crm(self, node: str, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crm.shell.main", *words]
        return cluster.run(self.lab, node, command, input=text, text=True, capture_output=True)

    def show_status(self, node: str) -> None:
        self.screen.print(f"  [dim]{node}# crm status[/dim]")
        result = self.crm(node, "status")
        self.screen.print(result.stdout.rstrip() or result.stderr.rstrip(), markup=False, highlight=False)

    # --- the steps ----------------------------------------------------------------------------------------------------

    def form(self) -> None:
        lab = self.lab
        began = time.monotonic()
        for node in lab.nodes:
            ask(lab, "power-on", node=node)
        cluster.wait_for(lambda: cluster.online(self.lab) == set(lab.nodes), FORM_LIMIT_S, "the cluster has not formed")
        self.note(
            f"{' and '.join(lab.nodes)} are powered on and have found each other: {time.monotonic() - began:.1f} s"
        )

    def configure(self) -> None:
        text = configuration(self.lab)
        node = self.lab.nodes[0]
        self.screen.print(f"  [dim]{node}# crm configure load update - <<END[/dim]")
        self.screen.print(Syntax(text.rstrip(), "bash", theme="ansi_dark", background_color="default"))
        began = time.monotonic()
        self._watch()
        result = self.crm(node, "configure", "load", "update", "-", text=text)
        if result.returncode != 0:
            raise LabError(f"the configuration was refused:\n{result.stderr or result.stdout}")
        self._first_answer_after(0.0, ANSWER_LIMIT_S)
        self.note(f"configured, started, and answering: {time.monotonic() - began:.1f} s")

    def cold_start(self) -> None:
        """Both nodes off and on again: the time that counts is from power to page."""
        lab = self.lab
        for node in lab.nodes:
            ask(lab, "crash", node=node)
        began = time.time()
        for node in lab.nodes:
            ask(lab, "power-on", node=node)
        at, node = self._first_answer_after(began, ANSWER_LIMIT_S)
        self.check(
            at - began < 4.0,
            f"from power-on of both nodes to the first page: {at - began:.2f} s ({node})",
            f"the cold start took {at - began:.2f} s, more than 4 s",
        )
        cluster.wait_for(lambda: cluster.online(self.lab) == set(lab.nodes), FORM_LIMIT_S, "the cluster has not formed")

    def cut_power(self) -> str:
        """Returns the node that serves afterwards."""
        lab = self.lab
        self._idle()
        _, victim = self._first_answer_after(time.time(), ANSWER_LIMIT_S)
        survivor = next(node for node in lab.nodes if node != victim)
        self.note(f"{victim} answers on {self._url()}; cutting its power now")
        with self._events(survivor) as events:
            cut = ask(lab, "crash", node=victim)["at"]
            try:
                first, server = self._first_answer_after(cut, ANSWER_LIMIT_S, other_than=victim)
            except LabError:
                self.check(False, "", f"the service did not come back within {ANSWER_LIMIT_S:.0f} s")
                self.show_status(survivor)
                raise
            last = max((at for at, node in self._answers(0.0) if node == victim), default=cut)
            self._timeline(cut, last, first, survivor, events())
        took_ms = (first - cut) * 1000
        self.check(server == survivor, f"{survivor} serves now", f"{server} serves, expected {survivor}")
        self.check(
            took_ms <= RECOVERY_LIMIT_MS,
            f"from the power cut to the first answer: {took_ms:.0f} ms (deadtime {lab.timers.deadtime_ms} ms + 1 s allowed)",
            f"the recovery took {took_ms:.0f} ms, more than deadtime + 1 s",
        )
        fenced = [entry for entry in ask(lab, "status")["power_log"] if entry["plug"] == victim and entry["at"] >= cut]
        self.check(
            bool(fenced),
            f"the power switch confirmed that {victim} is off before anything started",
            f"{victim} was not fenced",
        )
        return survivor

    def rejoin(self, survivor: str) -> None:
        lab = self.lab
        victim = next(node for node in lab.nodes if node != survivor)
        ask(lab, "power-on", node=victim)
        began = time.time()
        took = cluster.wait_for(
            lambda: cluster.online(self.lab) == set(lab.nodes), REJOIN_LIMIT_S, f"{victim} has not rejoined"
        )
        self.check(True, f"{victim} is powered on and has rejoined after {took:.1f} s", "")
        self._idle()
        time.sleep(SETTLE_S)
        servers = {node for at, node in self._answers(began)}
        self.check(
            servers == {survivor},
            f"nothing moved: {survivor} goes on serving",
            f"the service moved needlessly: answers came from {', '.join(sorted(servers)) or 'nobody'}",
        )

    # --- observation --------------------------------------------------------------------------------------------------

    def _url(self) -> str:
        port = self.lab.service_port()
        return f"http://{self.lab.service_address}{'' if port == 80 else f':{port}'}/"

    def _watch(self) -> None:
        ask(self.lab, "probe-start", address=self.lab.service_address, port=self.lab.service_port())

    def _answers(self, since: float) -> list[tuple[float, str]]:
        return [(at, node) for at, node in ask(self.lab, "probe-report", since=since)["answers"]]

    def _first_answer_after(self, since: float, limit_s: float, other_than: str = "") -> tuple[float, str]:
        found: list[tuple[float, str]] = []

        def answered() -> bool:
            found[:] = [(at, node) for at, node in self._answers(since) if node != other_than]
            return bool(found)

        cluster.wait_for(answered, limit_s, f"no answer on {self._url()}")
        return found[0]

    def _idle(self) -> None:
        for node in self.lab.nodes:
            with cluster.api(self.lab, node) as client:
                client.call("wait", timeout_ms=15_000)

    @contextmanager
    def _events(self, node: str) -> Iterator[Any]:
        """A function that gives the node's events since now."""
        since = time.time()

        def collect() -> list[dict[str, Any]]:
            with cluster.api(self.lab, node) as client:
                events: list[dict[str, Any]] = client.call("events.recent", since_ms=int(since * 1000))["events"]
                return events

        yield collect

    def _timeline(self, cut: float, last: float, first: float, survivor: str, events: list[dict[str, Any]]) -> None:
        rows = [(cut, "power cut"), (last, "last answer"), (first, f"first answer from {survivor}")]
        seen: set[str] = set()
        for event in events:
            name, at = event["event"], event["time_ms"] / 1000
            if at < cut:
                continue
            if name in STEPS and name not in seen:
                seen.add(name)
                rows.append((at, STEPS[name]))
            elif name == "action_result" and event.get("operation") == "start" and event.get("rc") == 0:
                rows.append((at, f"{event['resource']} started"))
        table = Table(title="The recovery", title_justify="left", box=None, pad_edge=True)
        table.add_column("ms", justify="right", style="bold")
        table.add_column("")
        table.add_column("what happened")
        span = max(first - cut, 0.001)
        for at, text in sorted(rows):
            bar = "─" * max(0, round((at - cut) / span * 30)) + "●"
            table.add_row(f"{(at - cut) * 1000:.0f}", bar, text)
        self.screen.print(table)


def _introduce(screen: Console) -> None:
    screen.print(
        Panel(
            "Two nodes, a tie-breaker, a power switch. A web server behind a virtual address.\n"
            "One node loses its power; the service goes on at the other.",
            title="Vigil: a service survives the death of its node",
            title_align="left",
            expand=False,
        )
    )


def tour(isolation: str = "auto", *, keep: bool = False) -> int:
    """Exit code: 0 when everything that was promised happened."""
    screen = Console(highlight=False)
    _introduce(screen)
    began = time.monotonic()
    if NAME in layout.names():
        cluster.down(NAME)  # what an interrupted tour left
    lab, reason = cluster.plan(NAME, tie_breaker=TieBreaker.PING, isolation_wanted=isolation, timers=DEMO_TIMERS)
    run = Tour(lab, screen)
    try:
        _steps(run, reason)
    except (LabError, ApiError, KeyError) as error:
        run.broken.append(str(error) or repr(error))
        screen.print(f"  [red]✗[/red] {error}", highlight=False)
        _show_logs(run)
    finally:
        if not keep and lab.folder.exists():
            run.say("Taking everything down")
            cluster.down(NAME)
            run.check(not lab.folder.exists(), "no process, namespace or file is left", f"{lab.folder} is still there")
    screen.print()
    if run.broken:
        screen.print(f"[red]The tour did not show everything:[/red] {len(run.broken)} point(s) failed.")
        return 1
    screen.print(f"[green]All of it happened[/green], in {time.monotonic() - began:.0f} s. Now type:")
    if keep:
        screen.print(f"  crm lab run --name {NAME} n1 -- crm status     # the demo's lab is still up")
    screen.print("  crm lab up                          # a lab of your own")
    screen.print("  crm lab run n1 -- crm status")
    screen.print("  crm lab crash n1                    # and see what happens")
    return 0


def _steps(run: Tour, reason: str) -> None:
    lab = run.lab
    run.say("1  Two machines")
    run.note(f"isolation: {lab.isolation} ({reason})")
    cluster.up(lab, power_on=False)
    run.form()
    run.say("2  A service")
    run.configure()
    run.show_status(lab.nodes[0])
    run.say("3  Cold start")
    run.cold_start()
    run.say("4  The power fails")
    survivor = run.cut_power()
    run.show_status(survivor)
    run.say("5  The power is back")
    run.rejoin(survivor)
    run.show_status(survivor)


def _show_logs(run: Tour) -> None:
    """The last words of each node, so that a failed tour can be understood."""
    for node in run.lab.nodes:
        path = run.lab.log(node)
        if path.exists():
            run.screen.print(f"  [dim]{node}: the last lines of {path}[/dim]")
            for line in path.read_text(errors="replace").splitlines()[-15:]:
                run.screen.print(f"    {line}", markup=False, highlight=False)
