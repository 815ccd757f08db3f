"""A machine whose process 1 is a real systemd, for tests: namespaces, and the host's file system with everything written to it kept in memory.

    with SystemdMachine(tmp_path) as machine:
        machine.write("/run/systemd/system/counter.service", "...")
        machine.run("systemctl", "start", "counter")

The machine ends with its process 1, which ends with the `with`. Kernel settings are the host's and are read-only inside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import evidence

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
CGROUP = Path("/sys/fs/cgroup/systemd")
BOOT_LIMIT_S = 120.0
NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")

_BOOT = r"""
set -e
folder=$1 systemd=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
# The programs, wherever they are: on a file system of their own, or in a folder that has just been covered.
for program in "$@"; do
    mkdir -p "$folder/root$program"
    mount --bind "$program" "$folder/root$program"
done
mkdir -p run/old run/systemd/system
# Devices and terminals are the host's business.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-logind.service getty.target; do
    ln -s /dev/null "run/systemd/system/$unit"
done
pivot_root . run/old
umount -l run/old
export container=test
exec "$systemd" --system --unit=basic.target --show-status=0 --log-target=journal
"""


def why_not() -> str:
    """Why there can be no such machine here; "" when there can."""
    if os.geteuid() != 0:
        return "only root can boot systemd in namespaces"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    if not CGROUP.is_dir():
        return f"there is no {CGROUP}"
    return ""


@dataclass
class SystemdMachine(evidence.Witness):
    folder: Path
    pid: int = 0
    _outer: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _cgroup: Path | None = field(default=None, repr=False)
    kept: list[evidence.Section] | None = None

    def __enter__(self) -> Self:
        evidence.call(self)
        root = self.folder / "machine"
        root.mkdir()
        self._cgroup = CGROUP / f"vigil-test-{os.getpid()}-{self.folder.name}"
        self._cgroup.mkdir(exist_ok=True)
        # The process puts itself into its group first: the root of its namespace of groups is where it is when that is made.
        join = f'echo $$ > "{self._cgroup}/cgroup.procs"; exec "$@"'
        unshare = ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-c", _BOOT, "sh", str(root), str(SYSTEMD)]
        unshare += sorted({str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"})
        with (self.folder / "boot.log").open("wb") as log:
            self._outer = subprocess.Popen(
                ["sh", "-c", join, "sh", *unshare], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.wait(self._booted, "systemd has not booted", BOOT_LIMIT_S)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Process 1 is killed, and everything in the machine with it."""
        self.kept = self.words() if error is not None and self.pid else []
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        if self._outer is not None:
            if not self.pid:
                self._outer.kill()
            self._outer.wait()
        if self._cgroup is not None:
            deadline = time.monotonic() + 10
            while self._cgroup.is_dir() and time.monotonic() < deadline:
                for path in sorted(self._cgroup.rglob("*"), reverse=True):
                    if path.is_dir():
                        with suppress(OSError):
                            path.rmdir()
                with suppress(OSError):
                    self._cgroup.rmdir()
        shutil.rmtree(self.folder / "machine", ignore_errors=True)

    def _booted(self) -> bool:
        assert self._outer is not None
        assert self._outer.poll() is None, f"no machine: {(self.folder / 'boot.log').read_text()}"
        if not self.pid:
            children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
            if not children or not Path(f"/proc/{children[0]}/comm").read_text().startswith("systemd"):
                return False
            self.pid = int(children[0])
        return self.run("systemctl", "is-active", "basic.target", check=False).stdout == "active\n"

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--"]
        ran = subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=False, cwd="/", timeout=240, **options
        )
        assert not check or ran.returncode == 0, f"{' '.join(command)}: {ran.returncode} {ran.stdout}{ran.stderr}"
        return ran

    def path(self, inside: str) -> Path:
        """A file of the machine, as the host sees it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    @staticmethod
    def wait(condition: Any, what: str, limit_s: float = 90.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
            time.sleep(0.05)

    def last_words(self) -> list[evidence.Section]:
        units = self.run("systemctl", "--no-pager", "list-units", "--failed", check=False).stdout
        sources = ("_TRANSPORT=journal", "+", "_TRANSPORT=stdout", "+", "_TRANSPORT=syslog")  # not the host's kernel
        journal = self.run("journalctl", "--no-pager", "-n", str(evidence.LOG_LINES), *sources, check=False).stdout
        return [("machine: failed units", units), ("machine: journal", journal)]
