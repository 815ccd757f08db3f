"""The transition graph, as the policy engine writes it and the transition engine walks it.

Theory of operation. The policy engine's answer is a `<transition_graph>`: synapses, each with one action and the
actions that must be confirmed before it may run (its inputs). This module turns the XML into frozen values once;
nothing else in the controller reads graph XML. Numbers that the engine needs at every step (timeout, interval,
expected result) are parsed here. Times are milliseconds.

An input that names an action outside the graph is kept: such a synapse never becomes ready, and the engine says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from lxml import etree

from crm.controller.durations import duration_ms

INFINITY: Final = 1_000_000
DEFAULT_TIMEOUT_MS: Final = 20_000
DEFAULT_CLUSTER_DELAY_MS: Final = 60_000
_META: Final = "CRM_meta_"


class ActionKind(StrEnum):
    """Who carries an action out: the executor of a node, nobody, or the cluster itself (fencer, controller)."""

    RESOURCE = "rsc_op"
    PSEUDO = "pseudo_event"
    CLUSTER = "crm_event"


class GraphError(ValueError):
    """The text is not a transition graph; a fault of the policy engine, never of the administrator."""


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """The agent that an action runs, and the name under which its history is kept."""

    id: str
    long_id: str | None
    standard: str
    provider: str | None
    type: str


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do. `parameters` are all attributes of the action, meta-attributes with their `CRM_meta_` prefix.

    `reason`: why, for people; known of fencing.
    """

    id: int
    kind: ActionKind
    task: str
    key: str
    node: str | None
    node_id: str | None
    router: str | None
    parameters: Mapping[str, str]
    resource: ResourceDefinition | None
    timeout_ms: int
    interval_ms: int
    target_rc: int
    downed: tuple[str, ...] = ()
    maintenance: tuple[tuple[str, str], ...] = ()
    shutdown_lock: str | None = None
    cib_only: bool = False
    reason: str = ""

    def meta(self, name: str) -> str | None:
        return self.parameters.get(_META + name)

    @property
    def history_key(self) -> str:
        """The key under which the operation is recorded: instances of anonymous clones share the name of what is cloned."""
        if self.resource is None:
            return self.key
        return f"{self.resource.id}_{self.task}_{self.interval_ms}"

    @property
    def no_wait(self) -> bool:
        return self.meta("op_no_wait") == "true"

    @property
    def executed_on(self) -> str | None:
        """The node whose controller must act: the router of a remote node, or the node itself."""
        return self.router or self.node


@dataclass(frozen=True, slots=True)
class Synapse:
    id: int
    priority: int
    action: Action
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A transition to be carried out. `batch_limit` 0 means none configured; `recheck_by` is epoch seconds."""

    synapses: tuple[Synapse, ...]
    cluster_delay_ms: int = DEFAULT_CLUSTER_DELAY_MS
    fencing_timeout_ms: int = DEFAULT_CLUSTER_DELAY_MS
    failed_stop_offset: str = "INFINITY"
    failed_start_offset: str = "INFINITY"
    batch_limit: int = 0
    migration_limit: int = -1
    recheck_by: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


def parse(data: bytes | str | etree._Element) -> Graph:
    """A graph from its XML. GraphError when it is none."""
    if isinstance(data, etree._Element):
        root = data
    else:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True)
        try:
            root = etree.fromstring(data.encode() if isinstance(data, str) else data, parser)
        except etree.XMLSyntaxError as error:
            raise GraphError(f"the transition graph is not well-formed: {error.msg}") from None
    if root.tag != "transition_graph":
        raise GraphError(f"the root element is <{root.tag}>, expected <transition_graph>")
    recheck = _integer(root.get("recheck-by"), 0)
    reasons = _reasons(root.get("reasons", "{}"))
    return Graph(
        synapses=_shutdown_after_probes([_synapse(element, reasons) for element in root.iterchildren("synapse")]),
        cluster_delay_ms=duration_ms(root.get("cluster-delay"), DEFAULT_CLUSTER_DELAY_MS),
        fencing_timeout_ms=duration_ms(
            root.get("fencing-timeout", root.get("stonith-timeout")), DEFAULT_CLUSTER_DELAY_MS
        ),
        failed_stop_offset=root.get("failed-stop-offset", "INFINITY"),
        failed_start_offset=root.get("failed-start-offset", "INFINITY"),
        batch_limit=max(0, _integer(root.get("batch-limit"), 0)),
        migration_limit=_integer(root.get("migration-limit"), -1),
        recheck_by=recheck if recheck > 0 else None,
        attributes={str(name): str(value) for name, value in root.attrib.items()},
    )


def _shutdown_after_probes(synapses: list[Synapse]) -> tuple[Synapse, ...]:
    """A node is let go only when its probes have told: what they find running has to be stopped first.

    The policy engine, deciding as Pacemaker does, orders a shutdown after the stops that it knows of. After a restart of the node's crm there may
    be some that nobody knows of yet.
    """
    probes: dict[str | None, list[int]] = {}
    for synapse in synapses:
        action = synapse.action
        if action.kind is ActionKind.RESOURCE and action.task == "monitor" and not action.interval_ms:
            probes.setdefault(action.node, []).append(action.id)
    return tuple(
        replace(synapse, inputs=tuple(dict.fromkeys((*synapse.inputs, *probes.get(synapse.action.node, ())))))
        if synapse.action.task == "do_shutdown"
        else synapse
        for synapse in synapses
    )


def _reasons(text: str) -> dict[str, str]:
    """Of the policy worker, by the number of the action."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise GraphError(f"the reasons of the graph are {text!r}, expected a JSON object")
    return {str(number): str(reason) for number, reason in found.items()}


