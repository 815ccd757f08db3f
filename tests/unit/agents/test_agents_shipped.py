"""The agents we ship, and agents of others, run for real; those that change the network in a namespace of their own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.catalog import fence_agents, ocf_agents, providers, resolve
from agents.metadata import (
    Descriptions,
    MetadataError,
    check_operation,
    check_parameters,
    duration_ms,
    load,
    parse,
)
from agents.paths import SHIPPED_OCF, AgentPaths
from agents.runner import Runner
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult

SESSION = Path(__file__).with_name("agent_session.py")
SHIPPED = ("Dummy", "IPaddr", "Stateful", "WebServer")
WEB = AgentId.parse("ocf:vigil:WebServer")
BRIDGE = "ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up; ip link set v1 up"


def run(paths: AgentPaths, agent: str, action: str, resource: str = "r", **params: str) -> OperationResult:
    async def scene() -> OperationResult:
        return await Runner(paths).run(Operation(AgentId.parse(agent), action, resource, params, node="n1"))

    return asyncio.run(scene())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def in_namespace(folder: Path, *operations: dict[str, Any]) -> list[dict[str, Any]]:
    """Run operations (and shell commands) in a network of their own; the results without those of the preparation."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    wanted = {"operations": [{"shell": BRIDGE}, *operations], "rsctmp": str(folder)}
    done = subprocess.run(
        ["unshare", "--net", *user, sys.executable, str(SESSION)],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    assert results[0]["rc"] == 0, results[0]["reason"]
    return results[1:]


def op(action: str, agent: str = "ocf:vigil:IPaddr", **parameters: str) -> dict[str, Any]:
    return {"agent": agent, "action": action, "parameters": parameters}


def codes(results: list[dict[str, Any]]) -> list[int]:
    return [result["rc"] for result in results]


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    return AgentPaths(rsctmp=tmp_path / "rsctmp", ocf_search=(tmp_path / "nowhere",))


@pytest.fixture
def port() -> int:
    """Free, and below those that the kernel hands out by itself."""
    while True:
        chosen = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", chosen))
            return chosen


# --- Dummy and Stateful ---------------------------------------------------------------------------------------------------


def test_dummy_starts_and_stops_and_may_be_told_twice(paths: AgentPaths) -> None:
    actions = [
        "monitor",
        "stop",
        "start",
        "start",
        "monitor",
        "reload-agent",
        "validate-all",
        "stop",
        "stop",
        "monitor",
    ]
    assert [run(paths, "ocf:vigil:Dummy", action).rc for action in actions] == [7, 0, 0, 0, 0, 0, 0, 0, 0, 7]


def test_dummy_fails_where_it_is_asked_to(paths: AgentPaths) -> None:
    assert run(paths, "ocf:vigil:Dummy", "start", fail_on="start@n2 stop").ok
    result = run(paths, "ocf:vigil:Dummy", "start", fail_on="start@n1")
    assert (result.rc, result.exit_reason) == (1, "start fails because fail_on says so")


def test_dummy_names_a_wrong_parameter(paths: AgentPaths) -> None:
    result = run(paths, "ocf:vigil:Dummy", "start", op_sleep="soon")
    assert (result.rc, result.exit_reason) == (6, "op_sleep is 'soon', expected a number of seconds")
    assert run(paths, "ocf:vigil:Dummy", "explode").rc == OcfCode.UNIMPLEMENT_FEATURE


def test_stateful_goes_through_its_roles_without_a_cluster(paths: AgentPaths) -> None:
    walk = [
        "monitor",
        "promote",
        "start",
        "monitor",
        "promote",
        "monitor",
        "start",
        "demote",
        "monitor",
        "stop",
        "monitor",
    ]
    expected = [7, 7, 0, 0, 0, 8, 8, 0, 0, 0, 7]
    assert [run(paths, "ocf:vigil:Stateful", action).rc for action in walk] == expected


def test_stateful_tells_its_promotion_score_to_the_clusters_tool(tmp_path: Path) -> None:
    told = tmp_path / "told"
    tool = tmp_path / "tools" / "crm_attribute"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" >> {told}\n')
    tool.chmod(0o755)
    paths = AgentPaths(rsctmp=tmp_path / "rsctmp", tools=tool.parent)
    for action in ("start", "promote", "stop"):
        assert run(paths, "ocf:vigil:Stateful", action, promoted_score="100").ok
    assert told.read_text().splitlines() == [
        "--promotion --lifetime reboot --update 5",
        "--promotion --lifetime reboot --update 100",
        "--promotion --lifetime reboot --delete",
    ]


# --- WebServer ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def web(paths: AgentPaths, port: int) -> Iterator[dict[str, str]]:
    params = {"port": str(port), "address": "127.0.0.1", "message": "hello"}
    yield params
    assert run(paths, str(WEB), "stop", "web", **params).ok


def get(port: str) -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return answer.read().decode(), dict(answer.headers)


def test_the_web_server_answers_as_soon_as_it_is_started_and_names_its_node(
    paths: AgentPaths, web: dict[str, str]
) -> None:
    assert run(paths, str(WEB), "monitor", "web", **web).rc == 7
    assert run(paths, str(WEB), "start", "web", **web).ok
    text, headers = get(web["port"])
    assert text.startswith("web on n1 at ")
    assert text.endswith("\nhello\n")
    assert (headers["X-Vigil-Node"], headers["X-Vigil-Resource"]) == ("n1", "web")
    assert run(paths, str(WEB), "start", "web", **web).ok, "once more is the same"
    assert run(paths, str(WEB), "monitor", "web", **web).ok
    assert run(paths, str(WEB), "stop", "web", **web).ok
    assert run(paths, str(WEB), "monitor", "web", **web).rc == 7
    with pytest.raises(OSError, match="refused"):
        get(web["port"])


def test_a_slow_client_does_not_keep_others_from_the_page(paths: AgentPaths, web: dict[str, str]) -> None:
    assert run(paths, str(WEB), "start", "web", **web).ok
    with socket.create_connection(("127.0.0.1", int(web["port"])), 5) as idle:
        idle.sendall(b"GET")
        assert get(web["port"])[0].startswith("web on n1")


def test_a_document_is_served_in_the_place_of_the_page(paths: AgentPaths, web: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<h1>it</h1>")
    assert run(paths, str(WEB), "start", "web", document=str(page), **web).ok
    text, headers = get(web["port"])
    assert (text, headers["Content-Type"]) == ("<h1>it</h1>", "text/html; charset=utf-8")


def test_a_port_that_somebody_else_has_is_named(paths: AgentPaths, web: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(web["port"])))
        other.listen()
        result = run(paths, str(WEB), "start", "web", **web)
    assert result.rc == 1
    assert result.exit_reason == f"cannot listen on 127.0.0.1 port {web['port']}: Address already in use"
    assert run(paths, str(WEB), "monitor", "web", **web).rc == 7


def test_a_web_server_that_hangs_is_a_failure_and_can_be_stopped(paths: AgentPaths, web: dict[str, str]) -> None:
    assert run(paths, str(WEB), "start", "web", **web).ok
    pid = int((paths.rsctmp / "vigil-WebServer-web.pid").read_text().split()[0])
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    result = run(paths, str(WEB), "monitor", "web", **web)
    assert (result.rc, result.status) == (1, ExecStatus.DONE)
    assert "does not answer" in result.exit_reason
    assert run(paths, str(WEB), "stop", "web", **web).ok
    assert not alive(pid)


def test_a_killed_web_server_is_not_running_and_a_recycled_pid_is_not_taken_for_it(
    paths: AgentPaths, web: dict[str, str]
) -> None:
    assert run(paths, str(WEB), "start", "web", **web).ok
    pidfile = paths.rsctmp / "vigil-WebServer-web.pid"
    pid = int(pidfile.read_text().split()[0])
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run(paths, str(WEB), "monitor", "web", **web).rc == 7
    pidfile.write_text(f"{os.getpid()}\n1\n")
    assert run(paths, str(WEB), "monitor", "web", **web).rc == 7
    assert run(paths, str(WEB), "stop", "web", **web).ok, "and this test is still alive"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"port": "http"}, "port is 'http', expected a number from 1 to 65535"),
        ({"address": "here"}, "address is 'here', expected an IPv4 or IPv6 address"),
        ({"document": "/no/such/page"}, "document /no/such/page cannot be read"),
    ],
)
def test_the_web_server_names_a_wrong_parameter(paths: AgentPaths, params: dict[str, str], words: str) -> None:
    result = run(paths, str(WEB), "validate-all", "web", **params)
    assert (result.rc, result.exit_reason) == (OcfCode.NOT_CONFIGURED, words)


