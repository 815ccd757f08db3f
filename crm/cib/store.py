"""The CIB's files: what survives a power cut, at whatever moment it comes.

Theory of operation. `cib.xml` is the newest configuration, `cib.xml.sig` one line of JSON with its SHA-256, version, serial and lineage. Before
it is replaced it becomes `cib-SERIAL.xml` (with its `.sig`), the numbered earlier versions, of which the last `keep` stay.

A save makes, in this order: both new files under other names, each synced; the earlier version's links; the rename of the signature; the
rename of the document; a sync of the folder. A crash between the two renames leaves the signature of a document that is still called
`cib.xml.new`, so nothing is torn: `load` finishes the rename. At every other place the old pair or the new pair is whole.

`load` believes a document only when its signature fits. Otherwise it takes the newest earlier version that is whole, moves the damaged
file into `damaged/`, and says all of it. A document without any signature is taken (somebody put it there: an
import), and that is said too. `aside/` holds configurations that the cluster did not take after a partition.

Everything here blocks on the disk; the daemon calls it in a thread. Nothing is read or written outside the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lxml import etree

from crm.cib import xml
from crm.cib.lineage import Lineage
from crm.cib.report import ReportItem, Severity
from crm.cib.xml import Version

KEEP: Final = 100
"""Earlier versions on disk."""
KEEP_ASIDE: Final = 50
"""Configurations that were not taken; beyond it the oldest is removed."""
KEEP_DAMAGED: Final = 10

_NAME: Final = "cib.xml"
_NUMBERED = re.compile(r"cib-([0-9]+)\.xml\Z")
_SAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Signature:
    """What the `.sig` file says of its document."""

    sha256: str
    version: Version
    serial: int
    lineage: str = ""

    def text(self) -> str:
        fields = {
            "sha256": self.sha256,
            "version": str(self.version),
            "serial": self.serial,
            "lineage": self.lineage,
        }
        return json.dumps(fields) + "\n"

    @classmethod
    def parse(cls, text: str) -> Signature:
        """ValueError when it is none."""
        try:
            data: Any = json.loads(text)
            serial, lineage = data["serial"], data["lineage"]
            if not isinstance(serial, int) or not isinstance(lineage, str):
                raise ValueError("serial or lineage is of the wrong type")
            return cls(str(data["sha256"]), Version.parse(data["version"]), serial, str(Lineage.parse(lineage)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a signature: {error}") from None


@dataclass(frozen=True, slots=True)
class Loaded:
    """`document` is None when there is no usable copy: `fresh` because there never was one, otherwise because all are damaged."""

    document: etree._Element | None
    lineage: Lineage
    fresh: bool
    source: str
    reports: tuple[ReportItem, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One version on disk; the newest is the one in use."""

    serial: int
    version: Version
    sha256: str
    path: Path
    modified_s: float


class StoreError(OSError):
    """A version that was asked for does not exist or is damaged."""


