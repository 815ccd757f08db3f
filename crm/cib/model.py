"""The grammar of the configuration: which elements there are, their attributes, and what may be in them.

Theory of operation. Data only: one `Element` for each kind, read by `crm.cib.verify`. It accepts the union of the schemas
pacemaker-1.0 to pacemaker-4.0, old spellings included (`crm.cib.schema` upgrades them); what a kind of the old schemas became is noted in
`obsolete`. The same tag may be of several kinds, depending on where it stands: `rule` in a location constraint and elsewhere.

References are part of the grammar: an attribute names the set of tags that it may refer to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from crm.cib.values import (
    BOOLEAN,
    COUNT,
    ID,
    INTEGER,
    INTERVAL,
    RANGE,
    SCHEMA,
    SCORE,
    TEXT,
    WORD,
    Type,
    one_of,
)

RESOURCES: Final = frozenset({"primitive", "group", "clone", "master", "bundle"})
CONSTRAINED: Final = RESOURCES | {"template", "tag"}
"""What a constraint may name."""
ANY: Final[frozenset[str]] = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """`refers`: tags that the value must be the id of."""

    type: Type = TEXT
    required: bool = False
    refers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Child:
    """`kind` is a key of `KINDS`. At most `most` of them, at least `least`."""

    kind: str
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """One kind of element. `alternatives`: of each group exactly one must be given, attributes or children (written `<tag>`)."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    alternatives: tuple[tuple[str, ...], ...] = ()
    obsolete: str = ""
    any_attribute: bool = False


_ID: Final = Attribute(ID, required=True)
_OPTIONAL_ID: Final = Attribute(ID)
_NOTE: Final = Attribute()
_ROLE: Final = Attribute(one_of("Started", "Stopped", "Promoted", "Unpromoted", "Master", "Slave", ignore_case=True))
_ACTION: Final = Attribute(one_of("start", "stop", "promote", "demote"))
_RSC: Final = Attribute(ID, refers=CONSTRAINED)
_DISCOVERY: Final = Attribute(one_of("always", "never", "exclusive"))
_BOOLEAN_OP: Final = Attribute(one_of("and", "or", ignore_case=True))


def _refers(*tags: str, required: bool = False) -> Attribute:
    return Attribute(ID, required=required, refers=frozenset(tags))


def _nvset(tag: str, rule: str = "rule") -> Element:
    return Element(
        {"id": _OPTIONAL_ID, "id-ref": _refers(tag), "score": Attribute(SCORE)},
        {"nvpair": Child("nvpair"), "rule": Child(rule, most=1), "attributes": Child("attributes")},
        alternatives=(("id", "id-ref"),),
    )


def _rule(expressions: tuple[str, ...], kind: str, extra: dict[str, Attribute]) -> Element:
    return Element(
        {
            "id": _OPTIONAL_ID,
            "id-ref": _refers("rule"),
            "boolean-op": _BOOLEAN_OP,
            "score": Attribute(SCORE),
            "score-attribute": Attribute(WORD),
            **extra,
        },
        {**{name: Child(name) for name in expressions}, "rule": Child(kind)},
        alternatives=(("id", "id-ref"),),
    )


_SETS: Final = {
    "instance_attributes": Child("instance_attributes"),
    "meta_attributes": Child("meta_attributes"),
}
_PERIOD: Final = {
    name: Attribute(RANGE)
    for name in (
        "hours", "monthdays", "weekdays", "yearsdays", "yeardays", "months", "weeks", "years", "weekyears", "moon",
        "minutes", "seconds",
    )
}  # fmt: skip

_RESOURCE_ATTRIBUTES: Final = {"id": _ID, "description": _NOTE}
_RESOURCE_CHILDREN: Final = {
    name: Child(name) for name in ("primitive", "template", "group", "clone", "master", "bundle")
}

_SECTIONS: Final = {
    "crm_config": Element({}, {"cluster_property_set": Child("cluster_property_set")}),
    "rsc_defaults": Element({}, {"meta_attributes": Child("default_attributes")}),
    "op_defaults": Element({}, {"meta_attributes": Child("default_attributes")}),
    "nodes": Element({}, {"node": Child("node")}),
    "resources": Element({}, _RESOURCE_CHILDREN),
    "constraints": Element(
        {}, {name: Child(name) for name in ("rsc_location", "rsc_colocation", "rsc_order", "rsc_ticket")}
    ),
    "fencing-topology": Element({}, {"fencing-level": Child("fencing-level")}),
    "tags": Element({}, {"tag": Child("tag")}),
    "acls": Element({}, {name: Child(name) for name in ("acl_role", "acl_target", "acl_group", "acl_user")}),
    "alerts": Element({}, {"alert": Child("alert")}),
}

