"""`vigil.toml`: the one configuration file of a node. What is in it, what must hold in it, and how it is written.

    load(path)               -> Config, or ConfigError with *every* problem: file, line, key, what was expected
    config.to_resolved_json() -> the text of RUN_DIR/resolved.json, which the daemons read (no pydantic needed there)
    render(config)           -> a commented vigil.toml that loads to the same Config

The file is the same on all nodes but for `[node] name`, which may be left out where the host's name is the node's.
Two passes find the problems: pydantic checks every section for itself (types, ranges, unknown keys), then `check`
looks at how the values relate. A section with faults of its own does not keep the others from being looked at.

As a command: `python -m crm.config check FILE` and `python -m crm.config resolve FILE --output OUT`.

    model        the values            sections     a value for itself     check        values beside one another
    timers, quorum, tiebreakers        what follows from what              places       lines of a file for its problems
"""

from crm.config.addresses import parse_endpoint
from crm.config.loading import example, for_node, load, loads
from crm.config.model import (
    DEFAULT_DEADTIME_MS,
    DEFAULT_METRICS_PORT,
    DEFAULT_PORT,
    MAX_LINKS,
    MAX_NODES,
    Agents,
    Alerts,
    Config,
    Endpoint,
    Events,
    Link,
    Metrics,
    NodeEntry,
    Paths,
    Quorum,
    TieBreaker,
    Timers,
    Watchdog,
)
from crm.config.problems import ConfigError, Problem
from crm.config.render import render
from crm.config.sections import all_keys
from crm.config.tiebreakers import QDISK_EXTRA, QDISK_TKO

__all__ = [
    "DEFAULT_DEADTIME_MS",
    "DEFAULT_METRICS_PORT",
    "DEFAULT_PORT",
    "MAX_LINKS",
    "MAX_NODES",
    "QDISK_EXTRA",
    "QDISK_TKO",
    "Agents",
    "Config",
    "ConfigError",
    "Endpoint",
    "Events",
    "Link",
    "Alerts",
    "Metrics",
    "NodeEntry",
    "Paths",
    "Problem",
    "Quorum",
    "TieBreaker",
    "Timers",
    "Watchdog",
    "all_keys",
    "example",
    "for_node",
    "load",
    "loads",
    "parse_endpoint",
    "render",
]