class CibStore:
    """The folder, normally STATE_DIR/cib. `load` before `save`. OSError when the disk refuses."""

    def __init__(self, folder: str | Path, *, keep: int = KEEP) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected at least 1 earlier version")
        self.folder = Path(folder)
        self._keep = keep
        self._serial = 0

    # Loading

    def load(self) -> Loaded:
        """The newest document that is whole. Never raises because of a file's content."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        reports: list[ReportItem] = []
        self._serial = max([0, *(serial for serial, _ in self._numbered())])
        current = self.folder / _NAME
        found = self._read_current(current, reports)
        if found is None and self._finish_rename(current, reports):
            found = self._read_current(current, reports)
        if found is not None:
            document, signature = found
            self._serial = max(self._serial, signature.serial)
            return Loaded(document, Lineage.parse(signature.lineage), False, str(current), tuple(reports))
        existed = self._put_aside_damaged(current, reports)
        for _, path in sorted(self._numbered(), reverse=True):
            problem = ""
            try:
                document, signature = _read(path)
            except (OSError, ValueError) as error:
                problem = str(error)
            if problem:
                reports.append(
                    _report(Severity.WARNING, "cib-copy-damaged", path, f"an earlier version is not usable: {problem}")
                )
                continue
            reports.append(
                _report(
                    Severity.ERROR,
                    "cib-fallback",
                    path,
                    f"going on from version {signature.version}, the last good copy",
                )
            )
            return Loaded(document, Lineage.parse(signature.lineage), False, str(path), tuple(reports))
        if existed:
            reports.append(_report(Severity.ERROR, "cib-lost", self.folder, "no copy of the CIB is usable"))
        elif not reports and any((self.folder / "damaged").glob("*.xml")):
            # An earlier start has put the last copy aside; nothing has come in its place since.
            existed = True
            reports.append(
                _report(Severity.ERROR, "cib-lost", self.folder, "no copy of the CIB is left but damaged ones")
            )
        return Loaded(None, Lineage(), not existed and not reports, "", tuple(reports))

    def _read_current(self, path: Path, reports: list[ReportItem]) -> tuple[etree._Element, Signature] | None:
        if not path.exists():
            return None
        if not _signature_path(path).exists():
            self._sign_import(path, reports)
        try:
            return _read(path)
        except (OSError, ValueError):
            return None

    def _sign_import(self, path: Path, reports: list[ReportItem]) -> None:
        """A save never leaves a document without a signature, so somebody put this one there."""
        try:
            data = path.read_bytes()
            document = xml.parse_fragment(data, source=str(path))
            if document.tag == xml.CONFIGURATION:  # as `crm configure save xml` writes it
                document = _as_cib(document)
                data = xml.to_bytes(document)
                _write_synced(_new(path), data)
                _new(path).replace(path)
            document = xml.parse(data, source=str(path))
            if xml.feature_key(document.get(xml.FEATURES, "")) > xml.feature_key(xml.FEATURE_SET):
                # Another program's, or a newer version's: who puts it here means it to be used.
                document.set(xml.FEATURES, xml.FEATURE_SET)
                data = xml.to_bytes(document)
                _write_synced(_new(path), data)
                _new(path).replace(path)
        except (OSError, xml.CibSyntaxError):
            return
        # One change that no view has seen: it counts for more than a configuration in which nothing was ever changed.
        lineage = str(Lineage().recorded((0, 0), False))
        signature = Signature(hashlib.sha256(data).hexdigest(), xml.version(document), self._serial + 1, lineage)
        _write_synced(_signature_path(path), signature.text().encode())
        _sync_folder(self.folder)
        reports.append(_report(Severity.WARNING, "cib-unsigned", path, "it had no signature; taken as it is"))

    def _finish_rename(self, current: Path, reports: list[ReportItem]) -> bool:
        """A crash between the two renames of a save: the new document waits under its first name."""
        waiting = _new(current)
        try:
            signature = Signature.parse(_signature_path(current).read_text(encoding="utf-8"))
            if hashlib.sha256(waiting.read_bytes()).hexdigest() != signature.sha256:
                return False
        except (OSError, ValueError):
            return False
        waiting.rename(current)
        _sync_folder(self.folder)
        reports.append(
            _report(
                Severity.NOTICE,
                "cib-completed",
                current,
                f"an interrupted write of version {signature.version} was completed",
            )
        )
        return True

    def _put_aside_damaged(self, current: Path, reports: list[ReportItem]) -> bool:
        """Whether there was something to be kept."""
        signature = _signature_path(current)
        if not current.exists() and not signature.exists():
            return False
        if current.exists():
            why = "it is missing"
            try:
                if signature.exists():
                    _read(current)
                else:
                    xml.parse(current.read_bytes(), source=str(current))
            except (OSError, ValueError) as error:
                why = str(error)
            folder = self.folder / "damaged"
            folder.mkdir(exist_ok=True, mode=0o700)
            target = _free_name(folder / f"cib-{self._serial}.xml")
            current.rename(target)
            if signature.exists():
                signature.rename(_signature_path(target))
            _bound(folder, KEEP_DAMAGED)
            message = f"the newest CIB is damaged ({why}); it is kept as {target}"
        else:
            signature.unlink()
            message = "the newest CIB is missing, its signature is there"
        _sync_folder(self.folder)
        reports.append(_report(Severity.ERROR, "cib-damaged", current, message))
        return True

    # Saving

    def save(self, document: bytes, version: Version, digest: str, lineage: str = "") -> None:
        """Returns when `document` is on stable storage as the newest one. OSError otherwise; the one before is whole then."""
        for _ in self.save_steps(document, version, digest, lineage):
            pass

    def save_steps(self, document: bytes, version: Version, digest: str, lineage: str = "") -> Iterator[str]:
        """The steps of `save`, one at a time, so that a test can be a power cut after each."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        current = self.folder / _NAME
        signature = _signature_path(current)
        self._serial += 1
        text = Signature(digest, version, self._serial, lineage).text()
        _write_synced(_new(current), document)
        yield "document written"
        _write_synced(_new(signature), text.encode())
        yield "signature written"
        yield from self._number_current(current)
        _new(signature).replace(signature)
        yield "signature renamed"
        _new(current).replace(current)
        yield "document renamed"
        _sync_folder(self.folder)
        yield "folder synced"
        self._forget_old()

    def _number_current(self, current: Path) -> Iterator[str]:
        """Links the pair in use under its serial; links, since a copy could be torn itself."""
        signature = _signature_path(current)
        try:
            serial = Signature.parse(signature.read_text(encoding="utf-8")).serial
        except (OSError, ValueError):
            # Nothing yet, or an import without a signature: it has no place in the series.
            return
        numbered = self.folder / f"cib-{serial}.xml"
        for source, target in ((current, numbered), (signature, _signature_path(numbered))):
            if source.exists():
                target.unlink(missing_ok=True)
                os.link(source, target)
            yield f"{target.name} linked"

    def _forget_old(self) -> None:
        for _, path in sorted(self._numbered(), reverse=True)[self._keep :]:
            path.unlink(missing_ok=True)
            _signature_path(path).unlink(missing_ok=True)

    # Earlier versions and what was kept

    def history(self) -> list[Entry]:
        """Every whole version, newest first."""
        entries: list[Entry] = []
        for path in [self.folder / _NAME, *(path for _, path in self._numbered())]:
            try:
                _, signature = _verified(path)
                modified_s = path.stat().st_mtime
            except (OSError, ValueError):
                continue
            entries.append(Entry(signature.serial, signature.version, signature.sha256, path, modified_s))
        return sorted(entries, key=lambda entry: -entry.serial)

    def read(self, serial: int) -> etree._Element:
        """One version by its serial. StoreError when it does not exist or is damaged."""
        for path in (self.folder / f"cib-{serial}.xml", self.folder / _NAME):
            try:
                document, signature = _read(path)
            except (OSError, ValueError):
                continue
            if signature.serial == serial:
                return document
        raise StoreError(f"there is no usable version {serial} of the CIB in {self.folder}")

    def keep_aside(self, name: str, document: bytes, why: str) -> Path:
        """Keeps a configuration that the cluster did not take, and beside it (`.why`) the reason."""
        folder = self.folder / "aside"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = _free_name(folder / _SAFE.sub("_", name))
        _write_synced(path, document)
        _write_synced(path.with_name(path.name + ".why"), (why + "\n").encode())
        _bound(folder, KEEP_ASIDE)
        _sync_folder(folder)
        return path

    def kept_aside(self) -> list[tuple[Path, str]]:
        """Files of `keep_aside` with their reasons, oldest first, for status."""
        folder = self.folder / "aside"
        found = [path for path in folder.glob("*.xml*") if path.suffix != ".why"] if folder.is_dir() else []
        return [(path, _reason(path)) for path in sorted(found, key=_age)]

    def _numbered(self) -> list[tuple[int, Path]]:
        found = ((_NUMBERED.match(path.name), path) for path in self.folder.iterdir())
        return [(int(match[1]), path) for match, path in found if match is not None]