# --- IPaddr ---------------------------------------------------------------------------------------------------------------


def test_an_address_comes_and_goes_and_may_be_told_twice(tmp_path: Path) -> None:
    ip = {"ip": "10.9.0.50"}
    walk = ["monitor", "start", "start", "monitor", "stop", "stop", "monitor"]
    show = {"shell": "ip -o -4 addr show dev v0 to 10.9.0.50"}
    results = in_namespace(tmp_path, *(op(action, **ip) for action in walk[:4]), show, *(op(a, **ip) for a in walk[4:]))
    assert codes(results) == [7, 0, 0, 0, 0, 0, 0, 7]
    assert "10.9.0.50/24 brd 10.9.0.255" in results[4]["stdout"], "prefix and broadcast are those of the network"


def test_an_address_on_an_interface_that_is_down_is_a_failure(tmp_path: Path) -> None:
    ip = {"ip": "10.9.0.50", "nic": "v0"}
    results = in_namespace(tmp_path, op("start", **ip), {"shell": "ip link set v0 down"}, op("monitor", **ip))
    assert codes(results) == [0, 0, 1]
    assert results[2]["reason"] == "10.9.0.50 is there, but v0 is down"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
def test_an_ipv6_address_can_be_used_at_once(tmp_path: Path) -> None:
    ip = {"ip": "fd00::5", "nic": "v0", "cidr_netmask": "64"}
    bound = {"shell": f"{sys.executable} -c \"import socket as s; s.socket(s.AF_INET6).bind(('fd00::5', 4444))\""}
    results = in_namespace(
        tmp_path, op("start", **ip), bound, op("monitor", **ip), op("stop", **ip), op("monitor", **ip)
    )
    assert codes(results) == [0, 0, 0, 0, 7]


