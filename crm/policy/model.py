"""The values that the stages of the policy engine hand to one another.

Theory of operation. Scheduling is a chain of stages (`crm.policy.schedule` is the table of contents)::

    CIB, now --unpack--> ClusterState --constraints--> Constraints --assign--> Assignment --plan--> Plan --graph--> Transition

Each stage builds its own result and only reads those before it: `ClusterState` (nodes, the resource tree, what history says)
is complete when unpacking ends; `Assignment` keeps everything that placing resources changes (tables, nodes, next
roles, availability) in lists indexed by `Resource.index` and `Node.index`, begun as copies of the state's; the plan keeps the actions.
What unpacking wants done (fence this, clear that fail count, this monitor is known to run) is recorded in `ClusterState.requests`, in
order, and becomes actions when the plan begins.

Identity is what makes a node or a resource: the classes compare and hash by identity, and carry an index for lists.
Scores are plain ints in [-INFINITY, INFINITY] (`crm.policy.values`); a table maps nodes to scores, and a node without an entry is not
allowed (opt-in clusters). Sources: sections of the scheduler specification, part 1 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.policy.configuration import Configuration
    from crm.policy.constraints.model import Colocation
    from crm.policy.digests import DigestStore
    from crm.policy.opconfig import Operations

INFINITY = 1_000_000


class Role(IntEnum):
    """Ordered: a step up needs a start or promote, a step down a stop or demote."""

    UNKNOWN = 0
    STOPPED = 1
    STARTED = 2
    UNPROMOTED = 3
    PROMOTED = 4


class NodeKind(StrEnum):
    CLUSTER = "cluster"
    REMOTE = "remote"
    GUEST = "guest"  # a guest of a resource with `remote-node`
    BUNDLE = "bundle"  # the inside of a bundle's container


class Discovery(IntEnum):
    """`resource-discovery` of an entry; a later record can only raise it."""

    ALWAYS = 0
    NEVER = 1
    EXCLUSIVE = 2


class Kind(IntEnum):
    """Resource kinds in ascending rank (part 2, 1.3)."""

    PRIMITIVE = 0
    GROUP = 1
    CLONE = 2
    BUNDLE = 3


class Needs(StrEnum):
    """What the `requires` meta-attribute resolves to (7.5)."""

    NOTHING = "nothing"
    QUORUM = "quorum"
    FENCING = "fencing"
    UNFENCING = "unfencing"


class MultipleActive(StrEnum):
    STOP_START = "stop_start"
    STOP_ONLY = "stop_only"
    BLOCK = "block"
    STOP_UNEXPECTED = "stop_unexpected"


class OnFail(IntEnum):
    """In order of severity (14)."""

    IGNORE = 0
    DEMOTE = 1
    RESTART = 2
    RESET_REMOTE = 3
    RESTART_CONTAINER = 4
    BAN = 5
    BLOCK = 6
    STOP = 7
    STANDBY = 8
    FENCE = 9


# --- nodes ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Node:
    """A cluster, remote, guest or bundle node, with what the status section says of it (6, 10)."""

    id: str
    name: str
    kind: NodeKind
    base_score: int = 0
    index: int = -1  # position in ClusterState.nodes (name order), set when unpacking ends
    attributes: dict[str, str] = field(default_factory=dict)  # permanent and transient merged (6.3)
    utilization: dict[str, int] = field(default_factory=dict)
    online: bool = False
    unclean: bool = False
    pending: bool = False
    standby: bool = False
    standby_on_fail: bool = False
    maintenance: bool = False
    shutdown: bool = False
    expected_up: bool = False
    seen: bool = False
    remote_reset: bool = False  # guest or remote node that must be recovered
    remote_fenced: bool = False  # `node_fenced` of its node_state
    remote_maintenance: bool = False  # `node_in_maintenance` of its node_state
    probes_allowed: bool = True
    is_dc: bool = False
    base_discovery: Discovery = Discovery.ALWAYS
    connection: Resource | None = None  # remote, guest, bundle: the ocf:pacemaker:remote primitive
    priority: int = 0  # sum of the priorities of what is active here (11.4)
    running: list[Resource] = field(default_factory=list)  # primitives active here, in the order found
    health: int = 0

    @property
    def is_remote(self) -> bool:
        """A Pacemaker Remote node of any kind (remote, guest, bundle)."""
        return self.kind is not NodeKind.CLUSTER

    @property
    def is_guest(self) -> bool:
        """A guest or bundle node: it lives inside a resource."""
        return self.kind is NodeKind.GUEST or self.kind is NodeKind.BUNDLE

    def __repr__(self) -> str:
        return f"<Node {self.name}>"


Scores: TypeAlias = dict[Node, int]


# --- configuration of operations and history --------------------------------------------------------------------------


@dataclass(slots=True, frozen=True, eq=False)
class OpConfig:
    """One `op` of a primitive's (template-expanded) XML, in document order."""

    id: str
    name: str
    interval_ms: int
    enabled: bool
    xml: _Element


