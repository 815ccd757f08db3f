"""Bundles: containers, each with an address, a connection into it, and an instance of a primitive inside.

Theory of operation. A bundle is described in few attributes and stands for many resources. `build` reads the description, makes the elements of
the implicit resources (container, address, connection for every replica; a clone around the primitive) and has them built like
any others. Each connection provides a bundle node, on which nothing may run but the replica's own instance.

Sources: scheduler specification, part 1, section 7.10; part 2, section 14.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lxml import etree

from crm.policy.model import INFINITY, Bundle, Clone, Discovery, Node, NodeKind, Primitive, Replica, Resource
from crm.policy.nodes import add_node
from crm.policy.resources import clone as clones
from crm.policy.resources.meta import check_target_role, interpret
from crm.policy.resources.remote import add_set, connection_element
from crm.policy.values import parse_boolean, parse_count

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.resources.unpack import Builder

DEFAULT_PORT: Final = "3121"
REMOTE_COMMAND: Final = "/usr/sbin/pacemaker-remoted"
AUTHKEY: Final = "/etc/pacemaker/authkey"
LOG_ROOT: Final = "/var/log/pacemaker/bundles"
OWN_NODE_SCORE: Final = 500


MAX_REPLICAS: Final = 256
MAX_SPARE_REPLICAS: Final = 64
"""As for instances of clones; a replica costs more: it is a container, an address, a connection, and a node that everything else may be placed on."""


@dataclass(slots=True, frozen=True)
class _Mount:
    source: str
    target: str
    options: str | None = None
    below_root: bool = False  # the source has a directory for each replica


@dataclass(slots=True)
class _Description:
    """What the element says."""

    engine: _Element  # docker or podman
    name: str
    first_ip: str | None = None
    netmask: str | None = None
    interface: str | None = None
    control_port: str | None = None
    add_host: bool = True
    ports: list[tuple[str, str]] = field(default_factory=list)
    mounts: list[_Mount] = field(default_factory=list)

    @property
    def port(self) -> str:
        return self.control_port or DEFAULT_PORT


def build(builder: Builder, element: _Element, parent: Resource | None) -> Bundle | None:
    report = builder.state.config.report
    name = element.get("id", "")
    engine = next((found for tag in ("docker", "podman") if (found := element.find(tag)) is not None), None)
    if engine is None:
        report("error", "bundle-container", element, f"bundle {name} has no docker or podman; it is ignored")
        return None
    child = element.find("primitive")
    description = _describe(element, engine, child is not None)
    if child is not None and description.first_ip is None and description.control_port is None:
        message = f"bundle {name} needs ip-range-start or control-port to reach its primitive; it is ignored"
        report("error", "bundle-network", element, message)
        return None
    bundle = _make_bundle(builder, element, description, parent)
    inner: Clone | None = None
    if child is not None:
        inner = clones.build(builder, _clone_element(bundle), bundle, child)
        if inner is None:
            return None
        bundle.inner_clone = inner
    for number in range(bundle.replicas_configured):
        replica = _replica(builder, bundle, description, number, inner)
        if replica is None:
            return None
        bundle.replicas.append(replica)
    if inner is not None:
        _join_inner(bundle, inner)
        bundle.children.append(inner)
    builder.register(bundle)
    return bundle


# --- the description --------------------------------------------------------------------------------------------------


def _describe(element: _Element, engine: _Element, has_primitive: bool) -> _Description:
    result = _Description(engine, element.get("id", ""))
    network = element.find("network")
    if network is not None:
        result.first_ip = network.get("ip-range-start")
        result.netmask = network.get("host-netmask")
        result.interface = network.get("host-interface")
        result.control_port = network.get("control-port")
        result.add_host = parse_boolean(network.get("add-host")) is not False
        for mapping in network.iterchildren("port-mapping"):
            source = mapping.get("port")
            if source is not None:
                result.ports.append((source, mapping.get("internal-port", source)))
            elif mapping.get("range") is not None:
                result.ports.append((mapping.get("range", ""), mapping.get("range", "")))
    for mapping in element.iterfind("storage/storage-mapping"):
        plain, root = mapping.get("source-dir"), mapping.get("source-dir-root")
        source, target = plain or root, mapping.get("target-dir")
        if source and target:
            result.mounts.append(_Mount(source, target, mapping.get("options"), below_root=plain is None))
    if has_primitive:
        result.mounts.append(_Mount(AUTHKEY, AUTHKEY))
        if not any(mount.target == "/var/log" for mount in result.mounts):
            result.mounts.append(_Mount(LOG_ROOT, "/var/log", below_root=True))
        result.ports.append((result.port, result.port))
    return result


def _make_bundle(builder: Builder, element: _Element, description: _Description, parent: Resource | None) -> Bundle:
    engine = description.engine
    promoted_max = parse_count(engine.get("promoted-max", engine.get("masters")), 0)
    per_host = max(1, parse_count(engine.get("replicas-per-host"), 1))
    bundle = Bundle(
        id=description.name,
        xml=element,
        parent=parent,
        container_type=str(engine.tag),
        image=engine.get("image", ""),
        promoted_max=promoted_max,
        replicas_configured=max(1, parse_count(engine.get("replicas"), promoted_max if promoted_max > 0 else 1)),
        replicas_per_host=per_host,
        unique=per_host != 1,
    )
    most = min(MAX_REPLICAS, max(MAX_SPARE_REPLICAS, len(builder.state.nodes) * per_host))
    if bundle.replicas_configured > most:
        message = f"bundle {bundle.id}: replicas {bundle.replicas_configured} is reduced to {most}"
        builder.state.config.report("warning", "bundle-replicas", element, message, attribute="replicas")
        bundle.replicas_configured = most
    if bundle.replicas_configured > 1 and description.first_ip and _address(description.first_ip, 1) is None:
        message = f"bundle {bundle.id}: '{description.first_ip}' is not an IPv4 address to count up from: replicas after the first have none"
        network = element.find("network")
        builder.state.config.report(
            "error", "bundle-network", network, message, attribute="ip-range-start", id=bundle.id
        )
    if per_host > 1 and description.control_port is not None and description.first_ip is None:
        message = f"bundle {bundle.id}: replicas-per-host needs ip-range-start when control-port is set; 1 is used"
        builder.state.config.report("warning", "bundle-per-host", element, message, attribute="replicas-per-host")
        bundle.replicas_per_host = 1
    bundle.meta = builder.metas.effective(bundle)
    interpret(builder.state, bundle)
    check_target_role(builder.state, bundle)
    bundle.interleave = parse_boolean(bundle.meta.get("interleave")) is True
    return bundle


def _clone_element(bundle: Bundle) -> _Element:
    """The clone around the primitive, without the primitive."""
    promotable = bundle.promoted_max > 0
    element = etree.Element("clone", {"id": f"{bundle.id}-{'master' if promotable else 'clone'}"})
    meta: dict[str, str | None] = {
        "ordered": "true",
        "clone-max": str(bundle.replicas_configured),
        "clone-node-max": str(bundle.replicas_per_host),
        "globally-unique": "true" if bundle.replicas_per_host > 1 else "false",
    }
    if promotable:
        meta["promotable"] = "true"
        meta["promoted-max"] = str(bundle.promoted_max)
    add_set(element, "meta_attributes", meta)
    return element


# --- replicas ---------------------------------------------------------------------------------------------------------


def _replica(
    builder: Builder, bundle: Bundle, description: _Description, number: int, inner: Clone | None
) -> Replica | None:
    address = _address(description.first_ip, number)
    container = _add(builder, bundle, _container_element(bundle, description, number))
    if container is None:
        return None
    replica = Replica(number, container, ip_address=address)
    if address is not None:
        replica.ip = _add(builder, bundle, _address_element(bundle, description, address))
    if inner is not None:
        name = f"{bundle.id}-{number}"
        if name in builder.state.by_id or builder.is_configured(name):
            name = f"pcmk-internal-{inner.child_name}-remote-{number}"
        connection = connection_element(
            name, container=container.id, address=address or "#uname", port=description.port
        )
        replica.node = _bundle_node(builder, bundle, name)
        replica.connection = _add(builder, bundle, connection)
        if replica.connection is not None:
            table = replica.connection.table
            table.update((node, -INFINITY) for node in table if node.is_remote)
    return replica


def _add(builder: Builder, bundle: Bundle, element: _Element) -> Primitive | None:
    rsc = builder.build(element, bundle, None)
    if not isinstance(rsc, Primitive):
        return None
    rsc.is_internal = True
    bundle.children.append(rsc)
    return rsc


def _bundle_node(builder: Builder, bundle: Bundle, name: str) -> Node:
    """The node inside a container. Where a node of that name was known before, resources before this bundle learn to avoid it."""
    state = builder.state
    node = state.nodes_by_id.get(name.lower())
    if node is None:
        node = add_node(state, name, name, NodeKind.REMOTE, -INFINITY)
    else:
        node.base_score = -INFINITY
        for rsc in state.by_id.values():
            if node in rsc.table and rsc.outermost is not bundle:
                rsc.table[node] = -INFINITY
                rsc.discovery[node] = Discovery.NEVER
    node.base_discovery = Discovery.NEVER
    builder.forget_default_table()
    return node


def _join_inner(bundle: Bundle, inner: Clone) -> None:
    """Tie each replica to its instance, which may run on the replica's node only."""
    for replica, instance in zip(bundle.replicas, inner.children, strict=False):
        node = replica.node
        if node is None or not isinstance(instance, Primitive):
            continue
        replica.inner = instance
        instance.table = {node: OWN_NODE_SCORE}
        instance.discovery = {node: Discovery.EXCLUSIVE}
        instance.exclusive_discovery = True
        inner.table[node] = -INFINITY
        replica.container.utilization = {**replica.container.utilization, **instance.utilization}
        instance.utilization = {}
        if replica.ip_address is not None:
            instance.meta["external-ip"] = replica.ip_address
        if instance.notify:
            inner.notify = True
            inner.meta["notify"] = "true"
        target = instance.meta.get("container-attribute-target")
        if target is not None:
            inner.meta["container-attribute-target"] = target
            bundle.meta["container-attribute-target"] = target


