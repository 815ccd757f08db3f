"""What can come next: completion for the interactive shell.

Theory of operation. `candidates` is a pure function of the words before the cursor and a `Known` (the ids, nodes and agents there are): commands and options
from the tree of commands, arguments by the name of the parameter (`resource`, `node`, ...), statements of the configure level by the grammar (`complete_statement`).
`ShellCompleter` gives it to prompt_toolkit and collects what is known, once a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from agents.metadata import AgentMetadata
from crm.api import shadows
from crm.api.errors import ApiError
from crm.cib import options as cib_options
from crm.cib.values import BOOLEAN, Type
from crm.shell.catalogue import Catalogue, Installed, UnknownAgentError, agent_of
from crm.shell.configuration import Configuration
from crm.shell.grammar.constraints import ACTIONS, KINDS, ROLES
from crm.shell.grammar.resources import RESOURCE_TAGS, STANDARDS
from crm.shell.grammar.rules import BINARY, UNARY
from crm.shell.grammar.statements import READERS
from crm.shell.session import ShellError
from crm.shell.walker import HELP, QUIT, UP, Walker, command_names, resolve

_SECTIONS: Final = {
    "primitive": ("params", "meta", "utilization", "op", "operations"),
    "rsc_template": ("params", "meta", "utilization", "op", "operations"),
    "group": ("meta", "params"),
    "clone": ("meta", "params"),
    "ms": ("meta", "params"),
    "bundle": ("docker", "podman", "network", "storage", "primitive", "meta"),
    "node": ("attributes", "utilization"),
}


@dataclass(slots=True)
class Known:
    """Names that exist. `kinds` maps each object's id to its keyword."""

    kinds: dict[str, str] = field(default_factory=dict)
    nodes: list[str] = field(default_factory=list)
    agents: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    catalogue: Catalogue | None = None

    def of(self, *keywords: str) -> list[str]:
        return [identity for identity, keyword in self.kinds.items() if keyword in keywords]

    @property
    def resources(self) -> list[str]:
        return self.of("primitive", "group", "clone", "ms", "bundle")


def known_of(configuration: Configuration | None, catalogue: Catalogue | None) -> Known:
    if configuration is None:
        return Known(catalogue=catalogue)
    kinds: dict[str, str] = {}
    agents: dict[str, tuple[str, str, str]] = {}
    nodes: list[str] = []
    for item in configuration.objects():
        if item.keyword == "node":
            nodes.append(item.element.get("uname", ""))
            continue
        kinds[item.identity] = item.keyword
        if item.element.tag in (*RESOURCE_TAGS, "template"):
            agents[item.identity] = tuple(item.element.get(key, "") for key in ("class", "provider", "type"))  # type: ignore[assignment]
    return Known(kinds, nodes, agents, catalogue)


def candidates(path: tuple[str, ...], words: list[str], known: Known) -> Iterable[str]:
    """Completions of the last of `words` (which may be empty), in the level `path`."""
    *before, current = words
    if not before:
        yield from command_names(path)
        yield from (name for name in command_names(()) if path)
        yield from (HELP[0], QUIT[0], *(UP[:1] if path else ()))
        return
    full = (*path, *before)
    if full[0] == "configure" and len(full) > 1 and full[1].lower() in READERS:
        yield from complete_statement([*full[1:], current], known)
        return
    for length in range(len(full), 0, -1):
        command = resolve(full[:length])
        if command is not None:
            yield from _arguments(command, list(full[length:]), current, full, known)
            return
    if path:
        yield from candidates((), words, known)


def _arguments(command: Any, given: list[str], current: str, full: tuple[str, ...], known: Known) -> Iterator[str]:
    if hasattr(command, "list_commands"):
        if not given:
            yield from command_names(full)
        return
    if current.startswith("-"):
        for parameter in command.params:
            yield from (option for option in parameter.opts if option.startswith("--"))
        return
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if not arguments:
        return
    place = len([word for word in given if not word.startswith("-")])
    parameter = arguments[min(place, len(arguments) - 1)]
    if place >= len(arguments) and parameter.nargs != -1:
        return
    if full[0] == "cib" and parameter.name in ("name", "names"):
        yield from (shadows.LIVE, *shadows.names())
        return
    yield from _named(str(parameter.name), known)


