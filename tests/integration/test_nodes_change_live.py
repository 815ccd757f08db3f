"""Nodes are added to, renamed in and removed from a running cluster of real daemons; its service is never touched."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from harness import Cluster, TestNode, wait_for

from crm import config
from crm.shell.main import start
from crm.tools import exits

pytestmark = pytest.mark.integration

RESOURCES = """\
<resources>
<primitive id="power" class="stonith" type="fence_test"/>
<primitive id="web" class="ocf" provider="vigil" type="Dummy"><meta_attributes id="web-meta">
<nvpair id="web-stickiness" name="resource-stickiness" value="1000"/></meta_attributes>
<operations><op id="web-monitor" name="monitor" interval="1s"/></operations></primitive>
</resources>"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster", 2) as made:
        made.start()
        made.wait_online()
        made.apply("n1", RESOURCES, "modify", scope="resources")
        made.apply("n1", '<rsc_location id="at-n1" rsc="web" node="n1" score="5000"/>', scope="constraints")
        wait_for(lambda: made.running("web") == ["n1"], "web to be started on n1")
        made.wait_idle("n1")
        yield made


def crm(cluster: Cluster, name: str, *words: str) -> str:
    """A command on a node, in this process."""
    output, errors = io.StringIO(), io.StringIO()
    environment = {**os.environ, "VIGIL_RUN_DIR": str(cluster.nodes[name].run_dir)}
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch("sys.stdin", io.StringIO()),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = start(list(words))
    assert code == 0, f"crm {' '.join(words)}: {output.getvalue()}{errors.getvalue()}"
    return output.getvalue()


def wait_told(cluster: Cluster, name: str, part: str) -> None:
    """Until a node says so of the votes: a change was made when whoever was asked says it, and each member knows a moment sooner or later."""
    wait_for(lambda: part in crm(cluster, name, "cluster", "quorum"), f"{name} to tell: {part}")


def listed(cluster: Cluster, name: str) -> list[str]:
    """The nodes in a node's own file."""
    return [node.name for node in config.load(cluster.nodes[name].folder / "vigil.toml").nodes]


def make_third(cluster: Cluster, name: str) -> None:
    """A machine with the configuration of n1, as `crm cluster join` makes it, and folders of its own."""
    node = TestNode(name, 3, cluster.folder / name, cluster.secret)
    for part in ("state", "run", "rsctmp"):
        (node.folder / part).mkdir(parents=True)
    text = (cluster.nodes["n1"].folder / "vigil.toml").read_text(encoding="utf-8")
    own = text.replace('[node]\nname = "n1"', f'[node]\nname = "{name}"').replace("/n1/", f"/{name}/")
    (node.folder / "vigil.toml").write_text(own, encoding="utf-8")
    cluster.nodes[name] = node


def operations(cluster: Cluster) -> list[str]:
    """Everything that was done to the service on n1."""
    history = cluster.cib("n1", "//node_state[@uname='n1']//lrm_resource[@id='web']")
    return sorted(f"{each.get('operation_key')} {each.get('call-id')}" for each in history.iter("lrm_rsc_op"))