_NODES: Final = {
    "node": Element(
        {
            "id": Attribute(WORD, required=True),
            "uname": Attribute(WORD, required=True),
            "type": Attribute(one_of("member", "normal", "ping", "remote")),
            "description": _NOTE,
            "score": Attribute(SCORE),
        },
        {"instance_attributes": Child("instance_attributes"), "utilization": Child("utilization")},
    ),
}

_CLASSES = one_of("ocf", "lsb", "systemd", "service", "stonith", "heartbeat", "upstart", "nagios")
_AGENT: Final = {
    "class": Attribute(_CLASSES),
    "provider": Attribute(WORD),
    "type": Attribute(WORD),
}
_BODY: Final = {
    **_SETS,
    "utilization": Child("utilization"),
    "operations": Child("operations", most=1),
}
_CLONE = Element(
    dict(_RESOURCE_ATTRIBUTES),
    {**_SETS, "primitive": Child("primitive", most=1), "group": Child("group", most=1)},
    alternatives=(("<primitive>", "<group>"),),
)
_CONTAINER = Element(
    {
        "image": Attribute(WORD, required=True),
        "replicas": Attribute(COUNT),
        "replicas-per-host": Attribute(COUNT),
        "promoted-max": Attribute(COUNT),
        "masters": Attribute(COUNT),
        "run-command": _NOTE,
        "network": _NOTE,
        "options": _NOTE,
    }
)

_RESOURCES: Final = {
    "primitive": Element(
        {**_RESOURCE_ATTRIBUTES, **_AGENT, "template": _refers("template")}, _BODY, alternatives=(("template", "type"),)
    ),
    "template": Element(
        {**_RESOURCE_ATTRIBUTES, **_AGENT, "class": Attribute(_CLASSES, required=True), "type": Attribute(WORD, True)},
        _BODY,
    ),
    "group": Element(dict(_RESOURCE_ATTRIBUTES), {**_SETS, "primitive": Child("primitive", least=1)}),
    "clone": _CLONE,
    "master": Element(
        dict(_RESOURCE_ATTRIBUTES),
        _CLONE.children,
        alternatives=_CLONE.alternatives,
        obsolete="a clone with the meta-attribute promotable=true",
    ),
    "bundle": Element(
        dict(_RESOURCE_ATTRIBUTES),
        {
            **_SETS,
            "docker": Child("container", most=1),
            "podman": Child("container", most=1),
            "rkt": Child("container", most=1),
            "network": Child("network", most=1),
            "storage": Child("storage", most=1),
            "primitive": Child("primitive", most=1),
        },
        alternatives=(("<docker>", "<podman>", "<rkt>"),),
    ),
    "container": _CONTAINER,
    "network": Element(
        {
            "ip-range-start": Attribute(WORD),
            "control-port": Attribute(COUNT),
            "host-interface": Attribute(WORD),
            "host-netmask": Attribute(WORD),
            "add-host": Attribute(one_of("true", "false", ignore_case=True)),
        },
        {"port-mapping": Child("port-mapping")},
    ),
    "port-mapping": Element(
        {"id": _ID, "port": Attribute(COUNT), "internal-port": Attribute(COUNT), "range": Attribute(RANGE)},
        alternatives=(("port", "range"),),
    ),
    "storage": Element({}, {"storage-mapping": Child("storage-mapping")}),
    "storage-mapping": Element(
        {
            "id": _ID,
            "source-dir": Attribute(WORD),
            "source-dir-root": Attribute(WORD),
            "target-dir": Attribute(WORD, required=True),
            "options": _NOTE,
        },
        alternatives=(("source-dir", "source-dir-root"),),
    ),
    "operations": Element(
        {"id": _OPTIONAL_ID, "id-ref": _refers("operations")}, {"op": Child("op")}
    ),
    "op": Element(
        {
            "id": _ID,
            "name": Attribute(WORD, required=True),
            "interval": Attribute(INTERVAL, required=True),
            "description": _NOTE,
            "start-delay": Attribute(INTERVAL),
            "interval-origin": Attribute(WORD),
            "timeout": Attribute(INTERVAL),
            "enabled": Attribute(BOOLEAN),
            "record-pending": Attribute(BOOLEAN),
            "role": _ROLE,
            "requires": Attribute(one_of("nothing", "quorum", "fencing", "unfencing", ignore_case=True)),
            "on-fail": Attribute(
                one_of(
                    "ignore", "block", "stop", "restart", "standby", "fence", "restart-container", "demote",
                    ignore_case=True,
                )
            ),
        },
        dict(_SETS),
    ),
}  # fmt: skip

