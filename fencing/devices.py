"""Fence devices: what a `stonith` resource says about how to switch off whom.

Theory of operation. A device is an agent with parameters. Those that begin with `pcmk_` are not for the agent but for the
cluster: which nodes the device can fence, what they are called there, which of the agent's actions to use, with which time
limits, how often, and after which delay. This module reads them once into a frozen `Device`; all mistakes are reported at
once, and a device with mistakes still exists with defaults in their place, because a fence device with a wrong delay is
better than none.

Whether a device can fence a node: `static-list` (the device's own list or map), `dynamic-list` (the device is asked for its plugs),
`status` (the device is asked about that node), `none` (it can fence every node).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from agents.types import AgentId

DEFAULT_TIMEOUT_MS: Final = 60_000
DEFAULT_RETRIES: Final = 2
"""How often an action is tried at most, within its time limit."""
ACTIONS: Final = ("reboot", "off", "on", "list", "status", "monitor")
_Complain = Callable[[str, str], None]
_DURATION = re.compile(r"(\d+)\s*(ms|msec|us|usec|s|sec|m|min|h|hr|)\Z", re.IGNORECASE)
_UNIT_MS: Final = {"ms": 1.0, "msec": 1.0, "us": 0.001, "usec": 0.001, "s": 1e3, "sec": 1e3, "": 1e3}
_LONG_UNIT_MS: Final = {"m": 60e3, "min": 60e3, "h": 3600e3, "hr": 3600e3}


class HostCheck(StrEnum):
    """How to find out whether a device can fence a node."""

    STATIC_LIST = "static-list"
    DYNAMIC_LIST = "dynamic-list"
    STATUS = "status"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a device's parameters; for people."""

    device: str
    parameter: str
    message: str


@dataclass(frozen=True, slots=True)
class AgentAbilities:
    """What a fence agent's meta-data says: its actions, and the name of the parameter that takes the node."""

    actions: frozenset[str] = frozenset(ACTIONS)
    host_argument: str = "port"


@dataclass(frozen=True, slots=True)
class ActionRule:
    """How one action is carried out: the agent's word for it, time limit (None: the request's), tries."""

    name: str
    timeout_ms: int | None = None
    retries: int = DEFAULT_RETRIES


@dataclass(frozen=True, slots=True)
class Device:
    """`plugs` translates node names; `delays` are (base, max) by node, "" for all others. `limit` -1: any number at once."""

    id: str
    agent: AgentId
    parameters: Mapping[str, str]
    check: HostCheck
    hosts: frozenset[str]
    plugs: Mapping[str, str]
    host_argument: str
    rules: Mapping[str, ActionRule]
    abilities: AgentAbilities
    delay_base_ms: Mapping[str, int] = field(default_factory=dict)
    delay_max_ms: int = 0
    limit: int = 1
    priority: int = 0

    def rule(self, action: str) -> ActionRule:
        return self.rules.get(action) or ActionRule(action)

    def supports(self, action: str) -> bool:
        """The agent has the action, or the administrator named another one in its place."""
        return action in self.abilities.actions or self.rule(action).name != action

    def knows(self, target: str) -> bool | None:
        """Whether it can fence the node; None when it has to be asked."""
        if self.check is HostCheck.NONE:
            return True
        if self.check is HostCheck.STATIC_LIST:
            return target in self.hosts or target in self.plugs
        return None

    def plug(self, target: str) -> str:
        """What the node is called on this device."""
        return self.plugs.get(target, target)

    def options(self, action: str, target: str | None) -> dict[str, str]:
        """The agent's parameters for an action on a node."""
        options = {name: value for name, value in self.parameters.items() if not name.startswith("pcmk_")}
        if target is None:
            return options
        options["nodename"] = target
        given = options.get(self.host_argument)
        if self.host_argument != "none" and given in (None, "", "dynamic"):
            options[self.host_argument] = self.plug(target)
        return options

    def delay_ms(self, target: str, chance: float) -> int:
        """How long to wait before the node is switched off. `chance`, from 0 up to 1, chooses between base and maximum."""
        base = self.delay_base_ms.get(target, self.delay_base_ms.get("", 0))
        return base + round(max(0, self.delay_max_ms - base) * chance)


