"""What the disk is told, in which order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from crm.cib import xml
from crm.cib.replica import Effect, KeepAside, Persist
from crm.cib.xml import Version
from crm.daemon.replication import Replication


class Listener:
    """Stands where the replica does, and asks for nothing."""

    def on_persisted(self, ticket: int) -> list[Effect]:
        return []

    def flush(self) -> list[Effect]:
        return []


def test_a_document_is_written_only_when_the_one_that_it_displaces_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        replication = Replication(1, "s", tmp_path, "c")
        written = threading.Event()
        order: list[str] = []
        keep_aside, save = replication.store.keep_aside, replication.store.save

        def slow_disk(name: str, document: bytes, why: str) -> Path:
            written.wait(0.2)  # long enough for a write that does not wait for this one
            path = keep_aside(name, document, why)
            order.append("aside")
            return path

        def note_save(document: bytes, version: Version, digest: str, lineage: str = "") -> None:
            save(document, version, digest, lineage)
            order.append("saved")
            written.set()

        monkeypatch.setattr(replication.store, "keep_aside", slow_disk)
        monkeypatch.setattr(replication.store, "save", note_save)
        monkeypatch.setattr(replication, "replica", Listener())
        document = xml.empty("c")
        told: list[tuple[str, str]] = []
        replication.kept_aside = lambda file, why: told.append((file, why))
        replication._perform(
            [
                KeepAside("theirs.xml", b"<cib/>", "test"),
                Persist(1, xml.to_bytes(document), xml.version(document), xml.digest(document), ""),
            ]
        )
        await replication.close()
        assert order == ["aside", "saved"]
        assert told == [(str(tmp_path / "cib" / "aside" / "theirs.xml"), "test")], "for the event log"

    asyncio.run(run())


def test_what_is_displaced_is_kept_before_it_is_displaced_even_on_a_disk_that_refuses_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        replication = Replication(1, "s", tmp_path, "c")
        order: list[str] = []
        keep_aside, save = replication.store.keep_aside, replication.store.save
        replication.withdraw = lambda reason: order.append("withdrawn")

        def full_disk(name: str, document: bytes, why: str) -> Path:
            if "refused" not in order:
                order.append("refused")
                raise OSError(28, "No space left on device")
            order.append("aside")
            return keep_aside(name, document, why)

        def note_save(*arguments: Any) -> None:
            save(*arguments)
            order.append("saved")

        monkeypatch.setattr("crm.daemon.replication.DISK_RETRY_S", 0.01)
        monkeypatch.setattr(replication.store, "keep_aside", full_disk)
        monkeypatch.setattr(replication.store, "save", note_save)
        monkeypatch.setattr(replication, "replica", Listener())
        document = xml.empty("c")
        persist = Persist(1, xml.to_bytes(document), xml.version(document), xml.digest(document), "")
        replication._perform([KeepAside("theirs.xml", b"<cib/>", "test"), persist])
        async with asyncio.timeout(60):
            await asyncio.gather(*replication._writes)
        assert replication.writable.is_set()
        assert order == ["refused", "withdrawn", "aside", "saved"]

    asyncio.run(run())


def test_a_node_whose_every_copy_is_damaged_knows_it_and_one_that_never_had_any_is_not_such_a_node(
    tmp_path: Path,
) -> None:
    assert not Replication(1, "s", tmp_path, "c").lost
    (tmp_path / "cib" / "cib.xml").write_bytes(b"<cib")
    damaged = Replication(1, "s", tmp_path, "c")
    assert damaged.lost
    assert any(item.code == "cib-lost" for item in damaged.reports)
    assert Replication(1, "s", tmp_path, "c").lost, "also when it is started again"
