"""The watchdog at the edge: a device that resets the machine when nobody writes to it in time.

`/dev/watchdog` is the kernel's interface: opening it starts it, each write feeds it, and `V` before closing stops it (unless the
driver was loaded with `nowayout`). A named pipe (FIFO) is an emulated one, as the lab's machine room has for every node: each write is
the time in milliseconds until when the next must come, on a line.

The device stays open, and a daemon that is killed leaves it running: the next one has to take it up in time.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from messaging.config import MessagingConfig
from messaging.errors import SetupError
from messaging.watchdog_core import Commit, Effect, Feed, Health, Say, WatchdogCore, presumed_ms

_SET_TIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT, seconds
_GET_TIMEOUT = 0x80045707  # WDIOC_GETTIMEOUT
STOP = b"V"

log = logging.getLogger("messaging.watchdog")


class Device:
    """An open watchdog. `timeout_ms` is the one that it really has."""

    def __init__(self, path: str, timeout_ms: int) -> None:
        """SetupError when it cannot be used."""
        self.path = path
        self.timeout_ms = timeout_ms
        try:
            self._pipe = stat.S_ISFIFO(Path(path).stat().st_mode)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            why = "nobody reads it" if error.errno == errno.ENXIO else error.strerror
            raise SetupError(f"watchdog {path} cannot be opened: {why}") from None
        if not self._pipe:
            self._set_timeout(timeout_ms)

    def _set_timeout(self, wanted_ms: int) -> None:
        """In whole seconds. What the device makes of it must not be longer than what the others rely on."""
        seconds = array.array("i", [max(1, wanted_ms // 1000)])
        try:
            with contextlib.suppress(OSError):  # some have a fixed one
                fcntl.ioctl(self._descriptor, _SET_TIMEOUT, seconds, True)
            fcntl.ioctl(self._descriptor, _GET_TIMEOUT, seconds, True)
        except OSError as error:
            self.close()
            raise SetupError(f"{self.path} is no watchdog: {error.strerror}") from None
        self.timeout_ms = seconds[0] * 1000
        if self.timeout_ms > wanted_ms:
            self.close()
            raise SetupError(
                f"watchdog {self.path} resets after {self.timeout_ms} ms and cannot be set to {wanted_ms}: set "
                f"timeout_ms to {self.timeout_ms} on all nodes"
            )

    def feed(self) -> None:
        """OSError when it cannot be fed."""
        os.write(self._descriptor, f"{self.timeout_ms}\n".encode() if self._pipe else b"\0")

    def close(self) -> None:
        """Stop it, politely."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, STOP + b"\n" if self._pipe else STOP)
        os.close(self._descriptor)


class Watchdog:
    """The core with its device. `health` is asked before each feeding; `announce` is told what the heartbeats should say."""

    def __init__(self, config: MessagingConfig, health: Callable[[], Health], announce: Callable[[bool], None]) -> None:
        self._config = config
        self._health = health
        self._announce = announce
        self._mark = config.run_dir / "watchdog"
        self._core = WatchdogCore(config.watchdog, self._mark.exists(), _text(self._mark))
        self._device: Device | None = None
        self._trouble = ""

    @property
    def interval_ms(self) -> int:
        return self._core.interval_ms

    def open(self) -> None:
        """From here on the node is reset unless it is fed. SetupError when the device cannot be used."""
        self._device = Device(self._config.watchdog.device, self._config.watchdog.timeout_ms)
        log.info("watchdog %s: %d ms", self._device.path, self._device.timeout_ms)

    def look(self, now_ms: int) -> None:
        """Due every `interval_ms`."""
        self._perform(self._core.look(self._health(), now_ms))
        self._announce(self._core.watched and presumed_ms(self._config) > 0)

    def order(self, why: str) -> None:
        """Never feed it again."""
        self._perform(self._core.order(why))

    def status(self) -> dict[str, Any]:
        return {
            "device": self._config.watchdog.device,
            "timeout_ms": self._config.watchdog.timeout_ms,
            "open": self._device is not None,
            "committed": self._core.committed,
            "not_fed": self._core.hungry or self._trouble,
            "presumed_ms": presumed_ms(self._config),
        }

    def close(self, *, goodbye: bool) -> None:
        """This daemon ends. Without a goodbye the device goes on, and resets a node that has something to lose; one that has not (this
        daemon could not even begin) is left alone. A node that is to be reset is, in any case."""
        if self._device is not None and not self._core.ordered and (goodbye or not self._core.committed):
            self._device.close()
            self._device = None
            self._mark.unlink(missing_ok=True)

    def _feed(self, device: Device) -> None:
        trouble = ""
        try:
            device.feed()
        except OSError as error:
            trouble = error.strerror or str(error)
        if trouble and trouble != self._trouble:
            log.error("watchdog %s cannot be fed: %s", device.path, trouble)
        self._trouble = trouble

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Feed():
                    if self._device is not None:
                        self._feed(self._device)
                case Commit(True, ordered):
                    self._mark.write_text(ordered, encoding="utf-8")
                case Commit():
                    self._mark.unlink(missing_ok=True)
                case Say(text, trouble):
                    log.log(logging.ERROR if trouble else logging.INFO, text)


def _text(path: Path) -> str:
    """Of the mark: why this node is not to be fed any more. What cannot be read counts as a reason."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