@dataclass(slots=True, eq=False)
class HistoryEntry:
    """One `lrm_rsc_op` (13, 14), as read."""

    id: str
    key: str  # operation_key, or the id
    operation: str
    interval_ms: int
    call_id: int
    rc: int
    status: int  # op-status; -1 pending
    expected_rc: int  # from transition-key; -1 unknown
    last_rc_change: int  # epoch seconds; -1 unknown
    on_node: str | None
    xml: _Element

    @property
    def is_probe(self) -> bool:
        return self.operation == "monitor" and self.interval_ms == 0

    @property
    def is_postponed(self) -> bool:
        """Accepted by the node's executor, which runs it for the first time later (ours says so; in Pacemaker nobody knows of it)."""
        return self.status == -1 and "start-delay" in self.xml.attrib


@dataclass(slots=True, eq=False)
class LrmResource:
    """The history of one resource on one node: an `lrm_resource` mapped to the primitive it belongs to (12).

    Its entries are read when they are first asked for: of most resources on most nodes nobody asks for more than "it does not run there".
    """

    id: str
    node: Node
    xml: _Element
    read: Callable[[_Element], list[HistoryEntry]]  # the entries of `xml`, oldest first (13)
    resource: Primitive | None = None
    start_index: int = -1  # the active-operation window (18.1)
    stop_index: int = -1
    _entries: list[HistoryEntry] | None = None

    @property
    def entries(self) -> list[HistoryEntry]:
        """Oldest first (13)."""
        if self._entries is None:
            self._entries = self.read(self.xml)
        return self._entries


@dataclass(slots=True, frozen=True, eq=False)
class FailedOp:
    """A history entry recorded as failed, degraded, masked or ignored, for display and for `-I` (0.2)."""

    resource: Primitive
    node: Node
    entry: HistoryEntry
    expected_rc: int
    ignored: bool = False


# --- resources --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Resource:
    """What all kinds have in common. Subclasses: Primitive, Group, Clone, Bundle."""

    id: str
    xml: _Element  # template-expanded
    parent: Resource | None = None
    index: int = -1  # position in ClusterState.all_resources (depth first), set when unpacking ends
    meta: dict[str, str] = field(default_factory=dict)  # effective meta-attributes (7.3)
    children: list[Resource] = field(default_factory=list)
    priority: int = 0
    managed: bool = True
    blocked: bool = False
    maintenance: bool = False
    failed: bool = False
    stop_required: bool = False  # with `failed`: recover by stop and start
    failure_ignored: bool = False
    removed: bool = False  # known from history only ("orphan"), or a clone instance too many
    critical: bool = True
    unique: bool = True  # false inside an anonymous clone
    notify: bool = False
    exclusive_discovery: bool = False
    stickiness: int = 0
    migration_threshold: int = INFINITY
    failure_timeout_s: int = 0  # 0: off
    multiple_active: MultipleActive = MultipleActive.STOP_START
    needs: Needs = Needs.FENCING
    role: Role = Role.STOPPED  # current role
    next_role: Role = Role.UNKNOWN  # as far as state alone decides it (7.6, 16.2, 18); assignment begins from it
    active_nodes: list[Node] = field(default_factory=list)  # in the order found (19.1)
    known_on: set[Node] = field(default_factory=set)  # probed or with history there (18.4)
    table: Scores = field(default_factory=dict)  # default placement, bans and freezes from history (7.8, part 2 1.6)
    discovery: dict[Node, Discovery] = field(default_factory=dict)  # only entries that differ from ALWAYS

    @property
    def kind(self) -> Kind:
        raise NotImplementedError

    @property
    def top(self) -> Resource:
        """The outermost ancestor, not counting a bundle."""
        rsc = self
        while rsc.parent is not None and rsc.parent.kind is not Kind.BUNDLE:
            rsc = rsc.parent
        return rsc

    @property
    def outermost(self) -> Resource:
        rsc = self
        while rsc.parent is not None:
            rsc = rsc.parent
        return rsc

    def leaves(self) -> list[Primitive]:
        """All primitives below (or this one), depth first."""
        found: list[Primitive] = []
        for child in self.children:
            found.extend(child.leaves())
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