_CONSTRAINTS: Final = {
    "rsc_location": Element(
        {
            "id": _ID,
            "rsc": _RSC,
            "rsc-pattern": Attribute(WORD),
            "role": _ROLE,
            "node": Attribute(WORD),
            "score": Attribute(SCORE),
            "resource-discovery": _DISCOVERY,
        },
        {
            "rule": Child("location_rule"),
            "resource_set": Child("resource_set"),
            "lifetime": Child("lifetime", most=1),
        },
        alternatives=(("rsc", "rsc-pattern", "<resource_set>"), ("node", "<rule>")),
    ),
    "rsc_colocation": Element(
        {
            "id": _ID,
            "rsc": _RSC,
            "with-rsc": _RSC,
            "score": Attribute(SCORE),
            "score-attribute": Attribute(WORD),
            "score-attribute-mangle": Attribute(WORD),
            "rsc-role": _ROLE,
            "with-rsc-role": _ROLE,
            "rsc-instance": Attribute(INTEGER),
            "with-rsc-instance": Attribute(INTEGER),
            "node-attribute": Attribute(WORD),
            "influence": Attribute(BOOLEAN),
        },
        {"resource_set": Child("resource_set"), "lifetime": Child("lifetime", most=1)},
        alternatives=(("rsc", "<resource_set>"), ("with-rsc", "<resource_set>")),
    ),
    "rsc_order": Element(
        {
            "id": _ID,
            "first": _RSC,
            "then": _RSC,
            "first-action": _ACTION,
            "then-action": _ACTION,
            "first-instance": Attribute(INTEGER),
            "then-instance": Attribute(INTEGER),
            "symmetrical": Attribute(BOOLEAN),
            "require-all": Attribute(BOOLEAN),
            "kind": Attribute(one_of("Optional", "Mandatory", "Serialize", ignore_case=True)),
            "score": Attribute(SCORE),
        },
        {"resource_set": Child("resource_set"), "lifetime": Child("lifetime", most=1)},
        alternatives=(("first", "<resource_set>"), ("then", "<resource_set>")),
    ),
    "rsc_ticket": Element(
        {
            "id": _ID,
            "rsc": _RSC,
            "rsc-role": _ROLE,
            "ticket": Attribute(WORD, required=True),
            "loss-policy": Attribute(one_of("stop", "demote", "fence", "freeze", ignore_case=True)),
        },
        {"resource_set": Child("resource_set")},
        alternatives=(("rsc", "<resource_set>"),),
    ),
    "resource_set": Element(
        {
            "id": _OPTIONAL_ID,
            "id-ref": _refers("resource_set"),
            "sequential": Attribute(BOOLEAN),
            "require-all": Attribute(BOOLEAN),
            "ordering": Attribute(one_of("group", "listed")),
            "action": _ACTION,
            "role": _ROLE,
            "score": Attribute(SCORE),
            "kind": Attribute(one_of("Optional", "Mandatory", "Serialize", ignore_case=True)),
        },
        {"resource_ref": Child("resource_ref", least=1)},
        alternatives=(("id", "id-ref"),),
    ),
    "resource_ref": Element({"id": Attribute(ID, required=True, refers=CONSTRAINED)}),
    "lifetime": Element({}, {"rule": Child("location_rule", least=1)}, obsolete="a rule of the constraint itself"),
}

_EXPRESSIONS: Final = {
    "rule": _rule(("expression", "date_expression", "rsc_expression", "op_expression"), "rule", {}),
    "location_rule": _rule(("expression", "date_expression"), "location_rule", {"role": _ROLE}),
    "expression": Element(
        {
            "id": _ID,
            "attribute": Attribute(WORD, required=True),
            "operation": Attribute(
                one_of("lt", "gt", "lte", "gte", "eq", "ne", "defined", "not_defined", ignore_case=True), required=True
            ),
            "value": _NOTE,
            "type": Attribute(one_of("string", "integer", "number", "version", ignore_case=True)),
            "value-source": Attribute(one_of("literal", "param", "meta")),
        }
    ),
    "date_expression": Element(
        {
            "id": _ID,
            "operation": Attribute(one_of("in_range", "gt", "lt", "date_spec", ignore_case=True)),
            "start": Attribute(WORD),
            "end": Attribute(WORD),
        },
        {"date_spec": Child("date_spec", most=1), "duration": Child("duration", most=1)},
    ),
    "date_spec": Element({"id": _ID, **_PERIOD}),
    "duration": Element({"id": _ID, **{name: Attribute(COUNT) for name in _PERIOD}, "days": Attribute(COUNT)}),
    "rsc_expression": Element(
        {"id": _ID, "class": Attribute(WORD), "provider": Attribute(WORD), "type": Attribute(WORD)}
    ),
    "op_expression": Element({"id": _ID, "name": Attribute(WORD, required=True), "interval": Attribute(INTERVAL)}),
    "nvpair": Element(
        {"id": _OPTIONAL_ID, "id-ref": _refers("nvpair"), "name": Attribute(WORD), "value": _NOTE},
        alternatives=(("id", "id-ref"),),
    ),
    "attributes": Element({}, {"nvpair": Child("nvpair")}, obsolete="its nvpairs directly in the set"),
}

