"""Encryption and the rotation of keys between real daemons."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from messaging_nodes import Crm, RealCluster

from messaging.client import QueryFailed
from messaging.types import Delivered


async def ended(crm: Crm, timeout_s: float = 60.0) -> dict[str, Any]:
    """The state of the rotation once it is over."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = await crm.client.query("keys")
            if answer["step"] in ("done", "failed"):
                return answer
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("encryption", ["none", "aes-256-gcm"])
def test_a_rotation_replaces_the_key_everywhere_without_a_view_change_or_a_lost_message(
    tmp_path: Path, encryption: str
) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 3, own_keys=True, encryption=encryption) as cluster:
            await cluster.start()
            views = [len(crm.views) for crm in cluster.crms.values()]
            await cluster.crms[2].client.query("keys.rotate")
            sent = 0
            answer: dict[str, Any] = {}
            while answer.get("step") not in ("done", "failed") or sent < 20:
                answer = await cluster.crms[2].client.query("keys")
                for crm in cluster.crms.values():
                    crm.client.multicast(b"%d" % sent)
                sent += 1
                await asyncio.sleep(0.01)
            assert answer["step"] == "done", answer
            for crm in cluster.crms.values():
                await crm.until(
                    lambda crm=crm: sum(isinstance(e, Delivered) for e in crm.seen) == 3 * sent, "all messages"
                )
            assert [len(crm.views) for crm in cluster.crms.values()] == views
            files = {(tmp_path / f"keys{n}").read_text() for n in cluster.nodes}
            assert len(files) == 1
            assert files.pop().startswith("2 ")
            for crm in cluster.crms.values():
                assert (await crm.client.query("links"))["keys"] == {"sending": 2, "accepted": [2]}

    asyncio.run(scenario())


def test_a_rotation_is_refused_while_a_node_is_away_and_says_who(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 3, own_keys=True) as cluster:
            await cluster.start()
            cluster.nodes[3].kill()
            await cluster.crms[1].until(lambda: len(cluster.crms[1].view.members) == 2, "a view without it")
            with pytest.raises(QueryFailed, match="n3 is not connected"):
                await cluster.crms[1].client.query("keys.rotate")
            assert (await cluster.crms[1].client.query("links"))["keys"] == {"sending": 1, "accepted": [1]}

    asyncio.run(scenario())


def test_a_node_that_dies_in_the_middle_is_named_and_the_next_run_ends_what_was_begun(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 3, own_keys=True) as cluster:
            await cluster.start()
            (tmp_path / "keys3").unlink()
            (tmp_path / "keys3").mkdir()  # it cannot write its file
            await cluster.crms[1].client.query("keys.rotate")
            answer = await ended(cluster.crms[1])
            assert answer["step"] == "failed"
            assert "n3 cannot write its key file; all nodes go on sending with the old key" in answer["text"]
            assert answer["sending"] == 1
            (tmp_path / "keys3").rmdir()
            await cluster.crms[1].client.query("keys.rotate")
            assert (await ended(cluster.crms[1]))["text"] == "all nodes use key 2, and it alone"
            assert (tmp_path / "keys3").read_text() == (tmp_path / "keys1").read_text()

    asyncio.run(scenario())


def test_encryption_is_switched_on_node_by_node_and_then_demanded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            for wanted in ("aes-256-gcm-optional", "aes-256-gcm"):
                for number, node in cluster.nodes.items():
                    document = json.loads(node.resolved.read_text())
                    document["cluster"]["encryption"] = wanted
                    node.resolved.write_text(json.dumps(document))
                    node.kill()
                    await cluster.crms[number].close()
                    await cluster.start(number)
            views = len(cluster.crms[1].views)
            for crm in cluster.crms.values():
                answer = await crm.client.query("links")
                assert answer["encryption"] == "aes-256-gcm"
                crm.client.multicast(b"secret")
            for crm in cluster.crms.values():
                await crm.until(lambda crm=crm: sum(isinstance(e, Delivered) for e in crm.seen) == 2, "both messages")
            # Who does not encrypt is not heard by those who demand it.
            document = json.loads(cluster.nodes[2].resolved.read_text())
            document["cluster"]["encryption"] = "none"
            cluster.nodes[2].resolved.write_text(json.dumps(document))
            cluster.nodes[2].kill()
            cluster.nodes[2].start()
            await cluster.crms[1].until(lambda: len(cluster.crms[1].views) > views, "a view without it")
            async with asyncio.timeout(60):
                while not (await cluster.crms[1].client.query("links"))["rejected"].get("not-encrypted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert cluster.crms[1].view.member_ids == {1}

    asyncio.run(scenario())