@dataclass(slots=True, eq=False, repr=False)
class Primitive(Resource):
    standard: str = ""  # class: ocf, lsb, systemd, service, stonith
    provider: str | None = None
    type: str = ""
    config_id: str = ""  # the id in the configuration: the instance's id without its number
    history_name: str | None = None  # the name under which history knows an instance (12.3)
    instance: int | None = None  # number of the clone instance it belongs to
    ops: list[OpConfig] = field(default_factory=list)
    launcher: Resource | None = None  # the container of a guest or bundle connection, or meta `container`
    launched: list[Resource] = field(default_factory=list)  # "fillers": what has this as launcher
    remote_node: Node | None = None  # the node that this connection provides
    is_connection: bool = False  # ocf:pacemaker:remote
    is_internal: bool = False  # implicit: guest connection, or part of a bundle
    leftover_container: str | None = None  # removed connection: what history says it was launched by (12.4)
    reconnect_interval_ms: int = 0
    allow_migrate: bool = False
    start_pending: bool = False
    not_migratable: bool = False  # set by a half-done migration (17.1)
    pending_operation: str | None = None  # first pending operation, and where (16.3)
    pending_node: Node | None = None
    partial_migration_source: Node | None = None
    partial_migration_target: Node | None = None
    dangling_sources: list[Node] = field(default_factory=list)
    lock_node: Node | None = None  # shutdown lock (26)
    lock_time: int = 0
    utilization: dict[str, int] = field(default_factory=dict)
    fail_counts: dict[Node, int] = field(default_factory=dict)  # effective, only nodes with a count > 0 (20)
    history: dict[Node, LrmResource] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return Kind.PRIMITIVE

    def leaves(self) -> list[Primitive]:
        return [self]

    @property
    def agent(self) -> str:
        return ":".join(part for part in (self.standard, self.provider, self.type) if part)


@dataclass(slots=True, eq=False, repr=False)
class Group(Resource):
    ordered: bool = True
    colocated: bool = True
    instance: int | None = None

    @property
    def kind(self) -> Kind:
        return Kind.GROUP


@dataclass(slots=True, eq=False, repr=False)
class Clone(Resource):
    clone_max: int = 1
    clone_node_max: int = 1
    clone_min: int = 0
    ordered: bool = False
    interleave: bool = False
    promotable: bool = False
    promoted_max: int = 0
    promoted_node_max: int = 0
    child_name: str = ""  # id of the primitive or group that is cloned

    @property
    def kind(self) -> Kind:
        return Kind.CLONE


@dataclass(slots=True, eq=False)
class Replica:
    """One copy of a bundle's container with what belongs to it."""

    number: int
    container: Primitive
    ip: Primitive | None = None
    connection: Primitive | None = None
    node: Node | None = None  # the bundle node
    inner: Primitive | None = None  # the instance of the inner clone
    ip_address: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class Bundle(Resource):
    """`children`: for every replica container, ip, connection (those that exist); then the inner clone."""

    container_type: str = "docker"
    image: str = ""
    replicas: list[Replica] = field(default_factory=list)
    replicas_configured: int = 1
    replicas_per_host: int = 1
    promoted_max: int = 0
    inner_clone: Clone | None = None
    interleave: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.BUNDLE


# --- what unpacking asks for ------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True, eq=False)
class FenceNode:
    """A node must be fenced (11.1); the node is already marked unclean, or remote_reset for a guest."""

    node: Node
    reason: str
    priority_delay: bool = False  # row 9 of 10.2: attach priority-fencing-delay
    required: bool = True  # false: fencing is not possible now (11.2), the op exists but stays optional


@dataclass(slots=True, frozen=True, eq=False)
class ClearFailCount:
    resource: Primitive
    node: Node
    reason: str
    after_fencing: bool = False  # reconnect_interval and fencing enabled (14.2)