_OTHERS: Final = {
    "fencing-level": Element(
        {
            "id": _ID,
            "index": Attribute(COUNT, required=True),
            "devices": Attribute(WORD, required=True),
            "target": Attribute(WORD),
            "target-pattern": Attribute(WORD),
            "target-attribute": Attribute(WORD),
            "target-value": Attribute(WORD),
        },
        alternatives=(("target", "target-pattern", "target-attribute"),),
    ),
    "tag": Element({"id": _ID}, {"obj_ref": Child("obj_ref", least=1)}),
    "obj_ref": Element({"id": Attribute(ID, required=True, refers=ANY)}),
    "acl_role": Element(
        {"id": _ID, "description": _NOTE},
        {
            "acl_permission": Child("acl_permission"),
            "read": Child("acl_old"),
            "write": Child("acl_old"),
            "deny": Child("acl_old"),
        },
    ),
    "acl_permission": Element(
        {
            "id": _ID,
            "kind": Attribute(one_of("read", "write", "deny"), required=True),
            "xpath": Attribute(WORD),
            "reference": Attribute(ID, refers=ANY),
            "object-type": Attribute(WORD),
            "attribute": Attribute(WORD),
            "description": _NOTE,
        },
        alternatives=(("xpath", "reference", "object-type"),),
    ),
    "acl_old": Element(
        {
            "id": _ID,
            "tag": Attribute(WORD),
            "ref": Attribute(ID, refers=ANY),
            "xpath": Attribute(WORD),
            "attribute": Attribute(WORD),
        },
        alternatives=(("tag", "ref", "xpath"),),
        obsolete="an acl_permission",
    ),
    "acl_target": Element({"id": Attribute(WORD, True), "name": Attribute(WORD)}, {"role": Child("acl_role_ref")}),
    "acl_group": Element({"id": Attribute(WORD, True), "name": Attribute(WORD)}, {"role": Child("acl_role_ref")}),
    "acl_user": Element(
        {"id": Attribute(WORD, True)},
        {
            "role_ref": Child("acl_role_ref"),
            "read": Child("acl_old"),
            "write": Child("acl_old"),
            "deny": Child("acl_old"),
        },
        obsolete="an acl_target",
    ),
    "acl_role_ref": Element({"id": Attribute(ID, required=True, refers=frozenset({"acl_role"}))}),
    "alert": Element(
        {"id": _ID, "path": Attribute(WORD, required=True), "description": _NOTE},
        {**_SETS, "recipient": Child("recipient"), "select": Child("select", most=1)},
    ),
    "recipient": Element({"id": _ID, "value": Attribute(WORD, required=True), "description": _NOTE}, dict(_SETS)),
    "select": Element(
        {},
        {
            "select_nodes": Child("nothing", most=1),
            "select_fencing": Child("nothing", most=1),
            "select_resources": Child("nothing", most=1),
            "select_attributes": Child("select_attributes", most=1),
        },
    ),
    "select_attributes": Element({}, {"attribute": Child("select_attribute")}),
    "select_attribute": Element({"id": _ID, "name": Attribute(WORD, required=True)}),
    "nothing": Element(),
}

_ROOT: Final = {
    "cib": Element(
        {
            "admin_epoch": Attribute(COUNT, required=True),
            "epoch": Attribute(COUNT, required=True),
            "num_updates": Attribute(COUNT, required=True),
            "validate-with": Attribute(SCHEMA, required=True),
        },
        {"configuration": Child("configuration", 1, 1), "status": Child("status", most=1)},
        any_attribute=True,
    ),
    "configuration": Element(
        {},
        {name: Child(name, int(name in ("crm_config", "nodes", "resources", "constraints")), 1) for name in _SECTIONS},
    ),
}

KINDS: Final[dict[str, Element]] = {
    **_ROOT,
    **_SECTIONS,
    **_NODES,
    **_RESOURCES,
    **_CONSTRAINTS,
    **_EXPRESSIONS,
    **_OTHERS,
    "cluster_property_set": _nvset("cluster_property_set"),
    "instance_attributes": _nvset("instance_attributes"),
    "meta_attributes": _nvset("meta_attributes"),
    "utilization": _nvset("utilization"),
    "default_attributes": _nvset("meta_attributes"),
}
"""Every kind by its name; `status` is not described, since it tells what is, not what is wanted."""
