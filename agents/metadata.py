"""What agents say about themselves: parameters, actions and their advised times.

Theory of operation. An agent's `meta-data` action prints an XML description; it is run like any other operation (with its time
limit, and with an environment in which no resource exists) and read by a parser that fetches nothing and expands nothing. Descriptions in the
field are sloppy, so reading is lenient: what is missing gets the standard's default; only text that is no XML, or describes nothing, is an
error. `Descriptions` keeps them, as long as the agent's file is unchanged.

Classes without meta-data (`lsb`, `systemd`) have a description of their own making: no parameters, the usual actions.

`check_parameters` compares what somebody configured with the description and tells everything at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from agents.paths import AgentPaths, first_existing
from agents.runner import Runner
from agents.types import AgentId, Operation, Standard

METADATA_TIMEOUT_MS: Final = 30_000
PRIVATE_NAMES: Final = frozenset(("password", "passwd", "user"))
"""Parameters that are private even where an agent does not say so."""
ALWAYS_ALLOWED: Final = frozenset(("trace_ra", "trace_file", "trace_dir", "OCF_CHECK_LEVEL"))
SUPPLIED: Final = frozenset(("action", "port", "plug", "nodename"))
"""Parameters of fence agents that the fencer gives; nobody has to configure them."""
_DURATION = re.compile(r"\s*(\d+)(?:\.\d+)?\s*(ms|s|sec|m|min|h|)\s*\Z", re.IGNORECASE)
_UNIT_MS: Final = {"ms": 1, "": 1000, "s": 1000, "sec": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000}
_TRUE: Final = frozenset(("1", "true", "yes", "on", "y"))
_BOOLEANS: Final = _TRUE | frozenset(("0", "false", "no", "off", "n"))


class MetadataError(Exception):
    """An agent's description cannot be had or read. The message says of which agent, and why."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` as the agent says (string, integer, boolean, second, select, ...). `choices` are those of a `select`."""

    name: str
    type: str = "string"
    default: str | None = None
    required: bool = False
    unique_group: str = ""
    reloadable: bool = False
    private: bool = False
    deprecated: bool = False
    choices: tuple[str, ...] = ()
    shortdesc: str = ""
    longdesc: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """An action with the times that the agent's author advises; None where there is no advice."""

    name: str
    timeout_ms: int | None = None
    interval_ms: int | None = None
    depth: str = ""
    role: str = ""
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class AgentMetadata:
    agent: AgentId
    version: str = ""
    ocf_version: str = "1.0"
    shortdesc: str = ""
    longdesc: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()

    @property
    def action_names(self) -> frozenset[str]:
        return frozenset(action.name for action in self.actions)

    @property
    def promotable(self) -> bool:
        return {"promote", "demote"} <= self.action_names

    def restart_parameters(self) -> tuple[str, ...] | None:
        """Parameters whose change needs a restart; None when any change does, because the agent cannot reload.

        OCF 1.1 agents reload by `reload-agent` and mark what is reloadable; for older ones, with `reload`, a unique parameter is what is not.
        """
        if "reload-agent" in self.action_names:
            return tuple(name for name, parameter in self.parameters.items() if not parameter.reloadable)
        if "reload" in self.action_names:
            return tuple(name for name, parameter in self.parameters.items() if parameter.unique_group)
        return None

    def private_parameters(self) -> tuple[str, ...]:
        return tuple(name for name, parameter in self.parameters.items() if parameter.private)


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """Something wrong with configured parameters or operations. `severity`: "error" or "warning"."""

    severity: str
    code: str
    name: str
    message: str


# --- reading --------------------------------------------------------------------------------------------------------------


def parse(text: str | bytes, agent: AgentId) -> AgentMetadata:
    """The description in an agent's output. MetadataError when there is none."""
    data = text.encode() if isinstance(text, str) else text
    # Some agents let other programs talk before the document begins.
    start = min((at for at in (data.find(b"<?xml"), data.find(b"<resource-agent")) if at >= 0), default=-1)
    if start < 0:
        raise MetadataError(f"the meta-data of {agent} are not XML")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, recover=False
    )
    try:
        root = etree.fromstring(data[start:].strip(), parser)
    except etree.XMLSyntaxError as error:
        raise MetadataError(f"the meta-data of {agent} are not well-formed: {error.msg}") from None
    if root.tag != "resource-agent":
        raise MetadataError(f"the meta-data of {agent} begin with <{root.tag}>, expected <resource-agent>")
    parameters = [_parameter(element) for element in root.iterfind("parameters/parameter")]
    return AgentMetadata(
        agent=agent,
        version=root.get("version", ""),
        ocf_version=_text(root, "version") or "1.0",
        shortdesc=_text(root, "shortdesc") or root.get("shortdesc", ""),
        longdesc=_text(root, "longdesc"),
        parameters={parameter.name: parameter for parameter in parameters if parameter.name},
        actions=tuple(_action(element) for element in root.iterfind("actions/action")),
    )


