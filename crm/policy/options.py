"""Cluster options: properties with their aliases, validity and defaults.

Theory of operation. `read_options` looks a property up under its current name, else under its legacy alias; an invalid value means the
built-in default, whichever name it was found under. What depends on more than the option itself is settled here too:
a quorum policy that cannot be carried out is degraded to `stop`, and options that only count beside others are cleared.

Sources: scheduler specification, part 1, sections 5, 6.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm.policy.dates import parse_interval_ms
from crm.policy.model import INFINITY, ClusterOptions
from crm.policy.nvpairs import apply_sets
from crm.policy.values import parse_boolean, parse_integer, truthy

if TYPE_CHECKING:
    from crm.policy.configuration import Configuration

_ALIASES: Final = {
    "fencing-enabled": "stonith-enabled",
    "fencing-action": "stonith-action",
    "fencing-timeout": "stonith-timeout",
    "stop-removed-resources": "stop-orphan-resources",
    "cancel-removed-actions": "stop-orphan-actions",
}
_QUORUM_POLICIES: Final = frozenset(("stop", "freeze", "ignore", "demote", "fence", "suicide"))
_PLACEMENT: Final = frozenset(("default", "utilization", "minimal", "balanced"))
_HEALTH: Final = frozenset(("none", "migrate-on-red", "only-green", "progressive", "custom"))


class _Properties:
    """The effective cluster properties, and how to read one."""

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.table: dict[str, str] = {}
        section = config.section("crm_config")
        if section is not None:
            sets = config.sets(section, "cluster_property_set", first="cib-bootstrap-options")
            apply_sets(sets, config.context(), self.table)

    def text(self, name: str) -> str | None:
        value = self.table.get(name)
        if value is None and name in _ALIASES:
            value = self.table.get(_ALIASES[name])
        return value

    def invalid(self, name: str, value: str, expected: str) -> None:
        message = f"cluster option {name}: '{value}' is not {expected}; the default is used"
        self.config.report("warning", "invalid-option", None, message, attribute="value", id=name)

    def boolean(self, name: str, default: bool) -> bool:
        text = self.text(name)
        if text is None:
            return default
        value = parse_boolean(text)
        if value is None:
            self.invalid(name, text, "a boolean")
            return default
        return value

    def choice(self, name: str, default: str, choices: frozenset[str], exact: bool = False) -> str:
        text = self.text(name)
        if text is None:
            return default
        value = text if exact else text.lower()
        if value not in choices:
            self.invalid(name, text, "one of " + ", ".join(sorted(choices)))
            return default
        return value

    def interval_text(self, name: str, default: str) -> str:
        text = self.text(name)
        if text is None:
            return default
        if parse_interval_ms(text) is None:
            self.invalid(name, text, "an interval")
            return default
        return text

    def interval(self, name: str) -> int:
        return parse_interval_ms(self.interval_text(name, "0")) or 0

    def integer_text(self, name: str, default: str) -> str:
        text = self.text(name)
        if text is None:
            return default
        if parse_integer(text) is None:
            self.invalid(name, text, "an integer")
            return default
        return text

    def score(self, name: str, default: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if text in ("INFINITY", "+INFINITY"):
            return INFINITY
        if text == "-INFINITY":
            return -INFINITY
        value = parse_integer(text)
        if value is None:
            self.invalid(name, text, "a score")
            return default
        return max(-INFINITY, min(INFINITY, value))


def read_options(config: Configuration, quorate: bool) -> ClusterOptions:
    properties = _Properties(config)
    fencing = properties.boolean("fencing-enabled", True)
    shutdown_lock = properties.boolean("shutdown-lock", False)
    return ClusterOptions(
        no_quorum_policy=_quorum_policy(config, properties, quorate, fencing),
        symmetric=properties.boolean("symmetric-cluster", True),
        maintenance_mode=properties.boolean("maintenance-mode", False),
        stop_all_resources=properties.boolean("stop-all-resources", False),
        start_failure_is_fatal=properties.boolean("start-failure-is-fatal", True),
        enable_startup_probes=properties.boolean("enable-startup-probes", True),
        fencing_enabled=fencing,
        fencing_action=properties.choice("fencing-action", "reboot", frozenset(("reboot", "off")), exact=True),
        fencing_timeout=properties.interval_text("fencing-timeout", "60s"),
        have_watchdog=properties.boolean("have-watchdog", False),
        concurrent_fencing=properties.boolean("concurrent-fencing", True),
        startup_fencing=fencing and properties.boolean("startup-fencing", True),
        priority_fencing_delay_ms=properties.interval("priority-fencing-delay"),
        node_pending_timeout_ms=properties.interval("node-pending-timeout"),
        fence_remote_without_quorum=properties.boolean("fence-remote-without-quorum", False),
        cluster_delay=properties.interval_text("cluster-delay", "60s"),
        batch_limit=properties.integer_text("batch-limit", "0"),
        migration_limit=properties.integer_text("migration-limit", "-1"),
        stop_removed_resources=properties.boolean("stop-removed-resources", True),
        cancel_removed_actions=properties.boolean("cancel-removed-actions", True),
        shutdown_lock=shutdown_lock,
        shutdown_lock_limit_ms=properties.interval("shutdown-lock-limit") if shutdown_lock else 0,
        placement_strategy=properties.choice("placement-strategy", "default", _PLACEMENT),
        health_strategy=properties.choice("node-health-strategy", "none", _HEALTH),
        health_base=properties.score("node-health-base", 0),
        health_green=properties.score("node-health-green", 0),
        health_yellow=properties.score("node-health-yellow", 0),
        health_red=properties.score("node-health-red", -INFINITY),
        cluster_name=properties.text("cluster-name"),
    )


def _quorum_policy(config: Configuration, properties: _Properties, quorate: bool, fencing: bool) -> str:
    """The policy as it can be carried out: fencing for want of quorum needs fencing, and quorum at some time before (5.1)."""
    policy = properties.choice("no-quorum-policy", "stop", _QUORUM_POLICIES)
    if policy not in ("fence", "suicide"):
        return policy
    panic = bool(parse_integer(config.cib.get("no-quorum-panic")))
    return "fence" if fencing and (quorate or panic) else "stop"


def health_colours(options: ClusterOptions) -> dict[str, int]:
    """What `red`, `yellow` and `green` are worth as scores (6.5)."""
    strategy = options.health_strategy
    if strategy == "migrate-on-red":
        return {"red": -INFINITY, "yellow": 0, "green": 0}
    if strategy == "only-green":
        return {"red": -INFINITY, "yellow": -INFINITY, "green": 0}
    if strategy in ("progressive", "custom"):
        return {"red": options.health_red, "yellow": options.health_yellow, "green": options.health_green}
    return {"red": 0, "yellow": 0, "green": 0}


def is_quorate(config: Configuration) -> bool:
    return truthy(config.cib.get("have-quorum"))
