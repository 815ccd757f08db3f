"""Links between real network stacks: each mode, loss, one-way cuts, links and addresses that go and come back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
DRIVER = Path(__file__).with_name("messaging_network.py")


@pytest.mark.parametrize(
    "scenario",
    [
        "death-unicast",
        "death-multicast",
        "death-broadcast",
        "loss",
        "one-way",
        "two-links",
        "one-way-link",
        "interface-gone",
        "doctor-before",
        "doctor-beside",
        "serial-only",
        "blocked-multicast",
        "blocked-broadcast",
        "narrow",
        "ipv6",
        "priority",
        "stopped",
        pytest.param("load", marks=pytest.mark.undisturbed),  # and it disturbs
        "address-unicast",
        "address-multicast",
    ],
)
def test_messaging_on_real_networks(tmp_path: Path, scenario: str) -> None:
    if scenario == "ipv6" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    namespaces = ["--net", "--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net", "--mount"]
    done = subprocess.run(
        ["unshare", *namespaces, sys.executable, str(DRIVER), scenario, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)  # noqa: T201 (measured times, shown with -rP)