def _address(first: str | None, number: int) -> str | None:
    """The address of a replica: counting up from the first, past 253 in the next net (7.10)."""
    if first is None:
        return None
    octets = first.split(".")
    if len(octets) != 4 or not all(octet.isascii() and octet.isdigit() and len(octet) < 4 for octet in octets):
        return first if number == 0 else None
    last = int(octets[3])
    left = max(0, 254 - last)
    if number > left:
        nets, last = divmod(number - left - 1, 254)
        octets[2], octets[3] = str(int(octets[2]) + 1 + nets), str(1 + last)
    elif number:
        octets[3] = str(last + number)
    return ".".join(octets)


# --- elements of implicit resources -----------------------------------------------------------------------------------


def _agent(name: str, type_: str, parameters: dict[str, str | None]) -> _Element:
    element = etree.Element("primitive", {"id": name, "class": "ocf", "provider": "heartbeat", "type": type_})
    add_set(element, "instance_attributes", parameters)
    operations = etree.SubElement(element, "operations")
    etree.SubElement(operations, "op", {"id": f"{name}-monitor-60s", "name": "monitor", "interval": "60s"})
    return element


def _address_element(bundle: Bundle, description: _Description, address: str) -> _Element:
    parameters = {
        "ip": address,
        "nic": description.interface,
        "cidr_netmask": description.netmask or "32",
    }
    return _agent(f"{bundle.id}-ip-{address}", "IPaddr2", parameters)


