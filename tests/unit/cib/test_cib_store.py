"""The CIB's files: a power cut at any step, damaged files, and the series of earlier versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crm.cib import xml
from crm.cib.lineage import Lineage
from crm.cib.replica import durable_bytes
from crm.cib.report import Severity
from crm.cib.store import CibStore, StoreError
from crm.cib.xml import Version


def _document(epoch: int) -> bytes:
    document = xml.empty("demo")
    xml.set_version(document, Version(0, epoch, 0))
    return durable_bytes(document)


def _save(store: CibStore, epoch: int, lineage: str = "") -> None:
    data = _document(epoch)
    store.save(data, Version(0, epoch, 0), xml.digest(data), lineage)


def _epoch(folder: Path) -> int | None:
    document = CibStore(folder).load().document
    return None if document is None else xml.version(document).epoch


def _filled(folder: Path, *epochs: int) -> CibStore:
    store = CibStore(folder)
    store.load()
    for epoch in epochs:
        _save(store, epoch)
    return store


def test_an_empty_folder_is_fresh_and_nothing_is_reported(tmp_path: Path) -> None:
    loaded = CibStore(tmp_path / "cib").load()
    assert (loaded.document, loaded.fresh, loaded.reports) == (None, True, ())


def test_what_was_saved_is_loaded_with_its_flags(tmp_path: Path) -> None:
    store = _filled(tmp_path, 1)
    _save(store, 2, "1.1q:1 2.1m:2")
    loaded = CibStore(tmp_path).load()
    assert loaded.document is not None
    assert (xml.version(loaded.document), str(loaded.lineage), loaded.fresh) == (
        Version(0, 2, 0),
        "1.1q:1 2.1m:2",
        False,
    )
    assert loaded.reports == ()
    assert (tmp_path / "cib.xml").stat().st_mode & 0o777 == 0o600


_STEPS = 7


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("steps", range(_STEPS + 1))
@pytest.mark.parametrize("cut", ["nothing", "half", "all"])
def test_a_power_cut_at_any_step_leaves_the_old_or_the_new_version_whole(
    tmp_path: Path, first: bool, steps: int, cut: str
) -> None:
    """`cut` is what happens to the file that the next step was writing: not yet there, half of it, or empty."""
    store = _filled(tmp_path, *(() if first else (1, 2)))
    data = _document(3)
    saving = store.save_steps(data, Version(0, 3, 0), xml.digest(data))
    done = [step for _, step in zip(range(steps), saving, strict=False)]
    if cut != "nothing" and "folder synced" not in done:
        victim = tmp_path / ("cib.xml.sig.new" if "document written" in done else "cib.xml.new")
        if "signature written" not in done:
            victim.write_bytes(data[: len(data) // 2] if cut == "half" else b"")
    old = None if first else 2
    new_is_whole = "signature renamed" in done
    loaded = CibStore(tmp_path).load()
    epoch = None if loaded.document is None else xml.version(loaded.document).epoch
    assert epoch == (3 if new_is_whole else old)
    assert all(item.severity is Severity.NOTICE for item in loaded.reports)
    # Life goes on from there.
    again = CibStore(tmp_path)
    again.load()
    _save(again, 9)
    assert _epoch(tmp_path) == 9


def test_the_steps_are_those_that_the_power_cut_test_walks_through(tmp_path: Path) -> None:
    store = _filled(tmp_path, 1)
    data = _document(2)
    steps = list(store.save_steps(data, Version(0, 2, 0), xml.digest(data)))
    assert len(steps) == _STEPS


@pytest.mark.parametrize(
    "damage",
    [b"", b"<cib", b"<cib><configuration/></cib>", bytes(range(256))],
    ids=["empty", "truncated", "tampered", "garbage"],
)
def test_a_damaged_newest_document_is_kept_and_the_last_good_one_taken_with_a_report(
    tmp_path: Path, damage: bytes
) -> None:
    _filled(tmp_path, 1, 2, 3)
    (tmp_path / "cib.xml").write_bytes(damage)
    loaded = CibStore(tmp_path).load()
    assert loaded.document is not None
    assert xml.version(loaded.document).epoch == 2
    assert [item.code for item in loaded.reports] == ["cib-damaged", "cib-fallback"]
    assert [path.read_bytes() for path in (tmp_path / "damaged").glob("*.xml")] == [damage]
    assert _epoch(tmp_path) == 2


@pytest.mark.parametrize("text", ["", "{}", "null", '{"sha256": "0", "version": "x", "serial": 1, "lineage": ""}'])
def test_a_damaged_signature_counts_as_a_damaged_document(tmp_path: Path, text: str) -> None:
    _filled(tmp_path, 1, 2)
    (tmp_path / "cib.xml.sig").write_text(text)
    assert _epoch(tmp_path) == 1


def test_with_several_damaged_versions_the_newest_good_one_is_found_and_all_are_named(tmp_path: Path) -> None:
    _filled(tmp_path, 1, 2, 3, 4)
    (tmp_path / "cib.xml").write_bytes(b"x")
    (tmp_path / "cib-3.xml").write_bytes(b"x")
    (tmp_path / "cib-2.xml.sig").unlink()
    loaded = CibStore(tmp_path).load()
    assert loaded.document is not None
    assert xml.version(loaded.document).epoch == 1
    assert [item.code for item in loaded.reports] == [
        "cib-damaged",
        "cib-copy-damaged",
        "cib-copy-damaged",
        "cib-fallback",
    ]


def test_when_nothing_is_usable_it_is_not_taken_for_a_fresh_start(tmp_path: Path) -> None:
    _filled(tmp_path, 1)
    (tmp_path / "cib.xml").write_bytes(b"x")
    loaded = CibStore(tmp_path).load()
    assert (loaded.document, loaded.fresh) == (None, False)
    assert [item.code for item in loaded.reports] == ["cib-damaged", "cib-lost"]
    again = CibStore(tmp_path).load()
    assert (again.document, again.fresh) == (None, False), "nor at the next start"
    assert [item.code for item in again.reports] == ["cib-lost"]


def test_a_document_without_a_signature_is_an_import(tmp_path: Path) -> None:
    (tmp_path / "cib.xml").write_bytes(_document(7))
    store = CibStore(tmp_path)
    loaded = store.load()
    assert loaded.document is not None
    assert [item.code for item in loaded.reports] == ["cib-unsigned"]
    assert loaded.lineage.standing > Lineage().standing, "it counts for more than an empty one"
    _save(store, 8)
    assert [entry.version.epoch for entry in store.history()] == [8, 7]


def test_what_the_shell_has_saved_can_be_put_there_too(tmp_path: Path) -> None:
    (tmp_path / "cib.xml").write_text(
        '<configuration><crm_config/><resources><primitive id="a"/></resources></configuration>'
    )
    for _ in range(2):
        loaded = CibStore(tmp_path).load()
        assert loaded.document is not None and loaded.document.tag == "cib"
        assert [each.get("id") for each in loaded.document.iter("primitive")] == ["a"]


def test_earlier_versions_are_numbered_bounded_and_readable(tmp_path: Path) -> None:
    store = CibStore(tmp_path, keep=3)
    store.load()
    for epoch in range(1, 10):
        _save(store, epoch)
    assert [(entry.serial, entry.version.epoch) for entry in store.history()] == [(9, 9), (8, 8), (7, 7), (6, 6)]
    assert xml.version(store.read(7)).epoch == 7
    assert xml.version(store.read(9)).epoch == 9
    with pytest.raises(StoreError, match="no usable version 2"):
        store.read(2)
    assert len(list(tmp_path.glob("cib*.xml*"))) == 8


def test_serials_go_on_after_a_restart_and_after_a_fallback(tmp_path: Path) -> None:
    _filled(tmp_path, 1, 2)
    store = CibStore(tmp_path)
    store.load()
    _save(store, 3)
    assert [entry.serial for entry in store.history()] == [3, 2, 1]


def test_a_version_may_go_back_and_the_newest_write_still_wins(tmp_path: Path) -> None:
    """After a partition a copy with a lower version may be the one that the cluster took."""
    _filled(tmp_path, 50, 45)
    assert _epoch(tmp_path) == 45
    (tmp_path / "cib.xml").unlink()
    assert _epoch(tmp_path) == 50


def test_a_full_or_read_only_disk_is_an_error_and_the_old_version_stays(tmp_path: Path) -> None:
    store = _filled(tmp_path / "cib", 1)
    (tmp_path / "cib" / "cib.xml.new").mkdir()
    with pytest.raises(OSError, match=r"cib\.xml\.new"):
        _save(store, 2)
    shutil.rmtree(tmp_path / "cib" / "cib.xml.new")
    assert _epoch(tmp_path / "cib") == 1
    _save(store, 2)
    assert _epoch(tmp_path / "cib") == 2


def test_configurations_that_were_not_taken_are_kept_with_the_reason(tmp_path: Path) -> None:
    store = _filled(tmp_path, 1)
    one = store.keep_aside("cib-0.5.0-abc.xml", b"<cib/>", "accepted without quorum")
    two = store.keep_aside("../cib-0.5.0-abc.xml", b"<cib a='1'/>", "again")
    assert one.parent == two.parent == tmp_path / "aside"
    assert [why for _, why in store.kept_aside()] == ["accepted without quorum", "again"]
    assert one.read_bytes() == b"<cib/>"


def test_what_cannot_even_be_read_is_put_aside_like_what_is_damaged(tmp_path: Path) -> None:
    _filled(tmp_path, 1, 2)
    (tmp_path / "cib.xml").unlink()
    (tmp_path / "cib.xml").mkdir()
    loaded = CibStore(tmp_path).load()
    assert loaded.document is not None and xml.version(loaded.document).epoch == 1
    assert [item.code for item in loaded.reports] == ["cib-damaged", "cib-fallback"]
    assert "directory" in loaded.reports[0].message
    _save(CibStore(tmp_path), 3)
    assert _epoch(tmp_path) == 3


@pytest.mark.parametrize(("theirs", "ours"), [("99.0", xml.FEATURE_SET), ("3.0.14", "3.0.14")])
def test_an_import_of_something_newer_does_not_lock_this_version_out(tmp_path: Path, theirs: str, ours: str) -> None:
    """As a cib.xml of a newer Pacemaker; nobody older than this node's version is to be let in on its account."""
    document = xml.parse(_document(7))
    document.set(xml.FEATURES, theirs)
    (tmp_path / "cib.xml").write_bytes(xml.to_bytes(document))
    for _ in range(2):
        loaded = CibStore(tmp_path).load()
        assert loaded.document is not None and loaded.document.get(xml.FEATURES) == ours
        assert xml.version(loaded.document).epoch == 7
