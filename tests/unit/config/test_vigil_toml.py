"""vigil.toml: every problem is told at once with its line and key, and what is written loads again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crm import config
from crm.config import ConfigError, TieBreaker, sections
from crm.config.__main__ import main
from messaging.config import from_document

GOOD = """
[cluster]
name = "web"

[node]
name = "a"

[[nodes]]
name = "a"
id = 1
addresses = ["10.0.0.1"]

[[nodes]]
name = "b"
id = 2
addresses = ["10.0.0.2:6000"]
"""


def problems(text: str) -> dict[str, tuple[int, str]]:
    """Key to line and message."""
    with pytest.raises(ConfigError) as told:
        config.loads(text)
    return {problem.key: (problem.line, problem.message) for problem in told.value.problems}


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_small_file_is_enough_and_the_rest_follows() -> None:
    loaded = config.loads(GOOD)
    assert loaded.node.name == "a"
    assert [str(node.endpoints[0]) for node in loaded.nodes] == ["10.0.0.1:5410", "10.0.0.2:6000"]
    assert loaded.timers == config.Timers(400, 1000, 2000, 6000, 3000)
    assert loaded.quorum.two_node and loaded.quorum.wait_for_all
    assert loaded.quorum.expected_votes == 2
    assert loaded.links == (config.Link("unicast", 5410, "", "", 64),)


def test_the_timers_follow_from_deadtime() -> None:
    loaded = config.loads(GOOD + "[timers]\ndeadtime_ms = 1000\n")
    assert loaded.timers == config.Timers(200, 500, 1000, 3000, 3000)


def test_three_nodes_are_no_pair() -> None:
    loaded = config.loads(GOOD + '[[nodes]]\nname = "c"\nid = 3\naddresses = ["10.0.0.3"]\n')
    assert not loaded.quorum.two_node
    assert not loaded.quorum.wait_for_all
    assert loaded.quorum.expected_votes == 3


def test_a_tie_breaker_takes_the_place_of_two_node() -> None:
    loaded = config.loads(GOOD + '[quorum.tie_breaker]\ntype = "ping"\ntargets = ["10.0.0.254"]\n')
    assert not loaded.quorum.two_node
    assert loaded.quorum.wait_for_all
    assert loaded.quorum.tie_breaker == TieBreaker("ping", ("10.0.0.254",), 1000, 500, 3)


def test_all_problems_are_told_at_once_each_at_its_line() -> None:
    text = """[cluster]