def _read(path: Path) -> tuple[etree._Element, Signature]:
    """A document and its signature. ValueError when they do not fit or cannot be read as such."""
    data, signature = _verified(path)
    return xml.parse(data, source=str(path)), signature


def _verified(path: Path) -> tuple[bytes, Signature]:
    signature = Signature.parse(_signature_path(path).read_text(encoding="utf-8"))
    data = path.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != signature.sha256:
        text = f"{len(data)} bytes with SHA-256 {actual[:12]}..., its signature says {signature.sha256[:12]}..."
        raise ValueError(text)
    return data, signature


def _as_cib(configuration: etree._Element) -> etree._Element:
    document = xml.empty()
    for child in list(document):
        if child.tag == xml.CONFIGURATION:
            document.replace(child, configuration)
    xml.set_version(document, Version(0, 1, 0))
    return document


def _signature_path(path: Path) -> Path:
    return path.with_name(path.name + ".sig")


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _bound(folder: Path, limit: int) -> None:
    documents = sorted((path for path in folder.iterdir() if path.suffix == ".xml"), key=_age)
    for path in documents[:-limit]:
        path.unlink(missing_ok=True)
        for suffix in (".why", ".sig"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _reason(path: Path) -> str:
    try:
        return path.with_name(path.name + ".why").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _report(severity: Severity, code: str, path: Path, message: str) -> ReportItem:
    return ReportItem(severity, code, str(path), message)