@dataclass(slots=True, frozen=True, eq=False)
class KnownRecurring:
    """A recurring action that history shows running on an online node (18.2)."""

    resource: Primitive
    node: Node
    entry: HistoryEntry


@dataclass(slots=True, frozen=True, eq=False)
class ForceStop:
    """A stop that a failure demands (18.6 and 16.3); `required` false once 18.8 made it optional."""

    resource: Primitive
    node: Node | None
    reason: str | None = None
    required: bool = True


@dataclass(slots=True, frozen=True, eq=False)
class ForceDemote:
    resource: Primitive
    node: Node


@dataclass(slots=True, frozen=True, eq=False)
class DeleteHistory:
    """lrm_delete of an expired or cancelled shutdown lock (26)."""

    resource: Primitive
    node: Node


@dataclass(slots=True, frozen=True, eq=False)
class CheckDefinition:
    """14.2: deferred check of a failed entry of a connection whose address is #uname."""

    resource: Primitive
    node: Node
    entry: HistoryEntry


Request: TypeAlias = (
    FenceNode | ClearFailCount | KnownRecurring | ForceStop | ForceDemote | DeleteHistory | CheckDefinition
)


# --- cluster ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class ClusterOptions:
    """Cluster properties after aliases, validation and defaults (5). Interval options are kept as text where the graph copies them."""

    no_quorum_policy: str = "stop"  # effective: fence already degraded where it must (5.1)
    symmetric: bool = True
    maintenance_mode: bool = False
    stop_all_resources: bool = False
    start_failure_is_fatal: bool = True
    enable_startup_probes: bool = True
    fencing_enabled: bool = True
    fencing_action: str = "reboot"
    fencing_timeout: str = "60s"
    have_watchdog: bool = False
    concurrent_fencing: bool = True
    startup_fencing: bool = True
    priority_fencing_delay_ms: int = 0
    node_pending_timeout_ms: int = 0
    fence_remote_without_quorum: bool = False
    cluster_delay: str = "60s"
    batch_limit: str = "0"
    migration_limit: str = "-1"
    stop_removed_resources: bool = True
    cancel_removed_actions: bool = True
    shutdown_lock: bool = False
    shutdown_lock_limit_ms: int = 0
    placement_strategy: str = "default"
    health_strategy: str = "none"
    health_base: int = 0
    health_green: int = 0
    health_yellow: int = 0
    health_red: int = -INFINITY
    cluster_name: str | None = None


@dataclass(slots=True, frozen=True)
class ReportItem:
    """A problem of the input that got lenient treatment."""

    severity: str  # error, warning
    code: str
    element: str  # tag of the element
    id: str
    attribute: str
    message: str


@dataclass(slots=True, eq=False)
class Ticket:
    id: str
    granted: bool = False
    standby: bool = False
    last_granted: str | None = None


@dataclass(slots=True, eq=False)
class ClusterState:
    """Everything that the CIB says, interpreted; read-only once `unpack` has returned it."""

    cib: _Element
    now: int  # epoch seconds, UTC
    options: ClusterOptions
    quorate: bool
    nodes: list[Node]  # in name order (1.6)
    resources: list[Resource]  # top level, by priority (0.1 step 8), removed ones last
    all_resources: list[Resource]  # every resource, depth first over `resources`; `index` is the position here
    tags: Mapping[str, list[str]]
    templates: Mapping[str, list[str]]  # template id -> ids of the resources derived from it
    tickets: dict[str, Ticket]
    requests: list[Request]
    failed_ops: list[FailedOp]
    lrm: list[LrmResource]  # all histories, by node in name order, then document order
    problems: list[ReportItem]
    config: Configuration  # the document with its defaults
    operations: Operations  # configured operations and parameters of every resource (23)
    digests: DigestStore = field(init=False)  # comparison of history with definitions (24)
    expired_recurring: list[HistoryEntry] = field(
        default_factory=list
    )  # failures that have expired: to be scheduled anew (14.5)
    has_fence_device: bool = False  # a stonith-class resource exists, or have-watchdog
    unfencing_in_use: bool = False  # 5
    dc_node: Node | None = None
    before_tickets: ClusterState | None = None  # what listings show: the state without what lost tickets demand
    contributions: list[Contribution] = field(default_factory=list)  # bans and freezes that history caused
    missing_promotion_tickets: dict[Resource, list[str]] = field(
        default_factory=dict
    )  # rsc_ticket with role Promoted on a clone, not granted or standby
    recheck_candidates: list[int] = field(default_factory=list)  # epoch seconds (4.6)
    nodes_by_id: dict[str, Node] = field(default_factory=dict)  # keys lower-cased
    nodes_by_name: dict[str, Node] = field(default_factory=dict)  # keys lower-cased
    by_id: dict[str, Resource] = field(default_factory=dict)  # internal ids


