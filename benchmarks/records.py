#!/usr/bin/env python3
"""What a record of the event log costs the daemon's loop: made, put into words for the log, encoded for the disk, counted for metrics.

Usage: python benchmarks/records.py [--records 20000]

CPU time of this process, which includes the thread that writes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from crm.daemon.eventlog import EventLog, Files
from crm.daemon.journal import Journal
from crm.metrics.counts import Counts
from messaging import logs

RESULT = {
    "operation": "start",
    "resource": "web",
    "interval_ms": 0,
    "rc": 0,
    "status": 0,
    "ok": True,
    "target_rc": 0,
    "exec_ms": 12,
}
BURST = 50
"""Records in one round of the loop."""


async def measure(folder: Path, records: int) -> float:
    """Microseconds a record."""
    journal = Journal("n1")
    log = EventLog(Files(folder / "events", 10 << 20, 3), lambda count, why: sys.exit(f"{count} lost: {why}"))
    journal.listeners += [log.append, Counts().on_record]
    began = time.process_time()
    for number in range(records):
        journal.record("action_result", RESULT, "view-7.1")
        if number % BURST == 0:
            await asyncio.sleep(0)
    await log.close()
    return (time.process_time() - began) / records * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        logs.start("crm", Path(folder) / "log", "info")
        print(f"{asyncio.run(measure(Path(folder), options.records)):.1f} microseconds a record")
    return 0


if __name__ == "__main__":
    sys.exit(main())