def test_a_node_comes_is_renamed_and_goes_while_the_service_runs_on(cluster: Cluster) -> None:
    path = cluster.nodes["n1"].folder / "vigil.toml"
    path.write_text(f"# the web cluster\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    before = operations(cluster)
    pids = {part: cluster.nodes["n1"].pid_of(part) for part in ("messaging", "crm")}

    said = crm(cluster, "n2", "cluster", "add", "n3", "--address", cluster.endpoint(3))
    assert "the nodes are now n1, n2, n3; expected votes 3" in said
    assert listed(cluster, "n1") == listed(cluster, "n2") == ["n1", "n2", "n3"]
    assert path.read_text(encoding="utf-8").startswith("# the web cluster\n")
    assert not path.with_name("vigil.toml.next").exists()
    wait_told(cluster, "n1", "votes present 2, expected 3")

    make_third(cluster, "n3")
    cluster.start("n3")
    cluster.wait_online()
    cluster.wait_idle("n1")
    wait_told(cluster, "n3", "quorate: 3 of 3 votes")
    wait_told(cluster, "n1", "quorate: 3 of 3 votes")
    told = crm(cluster, "n1", "cluster", "quorum", "what-if", "--split", "n1/n2,n3")
    assert "n1: NOT quorate: 1 of 3 votes; 2 needed" in told
    assert "n2, n3: quorate: 2 of 3 votes; majority" in told
    assert "it goes on, and fences n1 before it recovers what ran there" in told

    third = cluster.nodes["n3"].process
    assert third is not None
    crm(cluster, "n1", "--force", "cluster", "rename", "n3", "web3")
    assert third.wait(120) == 0
    assert listed(cluster, "n1") == listed(cluster, "n3") == ["n1", "n2", "web3"]
    cluster.start("n3")
    wait_for(lambda: cluster.online("n1") == {"n1", "n2", "web3"}, "the renamed node to be online")
    wait_for(lambda: cluster.cib("n1", "//nodes/node[@id='3']").get("uname") == "web3", "the CIB to have the new name")

    third = cluster.nodes["n3"].process
    assert third is not None
    crm(cluster, "n1", "cluster", "remove", "web3", "--force")
    assert third.wait(120) == 0
    assert listed(cluster, "n1") == listed(cluster, "n2") == ["n1", "n2"]
    wait_for(lambda: cluster.online("n1") == {"n1", "n2"}, "the two to be alone again")
    wait_told(cluster, "n2", "expected 2")

    def names() -> list[str]:
        return sorted(str(node.get("uname")) for node in cluster.cib("n1", "//nodes").iter("node"))

    wait_for(lambda: names() == ["n1", "n2"], "the CIB to have the two only")
    wait_for(
        lambda: not list(cluster.cib("n1").iterfind("status/node_state[@uname='web3']")), "its state to be forgotten"
    )

    cluster.wait_idle("n1")
    assert cluster.running("web") == ["n1"]
    assert operations(cluster) == before, "the service was not touched"
    assert pids == {part: cluster.nodes["n1"].pid_of(part) for part in pids}, "and no daemon was restarted"
    assert not cluster.fenced()


def test_a_change_that_not_everybody_can_make_is_made_by_nobody(cluster: Cluster) -> None:
    path = cluster.nodes["n2"].folder / "vigil.toml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("[links]]", "[links]] # broken\nttl = 9999\n"), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"n2: .*links\.1\.ttl"):
        crm(cluster, "n1", "cluster", "add", "n3", "--address", "127.0.0.1:6000")
    path.write_text(good, encoding="utf-8")
    assert listed(cluster, "n1") == listed(cluster, "n2") == ["n1", "n2"]
    with pytest.raises(AssertionError, match="already that of n2"):
        crm(cluster, "n1", "cluster", "add", "n3", "--address", cluster.endpoint(2))
    with pytest.raises(AssertionError, match="ask another one to remove it"):
        crm(cluster, "n1", "--force", "cluster", "remove", "n1")
    for words, reason in (
        (("add", "n2", "--address", "127.0.0.1:6000"), "there is a node n2 already"),
        (("remove", "n9", "--force"), "there is no node n9; there are n1, n2"),
        (("rename", "n9", "n3", "--force"), "there is no node n9; there are n1, n2"),
        (("rename", "n2", "n1", "--force"), "there is a node n1 already"),
        (("remove", "n2"), "Say so with --force"),
    ):
        with pytest.raises(AssertionError, match=reason):
            crm(cluster, "n1", "cluster", *words)
    cluster.crash("n2")
    wait_for(lambda: cluster.online("n1") == {"n1"}, "n2 to be lost")
    with pytest.raises(AssertionError, match="not here: n2"):
        crm(cluster, "n1", "cluster", "add", "n3", "--address", "127.0.0.1:6000")


def test_a_node_that_died_is_removed_once_it_is_known_to_be_off(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", 3) as cluster:
        cluster.start()
        cluster.wait_online()
        cluster.apply("n1", '<primitive id="web" class="ocf" provider="vigil" type="Dummy"/>', scope="resources")
        cluster.wait_idle("n1")
        cluster.crash("n3")
        wait_for(lambda: cluster.online("n1") == {"n1", "n2"}, "n3 to be lost")
        wait_for(
            lambda: cluster.cib("n1", "//node_state[@uname='n3']").get("crmd") == "offline", "its loss to be written"
        )
        with pytest.raises(AssertionError, match="n3 was lost and is not known to be off"):
            crm(cluster, "n1", "--force", "cluster", "remove", "n3")
        with pytest.raises(AssertionError, match="n3 is lost and not known to be off"):
            crm(cluster, "n1", "--force", "node", "delete", "n3")
        environment = {**os.environ, "VIGIL_RUN_DIR": str(cluster.nodes["n1"].run_dir)}
        remove = [sys.executable, "-m", "crm.tools.crm_node", "--force", "--remove", "n3"]
        assert subprocess.run(remove, env=environment, check=False).returncode == exits.UNSAFE
        assert cluster.cib("n1", "//node_state[@uname='n3']").get("expected") == "member", "nothing was forgotten"
        crm(cluster, "n1", "--force", "node", "clearstate", "n3")
        wait_for(lambda: cluster.cib("n1", "//node_state[@uname='n3']").get("expected") == "down", "n3 to be known off")
        crm(cluster, "n1", "--force", "cluster", "remove", "n3")
        assert listed(cluster, "n1") == listed(cluster, "n2") == ["n1", "n2"]
        wait_told(cluster, "n2", "quorate: 2 of 2 votes")
        wait_told(cluster, "n1", "quorate: 2 of 2 votes")
        wait_for(lambda: not list(cluster.cib("n1").iterfind("status/node_state[@uname='n3']")), "n3 to be forgotten")
        cluster.crash("n2")
        wait_for(lambda: cluster.online("n1") == {"n1"}, "n2 to be lost")
        wait_told(cluster, "n1", "quorate: 1 of 2 votes; two_node")