# --- reasons ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Cause:
    """What a score change or a forced or blocked action comes from."""

    kind: str  # location, colocation, stickiness, fail-count, health, ban, ticket, shutdown-lock, exclusive-discovery, ...
    id: str = ""  # constraint id, attribute name, history entry id, resource id
    detail: str = ""  # a few words for people: "monitor failed with rc 5 (not installed)"


@dataclass(slots=True, frozen=True, eq=False)
class Contribution:
    """One change of a resource's score on a node, in the order of application."""

    resource: Resource
    node: Node
    change: int  # added; or, when `replaces`, the new value
    result: int
    cause: Cause
    replaces: bool = False


# --- assignment -------------------------------------------------------------------------------------------------------


class Choice(StrEnum):
    """What decided between the nodes that a leaf could have got (part 2, 8.1, 8.3, 8.4)."""

    NONE_USABLE = "none-usable"
    ONLY_USABLE = "only-usable"
    BEST_SCORE = "best-score"
    STAYS = "stays"  # equal to the best, and it is there already
    WANTED = "wanted"  # an instance kept on its node, an unfinished migration, the most capable node
    CAPACITY = "capacity"
    LOAD = "load"  # fewer resources assigned to it
    NAME = "name"
    UNMANAGED = "unmanaged"  # stays as it is
    STOP_ALL = "stop-all"


@dataclass(slots=True, frozen=True, eq=False)
class Decision:
    """How a leaf got its node; recorded only when explanations are wanted."""

    node: Node | None
    choice: Choice
    load: tuple[int, ...]  # resources assigned so far, by `Node.index`


@dataclass(slots=True, eq=False)
class Assignment:
    """What will run where, in which role (part 2). Lists are indexed by `Resource.index` or `Node.index`.

    It begins as a copy of what the state says and is complete when `assign` returns; the state itself is not changed.
    """

    node: list[Node | None]  # leaves only; None: nowhere
    assigned_score: list[int]  # the entry's score when the leaf was assigned (part 2, 9.4)
    next_role: list[Role]  # UNKNOWN: follows from the assignment (part 2, 17.2)
    managed: list[bool]
    blocked: list[bool]
    tables: list[Scores]
    discovery: list[dict[Node, Discovery]]
    children: list[list[Resource]]  # instances as left by sorting; others in configuration order
    priority: list[int]  # promotion ranking changes it for instances (part 2, 13)
    promotion: dict[Resource, int]  # final promotion scores
    online: list[bool]  # by node; connections that are assigned bring their nodes up (part 2, 15.2)
    unclean: list[bool]
    shutdown: list[bool]
    resource_order: list[Resource]  # top level; re-sorted when a placement strategy is set
    score_lines: list[str]  # what `crm_simulate -s` prints
    utilization_lines: list[str] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)  # only when asked to explain
    decisions: dict[Resource, Decision] = field(default_factory=dict)  # only when asked to explain
    role: list[Role] = field(
        default_factory=list
    )  # current roles; promotion turns Started instances into Unpromoted (part 2, 13.3)
    locks: dict[Resource, tuple[Node, int]] = field(
        default_factory=dict
    )  # shutdown locks in force, with their time (26)
    exclusive: list[bool] = field(
        default_factory=list
    )  # exclusive discovery, from the state and from constraints (part 2, 3.1)
    dependents: list[list[Colocation]] = field(
        default_factory=list
    )  # colocations with the resource as primary, implicit ones too

    def available(self, node: Node) -> bool:
        """Online and not shutting down, unclean, in standby or in maintenance (part 2, 1.4)."""
        i = node.index
        return self.online[i] and not (self.shutdown[i] or self.unclean[i] or node.standby or node.maintenance)
