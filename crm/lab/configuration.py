"""The files a lab's nodes start from: vigil.toml for each node, the key ring, the hosts table."""

from __future__ import annotations

from crm import config
from crm.lab.layout import MESSAGING_PORT, SWITCH_ADDRESS, Isolation, Lab, TieBreaker
from messaging import keyring
from messaging.arbiter import certificates
from messaging.tiebreak import qdisk

OCF_ROOT = "/usr/lib/ocf"
PING_INTERVAL_MS = 200
PING_TIMEOUT_MS = 150
QDISK_LABEL = "lab"


def write_configuration(lab: Lab) -> None:
    """Everything that has to be there before the nodes are powered on."""
    lab.keys.touch(mode=0o600)
    lab.keys.write_text(keyring.generate(), encoding="ascii")
    hosts = ["127.0.0.1 localhost", *(f"{lab.address(node)} {node}" for node in lab.nodes)]
    (lab.folder / "hosts").write_text("\n".join(hosts) + "\n", encoding="ascii")
    if lab.tie_breaker is TieBreaker.QDISK:
        qdisk.make(str(lab.quorum_disk), lab.name, QDISK_LABEL)
    if lab.tie_breaker is TieBreaker.ARBITER:
        certificates.make_authority(lab.arbiter_folder)
        certificates.add_cluster(lab.arbiter_folder, lab.name)
    for node in lab.nodes:
        lab.state_dir(node).mkdir(parents=True)
        lab.run_dir(node).mkdir(parents=True)
        lab.config(node).write_text(config.render(node_configuration(lab, node)), encoding="utf-8")


def node_configuration(lab: Lab, node: str) -> config.Config:
    """What `node` is told. With process isolation it reaches each peer through the keeper's relay."""
    machine = lab.isolation is Isolation.MACHINE
    port = MESSAGING_PORT if machine else lab.listen_port(node)
    two_node = len(lab.nodes) == 2 and lab.tie_breaker is TieBreaker.NONE

    def endpoint(other: str) -> config.Endpoint:
        if machine:
            return config.Endpoint(lab.address(other), port)
        return config.Endpoint("127.0.0.1", port if other == node else lab.relay_port(node, other))

    return config.Config(
        cluster_name=lab.name,
        key_file=str(lab.keys),
        this_node=lab.number(node),
        nodes=tuple(config.NodeEntry(lab.number(other), other, 1, (endpoint(other),)) for other in lab.nodes),
        links=(config.Link("unicast", port, "", "", 1),),
        timers=config.Timers(
            keepalive_ms=lab.timers.keepalive_ms,
            warntime_ms=lab.timers.warntime_ms,
            deadtime_ms=lab.timers.deadtime_ms,
            initdead_ms=lab.timers.initdead_ms,
            vouch_ms=3000,
        ),
        quorum=config.Quorum(
            policy="majority",
            expected_votes=len(lab.nodes),
            two_node=two_node,
            wait_for_all=two_node,
            tie_breaker=_tie_breaker(lab, node),
        ),
        paths=config.Paths(str(lab.state_dir(node)), str(lab.run_dir(node)), "", "info"),
        agents=config.Agents(OCF_ROOT),
        # Another user could not reach a checkout or a lab that is in a home folder.
        alerts=config.Alerts(user=""),
        # A machine has a loopback of its own, where nothing else can have the port.
        metrics=config.Metrics(config.Endpoint("127.0.0.1", config.DEFAULT_METRICS_PORT) if machine else None),
        watchdog=config.Watchdog(str(lab.watchdog(node)), lab.watchdog_ms) if lab.watchdog_ms else config.Watchdog(),
    )


def _tie_breaker(lab: Lab, node: str) -> config.TieBreaker:
    match lab.tie_breaker:
        case TieBreaker.NONE:
            return config.TieBreaker()
        case TieBreaker.PING:
            machine = lab.isolation is Isolation.MACHINE
            target = SWITCH_ADDRESS if machine else f"127.0.0.1:{lab.ping_port(node)}"
            # In a lab nothing can be lost: fencing may be switched off to see what happens then.
            return config.TieBreaker(
                "ping", (target,), PING_INTERVAL_MS, PING_TIMEOUT_MS, 2, accept_without_fencing=True
            )
        case TieBreaker.QDISK:
            time_ms = lab.timers.deadtime_ms - lab.timers.keepalive_ms
            interval_ms = time_ms // (config.QDISK_TKO + config.QDISK_EXTRA + 1)
            return config.TieBreaker(
                "qdisk",
                interval_ms=interval_ms,
                tko=config.QDISK_TKO,
                device=str(lab.quorum_disk),
                label=QDISK_LABEL,
            )
        case TieBreaker.ARBITER:
            time_ms = lab.timers.deadtime_ms - lab.timers.keepalive_ms
            return config.TieBreaker(
                "arbiter",
                interval_ms=time_ms // (config.QDISK_TKO + config.QDISK_EXTRA + 1),
                tko=config.QDISK_TKO,
                address=f"{lab.power_address}:{lab.arbiter_port()}",
                certificate=str(lab.arbiter_folder / "clusters" / f"{lab.name}.pem"),
            )
