"""The keys that every frame is authenticated with.

A key file holds one `ID HEX` a line. The first key signs what this node sends; all of them are accepted from others.
So a key is replaced without an outage: add the new one below the old everywhere, then move it to the top everywhere,
then remove the old one. Blank lines and lines that begin with `#` are skipped.

Whoever can read the file can speak for every node, so its mode must be 0600 (or stricter).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac

from messaging.errors import SetupError

KEY_BYTES = 32
"""Length of a generated key, and the least accepted: as long as the SHA-256 output (RFC 2104, section 3)."""

MAX_KEY_BYTES = 128
MAX_KEYS = 16
MAX_KEY_ID = 0xFFFF
MAC_BYTES = 32


class Key:
    """One secret with its id. Keeps the keyed hash state, because setting it up costs more than using it."""

    __slots__ = ("_secret", "_state", "key_id")

    def __init__(self, key_id: int, secret: bytes) -> None:
        self.key_id = key_id
        self._secret = secret
        self._state = hmac.HMAC(secret, hashes.SHA256())

    def mac(self, *parts: bytes | memoryview) -> bytes:
        """HMAC-SHA256 over the parts, one after the other."""
        state = self._state.copy()
        for part in parts:
            state.update(part)
        return state.finalize()

    def derive(self, *purpose: bytes) -> bytes:
        """A key of 32 bytes for one purpose; the secret itself signs and does nothing else.

        The label keeps it apart from everything signed: frames and handshakes begin with other magics, and the lengths
        keep ("ab", "c") apart from ("a", "bc").
        """
        parts = [len(part).to_bytes(2, "big") + part for part in purpose]
        return self.mac(b"vigil derive 1", *parts)

    @property
    def line(self) -> str:
        """As it stands in a key file."""
        return f"{self.key_id} {self._secret.hex()}"

    def verify(self, tag: bytes, *parts: bytes | memoryview) -> bool:
        """Whether the tag is the one of these parts; in constant time."""
        state = self._state.copy()
        for part in parts:
            state.update(part)
        try:
            state.verify(tag)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys by id, and the one to send with."""

    sending: Key
    keys: dict[int, Key]

    def find(self, key_id: int) -> Key | None:
        return self.keys.get(key_id)


def render(keys: Iterable[Key]) -> str:
    """The text of a key file; the first of the keys is the one to send with."""
    return "".join(f"{key.line}\n" for key in keys)


def write(path: Path, keys: Iterable[Key]) -> None:
    """Replace a key file: after a crash the old or the new one is there, and it is never readable for others. OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")  # the nodes of a lab may share one file
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, render(keys).encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def generate(key_id: int = 1) -> str:
    """The text of a new key file with one random key."""
    return f"{key_id} {os.urandom(KEY_BYTES).hex()}\n"


def load(path: Path) -> Keyring:
    """Read a key file. SetupError names every fault: mode, owner-only access, and each line that is wrong."""
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(64 * 1024)
    except OSError as error:
        raise SetupError(
            f"cannot read the key file {path}: {error.strerror}; make one with: crm cluster keygen"
        ) from None
    except UnicodeDecodeError:
        raise SetupError(f"{path} is not a key file: expected lines of 'ID HEX'") from None
    if mode & 0o077:
        raise SetupError(f"{path} has mode {mode:04o}, others could read the keys; expected 0600: chmod 600 {path}")
    return parse(text, str(path))


def parse(text: str, where: str) -> Keyring:
    """Parse the text of a key file. SetupError carries all faulty lines at once."""
    keys: dict[int, Key] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        fault = _line_fault(words, keys)
        if fault:
            faults.append(f"{where}:{number}: {fault}")
            continue
        keys[int(words[0])] = Key(int(words[0]), bytes.fromhex(words[1]))
    if not keys and not faults:
        faults.append(f"{where}: no key in it; make one with: crm cluster keygen")
    if len(keys) > MAX_KEYS:
        faults.append(f"{where}: {len(keys)} keys, at most {MAX_KEYS} are of use")
    if faults:
        raise SetupError("\n".join(faults))
    return Keyring(sending=next(iter(keys.values())), keys=keys)


def _line_fault(words: list[str], keys: dict[int, Key]) -> str:
    if len(words) != 2:
        return f"expected 'ID HEX', got {len(words)} words"
    if not words[0].isdecimal() or not 1 <= int(words[0]) <= MAX_KEY_ID:
        return f"key id {words[0][:20]!r}: expected a number from 1 to {MAX_KEY_ID}"
    if int(words[0]) in keys:
        return f"key id {words[0]} is used twice"
    try:
        secret = bytes.fromhex(words[1])
    except ValueError:
        return f"key {words[0]}: expected hexadecimal digits"
    if not KEY_BYTES <= len(secret) <= MAX_KEY_BYTES:
        return f"key {words[0]} has {len(secret)} bytes: expected {KEY_BYTES} to {MAX_KEY_BYTES}"
    return ""
