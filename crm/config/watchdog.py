"""The watchdog of a node."""

from __future__ import annotations

from crm.config.model import Watchdog
from crm.config.problems import Problems
from crm.config.sections import WatchdogSection


def resolve_watchdog(given: WatchdogSection, problems: Problems) -> Watchdog:
    """The kernel's devices count whole seconds; what is rounded would not be what the others rely on."""
    if given.device.startswith("/dev/") and given.timeout_ms % 1000:
        problems.add("watchdog.timeout_ms", f"expected whole seconds for a device, got {given.timeout_ms}")
    if not given.device and given.model_fields_set - {"device"}:
        problems.add("watchdog.device", "expected the device, such as /dev/watchdog, since other keys of it are set")
    return Watchdog(given.device, given.timeout_ms, given.on_quorum_loss, given.on_crm_loss, given.on_disk_loss)