def _synapse(element: etree._Element, reasons: Mapping[str, str]) -> Synapse:
    identity = _integer(element.get("id"), -1)
    action_set = element.find("action_set")
    actions = [] if action_set is None else list(action_set.iterchildren("*"))
    if identity < 0 or len(actions) != 1:
        raise GraphError(f"synapse {element.get('id')!r} has {len(actions)} actions, expected an id and one action")
    inputs = element.find("inputs")
    triggers: list[int] = []
    if inputs is not None:
        for trigger in inputs.iterchildren("trigger"):
            triggers.extend(_integer(child.get("id"), -1) for child in trigger.iterchildren("*"))
    # The same action may be named twice (several relations); it is confirmed once.
    return Synapse(
        identity, _integer(element.get("priority"), 0), _action(actions[0], reasons), tuple(dict.fromkeys(triggers))
    )


def _action(element: etree._Element, reasons: Mapping[str, str]) -> Action:
    try:
        kind = ActionKind(str(element.tag))
    except ValueError:
        raise GraphError(f"<{element.tag}> is not an action, expected rsc_op, pseudo_event or crm_event") from None
    attributes = element.find("attributes")
    parameters: dict[str, str] = {}
    if attributes is not None:
        parameters.update((str(name), str(value)) for name, value in attributes.attrib.items())
        for param in attributes.iterchildren("param"):  # parameters whose name begins with a digit
            parameters[param.get("name", "")] = param.get("value", "")
    downed = element.find("downed")
    maintenance = element.find("maintenance")
    return Action(
        id=_integer(element.get("id"), -1),
        kind=kind,
        task=element.get("operation", ""),
        key=element.get("operation_key", ""),
        node=element.get("on_node"),
        node_id=element.get("on_node_uuid"),
        router=element.get("router_node"),
        parameters=parameters,
        resource=_resource(element),
        timeout_ms=_integer(parameters.get(_META + "timeout"), DEFAULT_TIMEOUT_MS)
        + _integer(parameters.get(_META + "start_delay"), 0),
        interval_ms=_integer(parameters.get(_META + "interval"), 0),
        target_rc=_integer(parameters.get(_META + "op_target_rc"), 0),
        downed=() if downed is None else tuple(child.get("id", "") for child in downed.iterchildren("node")),
        maintenance=()
        if maintenance is None
        else tuple((child.get("id", ""), child.get("node_in_maintenance", "0")) for child in maintenance.iter("node")),
        shutdown_lock=element.get("shutdown-lock"),
        cib_only=element.get("mode") == "cib",
        reason=reasons.get(element.get("id", ""), ""),
    )


def _resource(element: etree._Element) -> ResourceDefinition | None:
    for child in element.iterchildren("*"):
        if child.tag not in ("attributes", "downed", "maintenance"):
            return ResourceDefinition(
                id=child.get("id", ""),
                long_id=child.get("long-id"),
                standard=child.get("class", ""),
                provider=child.get("provider"),
                type=child.get("type", ""),
            )
    return None


def _integer(text: str | None, default: int) -> int:
    if text is None:
        return default
    if text.strip() in ("INFINITY", "+INFINITY"):
        return INFINITY
    try:
        return int(text)
    except ValueError:
        return default