def _parameter(element: etree._Element) -> Parameter:
    content = element.find("content")
    name = element.get("name", "")
    unique = element.get("unique-group") or (name if _true(element.get("unique")) else "")
    options = [] if content is None else [option.get("value", "") for option in content.iterfind("option")]
    return Parameter(
        name=name,
        type="string" if content is None else content.get("type", "string"),
        default=None if content is None else content.get("default"),
        required=_true(element.get("required")),
        unique_group=unique,
        reloadable=_true(element.get("reloadable")),
        private=_true(element.get("private")) or name in PRIVATE_NAMES,
        deprecated=_true(element.get("deprecated")) or element.find("deprecated") is not None,
        choices=tuple(options),
        shortdesc=_text(element, "shortdesc"),
        longdesc=_text(element, "longdesc"),
    )


def _action(element: etree._Element) -> Action:
    return Action(
        name=element.get("name", ""),
        timeout_ms=duration_ms(element.get("timeout")),
        interval_ms=duration_ms(element.get("interval")),
        depth=element.get("depth", ""),
        role=element.get("role", ""),
        automatic=_true(element.get("automatic")),
    )


def duration_ms(text: str | None) -> int | None:
    """Milliseconds of "20s", "20", "500ms", "2min"; None when it is none of these."""
    match = _DURATION.match(text or "")
    return None if match is None else int(match.group(1)) * _UNIT_MS[match.group(2).lower()]


def _true(text: str | None) -> bool:
    return (text or "").lower() in _TRUE


def _text(element: etree._Element, name: str) -> str:
    """The English text of a description, else the first."""
    found = element.findall(name)
    chosen = next((item for item in found if (item.get("lang") or "en").startswith("en")), found[0] if found else None)
    return "" if chosen is None else "".join(str(part) for part in chosen.itertext()).strip()


# --- having ---------------------------------------------------------------------------------------------------------------


def built_in(agent: AgentId) -> AgentMetadata | None:
    """The description of a class whose agents have none."""
    if agent.standard not in (Standard.LSB, Standard.SYSTEMD, Standard.SERVICE):
        return None
    what = "init script" if agent.standard == Standard.LSB else "service"
    times = {"start": 100_000, "stop": 100_000, "monitor": 100_000}
    actions = tuple(Action(name, timeout, 60_000 if name == "monitor" else None) for name, timeout in times.items())
    return AgentMetadata(agent, shortdesc=f"The {what} {agent.type}", actions=actions)


class Descriptions:
    """Descriptions of agents, had by running them once. Safe to ask for the same agent at the same time."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._known: dict[AgentId, tuple[tuple[int, int], AgentMetadata]] = {}
        self._locks: dict[AgentId, asyncio.Lock] = {}

    def known(self, agent: AgentId) -> AgentMetadata | None:
        """What is known without asking, perhaps outdated."""
        found = self._known.get(agent)
        return found[1] if found is not None else built_in(agent)

    async def get(self, agent: AgentId) -> AgentMetadata:
        """The agent's description. MetadataError when the agent is missing, fails, or prints no description."""
        made = built_in(agent)
        if made is not None:
            return made
        async with self._locks.setdefault(agent, asyncio.Lock()):
            stamp = self._stamp(agent)
            found = self._known.get(agent)
            if found is not None and found[0] == stamp:
                return found[1]
            metadata = await self._fetch(agent)
            self._known[agent] = (stamp, metadata)
            return metadata

    async def _fetch(self, agent: AgentId) -> AgentMetadata:
        operation = Operation(agent, "meta-data", agent.type, timeout_ms=METADATA_TIMEOUT_MS)
        result = await self._runner.run(operation)
        if not result.ok:
            reason = result.exit_reason or f"meta-data ended with {result.rc}"
            raise MetadataError(f"no meta-data of {agent}: {reason}")
        return parse(result.stdout, agent)

    def _stamp(self, agent: AgentId) -> tuple[int, int]:
        paths = self._runner.paths
        fence = agent.standard == Standard.STONITH
        candidates = paths.fence_candidates(agent.type) if fence else paths.ocf_candidates(agent.provider, agent.type)
        path = first_existing(candidates)
        if path is None:
            return (0, 0)
        status = path.stat()
        return (status.st_mtime_ns, status.st_size)


