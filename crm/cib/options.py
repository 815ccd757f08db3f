"""Cluster properties, resource and operation meta-attributes: names, values, defaults, and what they do.

One table each, used by the verification, by the shell's completion and help, and by the reference documentation. Renamed
options are known under both names; `aliases` are the older spellings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crm.cib.values import (
    BOOLEAN,
    COUNT,
    INTEGER,
    INTERVAL,
    PERCENT,
    SCORE,
    SIGNED_INTERVAL,
    TEXT,
    Type,
    one_of,
)


@dataclass(frozen=True, slots=True)
class Option:
    """`default` is what holds when nothing is set; empty when there is none. `effect` is one sentence."""

    name: str
    type: Type
    default: str
    effect: str
    aliases: tuple[str, ...] = ()


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


_ROLE = one_of("Started", "Stopped", "Promoted", "Unpromoted", "Master", "Slave", ignore_case=True)
_POLICIES = one_of("stop", "freeze", "ignore", "demote", "fence", "suicide", ignore_case=True)
_HEALTH = one_of("none", "migrate-on-red", "only-green", "progressive", "custom", ignore_case=True)

CLUSTER_PROPERTIES: Final = _table(
    Option(
        "no-quorum-policy",
        _POLICIES,
        "stop",
        "What a partition without quorum does: `stop`: it stops all resources; `freeze`: what runs goes on, "
        "nothing is started and nobody is fenced; `ignore`: it goes on as if it had quorum; `demote`: it "
        "demotes what is promoted and stops the rest; `fence` (`suicide`): its nodes are fenced.",
    ),
    Option(
        "symmetric-cluster", BOOLEAN, "true", "Whether resources may run on every node unless a constraint forbids it."
    ),
    Option("maintenance-mode", BOOLEAN, "false", "Leaves all resources as they are: no start, stop or monitor."),
    Option("stop-all-resources", BOOLEAN, "false", "Stops all resources."),
    Option(
        "start-failure-is-fatal",
        BOOLEAN,
        "true",
        "Whether one failed start bans a resource from that node; `false`: failed starts count like other "
        "failures, see migration-threshold.",
    ),
    Option("enable-startup-probes", BOOLEAN, "true", "Whether a node that joins is asked what runs on it already."),
    Option("fencing-enabled", BOOLEAN, "true", "Whether lost nodes and failed stops are fenced.", ("stonith-enabled",)),
    Option(
        "fencing-action",
        one_of("reboot", "off", "poweroff"),
        "reboot",
        "What fencing does with a node.",
        ("stonith-action",),
    ),
    Option("fencing-timeout", INTERVAL, "60s", "How long a fencing action may take.", ("stonith-timeout",)),
    Option(
        "fencing-max-attempts",
        COUNT,
        "10",
        "How often fencing of a target may fail before it is no longer tried.",
        ("stonith-max-attempts",),
    ),
    Option(
        "fencing-watchdog-timeout",
        SIGNED_INTERVAL,
        "0",
        "After which time a lost node that is known to be watched is taken to have reset itself, where no "
        "device can fence it; 0: never; negative: the time that its watchdog needs. See the guide to the "
        "watchdog.",
        ("stonith-watchdog-timeout",),
    ),
    Option(
        "fencing-reaction",
        one_of("stop", "panic"),
        "stop",
        "What a node does when it learns of its own fencing.",
        ("fence-reaction",),
    ),
    Option("have-watchdog", BOOLEAN, "false", "Whether the nodes have a watchdog; set by the cluster."),
    Option("concurrent-fencing", BOOLEAN, "true", "Whether several nodes may be fenced at once."),
    Option("startup-fencing", BOOLEAN, "true", "Whether nodes that were not seen since the start are fenced."),
    Option(
        "priority-fencing-delay", INTERVAL, "0", "Delay of the fencing of the side with the more important resources."
    ),
    Option(
        "node-pending-timeout", INTERVAL, "0", "How long a node may take from joining messaging to joining the cluster."
    ),
    Option(
        "fence-remote-without-quorum",
        BOOLEAN,
        "false",
        "Whether remote nodes are fenced by a partition without quorum.",
    ),
    Option("cluster-delay", INTERVAL, "60s", "Round trip over the network, added to the time limits of actions."),
    Option(
        "load-threshold",
        PERCENT,
        "80%",
        "Load of a node (its processes, of one for each core) above which it is given half as many actions at"
        " a time; 0: never.",
    ),
    Option(
        "node-action-limit",
        INTEGER,
        "0",
        "Actions that a node is given at once; 0: twice its number of cores, at least 4.",
    ),
    Option("batch-limit", INTEGER, "0", "Actions that the cluster may run at once; 0: chosen from the load."),
    Option("migration-limit", INTEGER, "-1", "Live migrations that a node may take part in at once; -1: no limit."),
    Option(
        "stop-removed-resources",
        BOOLEAN,
        "true",
        "Whether resources that were removed from the configuration are stopped.",
        ("stop-orphan-resources",),
    ),
    Option(
        "cancel-removed-actions",
        BOOLEAN,
        "true",
        "Whether recurring operations that were removed are cancelled.",
        ("stop-orphan-actions",),
    ),
    Option("remove-after-stop", BOOLEAN, "false", "Whether the history of a stopped resource is removed. Deprecated."),
    Option("shutdown-lock", BOOLEAN, "false", "Whether resources wait for a node that was shut down cleanly."),
    Option("shutdown-lock-limit", INTERVAL, "0", "How long they wait; 0: for ever."),
    Option(
        "placement-strategy",
        one_of("default", "utilization", "minimal", "balanced", ignore_case=True),
        "default",
        "How capacities of nodes count in placing resources: `default`: not at all; `utilization`: a node "
        "must have room, and fewer resources are better; `minimal`: room, and as few nodes as possible; "
        "`balanced`: room, and the most free capacity is best.",
    ),
    Option(
        "node-health-strategy",
        _HEALTH,
        "none",
        "What #health attributes do: `migrate-on-red`: nothing runs on a node with a red one; `only-green`: "
        "nor with a yellow one; `progressive`: colours count as the scores below, added to node-health-base; "
        "`custom`: you write rules yourself.",
    ),
    Option("node-health-base", SCORE, "0", "Health that a node begins with, for progressive."),
    Option("node-health-green", SCORE, "0", "Score of green, for progressive and custom."),
    Option("node-health-yellow", SCORE, "0", "Score of yellow, for progressive and custom."),
    Option("node-health-red", SCORE, "-INFINITY", "Score of red, for progressive and custom."),
    Option("cluster-name", TEXT, "", "Name of the cluster, for rules and messages."),
    Option("cluster-infrastructure", TEXT, "", "Messaging layer; set by the cluster."),
    Option("dc-version", TEXT, "", "Version of the DC's software; set by the cluster."),
    Option("dc-deadtime", INTERVAL, "20s", "How long to wait for other nodes at start."),
    Option(
        "cluster-recheck-interval",
        INTERVAL,
        "15min",
        "After how long without an event everything is evaluated again; 0: never. What is due at a certain time is not waited for so long.",
    ),
    Option("election-timeout", INTERVAL, "2min", "How long an election may take."),
    Option("shutdown-escalation", INTERVAL, "20min", "After how long a shutdown that waits is forced."),
    Option("join-integration-timeout", INTERVAL, "3min", "How long joining may take.", ("crmd-integration-timeout",)),
    Option(
        "join-finalization-timeout",
        INTERVAL,
        "30min",
        "How long ending a join may take.",
        ("crmd-finalization-timeout",),
    ),
    Option(
        "transition-delay", INTERVAL, "0s", "How long to gather events before deciding.", ("crmd-transition-delay",)
    ),
    Option("enable-acl", BOOLEAN, "false", "Whether access control lists are enforced."),
    Option("pe-error-series-max", INTEGER, "-1", "Saved inputs of decisions with errors; -1: all."),
    Option("pe-warn-series-max", INTEGER, "5000", "Saved inputs of decisions with warnings."),
    Option("pe-input-series-max", INTEGER, "4000", "Saved inputs of other decisions."),
    Option("crm-restart-grace", INTERVAL, "5s", "How long the crm of a member may be absent while it is restarted."),
    Option(
        "cut-off-grace",
        INTERVAL,
        "deadtime + 1s",
        "Without fencing: how long after the loss of a node nothing is recovered, so that it can stop what it runs.",
    ),
    Option("last-lrm-refresh", TEXT, "", "When the history was last refreshed; set by tools."),
)

RESOURCE_META: Final = _table(
    Option(
        "target-role",
        _ROLE,
        "Started",
        "Role that the resource is to have at most; `Unpromoted`: running, not promoted.",
    ),
    Option("is-managed", BOOLEAN, "true", "Whether the cluster may start and stop it."),
    Option("maintenance", BOOLEAN, "false", "Leaves the resource as it is: no start, stop or monitor."),
    Option("priority", SCORE, "0", "Resources of higher priority are placed first and stopped last."),
    Option("critical", BOOLEAN, "true", "Default of influence for colocations in which it is the dependent."),
    Option(
        "resource-stickiness",
        SCORE,
        "0",
        "How much it prefers to stay where it is; instances of clones: 1 unless set.",
        ("resource_stickiness",),
    ),
    Option(
        "requires",
        one_of("nothing", "quorum", "fencing", "unfencing", ignore_case=True),
        "fencing",
        "What must hold before it may start: `nothing`; `quorum`; `fencing`: quorum, and lost nodes are "
        "fenced; `unfencing`: and its own node was let in by an unfencing device. Without fencing, and for "
        "fencing devices, `quorum`.",
    ),
    Option("migration-threshold", SCORE, "INFINITY", "Failures on a node after which it may no longer run there."),
    Option(
        "failure-timeout",
        INTERVAL,
        "0",
        "After which time without another failure the failures of a resource on a node are forgotten; 0: never.",
    ),
    Option(
        "multiple-active",
        one_of("block", "stop_only", "stop_start", "stop_unexpected", ignore_case=True),
        "stop_start",
        "What is done when it is found active on several nodes: `block`: it is left to you; `stop_only`: all "
        "are stopped and stay so; `stop_start`: all are stopped, then one is started; `stop_unexpected`: all "
        "but the one that belongs there are stopped.",
    ),
    Option("allow-migrate", BOOLEAN, "false", "Whether it may be migrated live."),
    Option("allow-unhealthy-nodes", BOOLEAN, "false", "Whether it may run on nodes with bad health."),
    Option("container-attribute-target", TEXT, "", "Whether a bundle's replicas keep attributes on their host (host)."),
    Option("remote-node", TEXT, "", "Name of the guest node that this resource contains."),
    Option("remote-port", COUNT, "3121", "Port of the guest node's agent."),
    Option("remote-addr", TEXT, "", "Address of the guest node."),
    Option("remote-connect-timeout", INTERVAL, "60s", "How long connecting to the guest node may take."),
    Option("remote-allow-migrate", BOOLEAN, "true", "Whether the guest node's connection may migrate."),
    Option("container", TEXT, "", "Resource that contains this one."),
    Option("resource-discovery", TEXT, "", "Where the resource is looked for."),
    Option("provides", TEXT, "", "What a fencing device provides (unfencing)."),
    Option("description", TEXT, "", "Free text."),
    Option("comment", TEXT, "", "Free text."),
)

CLONE_META: Final = _table(
    Option("clone-max", COUNT, "", "Instances in the cluster; without it one for each node."),
    Option("clone-node-max", COUNT, "1", "Instances on one node."),
    Option("clone-min", COUNT, "0", "Instances that must run before what is ordered after it may start."),
    Option("globally-unique", BOOLEAN, "false", "Whether each instance is something different."),
    Option("interleave", BOOLEAN, "false", "Whether orders between clones concern the instances of one node only."),
    Option("ordered", BOOLEAN, "false", "Whether instances start one after the other."),
    Option("notify", BOOLEAN, "false", "Whether instances are told about each other's actions."),
    Option("promotable", BOOLEAN, "false", "Whether instances can be promoted."),
    Option("promoted-max", COUNT, "1", "Promoted instances in the cluster.", ("master-max",)),
    Option("promoted-node-max", COUNT, "1", "Promoted instances on one node.", ("master-node-max",)),
)

GROUP_META: Final = _table(
    Option("ordered", BOOLEAN, "true", "Whether members start in their order."),
    Option("collocated", BOOLEAN, "true", "Whether members run together."),
)

OPERATION_META: Final = _table(
    Option("interval", INTERVAL, "0", "How often it is repeated; 0: once."),
    Option("timeout", INTERVAL, "20s", "How long it may take."),
    Option(
        "on-fail",
        one_of(
            "ignore", "block", "stop", "restart", "fence", "standby", "restart-container", "demote", ignore_case=True
        ),
        "",
        "What is done when it fails: `ignore`: nothing; `block`: nothing any more with this resource; `stop`:"
        " it is stopped and stays so; `restart`: stopped and started, perhaps elsewhere; `demote`: demoted; "
        "`standby`: all resources leave the node; `fence`: the node is fenced; `restart-container`: its "
        "container is restarted. Default: `restart`; of a stop, `fence`, or `block` without fencing.",
    ),
    Option("enabled", BOOLEAN, "true", "Whether it is run at all."),
    Option("record-pending", BOOLEAN, "true", "Whether it is shown while it is under way."),
    Option("role", _ROLE, "", "Role in which a recurring operation is run."),
    Option(
        "start-delay",
        INTERVAL,
        "0",
        "How long to wait before it is run (a recurring one: for the first time; the cluster does not wait for that).",
    ),
    Option(
        "interval-origin", TEXT, "", "Moment from which intervals are counted: a daily check always at the same time."
    ),
    Option("requires", TEXT, "", "Obsolete: a meta-attribute of the resource now."),
    Option("description", TEXT, "", "Free text."),
    Option("name", TEXT, "", "Name of the action."),
)

ALERT_META: Final = _table(
    Option("enabled", BOOLEAN, "true", "Whether the alert is used, or its recipient told."),
    Option("timeout", INTERVAL, "30s", "How long the agent may take; then it is ended."),
    Option("timestamp-format", TEXT, "%H:%M:%S.%06N", "Of the time that the agent is told, as for date(1)."),
)

WITHOUT_EFFECT: Final = frozenset(
    {
        *("fencing-reaction", "remove-after-stop", "election-timeout"),
        *("join-integration-timeout", "join-finalization-timeout", "transition-delay"),
    }
)
"""Taken without complaint, since configurations that come from elsewhere have them; Vigil does not need them, or does it in its own way."""


def known(table: dict[str, Option], name: str) -> Option | None:
    """The option with this name or older spelling; underscores count as dashes, as they once did."""
    found = table.get(name)
    if found is not None:
        return found
    dashed = name.replace("_", "-")
    return table.get(dashed) or next((option for option in table.values() if dashed in option.aliases), None)
