#!/usr/bin/env python3
"""What messaging costs while nothing happens: CPU share of each daemon of a cluster on loopback, at the default timers.

Usage: python benchmarks/messaging_idle.py [--nodes 16] [--links 1] [--seconds 30] [--encryption none]

Each node has a crm attached that vouches for itself, as in a real cluster. CPU is user + system time of the messaging
process as a share of one core, so other load on the machine matters little; memory is PSS.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "unit" / "messaging")]

from idle import cpu_s, pss_kib  # noqa: E402
from messaging_nodes import RealCluster  # noqa: E402

DEFAULT_DEADTIME_MS = 2000
SETTLE_S = 5


async def measure(folder: Path, options: argparse.Namespace) -> list[tuple[float, float]]:
    """CPU in percent and PSS in MiB of each daemon."""
    async with RealCluster(
        folder, options.nodes, links=options.links, deadtime_ms=DEFAULT_DEADTIME_MS, encryption=options.encryption
    ) as cluster:
        await cluster.start()
        await asyncio.sleep(SETTLE_S)
        pids = [node.process.pid for node in cluster.nodes.values() if node.process is not None]
        before = [cpu_s([pid])[0] for pid in pids]
        await asyncio.sleep(options.seconds)
        after = [cpu_s([pid])[0] for pid in pids]
        assert all(len(crm.view.members) == options.nodes for crm in cluster.crms.values())
        return [
            ((now - then) / options.seconds * 100, pss_kib(pid) / 1024)
            for pid, now, then in zip(pids, after, before, strict=True)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--links", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--encryption", default="none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vm", dir="/tmp") as folder:
        costs = asyncio.run(measure(Path(folder), options))
    shares = sorted(share for share, _ in costs)
    memory = [mib for _, mib in costs]
    print(f"{len(costs)} nodes, {options.links} link(s), encryption {options.encryption}, {options.seconds:.0f} s")
    print(f"CPU of a core: mean {sum(shares) / len(shares):.2f}%, least {shares[0]:.2f}%, most {shares[-1]:.2f}%")
    print(f"PSS: mean {sum(memory) / len(memory):.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