def load(agent: AgentId, paths: AgentPaths | None = None) -> AgentMetadata:
    """An agent's description, for programs without an event loop. MetadataError as in `Descriptions.get`."""

    async def fetch() -> AgentMetadata:
        return await Descriptions(Runner(paths)).get(agent)

    return asyncio.run(fetch())


# --- checking -------------------------------------------------------------------------------------------------------------


def check_parameters(metadata: AgentMetadata, params: Mapping[str, str]) -> list[ParameterProblem]:
    """Everything that is wrong with these parameters, by the agent's own description."""
    problems: list[ParameterProblem] = []
    agent, known = metadata.agent, metadata.parameters
    fence = agent.standard == Standard.STONITH
    for name, value in params.items():
        if name in ALWAYS_ALLOWED or (fence and (name.startswith("pcmk_") or name in SUPPLIED)):
            continue
        parameter = known.get(name)
        if parameter is None:
            near = _nearest(name, known)
            hint = f"; did you mean {near}?" if near else ""
            text = f"{agent} has no parameter {name!r}{hint}"
            problems.append(ParameterProblem("error", "unknown-parameter", name, text))
            continue
        expected = _wrong_type(parameter, value)
        if expected:
            text = f"parameter {name!r} of {agent} is {value!r}, expected {expected}"
            problems.append(ParameterProblem("warning", "wrong-type", name, text))
        if parameter.deprecated:
            text = f"parameter {name!r} of {agent} is deprecated"
            problems.append(ParameterProblem("warning", "deprecated-parameter", name, text))
    for parameter in known.values():
        given = params.get(parameter.name)
        if parameter.required and not given and not parameter.deprecated:
            if fence and (parameter.name in SUPPLIED or parameter.default is not None):
                continue
            text = f"parameter {parameter.name!r} of {agent} is required"
            problems.append(ParameterProblem("error", "missing-parameter", parameter.name, text))
    return problems


def check_operation(
    metadata: AgentMetadata, name: str, timeout_ms: int | None, role: str = ""
) -> list[ParameterProblem]:
    """What is wrong with a configured operation: an action the agent lacks, a time limit shorter than advised."""
    agent = metadata.agent
    if agent.standard == Standard.STONITH and name in ("start", "stop"):
        return []
    advised = [action for action in metadata.actions if action.name == name]
    if not advised:
        text = f"{agent} has no action {name!r}"
        return [ParameterProblem("error", "unknown-action", name, text)]
    fitting = [action for action in advised if not role or not action.role or action.role == role] or advised
    shortest = min((action.timeout_ms for action in fitting if action.timeout_ms), default=None)
    if timeout_ms is not None and shortest is not None and timeout_ms < shortest:
        text = f"timeout {timeout_ms} ms of {name} is shorter than the {shortest} ms that {agent} advises"
        return [ParameterProblem("warning", "short-timeout", name, text)]
    return []


def _wrong_type(parameter: Parameter, value: str) -> str:
    """What was expected, when the value is not of the parameter's type; numbers may be durations: agents are lenient."""
    if parameter.type == "boolean" and value.lower() not in _BOOLEANS:
        return "true or false"
    if parameter.type in ("integer", "second") and not re.match(r"[+-]?\d", value.strip()):
        return "a number"
    if parameter.type == "select" and parameter.choices and value not in parameter.choices:
        return f"one of {', '.join(parameter.choices)}"
    return ""


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """A parameter that was probably meant."""
    plain = name.lower().replace("-", "_")
    for candidate in known:
        if candidate.lower().replace("-", "_") == plain:
            return candidate
    close = [candidate for candidate in known if _distance(plain, candidate.lower()) <= max(1, len(name) // 4)]
    return min(close, key=lambda candidate: _distance(plain, candidate.lower()), default=None)


def _distance(left: str, right: str) -> int:
    """Edits from one word to the other."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
