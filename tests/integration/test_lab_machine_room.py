"""The machine room itself: power, cables and clocks do what they say, whatever runs on the nodes."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import LabCluster

from crm.lab import cluster, layout
from crm.lab.client import ask
from crm.lab.layout import Isolation, Lab, LabError, TieBreaker

LIMIT_S = 60.0


@pytest.fixture(params=[Isolation.MACHINE, Isolation.PROCESS])
def lab(request: pytest.FixtureRequest, make_lab: Callable[..., LabCluster]) -> Lab:
    """Two machines with power. What their daemons make of it is not waited for."""
    if request.param is Isolation.MACHINE:
        request.getfixturevalue("machines")
    return make_lab(isolation_wanted=request.param, form=False).lab


def test_a_power_cut_ends_every_process_of_the_node_and_of_no_other(lab: Lab) -> None:
    ask(lab, "stop-vigild", node="n1")
    sleeper = subprocess.Popen([*cluster.enter(lab, "n1")[0], "sleep", "1000"], env=environment(lab, "n1"))
    cluster.wait_for(lambda: sleeps(lab, "n1"), LIMIT_S, "the sleeper is not seen on n1")
    other = ask(lab, "status")["nodes"]["n2"]["pid"]
    ask(lab, "crash", node="n1")
    assert sleeper.wait(timeout=LIMIT_S) != 0
    state = ask(lab, "status")["nodes"]
    assert state["n1"]["power"] == "off"
    assert (state["n2"]["power"], state["n2"]["pid"]) == ("on", other)
    assert ask(lab, "pids", node="n1")["pids"] == []


def sleeps(lab: Lab, node: str) -> bool:
    for pid in ask(lab, "pids", node=node)["pids"]:
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\0":
                return True
    return False


def environment(lab: Lab, node: str) -> dict[str, str]:
    """As the node's own processes have it: with process isolation the mark in it is what makes them the node's."""
    given = cluster.enter(lab, node)[1]
    return given | {"VIGIL_LAB_NODE": f"{lab.folder}:{node}"}


def test_the_power_switch_answers_off_only_when_the_node_is_gone(lab: Lab) -> None:
    pid = ask(lab, "status")["nodes"]["n2"]["pid"]
    assert switch(lab, "status", "n2") == {"ok": True, "state": "on"}
    assert switch(lab, "off", "n2") == {"ok": True, "state": "off"}
    assert not Path(f"/proc/{pid}").exists()
    assert switch(lab, "off", "n2") == {"ok": True, "state": "off"}, "off is idempotent"
    assert switch(lab, "on", "n2") == {"ok": True, "state": "on"}
    assert ask(lab, "status")["nodes"]["n2"]["pid"] != pid
    refused = switch(lab, "off", "n9")
    assert not refused["ok"]
    assert "n9" in str(refused["error"])


def switch(lab: Lab, action: str, plug: str) -> dict[str, object]:
    """What fence_vigil_lab says to the switch, from n1's place in the network."""
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60); "
        "s.sendall(sys.argv[3].encode() + b'\\n'); print(s.makefile().readline())"
    )
    request = json.dumps({"action": action, "plug": plug})
    result = cluster.run(
        lab,
        "n1",
        ["python3", "-c", program, lab.power_address, str(lab.power_port()), request],
        capture_output=True,
        text=True,
    )
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_a_paused_node_is_stopped_and_goes_on_when_resumed(lab: Lab) -> None:
    pid = ask(lab, "status")["nodes"]["n1"]["pid"]
    assert ask(lab, "pause", node="n1")["stopped"] >= 1
    cluster.wait_for(lambda: state_of(pid) == "T", LIMIT_S, "process 1 is not stopped")
    ask(lab, "resume", node="n1")
    cluster.wait_for(lambda: state_of(pid) in "SR", LIMIT_S, "process 1 does not go on")
    ask(lab, "power-off", node="n1")
    assert ask(lab, "status")["nodes"]["n1"]["power"] == "off"


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_partition_cuts_traffic_both_ways_until_it_heals(lab: Lab) -> None:
    cluster.wait_for(lambda: reaches(lab, "n1", "n2"), LIMIT_S, "n1 does not reach n2 at first")
    ask(lab, "partition", nodes=["n2"])
    assert not reaches(lab, "n1", "n2")
    assert not reaches(lab, "n2", "n1")
    ask(lab, "heal")
    cluster.wait_for(lambda: reaches(lab, "n2", "n1"), LIMIT_S, "n2 does not reach n1 when the network is whole")


def reaches(lab: Lab, sender: str, receiver: str) -> bool:
    if lab.isolation is Isolation.MACHINE:
        words = ["ping", "-c", "1", "-W", "1", lab.address(receiver)]
        return cluster.run(lab, sender, words, stdout=subprocess.DEVNULL).returncode == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        # The daemons listen on the node's port; a socket beside them gets every other datagram, so several are sent.
        far.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ask(lab, "stop-vigild", node=receiver)
        cluster.wait_for(lambda: can_bind(far, lab.listen_port(receiver)), LIMIT_S, "the receiver's port is not free")
        far.settimeout(0.5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
            near.sendto(b"hello from the test", ("127.0.0.1", lab.relay_port(sender, receiver)))
        try:
            while far.recv(65536) != b"hello from the test":
                pass
        except TimeoutError:
            return False
        return True


def can_bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_down_leaves_nothing(lab: Lab) -> None:
    pids = [state["pid"] for state in ask(lab, "status")["nodes"].values()]
    cluster.down("t")
    assert not lab.folder.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_problems_are_told_in_a_sentence(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"no node 'n7'.*n1, n2"):
        ask(lab, "crash", node="n7")
    with pytest.raises(LabError, match="exists already"):
        cluster.plan("t")
    with pytest.raises(LabError, match="1 to 32 nodes"):
        cluster.plan("u", nodes=99)
    with pytest.raises(LabError, match="a lab's name"):
        cluster.plan("../etc")
    with pytest.raises(LabError, match="no lab named 'nope'"):
        layout.load("nope")


def test_the_ports_of_a_lab_of_any_size_lie_in_its_own_block() -> None:
    for count in (1, 2, 32):
        names = tuple(f"n{number}" for number in range(1, count + 1))
        lab = Lab("t", Path("/tmp/t"), names, Isolation.PROCESS, False, TieBreaker.PING, base_port=1000)
        ports = [lab.power_port(), lab.service_port(), lab.arbiter_port()]
        ports += [port for name in names for port in (lab.ping_port(name), lab.listen_port(name))]
        ports += [lab.relay_port(sender, receiver) for sender in names for receiver in names if sender != receiver]
        assert min(ports) == 1000 and max(ports) < 1000 + layout.ports_needed(count)
        with_one_meaning = [port for port in ports if port != lab.arbiter_port()]
        assert len(set(with_one_meaning)) == len(with_one_meaning)
