"""Messaging daemons as processes, on real sockets: views, order, death, packets that do not belong."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from messaging_nodes import KEY, LIMIT_S, Crm, RealCluster

from messaging import keyring
from messaging.client import AttachRefused, MessagingClient, QueryFailed
from messaging.frame import FrameCodec
from messaging.stream import StreamCodec
from messaging.types import Delivered, Direct, PeerLate, Undelivered, ViewId


def was_late(watcher: Crm, node: int) -> bool:
    """Whether the node was missed before it was known to be gone."""
    return any(isinstance(event, PeerLate) and event.node_id == node for event in watcher.seen)


def run(scenario: object) -> None:
    asyncio.run(scenario)  # type: ignore[arg-type]


def test_three_daemons_form_a_view_and_order_messages_of_all_sizes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 3) as cluster:
            await cluster.start()
            crms = cluster.crms
            assert crms[1].view == crms[2].view or crms[1].view.view_id == crms[2].view.view_id
            assert crms[1].view.quorate
            large = bytes(range(256)) * 4096 * 8  # 8 MiB, a large CIB
            sent = 0
            for n, crm in crms.items():
                for number in range(30):
                    crm.client.multicast(b"%d-%d" % (n, number))
                    sent += 1
                crm.client.multicast(large)
                sent += 1
            for crm in crms.values():
                await crm.until(
                    lambda crm=crm: sum(isinstance(event, Delivered) for event in crm.seen) == sent, "all messages"
                )
            orders = [
                [(event.sequence, event.sender, event.payload) for event in crm.seen if isinstance(event, Delivered)]
                for crm in crms.values()
            ]
            assert orders[0] == orders[1] == orders[2]
            assert [place for place, _, _ in orders[0]] == list(range(1, sent + 1))

            crms[1].client.send(2, b"for you")
            crms[1].client.send(2, large)
            await crms[2].until(
                lambda: [e.payload for e in crms[2].seen if isinstance(e, Direct)] == [b"for you", large],
                "two messages",
            )

    run(scenario())


@pytest.mark.parametrize("victim", [1, 3])
def test_a_killed_daemon_is_late_and_then_out_of_the_view(tmp_path: Path, victim: int) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 3) as cluster:
            await cluster.start()
            watcher = cluster.crms[2]
            tokens = [cluster.crms[2].client.multicast(b"%d" % number) for number in range(50)]
            cluster.nodes[victim].kill()
            await watcher.until(lambda: len(watcher.view.members) == 2, "a view of two")
            assert [member.node_id for member in watcher.view.left] == [victim]
            assert watcher.view.graceful == frozenset()
            assert watcher.view.quorate
            assert was_late(watcher, victim)
            fates = [e.token for e in watcher.seen if isinstance(e, Delivered) and e.sender == 2]
            fates += [e.token for e in watcher.seen if isinstance(e, Undelivered)]
            assert sorted(fates) == tokens, "each multicast has exactly one fate"

            await cluster.start(victim)
            assert watcher.view.member(victim) in watcher.view.joined or any(
                member.node_id == victim for view in watcher.views[-3:] for member in view.joined
            )

    run(scenario())


def test_a_daemon_that_is_told_to_end_says_goodbye(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2, deadtime_ms=10_000) as cluster:
            await cluster.start()
            watcher = cluster.crms[2]
            cluster.nodes[1].kill(signal.SIGTERM)
            await watcher.until(lambda: len(watcher.view.members) == 1, "a view of one")
            assert not was_late(watcher, 1), "nobody had to miss it"
            assert watcher.view.graceful == {1}
            assert cluster.nodes[1].process is not None
            assert cluster.nodes[1].process.returncode == 0
            assert not cluster.nodes[1].socket.exists()

    run(scenario())


def test_a_restart_faster_than_deadtime_is_a_leave_and_a_join(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2, deadtime_ms=20_000) as cluster:
            await cluster.start()
            watcher = cluster.crms[1]
            before = watcher.view.member(2)
            cluster.nodes[2].kill()
            await cluster.start(2)
            after = watcher.view.member(2)
            assert before is not None and after is not None and after.incarnation > before.incarnation
            assert any(before in view.left for view in watcher.views)
            assert not was_late(watcher, 2), "it was noticed before it was late"

    run(scenario())


def test_a_paused_daemon_knows_when_it_wakes_that_the_others_went_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            cluster.nodes[1].kill(signal.SIGSTOP)
            await cluster.crms[2].until(lambda: len(cluster.crms[2].view.members) == 1, "the other goes on alone")
            views_before = len(cluster.crms[1].views)
            await asyncio.sleep(0.5)  # the pause is surely longer than deadtime, by its own clock too
            cluster.nodes[1].kill(signal.SIGCONT)
            await cluster.crms[1].until(lambda: len(cluster.crms[1].views) > views_before, "its own view")
            first = cluster.crms[1].views[views_before]
            assert first.member_ids == {1}
            assert not first.quorate
            for crm in cluster.crms.values():
                await crm.until_together(2)

    run(scenario())


def test_wait_for_all_survives_the_daemon_but_not_the_boot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2, deadtime_ms=500, initdead_ms=700) as cluster:
            await cluster.start()
            for n in (1, 2):
                cluster.nodes[n].kill()
            await cluster.start(1)
            assert cluster.crms[1].view.quorate, "it had seen all since the boot"
            cluster.nodes[1].kill()
            for file in cluster.nodes[1].config.run_dir.iterdir():  # what a boot does to /run
                if file.name != "resolved.json":
                    file.unlink()
            await cluster.start(1)
            assert not cluster.crms[1].view.quorate
            assert "wait_for_all" in cluster.crms[1].view.reason

    run(scenario())


# --- the crm's side


def test_only_one_crm_is_attached_and_others_may_ask(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            with pytest.raises(AttachRefused, match="already"):
                await MessagingClient.connect(cluster.nodes[1].socket)
            asking = await MessagingClient.connect(cluster.nodes[1].socket, attach=False)
            status = await asking.query("status")
            assert [member["name"] for member in status["view"]["members"]] == ["n1", "n2"]
            quorum = await asking.query("quorum")
            assert quorum["quorate"] and quorum["present_votes"] == 2
            links = await asking.query("links")
            assert links["peers"][0]["state"] == "alive"
            assert links["peers"][0]["stream"]
            with pytest.raises(QueryFailed, match="unknown query"):
                await asking.query("weather")
            await asking.close()

    run(scenario())


def test_a_crm_that_is_gone_or_silent_leaves_the_group_and_may_come_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2, vouch_ms=4000) as cluster:
            await cluster.start()
            watcher, crm = cluster.crms[1], cluster.crms[2]
            await crm.close()
            await watcher.until(lambda: watcher.view.group == {1}, "the group without it")
            assert watcher.view.member_ids == {1, 2}
            cluster.crms[2] = await Crm.on(cluster.nodes[2])
            await watcher.until_together(2)
            cluster.crms[2].vouching = False
            await watcher.until(lambda: watcher.view.group == {1}, "the group without it")
            await cluster.crms[2].until(lambda: cluster.crms[2].ended, "the end of its connection")
            assert "vouched" in cluster.crms[2].client.lost_reason

    run(scenario())


def test_a_crm_that_says_goodbye_is_known_to_have_gone_on_purpose(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            await cluster.crms[2].client.leave()
            watcher = cluster.crms[1]
            await watcher.until(lambda: watcher.view.group == {1}, "the group without it")
            assert watcher.view.graceful == {2}

    run(scenario())


def test_a_multicast_sent_before_its_sender_saw_the_new_view_is_not_delivered_in_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            client = cluster.crms[1].client
            client._view_id = ViewId(0, 1)  # as if it had not read on
            token = client.multicast(b"from the past")
            await cluster.crms[1].until(lambda: Undelivered(token) in cluster.crms[1].seen, "its fate")
            assert not any(isinstance(event, Delivered) for event in cluster.crms[2].seen)

    run(scenario())


# --- packets that do not belong


def test_foreign_forged_replayed_and_cut_packets_are_counted_and_change_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            views = len(cluster.crms[1].views)
            endpoint = cluster.nodes[1].config.node.endpoints[0]
            target = (endpoint.host, endpoint.port)
            good, wrong = keyring.parse(KEY, "k"), keyring.parse("1 " + "cd" * 32, "k")
            unknown = keyring.parse("77 " + "ab" * 32, "k")
            far = 1 << 60  # an incarnation above any: if it were believed, node 2 would be gone
            listed = (1, 2)
            genuine = FrameCodec(good, "real", 3, far, listed).pack(0, b"x")
            packets = {
                "bad-mac": FrameCodec(wrong, "real", 2, far, listed).pack(0, b"x"),
                "unknown-key": FrameCodec(unknown, "real", 2, far, listed).pack(0, b"x"),
                "wrong-cluster": FrameCodec(good, "other", 2, far, listed).pack(0, b"x"),
                "unlisted-node": genuine,
                "truncated": genuine[:-5],
                "oversized": genuine + b"!",
                "foreign": b"GET / HTTP/1.1\r\nHost: node\r\nAccept: everything there is in the world\r\n\r\n",
                "old-incarnation": FrameCodec(good, "real", 2, 1, listed).pack(0, b"x"),
                "wrong-link": FrameCodec(good, "real", 2, far, listed).pack(3, b"x"),
                "own": FrameCodec(good, "real", 1, far, listed).pack(0, b"x"),
            }
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for packet in packets.values():
                    for _ in range(3):
                        sender.sendto(packet, target)
                for size in (0, 1, 64, 9000, 60000):
                    sender.sendto(bytes(size), target)
            await asyncio.sleep(0)
            client = cluster.crms[1].client
            for _ in range(100):
                rejected = (await client.query("links"))["rejected"]
                if all(rejected.get(name, 0) >= 3 for name in packets):
                    break
                await asyncio.sleep(0.02)
            assert {name: rejected.get(name, 0) >= 3 for name in packets} == dict.fromkeys(packets, True)
            await asyncio.sleep(0.3)
            assert len(cluster.crms[1].views) == views, cluster.crms[1].views

    run(scenario())


def test_a_replayed_heartbeat_is_counted_and_keeps_nobody_alive(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            # what node 1 would hear of node 2 passes through us first
            node = cluster.nodes[2].config.nodes[0].endpoints[0]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
                tap.bind((node.host, node.port))
                tap.settimeout(LIMIT_S)
                cluster.nodes[2].start()
                recorded = [await asyncio.to_thread(tap.recv, 9000) for _ in range(5)]
            cluster.crms[2] = await Crm.on(cluster.nodes[2])
            await cluster.start(1)
            cluster.nodes[2].kill()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sent = 0

                def dead() -> bool:
                    nonlocal sent
                    for packet in recorded:
                        sender.sendto(packet, (node.host, node.port))
                        sent += 1
                    return len(cluster.crms[1].view.members) == 1

                await cluster.crms[1].until(dead, "its death", look_s=0.1)
            rejected = (await cluster.crms[1].client.query("links"))["rejected"]
            assert len(recorded) <= rejected["replay"] <= sent

    run(scenario())


def test_nonsense_on_the_stream_port_is_counted_and_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            views = len(cluster.crms[1].views)
            endpoint = cluster.nodes[1].config.node.endpoints[0]
            wrong = StreamCodec(
                keyring.parse("1 " + "cd" * 32, "k"), "real", 2, 1 << 60, frozenset({1, 2}), b"n" * 16, 1
            )
            for data in (b"GET / HTTP/1.1\r\n" + b"x" * 200, wrong.start(), bytes(100_000)):
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                writer.write(data)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    async with asyncio.timeout(LIMIT_S):
                        await reader.readexactly(1)
                writer.close()
            rejected = (await cluster.crms[1].client.query("links"))["rejected"]
            assert rejected["foreign"] == 2
            assert rejected["bad-mac"] == 1
            assert len(cluster.crms[1].views) == views, cluster.crms[1].views

    run(scenario())


def test_nonsense_on_the_crm_socket_ends_only_that_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 1) as cluster:
            await cluster.start()
            for data in (
                b"\xff" * 100,
                b"\x00\x00\x00\x02\x01{}" + b"\x00\x00\x00\x00\x03",
                b"\x00\x00\x00\x03\x01abc",
            ):
                reader, writer = await asyncio.open_unix_connection(str(cluster.nodes[1].socket))
                writer.write(data)
                async with asyncio.timeout(LIMIT_S):
                    await reader.read()
                writer.close()
            assert (await cluster.crms[1].client.query("status"))["crm_attached"]

    run(scenario())


def test_keys_are_rotated_while_messages_flow_without_a_view_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2) as cluster:
            await cluster.start()
            views = len(cluster.crms[1].views)
            old, new = KEY, "2 " + "cd" * 32 + "\n"
            sent = 0
            for ring, sending in ((old + new, 1), (new + old, 2), (new, 2)):
                cluster.key.write_text(ring, encoding="ascii")
                for n, crm in cluster.crms.items():
                    cluster.nodes[n].process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
                    for _ in range(250):
                        keys = (await crm.client.query("links"))["keys"]
                        if keys["sending"] == sending and len(keys["accepted"]) == len(ring.splitlines()):
                            break
                        await asyncio.sleep(0.02)
                    else:
                        raise AssertionError(keys)
                for crm in cluster.crms.values():
                    crm.client.multicast(b"still here")
                    sent += 1
                for crm in cluster.crms.values():
                    await crm.until(
                        lambda crm=crm, sent=sent: sum(isinstance(event, Delivered) for event in crm.seen) == sent,
                        "all messages",
                    )
            assert len(cluster.crms[1].views) == views, cluster.crms[1].views

            cluster.key.write_text("nonsense", encoding="ascii")
            cluster.nodes[1].process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            for _ in range(250):
                if "the keys stay as they are" in cluster.nodes[1].log.read_text():
                    break
                await asyncio.sleep(0.02)
            assert (await cluster.crms[1].client.query("links"))["keys"] == {"sending": 2, "accepted": [2]}

    run(scenario())


# --- several links


def test_a_silent_link_changes_nothing_but_its_own_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 2, links=2) as cluster:
            await cluster.start()
            links = (await cluster.crms[1].client.query("links"))["peers"][0]["links"]
            assert sorted(links) == ["0", "1"]

    run(scenario())


# --- set-up errors


def start_badly(resolved: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "messaging", "--config", str(resolved)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    return done.returncode, done.stderr


def test_what_is_wrong_around_the_daemon_is_said_in_a_line(tmp_path: Path) -> None:
    code, text = start_badly(tmp_path / "nothing.json")
    assert code == 78 and "cannot read the resolved configuration" in text

    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    code, text = start_badly(broken)
    assert code == 78 and "is not JSON" in text

    cluster = RealCluster(tmp_path, 1)
    cluster.key.chmod(0o644)
    code, text = start_badly(cluster.nodes[1].resolved)
    assert code == 78 and "chmod 600" in text

    cluster.key.chmod(0o600)
    document = json.loads(cluster.nodes[1].resolved.read_text())
    endpoint = document["nodes"][0]["endpoints"][0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((endpoint["host"], endpoint["port"]))
        code, text = start_badly(cluster.nodes[1].resolved)
    assert code == 78 and "cannot listen" in text
    for told in (text,):
        assert "Traceback" not in told


def test_a_second_daemon_of_the_same_node_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RealCluster(tmp_path, 1) as cluster:
            await cluster.start()
            code, text = await asyncio.to_thread(start_badly, cluster.nodes[1].resolved)
            assert code == 78
            assert "cannot listen" in text or "another messaging daemon" in text
            assert (await cluster.crms[1].client.query("status"))["crm_attached"]

    run(scenario())