def test_neighbours_are_told_and_another_owner_is_noticed(tmp_path: Path) -> None:
    """v0 and v1 are the ends of one cable: what leaves one arrives at the other."""
    heard = tmp_path / "heard"
    listen = (
        f"{sys.executable} -c \"import socket as s; r = s.socket(s.AF_PACKET, s.SOCK_RAW, s.htons(0x806)); r.bind(('v1', 0x806)); "
        f"r.settimeout(60); print('ready', flush=True); f = r.recv(99); open('{heard}', 'w').write(f[28:32].hex() + f[38:42].hex())\" "
        f"> {tmp_path}/ready 2>{tmp_path}/errors & until [ -s {tmp_path}/ready ]; do sleep 0.01; done"
    )
    wait = {"shell": f"for i in $(seq 1 6000); do [ -s {heard} ] && exit 0; sleep 0.01; done; exit 1"}
    taken = {"shell": "ip addr add 10.9.0.60/24 dev v1"}
    results = in_namespace(
        tmp_path,
        {"shell": listen},
        op("start", ip="10.9.0.50", nic="v0"),
        wait,
        {"shell": "ip netns list >/dev/null; ip link set v1 down; ip link set v1 up"},
        taken,
        op("start", ip="10.9.0.60", nic="v0", check_conflict="true"),
    )
    assert codes(results[:5]) == [0, 0, 0, 0, 0]
    assert heard.read_text() == "0a090032" * 2, "gratuitous: sender and target are the address itself"
    assert results[5]["rc"] == 1


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "the parameter ip is missing"),
        ({"ip": "host"}, "ip is 'host', expected an IPv4 or IPv6 address"),
        ({"ip": "10.0.0.1", "cidr_netmask": "33"}, "cidr_netmask is 33, expected at most 32"),
        ({"ip": "10.0.0.1", "cidr_netmask": "255.0.0.0"}, "cidr_netmask is '255.0.0.0', expected a number"),
    ],
)
def test_ipaddr_names_a_wrong_parameter(paths: AgentPaths, params: dict[str, str], words: str) -> None:
    result = run(paths, "ocf:vigil:IPaddr", "validate-all", **params)
    assert (result.rc, result.exit_reason) == (OcfCode.NOT_CONFIGURED, words)