def _named(name: str, known: Known) -> Iterable[str]:
    match name:
        case "resource" | "resources":
            return known.resources
        case "node" | "nodes":
            return known.nodes
        case "objects" | "old":
            return ["changed", "xml", *known.kinds, *known.nodes]
        case "group":
            return known.of("group")
        case "what":
            return [*known.resources, *known.nodes]
        case "operation":
            return ["start", "stop", "monitor", "probe", "promote", "demote"]
        case "agent":
            return _agents(known, "")
        case "words":
            return ["update", "replace", "xml", "add", "remove"]
    return ()


# Statements


def complete_statement(words: list[str], known: Known) -> Iterable[str]:
    """Completions of the last word of a statement; the keyword comes first."""
    keyword, *rest = words
    *given, current = rest
    match keyword.lower():
        case "primitive" | "rsc_template":
            return _primitive(keyword.lower(), given, current, known)
        case "group":
            return [*_free(known, "primitive"), *_SECTIONS["group"]] if given else ()
        case "clone" | "ms":
            return _clone(given, current, known)
        case "location":
            return _location(given, known)
        case "colocation" | "order":
            return _pair(keyword.lower(), given, current, known)
        case "property" | "rsc_defaults" | "op_defaults":
            return _options(_table_of(keyword.lower()), current)
        case "tag" | "rsc_ticket":
            return known.resources if given else ()
        case "node":
            return known.nodes if not given else _SECTIONS["node"]
        case "fencing_topology":
            return [*(f"{node}:" for node in known.nodes), *_devices(known)]
        case "bundle":
            return _SECTIONS["bundle"] if given else ()
    return ()


def _table_of(keyword: str) -> dict[str, cib_options.Option]:
    if keyword == "property":
        return cib_options.CLUSTER_PROPERTIES
    return cib_options.RESOURCE_META if keyword == "rsc_defaults" else cib_options.OPERATION_META


def _options(table: dict[str, cib_options.Option], current: str) -> Iterator[str]:
    name, equals, _ = current.partition("=")
    if not equals:
        yield from (f"{option}=" for option in table)
        return
    option = cib_options.known(table, name)
    if option is not None:
        yield from (f"{name}={value}" for value in _values(option.type))


def _values(kind: Type) -> Iterable[str]:
    if kind.choices:
        return kind.choices
    return ("true", "false") if kind == BOOLEAN else ()


def _section_of(given: list[str], sections: Iterable[str]) -> str:
    """The keyword that the cursor is under, "" for none."""
    known = set(sections)
    return next((word for word in reversed(given) if word in known), "")


def _primitive(keyword: str, given: list[str], current: str, known: Known) -> Iterable[str]:
    if len(given) < 1:
        return ()
    if len(given) == 1:
        return [*_agents(known, current), *(f"@{name}" for name in known.of("rsc_template"))]
    found = _described(given[1], known)
    sections = _SECTIONS[keyword]
    section = _section_of(given[2:], sections)
    if section == "params" and found is not None:
        name, equals, _ = current.partition("=")
        if not equals:
            return [*(f"{parameter}=" for parameter in found.parameters), *sections]
        parameter = found.parameters.get(name)
        if parameter is None:
            return ()
        values = parameter.choices or (("true", "false") if parameter.type == "boolean" else ())
        return [f"{name}={value}" for value in values]
    if section == "meta":
        return [*_options(cib_options.RESOURCE_META, current), *sections]
    if section == "op":
        if given[-1] == "op":
            return sorted(found.action_names) if found is not None else ("monitor", "start", "stop")
        return [*_options(cib_options.OPERATION_META, current), *sections]
    return sections