def read(
    identity: str,
    agent: AgentId,
    parameters: Mapping[str, str],
    *,
    priority: int = 0,
    abilities: AgentAbilities | None = None,
) -> tuple[Device, list[Problem]]:
    """The device that a stonith resource with these (evaluated) parameters describes, and what is wrong with them."""
    problems: list[Problem] = []
    able = abilities or AgentAbilities()

    def complain(name: str, message: str) -> None:
        problems.append(Problem(identity, name, message))

    hosts = frozenset(re.split(r"[\s,;]+", parameters.get("pcmk_host_list", "").strip())) - {""}
    plugs = _map(parameters.get("pcmk_host_map", ""), "pcmk_host_map", complain)
    device = Device(
        id=identity,
        agent=agent,
        parameters=dict(parameters),
        check=_check(parameters.get("pcmk_host_check", ""), bool(hosts or plugs), able, complain),
        hosts=hosts,
        plugs=plugs,
        host_argument=parameters.get("pcmk_host_argument") or able.host_argument,
        rules={action: _rule(action, parameters, complain) for action in ACTIONS},
        abilities=able,
        delay_base_ms=_delays(parameters.get("pcmk_delay_base", ""), complain),
        delay_max_ms=_duration(parameters.get("pcmk_delay_max"), "pcmk_delay_max", 0, complain),
        limit=_number(parameters.get("pcmk_action_limit"), "pcmk_action_limit", 1, complain),
        priority=priority,
    )
    return device, problems


def duration_ms(text: str) -> int | None:
    """Milliseconds of "30", "30s", "500ms", "2min", "1h"; None when it is none of these."""
    match = _DURATION.match(text.strip())
    if match is None:
        return None
    unit = match.group(2).lower()
    return round(int(match.group(1)) * (_UNIT_MS.get(unit) or _LONG_UNIT_MS[unit]))


# --- reading --------------------------------------------------------------------------------------------------------------


def _check(text: str, listed: bool, able: AgentAbilities, complain: _Complain) -> HostCheck:
    if text:
        try:
            return HostCheck(text)
        except ValueError:
            complain("pcmk_host_check", f"{text!r} is none of {', '.join(HostCheck)}")
    if listed:
        return HostCheck.STATIC_LIST
    if "list" in able.actions:
        return HostCheck.DYNAMIC_LIST
    return HostCheck.STATUS if "status" in able.actions else HostCheck.NONE


def _map(text: str, name: str, complain: _Complain) -> dict[str, str]:
    """`n1:1;n2:2,3`: entries are separated by semicolons or blanks."""
    found: dict[str, str] = {}
    for entry in re.split(r"[;\s]+", text.strip()):
        node, colon, plug = entry.partition(":")
        if entry and not (node and colon and plug):
            complain(name, f"{entry!r} is not NODE:PORT")
        elif entry:
            found[node] = plug
    return found


def _rule(action: str, parameters: Mapping[str, str], complain: _Complain) -> ActionRule:
    prefix = f"pcmk_{action}_"
    timeout = _duration(parameters.get(prefix + "timeout"), prefix + "timeout", 0, complain)
    return ActionRule(
        name=parameters.get(prefix + "action") or action,
        timeout_ms=timeout or None,
        retries=max(1, _number(parameters.get(prefix + "retries"), prefix + "retries", DEFAULT_RETRIES, complain)),
    )


def _delays(text: str, complain: _Complain) -> dict[str, int]:
    """One duration for all nodes, or `n1:1s;n2:5s`."""
    if ":" not in text:
        return {"": _duration(text, "pcmk_delay_base", 0, complain)} if text else {}
    found = _map(text, "pcmk_delay_base", complain)
    return {node: _duration(delay, "pcmk_delay_base", 0, complain) for node, delay in found.items()}


def _duration(text: str | None, name: str, default: int, complain: _Complain) -> int:
    if not text:
        return default
    value = duration_ms(text)
    if value is None:
        complain(name, f"{text!r} is not a duration such as 30s")
        return default
    return value


def _number(text: str | None, name: str, default: int, complain: _Complain) -> int:
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        complain(name, f"{text!r} is not a number")
        return default