nam = "x"
[node]
name = "zz"
[[nodes]]
name = "a"
id = 1
addresses = [
  "10.0.0.1",
  "10.0.0.9",
]
[[nodes]]
name = "a"
id = 1
addresses = ["10.0.0.1"]
[timers]
keepalive_ms = 900
deadtime_ms = 1000
[quorum]
tie_breaker = { type = "coin" }
[colour]
x = 1
"""
    found = problems(text)
    assert found["cluster.name"] == (1, "missing")
    assert found["cluster.nam"][0] == 2
    assert found["node.name"][0] == 4
    assert found["nodes.1.addresses"] == (8, "expected one address for each of the 1 links, got 2")
    assert found["nodes.2.name"] == (13, "name a is already that of node 1")
    assert found["nodes.2.id"] == (14, "id 1 is already that of a")
    assert found["nodes.2.addresses"] == (15, "address 10.0.0.1:5410 is already that of a")
    assert found["timers.deadtime_ms"][0] == 18
    assert "at least three keepalive_ms" in found["timers.deadtime_ms"][1]
    assert found["quorum.tie_breaker.type"] == (20, "expected 'none', 'ping', 'qdisk' or 'arbiter', got \"coin\"")
    assert found["colour"][0] == 21


@pytest.mark.parametrize(
    ("more", "key", "part"),
    [
        ("[timers]\nkeepalive_ms = 0", "timers.keepalive_ms", "greater than or equal to 10"),
        ('[timers]\ndeadtime_ms = "2 s"', "timers.deadtime_ms", 'expected a valid integer, got "2 s"'),
        ("[timers]\nwarntime_ms = 3000", "timers.warntime_ms", "less than deadtime_ms (2000)"),
        ("[timers]\ninitdead_ms = 1000", "timers.initdead_ms", "at least deadtime_ms (2000)"),
        ("[timers]\nkeepalive_ms = 600\nwarntime_ms = 500", "timers.warntime_ms", "more than keepalive_ms (600)"),
        ("[quorum]\nexpected_votes = 1", "quorum.expected_votes", "sum of the nodes' votes (2)"),
        ("[quorum]\nwait_for_all = false", "quorum.wait_for_all", "fences back"),
        ('[quorum]\ntie_breaker = {type = "ping"}', "quorum.tie_breaker.targets", "at least one target"),
        ('[quorum]\ntie_breaker = {targets = ["10.0.0.9"]}', "quorum.tie_breaker.targets", "targets is for ping nodes"),
        (
            '[quorum]\ntwo_node = true\ntie_breaker = {type = "ping", targets = ["10.0.0.9"]}',
            "quorum.two_node",
            "remove one of them",
        ),
        (
            '[quorum]\ntie_breaker = {type = "ping", targets = ["10.0.0.1"]}',
            "quorum.tie_breaker.targets",
            "is a node of this cluster",
        ),
        (
            '[quorum]\ntie_breaker = {type = "ping", targets = ["10.0.0.9"], timeout_ms = 999, interval_ms = 500}',
            "quorum.tie_breaker.timeout_ms",
            "less than interval_ms (500)",
        ),
        ('[[links]]\nmode = "multicast"', "links.1.group", "multicast address such as"),
        ('[[links]]\nmode = "multicast"\ngroup = "10.0.0.1"', "links.1.group", "multicast address such as"),
        ('[[links]]\ngroup = "239.0.0.1"', "links.1.group", "a unicast link has no group"),
        ('[[links]]\nmode = "carrier pigeon"', "links.1.mode", 'got "carrier pigeon"'),
        ("[[links]]\nport = 70000", "links.1.port", "less than or equal to 65535"),
        ('[paths]\nrun_dir = "run"', "paths.run_dir", "expected an absolute path"),
        ('[[nodes]]\nname = "c"\nid = 300\naddresses = ["10.0.0.3"]', "nodes.3.id", "less than or equal to 255"),
        ('[[nodes]]\nname = "c d"\nid = 3\naddresses = ["10.0.0.3"]', "nodes.3.name", "expected letters"),
        (
            '[[nodes]]\nname = "c"\nid = 3\naddresses = ["10.0.0.300"]',
            "nodes.3.addresses",
            "expected host or host:port",
        ),
        ('[[nodes]]\nname = "c"\nid = 3\naddresses = ["h:0"]', "nodes.3.addresses", "expected host or host:port"),
    ],
)
def test_each_rule_names_the_key_the_line_and_what_was_expected(more: str, key: str, part: str) -> None:
    text = GOOD + more + "\n"
    line, message = problems(text)[key]
    assert part in message
    name = key.rpartition(".")[2]
    expected = line_of(text, name) if name != "addresses" and name in more else line
    assert line == expected or line >= line_of(text, more.splitlines()[0])
    assert line > 0


def test_a_file_that_is_not_toml_is_told_with_its_line() -> None:
    ((line, message),) = problems("[cluster]\nname = web\n").values()
    assert line == 2
    assert message.startswith("is not TOML: ")
    ((line, message),) = problems('[cluster]\nname = "we').values()
    assert "is not TOML" in message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "vigil.toml")
    (tmp_path / "vigil.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(tmp_path / "vigil.toml")


def test_lines_are_found_around_strings_and_arrays_that_span_lines() -> None:
    text = '[cluster]\nname = """\na = 1\n[timers]\n"""\nkey_file = [\n  "x", # ]\n]\n[timers]\ndeadtime_ms = 0\n'
    found = problems(text)
    assert found["cluster.key_file"][0] == 6
    assert found["timers.deadtime_ms"][0] == 10


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_what_is_rendered_loads_to_the_same(nodes: int) -> None:
    line = [config.Link("serial", 5410, "", "", 1, baud=19200)] if nodes > 1 else []
    ends = ["/dev/ttyS0", "/dev/ttyS1", *["-"] * nodes]
    made = config.example(
        "web",
        [
            (f"n{n}", [f"10.0.0.{n}", f"[fd00::{n}]:6000", *([ends[n - 1]] if line else [])])
            for n in range(1, nodes + 1)
        ],
        links=[
            config.Link("multicast", 5410, "239.192.7.1", "eth0", 2, 46, "unicast"),
            config.Link("unicast", 5411, "", "", 1, 0),
            *line,
        ],
        encryption="aes-256-gcm",
        deadtime_ms=1000,
        tie_breaker=TieBreaker("ping", ("10.0.0.254", "gateway:80")),
        paths=config.Paths("/state", "/run/x", "/log", "debug"),
    )
    assert config.loads(config.render(made)) == made
    for node in made.nodes:
        other = config.for_node(made, node.name)
        assert other.node.name == node.name
        assert config.loads(config.render(other)) == other


def test_a_serial_line_has_two_ends_and_stands_beside_a_network() -> None:
    nodes = "".join(
        f'[[nodes]]\nname = "n{n}"\nid = {n}\naddresses = ["10.0.0.{n}", "{end}"]\n'
        for n, end in ((1, "/dev/ttyS0"), (2, "ttyS0"), (3, "/dev/ttyS0"))
    )
    text = f'[cluster]\nname = "a"\n[node]\nname = "n1"\n{nodes}'
    found = problems(text + '[[links]]\nbaud = 9600\nfallback = "none"\n[[links]]\nmode = "serial"\nttl = 2\n')
    assert "joins two nodes" in found["links.2"][1]
    assert "expected a device" in found["nodes.2.addresses"][1]
    assert "means nothing for a serial link" in found["links.2.ttl"][1]
    assert "means nothing for a unicast link" in found["links.1.baud"][1]
    assert "means nothing for a unicast link" in found["links.1.fallback"][1]
    alone = problems(
        '[cluster]\nname = "a"\n[node]\nname = "x"\n[[nodes]]\nname = "x"\nid = 1\naddresses = ["/dev/ttyS0"]\n'
        '[[links]]\nmode = "serial"\n'
    )
    assert "serial lines only" in alone["links"][1]


def test_messaging_reads_what_is_resolved() -> None:
    made = config.loads(GOOD)
    read = from_document(json.loads(made.to_resolved_json()))
    assert (read.cluster, read.node_id) == ("web", 1)
    assert [node.endpoints[0].port for node in read.nodes] == [5410, 6000]
    assert read.timers.deadtime_ms == made.timers.deadtime_ms
    assert read.quorum.two_node


def test_the_command_checks_and_resolves(tmp_path: Path) -> None:
    file, out = tmp_path / "vigil.toml", tmp_path / "run" / "resolved.json"
    file.write_text(GOOD, encoding="utf-8")
    assert main(["check", str(file)]) == 0
    assert main(["resolve", str(file), "--output", str(out)]) == 0
    assert json.loads(out.read_text())["cluster"]["name"] == "web"
    file.write_text(GOOD.replace('"10.0.0.1"', "7"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "crm.config", "check", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert done.stderr.startswith(f"{file}:11: nodes.1.addresses.1: expected a valid string, got 7")
    assert "Traceback" not in done.stderr


def test_the_reference_page_names_every_key_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "vigil-toml.md").read_text(encoding="utf-8")
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert told == set(config.all_keys())


def test_the_reference_page_tells_the_defaults_that_the_code_has() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "vigil-toml.md").read_text(encoding="utf-8")
    told = {row[1].strip(" `"): row[2] for row in (line.split("|") for line in page.splitlines() if line[:3] == "| `")}
    models: dict[str, Any] = {**sections.MODELS, "quorum.tie_breaker": sections.TieBreakerSection}
    models |= {f"quorum.tie_breaker.{table}": model for table, model in sections.TIE_BREAKER_TABLES.items()}
    wrong = []
    for section, model in models.items():
        for name, field in model.model_fields.items():
            cell = told.get(f"{section}.{name}", "")
            default = "(required)" if field.is_required() else field.default
            plain = str(default).lower() if isinstance(default, bool) else str(default)
            if isinstance(default, bool | int | str) and plain and name != "tie_breaker" and plain not in cell:
                wrong.append(f"{section}.{name} has {plain}, the page says {cell.strip()}")
    assert wrong == []


QDISK = '[quorum.tie_breaker]\ntype = "qdisk"\ndevice = "/dev/shared"\n'


def test_the_times_of_a_quorum_disk_follow_from_deadtime_and_are_written_back() -> None:
    loaded = config.loads(GOOD + QDISK)
    assert loaded.quorum.tie_breaker == TieBreaker("qdisk", (), 160, 500, 7, "/dev/shared", "")
    assert not loaded.quorum.two_node
    assert config.loads(config.render(loaded)) == loaded
    assert from_document(loaded.to_document()).quorum.tie_breaker.device == "/dev/shared"
    given = config.loads(GOOD + QDISK + "interval_ms = 100\n").quorum.tie_breaker
    assert (given.interval_ms, given.tko) == (100, 14)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (QDISK + "interval_ms = 500\ntko = 3", "interval_ms", "at most deadtime_ms - keepalive_ms (1600)"),
        (QDISK + "tko = 2", "tko", "at least 3"),
        (QDISK + 'targets = ["10.0.0.9"]', "targets", "targets is for ping nodes"),
        (QDISK + "timeout_ms = 100", "timeout_ms", "has no timeout_ms"),
        (QDISK.replace("/dev/", ""), "device", "absolute path"),
        ('[quorum.tie_breaker]\ntype = "qdisk"', "device", "expected the shared device"),
        ('[quorum.tie_breaker]\ndevice = "/dev/shared"', "device", "device is for a quorum disk"),
    ],
)
def test_what_cannot_hold_for_a_quorum_disk_is_told(text: str, key: str, message: str) -> None:
    found = problems(GOOD + text)
    assert message in found[f"quorum.tie_breaker.{key}"][1]


def test_the_event_log_is_below_the_state_folder_and_metrics_are_off_unless_said_otherwise() -> None:
    loaded = config.loads(GOOD)
    assert loaded.events.folder == "" and (loaded.events.max_mib, loaded.events.keep) == (10, 9)
    assert loaded.metrics.listen is None
    chosen = config.loads(GOOD + '[events]\nfolder = "/var/log/vigil"\nkeep = 0\n[metrics]\nlisten = "127.0.0.1"\n')
    assert chosen.events.folder == "/var/log/vigil" and chosen.events.keep == 0
    assert str(chosen.metrics.listen) == "127.0.0.1:9664"
    assert str(config.loads(GOOD + '[metrics]\nlisten = "[::1]:9"\n').metrics.listen) == "[::1]:9"


def test_what_is_wrong_with_the_event_log_and_metrics_is_told() -> None:
    text = GOOD + '[events]\nfolder = "log"\nmax_mib = 0\n[metrics]\nlisten = "everywhere"\n'
    found = problems(text)
    assert found["metrics.listen"][1].startswith("expected an IP address")
    assert "greater than or equal to 1" in found["events.max_mib"][1]
    assert "absolute path" in problems(GOOD + '[events]\nfolder = "log"\n')["events.folder"][1]


def test_the_group_that_may_use_the_api_can_be_chosen() -> None:
    assert config.loads(GOOD).api.group == "haclient"
    assert config.loads(GOOD + '[api]\ngroup = "wheel"\n').to_document()["api"] == {"group": "wheel"}
    assert config.loads(GOOD + '[api]\ngroup = ""\n').api.group == ""
    assert "api.group" in problems(GOOD + '[api]\ngroup = "a b"\n')


@pytest.mark.parametrize(
    "address", ["fe80::1", "fe80::1%eth0", "ff02::1", "239.1.2.3", "0.0.0.0", "::", "255.255.255.255"]
)
def test_what_is_no_address_of_a_node_is_told(address: str) -> None:
    found = problems(GOOD.replace("10.0.0.1", address))
    assert f'got "{address}"' in found["nodes.1.addresses"][1]


def test_one_link_is_of_one_ip_version_and_so_is_its_group() -> None:
    link = '[[links]]\nmode = "multicast"\ngroup = "239.192.7.1"\n'
    v6 = GOOD.replace("10.0.0.1", "fd00::1").replace("10.0.0.2:6000", "fd00::2")
    assert "some nodes have an IPv4 address" in problems(GOOD.replace("10.0.0.1", "fd00::1"))["links.1"][1]
    assert "the nodes have IPv6 addresses on this link" in problems(v6 + link)["links.1.group"][1]
    assert config.loads(v6 + link.replace("239.192.7.1", "ff15::7:1"))