def _described(text: str, known: Known) -> AgentMetadata | None:
    agent = agent_of(*_split_agent(text, known))
    if agent is None or known.catalogue is None:
        return None
    try:
        return known.catalogue.describe(agent)
    except UnknownAgentError:
        return None


def _split_agent(text: str, known: Known) -> tuple[str, str, str]:
    if text.startswith("@"):
        return known.agents.get(text[1:], ("", "", ""))
    parts = text.split(":")
    if len(parts) == 1:
        return "ocf", "heartbeat", parts[0]
    if len(parts) == 2:
        return parts[0], "", parts[1]
    return parts[0], parts[1], parts[2]


def _agents(known: Known, current: str) -> Iterator[str]:
    """One part at a time: the class, the provider, the type."""
    parts = current.split(":")
    catalogue = known.catalogue
    if catalogue is None or len(parts) == 1:
        yield from (f"{standard}:" for standard in (catalogue.standards() if catalogue is not None else STANDARDS))
    elif len(parts) == 2 and parts[0] == "ocf":
        yield from (f"ocf:{provider}:" for provider in catalogue.providers())
    elif len(parts) == 2:
        yield from (f"{parts[0]}:{kind}" for kind in catalogue.types(parts[0]))
    else:
        yield from (f"{parts[0]}:{parts[1]}:{kind}" for kind in catalogue.types(parts[0], parts[1]))


def _free(known: Known, *keywords: str) -> list[str]:
    return known.of(*keywords)


def _devices(known: Known) -> list[str]:
    return [identity for identity, agent in known.agents.items() if agent[0] == "stonith"]


def _clone(given: list[str], current: str, known: Known) -> Iterable[str]:
    if len(given) == 1:
        return known.of("primitive", "group")
    if "meta" in given:
        return [*_options(cib_options.CLONE_META, current), *_options(cib_options.RESOURCE_META, current)]
    return _SECTIONS["clone"] if len(given) > 1 else ()


def _location(given: list[str], known: Known) -> Iterable[str]:
    if len(given) == 1:
        return known.resources
    if "rule" in given:
        return ("#uname", "#kind", *BINARY, *UNARY, "and", "or", "date", *known.nodes)
    if given and given[-1].endswith(":"):
        return known.nodes
    return ("inf:", "-inf:", "100:", "rule", "role=Promoted", "resource-discovery=never") if given else ()


def _pair(keyword: str, given: list[str], current: str, known: Known) -> Iterable[str]:
    if not given:
        return ()
    if len(given) == 1 and keyword == "colocation":
        return ("inf:", "-inf:")
    resource, colon, _ = current.partition(":")
    suffixes = ROLES if keyword == "colocation" else ACTIONS
    if colon and resource in known.kinds:
        return [f"{resource}:{suffix}" for suffix in suffixes]
    kinds = [f"{kind}:" for kind in KINDS] if keyword == "order" and len(given) == 1 else []
    extra = ("symmetrical=", "require-all=") if keyword == "order" else ("node-attribute=", "influence=")
    return [*kinds, *known.resources, *(extra if len(given) > 3 else ())]


class ShellCompleter(Completer):
    """Completion for the prompt. What exists is asked for once, and again after something was run."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker
        self._catalogue = Installed()

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor.replace("\\\n", " ")
        words = text.split()
        if not text or text[-1].isspace():
            words.append("")
        current = words[-1]
        seen: set[str] = set()
        for candidate in candidates(self._walker.path, words, self._known()):
            if candidate.startswith(current) and candidate not in seen:
                seen.add(candidate)
                yield Completion(candidate, start_position=-len(current))

    def _known(self) -> Known:
        shell = self._walker.shell
        configuration = shell.pending
        if configuration is None:
            try:
                configuration = Configuration(shell.session.query_cib())
            except (ApiError, ShellError):
                # Completion must never be what fails.
                configuration = None
        return known_of(configuration, self._catalogue)