def test_ipaddr_says_when_there_is_no_such_interface(tmp_path: Path) -> None:
    (result,) = in_namespace(tmp_path, op("start", ip="10.9.0.50", nic="eth77"))
    assert (result["rc"], result["reason"]) == (1, "there is no interface eth77 on this node")


# --- agents of others -----------------------------------------------------------------------------------------------------


def test_heartbeat_ipaddr2_runs_unmodified(tmp_path: Path) -> None:
    agent, ip = "ocf:heartbeat:IPaddr2", {"ip": "10.9.0.51", "cidr_netmask": "24", "nic": "v0"}
    walk = ["monitor", "start", "monitor", "stop", "monitor"]
    results = in_namespace(tmp_path, *(op(action, agent, **ip) for action in walk))
    assert codes(results) == [7, 0, 0, 0, 7], results


def test_heartbeat_nginx_runs_unmodified(tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    folders = "".join(
        f"  {kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon on;\nuser root;\npid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\nevents {{\n}}\nhttp {{\n  access_log off;\n"
        f"{folders}  server {{\n    listen 10.9.0.1:8123;\n    location / {{ return 200 'nginx here'; }}\n  }}\n}}\n"
    )
    agent, params = (
        "ocf:heartbeat:nginx",
        {"configfile": str(config), "port": "8123", "status10url": "http://10.9.0.1:8123/"},
    )
    fetch = {"shell": "curl -s http://10.9.0.1:8123/"}
    walk = [op(action, agent, **params) for action in ("monitor", "start", "monitor")]
    rest = [op(action, agent, **params) for action in ("stop", "monitor")]
    results = in_namespace(tmp_path, *walk, fetch, *rest)
    assert codes(results) == [7, 0, 0, 0, 0, 7], results
    assert results[3]["stdout"] == "nginx here"


def test_pacemakers_dummy_runs_unmodified(paths: AgentPaths) -> None:
    walk = ["monitor", "start", "monitor", "stop", "monitor"]
    state = str(paths.rsctmp / "pcmk.state")
    assert [run(paths, "ocf:pacemaker:Dummy", action, state=state).rc for action in walk] == [7, 0, 0, 0, 7]


# --- what agents say about themselves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_agent_describes_itself_fully(paths: AgentPaths, name: str) -> None:
    metadata = load(AgentId("ocf", "vigil", name), paths)
    assert metadata.ocf_version == "1.1"
    assert metadata.shortdesc
    assert metadata.longdesc
    assert {"start", "stop", "monitor", "validate-all", "meta-data"} <= metadata.action_names
    assert all(action.timeout_ms for action in metadata.actions)
    assert all(parameter.shortdesc and parameter.longdesc for parameter in metadata.parameters.values())


def test_what_a_reload_can_change_is_told_from_what_needs_a_restart(paths: AgentPaths) -> None:
    dummy = load(AgentId.parse("ocf:vigil:Dummy"), paths)
    assert dummy.restart_parameters() == ("state",)
    assert load(AgentId.parse("ocf:vigil:WebServer"), paths).restart_parameters() is None
    old = (
        '<resource-agent name="x"><parameters><parameter name="a" unique="1"/><parameter name="passwd"/></parameters>'
        '<actions><action name="reload"/></actions></resource-agent>'
    )
    metadata = parse(old, AgentId.parse("ocf:test:x"))
    assert metadata.restart_parameters() == ("a",)
    assert metadata.private_parameters() == ("passwd",)


def test_wrong_parameters_are_all_told_at_once(paths: AgentPaths) -> None:
    metadata = load(AgentId.parse("ocf:vigil:IPaddr"), paths)
    problems = check_parameters(metadata, {"cidr_mask": "24", "announce_count": "many", "check_conflict": "perhaps"})
    assert [(problem.severity, problem.name) for problem in problems] == [
        ("error", "cidr_mask"),
        ("warning", "announce_count"),
        ("warning", "check_conflict"),
        ("error", "ip"),
    ]
    assert check_parameters(metadata, {"ip": "10.0.0.1", "trace_ra": "1"}) == []


def test_a_misspelt_parameter_is_answered_with_the_right_one(paths: AgentPaths) -> None:
    metadata = load(AgentId.parse("ocf:vigil:IPaddr"), paths)
    (problem,) = check_parameters(metadata, {"ip": "10.0.0.1", "cidr-netmask": "24"})
    assert problem.message == "ocf:vigil:IPaddr has no parameter 'cidr-netmask'; did you mean cidr_netmask?"


def test_what_the_fencer_supplies_need_not_be_configured(paths: AgentPaths) -> None:
    metadata = load(AgentId.parse("stonith:fence_vigil_lab"), paths)
    assert check_parameters(metadata, {"ip": "10.0.0.1", "pcmk_host_list": "n1"}) == []


def test_operations_are_checked_against_the_advice(paths: AgentPaths) -> None:
    metadata = load(AgentId.parse("ocf:vigil:Dummy"), paths)
    assert check_operation(metadata, "start", 20_000) == []
    assert [problem.code for problem in check_operation(metadata, "start", 5_000)] == ["short-timeout"]
    assert [problem.code for problem in check_operation(metadata, "promote", None)] == ["unknown-action"]


def test_descriptions_are_had_once_until_the_agent_changes(tmp_path: Path) -> None:
    count = tmp_path / "count"
    agent = tmp_path / "ocf" / "test" / "it"
    agent.parent.mkdir(parents=True)
    xml = "<resource-agent name='it' version='{}'/>"
    script = '#!/bin/sh\necho x >> {}\necho "{}"\n'
    agent.write_text(script.format(count, xml.format(1)))
    agent.chmod(0o755)
    identity = AgentId.parse("ocf:test:it")

    async def scene() -> None:
        descriptions = Descriptions(Runner(AgentPaths(ocf_search=(tmp_path / "ocf",), rsctmp=tmp_path)))
        found = await asyncio.gather(*(descriptions.get(identity) for _ in range(5)))
        assert [metadata.version for metadata in found] == ["1"] * 5
        assert len(count.read_text().split()) == 1
        agent.write_text(script.format(count, xml.format(22)))
        assert (await descriptions.get(identity)).version == "22"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "are not XML"),
        ("<resource-agent>", "not well-formed"),
        ("<?xml version='1.0'?><other/>", "begin with <other>"),
    ],
)
def test_what_describes_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(MetadataError, match=words):
        parse(text, AgentId.parse("ocf:test:x"))


