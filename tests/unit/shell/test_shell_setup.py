"""Making and joining clusters: everything is checked first, and a failure leaves nothing behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crm import config as configuration
from crm.shell import setup
from crm.shell.main import start
from crm.shell.session import ShellError
from messaging import keyring
from messaging.arbiter import certificates


def init(folder: Path, *more: str) -> int:
    words = ["cluster", "init", "--config", str(folder / "vigil.toml"), "--name", "demo", "--as", "n1"]
    return start([*words, "--node", "n1=127.0.0.1", "--node", "n2=127.0.0.2", *more])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_writes_a_configuration_that_loads_and_keys_for_nobody_else(tmp_path: Path) -> None:
    assert init(tmp_path / "etc", "--ping", "127.0.0.9", "--tie-breaker", "ping") == 0
    config = configuration.load(tmp_path / "etc" / "vigil.toml")
    assert config.cluster_name == "demo"
    assert [node.name for node in config.nodes] == ["n1", "n2"]
    assert config.node.name == "n1"
    assert config.quorum.tie_breaker.targets == ("127.0.0.9",)
    assert mode_of(tmp_path / "etc" / "keys") == 0o600
    assert keyring.load(Path(config.key_file)).sending.key_id == 1


def test_all_timers_follow_from_one_wanted_failover_time(tmp_path: Path) -> None:
    assert init(tmp_path / "etc", "--failover-ms", "3000", "--qdisk", "/dev/sdx") == 0
    config = configuration.load(tmp_path / "etc" / "vigil.toml")
    assert (config.timers.deadtime_ms, config.timers.keepalive_ms, config.timers.vouch_ms) == (2400, 480, 3000)
    disk = config.quorum.tie_breaker
    assert (disk.tko + 2) * disk.interval_ms <= 2400 - 480


def test_init_does_not_overwrite_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 0
    keys = (tmp_path / "keys").read_bytes()
    assert init(tmp_path) == 1
    assert "exists already (--force replaces)" in capsys.readouterr().err
    assert init(tmp_path, "--force") == 0
    assert (tmp_path / "keys").read_bytes() == keys


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--node", "n3"], "expected NAME=ADDRESS"),
        (["--node", "n1=127.0.0.3"], "n1"),
        (["--node", "n3=127.0.0.3,127.0.1.3"], "expected one address for each of the 2 links"),
        (["--mode", "multicast", "--group", "10.0.0.1"], "expected a multicast address"),
        (["--deadtime-ms", "1"], "deadtime_ms"),
        (["--tie-breaker", "ping"], "targets"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert init(tmp_path / "etc", *more) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


def test_which_node_this_is_must_be_said_when_the_host_name_does_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cluster", "init", "--config", str(tmp_path / "vigil.toml"), "--node", "no-such-host=127.0.0.1"]
    assert start(words) == 1
    assert "say which it is with --as NAME" in capsys.readouterr().err


def test_join_writes_the_same_cluster_for_another_node(tmp_path: Path) -> None:
    assert init(tmp_path / "a") == 0
    words = [
        "cluster",
        "join",
        "--config",
        str(tmp_path / "a/vigil.toml"),
        "--key",
        str(tmp_path / "a/keys"),
        "--node",
        "n2",
    ]
    assert start([*words, "--to", str(tmp_path / "b/vigil.toml"), "--key-file", str(tmp_path / "b/keys")]) == 0
    config = configuration.load(tmp_path / "b" / "vigil.toml")
    assert config.node.name == "n2"
    assert config.cluster_name == "demo"
    assert (tmp_path / "b/keys").read_text() == (tmp_path / "a/keys").read_text()
    assert mode_of(tmp_path / "b/keys") == 0o600
    assert start(["cluster", "check", "--config", str(tmp_path / "b/vigil.toml")]) == 0


@pytest.mark.parametrize(
    ("break_it", "node", "said"),
    [
        (lambda folder: (folder / "keys").write_text("nonsense"), "n2", "expected 'ID HEX'"),
        (lambda folder: (folder / "keys").unlink(), "n2", "cannot read the key file"),
        (lambda folder: (folder / "vigil.toml").write_text("[cluster"), "n2", "vigil.toml"),
        (lambda folder: (folder / "vigil.toml").unlink(), "n2", "cannot read"),
        (lambda folder: None, "n7", "has no node 'n7'; it has n1, n2"),
    ],
)
def test_a_join_that_cannot_work_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: object, node: str, said: str
) -> None:
    assert init(tmp_path / "a") == 0
    break_it(tmp_path / "a")  # type: ignore[operator]
    words = [
        "cluster",
        "join",
        "--config",
        str(tmp_path / "a/vigil.toml"),
        "--key",
        str(tmp_path / "a/keys"),
        "--node",
        node,
    ]
    assert start([*words, "--to", str(tmp_path / "b/vigil.toml"), "--key-file", str(tmp_path / "b/keys")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_machine_without_the_nodes_address_does_not_join(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    words = [
        "cluster",
        "init",
        "--config",
        str(folder / "vigil.toml"),
        "--as",
        "n1",
        "--node",
        "n1=198.51.100.1",
        "--node",
        "n2=198.51.100.2",
    ]
    assert start(words) == 0
    words = ["cluster", "join", "--config", str(folder / "vigil.toml"), "--key", str(folder / "keys"), "--node", "n2"]
    assert start([*words, "--to", str(tmp_path / "b/vigil.toml"), "--key-file", str(tmp_path / "b/keys")]) == 1
    assert "this machine has no address of n2" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_at_any_step_takes_back_what_was_written(tmp_path: Path, failing: int) -> None:
    """The place of one file is a folder that cannot be made, each in turn."""
    (tmp_path / "file").write_text("in the way")
    files = [setup.File(tmp_path / f"new{number}" / "f", "text", 0o600) for number in range(3)]
    files[failing] = setup.File(tmp_path / "file" / "f", "text", 0o600)
    with pytest.raises(ShellError, match="nothing was changed"):
        setup.write_all(files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_failure_puts_back_what_was_there(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("as it was")
    old.chmod(0o640)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShellError):
        setup.write_all([setup.File(old, "new", 0o600), setup.File(tmp_path / "file" / "f", "x", 0o600)], force=True)
    assert old.read_text() == "as it was"
    assert mode_of(old) == 0o640


def test_keygen_never_lets_others_read_a_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert start(["cluster", "keygen", "--key-file", str(tmp_path / "keys")]) == 0
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "keys") == 0o600
    assert start(["cluster", "keygen", "--key-file", str(tmp_path / "keys")]) == 1


def test_a_key_is_added_below_the_others_for_rotation(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    assert start(["cluster", "keygen", "--key-file", str(path)]) == 0
    first = path.read_text()
    assert start(["cluster", "keygen", "--key-file", str(path), "--add"]) == 0
    assert path.read_text().startswith(first)
    ring = keyring.load(path)
    assert ring.sending.key_id == 1
    assert sorted(ring.keys) == [1, 2]


def test_check_says_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 0
    (tmp_path / "keys").chmod(0o644)
    assert start(["cluster", "check", "--config", str(tmp_path / "vigil.toml")]) == 1
    assert "others could read the keys" in capsys.readouterr().err


def test_check_finds_that_the_user_of_alert_agents_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path) == 0
    path = tmp_path / "vigil.toml"
    written = path.read_text()
    for user, code in (("hacluster", 0), ("", 0), ("root", 0), ("nosuchuser", 1)):
        path.write_text(written.replace('user = "hacluster"', f'user = "{user}"'))
        assert start(["cluster", "check", "--config", str(path)]) == code
    assert "there is no user 'nosuchuser' on this node" in capsys.readouterr().err


def test_a_quorum_disk_is_made_for_the_cluster_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    assert init(tmp_path / "etc", "--qdisk", str(disk)) == 0
    config = configuration.load(tmp_path / "etc" / "vigil.toml")
    assert (config.quorum.tie_breaker.type, config.quorum.tie_breaker.device) == ("qdisk", str(disk))
    words = ["cluster", "mkqdisk", str(disk), "--label", "shared", "--config", str(tmp_path / "etc" / "vigil.toml")]
    assert start(words) == 0
    assert "'shared' of cluster demo" in capsys.readouterr().out
    assert start(words) == 1
    assert "--force replaces it" in capsys.readouterr().err
    assert start([*words, "--force"]) == 0


def test_init_with_an_arbiter_and_a_watchdog_writes_both_and_check_looks_at_the_arbiters_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, config = tmp_path / "arbiter", tmp_path / "vigil.toml"
    certificate = kept / "clusters" / "demo.pem"
    words = ["--arbiter", "10.0.0.9", "--arbiter-certificate", str(certificate), "--watchdog", "/dev/watchdog"]
    assert init(tmp_path, *words) == 0
    loaded = configuration.load(config)
    assert (loaded.quorum.tie_breaker.type, loaded.quorum.tie_breaker.address) == ("arbiter", "10.0.0.9")
    assert (loaded.watchdog.device, loaded.watchdog.on_quorum_loss) == ("/dev/watchdog", "reset")

    def check() -> str:
        code = start(["cluster", "check", "--config", str(config)])
        said = capsys.readouterr()
        assert (code == 0) == ("good" in said.out)
        return said.out + said.err

    assert "cannot be read" in check()
    certificates.make_authority(kept)
    certificates.add_cluster(kept, "demo")
    assert "good" in check()
    certificates.add_cluster(kept, "other").rename(certificate)
    assert "is for cluster other" in check()
    assert init(tmp_path, *words, "--qdisk", "/dev/x", "--force") == 1
    assert "a cluster has one tie-breaker" in capsys.readouterr().err
