"""`--force-check`, `--force-start` and so on, and `--validate`: an agent run here and now, past the cluster.

Theory of operation. The agent gets what the cluster would give it: the resource's parameters by the rules as they are now on this node, its meta-attributes, those of
the clone around it, the timeout of its operation; `NAME=VALUE` words change parameters for this run. What comes of it is told and is the exit code.
Nothing is recorded: a resource that is managed will be found changed by its next monitor.

A resource that the cluster knows to be active on another node (a clone: anywhere) is not started or promoted here, unless forced: that is how it comes to be active twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from agents.catalog import agents_of
from agents.runner import Runner
from agents.types import AgentId, ExecStatus, OcfCode, Operation, OperationResult, Standard
from crm.api.errors import ApiError
from crm.policy.model import Clone, ClusterState, Node, Primitive, Resource
from crm.tools import exits
from crm.tools.cluster import local_node, milliseconds
from crm.tools.command import Failure, usage
from crm.tools.resources.installed import node_paths
from crm.tools.resources.listing import find, places, state_of

if TYPE_CHECKING:
    from crm.tools.cluster import Cluster
    from crm.tools.command import Given

ACTIONS: Final = {
    "force-check": "monitor",
    "force-start": "start",
    "force-stop": "stop",
    "force-promote": "promote",
    "force-demote": "demote",
    "validate": "validate-all",
}
"""The agent's word for each command."""
BEGIN: Final = ("force-start", "force-promote", "force-demote")
"""What must not be done while a clone is active, as far as the cluster knows."""
VALIDATE_TIMEOUT_MS: Final = 20_000
_WORDS: Final = {
    exits.ERROR: "Error occurred",
    exits.INVALID_PARAM: "Invalid parameter",
    exits.UNIMPLEMENTED: "Unimplemented",
    exits.INSUFFICIENT_PRIV: "Insufficient privileges",
    int(OcfCode.NOT_INSTALLED): "Not installed",
    int(OcfCode.NOT_CONFIGURED): "Not configured",
    int(OcfCode.NOT_RUNNING): "Not running",
    int(OcfCode.RUNNING_PROMOTED): "Promoted",
    int(OcfCode.FAILED_PROMOTED): "Failed in promoted role",
    int(OcfCode.DEGRADED): "Degraded",
    int(OcfCode.DEGRADED_PROMOTED): "Degraded in promoted role",
}


def run(cluster: Cluster, given: Given) -> int:
    """One of `ACTIONS` for a resource of the configuration."""
    command = given.chosen(tuple(ACTIONS)) or ""
    if given.has("class", "agent", "provider"):
        usage("--resource cannot be used with --class, --agent, and --provider")
    state = state_of(cluster)
    identity = given.text("resource")
    wanted = find(state, identity)
    primitive = primitive_of(wanted, command)
    here = _here(cluster, state)
    _refuse_twice(wanted, command, here, given)
    operation = operation_for(state, primitive, ACTIONS[command], here)
    changed = {**operation.parameters, **overrides(given, identity)}
    timeout_ms = _timeout_ms(given, operation.timeout_ms)
    operation = replace(operation, parameters=changed, timeout_ms=timeout_ms, environment=_level(given, command))
    return _tell(operation, f"{command} for {identity}", given)


def operation_for(state: ClusterState, primitive: Primitive, action: str, here: Node | None) -> Operation:
    """The agent's run as the cluster would order it on this node."""
    meta = _meta(state, primitive, action)
    return Operation(
        agent=AgentId(primitive.standard, primitive.provider or "", primitive.type),
        action=action,
        resource=primitive.id if primitive.unique else primitive.config_id,
        parameters=state.operations.parameters(primitive, here),
        meta=meta,
        timeout_ms=int(meta["CRM_meta_timeout"]),
        node="" if here is None else here.name,
    )


def execute(operation: Operation) -> OperationResult:
    return asyncio.run(Runner(node_paths()).run(operation))


def validate_agent(cluster: Cluster, given: Given) -> int:
    """`--validate` of parameters for an agent, without a resource."""
    if given.has("resource"):
        usage("--resource cannot be used with --class, --agent, and --provider")
    agent = AgentId(given.text("class"), given.text("provider"), given.text("agent"))
    known = agents_of(node_paths(), agent.standard, agent.provider) if agent.standard in frozenset(Standard) else []
    if agent.type not in known or (agent.standard == Standard.OCF and not agent.provider):
        usage(f"{agent.standard}:{agent.provider}:{agent.type} is not a known resource")
    parameters = dict(_pair(text, "--option") for text in given.values.get("option", ()))
    operation = Operation(
        agent=agent,
        action=ACTIONS["validate"],
        resource="test",
        parameters={**parameters, **overrides(given, "")},
        timeout_ms=_timeout_ms(given, VALIDATE_TIMEOUT_MS),
        environment=_level(given, "validate"),
    )
    return _tell(operation, "validate", given)