def test_descriptions_may_have_a_document_type_but_nothing_is_read_from_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    text = (
        f'<?xml version="1.0"?><!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd" [<!ENTITY e SYSTEM "file://{secret}">]>'
        '<resource-agent name="x"><shortdesc lang="en">a &e; b</shortdesc></resource-agent>'
    )
    assert "secret" not in parse(text, AgentId.parse("ocf:test:x")).shortdesc


def test_a_missing_agent_has_no_description(paths: AgentPaths) -> None:
    with pytest.raises(MetadataError, match="no meta-data of ocf:vigil:None: agent ocf:vigil:None is not installed"):
        load(AgentId.parse("ocf:vigil:None"), paths)


def test_services_have_a_description_of_our_making(paths: AgentPaths) -> None:
    assert {"start", "stop", "monitor"} <= load(AgentId.parse("systemd:nginx"), paths).action_names


@pytest.mark.parametrize(
    ("text", "expected"), [("20s", 20_000), ("20", 20_000), ("90 ms", 90), ("1.5s", 1_000), (None, None)]
)
def test_advised_times_are_read(text: str | None, expected: int | None) -> None:
    assert duration_ms(text) == expected


def test_shipped_agents_are_listed_without_being_installed(tmp_path: Path) -> None:
    paths = AgentPaths(ocf_root=tmp_path, ocf_search=(), fence_search=(tmp_path, AgentPaths().fence_search[0]))
    assert providers(paths) == ["vigil"]
    assert ocf_agents(paths, "vigil") == list(SHIPPED)
    assert fence_agents(paths) == ["fence_vigil_lab"]
    assert [str(agent) for agent in resolve(paths, "Dummy")] == ["ocf:vigil:Dummy"]
    assert sorted(path.name for path in SHIPPED_OCF.iterdir()) == list(SHIPPED)