def _container_element(bundle: Bundle, description: _Description, number: int) -> _Element:
    mounts = [f"{mount.source}/{bundle.id}-{number}" for mount in description.mounts if mount.below_root]
    command = description.engine.get("run-command")
    if command is None and bundle.inner_clone is not None:
        command = REMOTE_COMMAND
    parameters = {
        "image": bundle.image,
        "allow_pull": "true",
        "force_kill": "false",
        "reuse": "false",
        "run_opts": _run_options(bundle, description, number),
        "mount_points": ",".join(mounts),
        "run_cmd": command,
        "monitor_cmd": "/bin/true",
    }
    kind = bundle.container_type
    return _agent(f"{bundle.id}-{kind}-{number}", kind, parameters)


def _run_options(bundle: Bundle, description: _Description, number: int) -> str:
    """The exact text matters: it goes into digests, and a difference restarts containers."""
    text = " --restart=no" if bundle.container_type == "docker" else ""
    if description.first_ip is not None:
        text += f" -h {bundle.id}-{number}"
    text += " -e PCMK_stderr=1"
    network = description.engine.get("network")
    if network is not None:
        text += f" --net={network}"
    text += f" -e PCMK_remote_port={description.port}"
    for mount in description.mounts:
        source = f"{mount.source}/{bundle.id}-{number}" if mount.below_root else mount.source
        text += f" -v {source}:{mount.target}"
        if mount.options is not None:
            text += f":{mount.options}"
    address = _address(description.first_ip, number)
    for outside, inside in description.ports:
        if address is not None:
            text += f" -p {address}:{outside}:{inside}"
        elif network != "host":
            text += f" -p {outside}:{inside}"
    options = description.engine.get("options")
    if options is not None:
        text += f" {options}"
    return f"{text} {_host_entries(bundle, description)}"


def _host_entries(bundle: Bundle, description: _Description) -> str:
    """All replicas' names and addresses, known in every container."""
    text = ""
    for number in range(bundle.replicas_configured):
        address = _address(description.first_ip, number)
        if address is not None:
            name = f"{bundle.id}-{number}"
            text += f" --add-host={name}:{address}" if description.add_host else f" --hosts-entry={address}={name}"
    return text