def overrides(given: Given, identity: str) -> dict[str, str]:
    """The `NAME=VALUE` words, said aloud."""
    found = dict(_pair(word, "parameter") for word in given.rest)
    if identity and not given.has("quiet"):
        for name, value in found.items():
            print(f"Overriding the cluster configuration for '{identity}' with '{name}' = '{value}'")
    return found


def _pair(text: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        usage(f"{what}: {text!r} is not NAME=VALUE")
    return name, value


def primitive_of(wanted: Resource, command: str) -> Primitive:
    """What the agent is run for: a primitive, also of a clone (any instance will do: they have the same definition)."""
    found = wanted.leaves()[0] if isinstance(wanted, Clone) and len(wanted.leaves()) else wanted
    if isinstance(wanted, Clone) and any(not isinstance(child, Primitive) for child in wanted.children):
        found = wanted.children[0]
    if not isinstance(found, Primitive):
        problem = f"Sorry, the {command} option doesn't support {found.kind.name.lower()} resources"
        raise Failure(f"{problem}\nError performing operation: Unimplemented", exits.UNIMPLEMENTED)
    if found.standard == Standard.STONITH:
        raise Failure(
            f"Operation {command} for {wanted.id} ({found.agent}) could not be executed "
            "(Error: Manual execution of the stonith standard is unsupported)\nError performing operation: Unimplemented",
            exits.UNIMPLEMENTED,
        )
    return found


def _here(cluster: Cluster, state: ClusterState) -> Node | None:
    """This node; None where nobody knows which one that is."""
    try:
        name = local_node(cluster)
    except (ApiError, OSError):
        return None
    return next((node for node in state.nodes if node.name == name), None)


def _refuse_twice(wanted: Resource, command: str, here: Node | None, given: Given) -> None:
    if command not in BEGIN or given.has("force"):
        return
    active = [node for node, _ in places(wanted)]
    if not isinstance(wanted, Clone):
        active = [] if here is None or command == "force-demote" else [node for node in active if node != here.name]
    if active:
        where = "" if isinstance(wanted, Clone) else f" on {', '.join(active)}"
        raise Failure(
            f"It is not safe to {command} {wanted.id} here: the cluster claims it is already active{where}\n"
            "Try setting target-role=Stopped first or specifying the force option\n"
            "Error performing operation: Operation not safe",
            exits.UNSAFE,
        )


def _meta(state: ClusterState, rsc: Primitive, action: str) -> dict[str, str]:
    """Meta-attributes as the agent sees them: the operation's, the resource's, and those of the clone that it is in."""
    _, meta = state.operations.meta(rsc, action, 0)
    found = {**rsc.meta, **meta, "name": action}
    parent: Resource | None = rsc
    while parent is not None:
        if isinstance(parent, Clone):
            found.update(_of_clone(parent))
        parent = parent.parent
    if rsc.instance is not None:
        found["clone"] = str(rsc.instance)
    return {"CRM_meta_" + name.replace("-", "_"): value for name, value in found.items()}


def _of_clone(clone: Clone) -> dict[str, str]:
    found = {
        "globally-unique": "true" if clone.unique else "false",
        "notify": "true" if clone.notify else "false",
        "clone-max": str(clone.clone_max),
        "clone-node-max": str(clone.clone_node_max),
    }
    if clone.promotable:
        found |= {"promoted-max": str(clone.promoted_max), "master-max": str(clone.promoted_max)}
        found |= {"promoted-node-max": str(clone.promoted_node_max), "master-node-max": str(clone.promoted_node_max)}
    return found


def _timeout_ms(given: Given, default_ms: int) -> int:
    return milliseconds(given.text("timeout"), "--timeout") if given.has("timeout") else default_ms


def _level(given: Given, command: str) -> dict[str, str]:
    """How deep an agent is to look."""
    level = given.get(command) if command in ("force-check", "validate") else None
    if not level:
        return {}
    if not level.isdigit():
        usage(f"--{command}: {level!r} is no check level, a number was expected")
    return {"OCF_CHECK_LEVEL": level}


def _tell(operation: Operation, what: str, given: Given) -> int:
    result = execute(operation)
    if result.status is not ExecStatus.DONE:
        reason = f": {result.exit_reason}" if result.exit_reason else ""
        problem = f"Operation {what} ({operation.agent}) could not be executed ({result.status.text}{reason})"
        raise Failure(f"{problem}\n{_performing(result.rc)}", result.rc or exits.ERROR)
    reason = f": {result.exit_reason}" if result.exit_reason and result.rc else ""
    print(f"Operation {what} ({operation.agent}) returned {result.rc} ({OcfCode.text_of(result.rc)}{reason})")
    if result.rc or given.has("verbose"):
        _show_output(result)
    if result.rc:
        raise Failure(_performing(result.rc), result.rc)
    return exits.OK


def _show_output(result: OperationResult) -> None:
    for text in (result.stdout, result.stderr):
        if text.strip():
            print(text.rstrip("\n"))


def _performing(rc: int) -> str:
    return f"Error performing operation: {_WORDS.get(rc, f'the agent gave {rc}' if rc else 'Error occurred')}"
