"""What an agent finds in its environment.

Theory of operation. Administrators put things there on purpose (proxies, credentials of cloud agents), so an agent
inherits ours, as with Pacemaker, except for what would change how our own kind of program runs (PYTHON*) or speak for
us to systemd. On top come, in this order: the places of the cluster stack, the OCF variables, the parameters.

Parameters become `OCF_RESKEY_NAME`; meta-attributes keep their `CRM_meta_` and become `OCF_RESKEY_CRM_meta_NAME`;
`OCF_CHECK_LEVEL` alone is passed without the prefix, as the OCF standard has it.

LSB scripts and systemd get no parameters: they know none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from agents.paths import HERE, SYSTEM_PATH, AgentPaths
from agents.types import Operation

EXIT_REASON_PREFIX: Final = "ocf-exit-reason:"
RA_VERSION: Final = (1, 1)
MAX_VALUE: Final = 100_000
"""Bytes of one environment entry: the kernel refuses a program with a longer one than 128 KiB."""
_META: Final = "CRM_meta_"
_NOT_OURS_TO_PASS: Final = frozenset(
    ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "PYTHONSTARTUP")
)


class BadParameter(ValueError):
    """A parameter that cannot be put into an environment. The message names it."""


def base_environment(paths: AgentPaths, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """What all agents of this node have in common."""
    source = os.environ if inherited is None else inherited
    environment = {
        name: value
        for name, value in source.items()
        if name not in _NOT_OURS_TO_PASS and not name.startswith(("PYTHON", "OCF_", "VIRTUAL_ENV"))
    }
    search = [part for part in environment.get("PATH", "").split(":") if part]
    search += [part for part in SYSTEM_PATH.split(":") if part not in search]
    if paths.tools is not None:
        search.insert(0, str(paths.tools))
        environment["HA_SBIN_DIR"] = str(paths.tools)
    environment.update(
        PATH=":".join(dict.fromkeys(search)),
        PWD="/",
        HA_RSCTMP=str(paths.rsctmp),
        HA_debug="0",
        HA_logfacility="none",
        PCMK_logfacility="none",
        PCMK_service="vigil",
        # For our own agents: which interpreter to use, and where their helpers are.
        VIGIL_PYTHON=sys.executable or "/usr/bin/python3",
        VIGIL_AGENTS_DIR=str(HERE),
    )
    if paths.run_dir is not None:
        environment["VIGIL_RUN_DIR"] = str(paths.run_dir)
    return environment


def ocf_environment(operation: Operation, paths: AgentPaths, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of an OCF agent. BadParameter when a name or value cannot be passed on."""
    environment = dict(base)
    environment.update(
        OCF_ROOT=str(paths.ocf_root),
        OCF_RA_VERSION_MAJOR=str(RA_VERSION[0]),
        OCF_RA_VERSION_MINOR=str(RA_VERSION[1]),
        OCF_EXIT_REASON_PREFIX=EXIT_REASON_PREFIX,
        OCF_OUTPUT_FORMAT="text",
        OCF_RESOURCE_INSTANCE=operation.resource,
        OCF_RESOURCE_TYPE=operation.agent.type,
        OCF_RESOURCE_PROVIDER=operation.agent.provider,
        OCF_RESKEY_CRM_meta_timeout=str(operation.timeout_ms),
        OCF_RESKEY_CRM_meta_name=operation.action,
    )
    if operation.interval_ms:
        environment["OCF_RESKEY_CRM_meta_interval"] = str(operation.interval_ms)
    if operation.node:
        environment["OCF_RESKEY_CRM_meta_on_node"] = operation.node
    for name, value in operation.meta.items():
        environment["OCF_RESKEY_" + (name if name.startswith(_META) else _META + name)] = value
    for name, value in operation.parameters.items():
        environment[name if name == "OCF_CHECK_LEVEL" else "OCF_RESKEY_" + name] = value
    environment.update(operation.environment)
    for name, value in environment.items():
        _check(name, value)
    return environment


def plain_environment(operation: Operation, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of an init script, systemctl or a fence agent."""
    return {**base, **operation.environment}


def _check(name: str, value: str) -> None:
    if "=" in name or "\0" in name or "\0" in value:
        raise BadParameter(f"parameter {name!r} has a character that no environment can hold")
    if len(name) + len(value) > MAX_VALUE:
        raise BadParameter(f"parameter {name!r} is {len(value)} characters long, at most {MAX_VALUE} can be passed")
