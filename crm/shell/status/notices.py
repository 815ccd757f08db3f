"""What must be said before all else: why nothing starts, who is lost, what is switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm.policy.model import ClusterState, Kind
from crm.shell.status.model import Level, Notice


def read(state: ClusterState, about: Mapping[str, Any], *, quorate: bool, live: bool) -> tuple[Notice, ...]:
    """Worst first. Who may not read everything is told so instead of what would follow from what is missing."""
    if about.get("restricted"):
        return (Notice(Level.NOTICE, "You see what the access control lists let you read; the rest is left out here."),)
    found: list[Notice] = []
    found.extend(_fencing(state))
    found.extend(_quorum(state, about, quorate=quorate))
    found.extend(_nodes(state))
    found.extend(_switched_off(state))
    if live and not about.get("dc"):
        found.append(Notice(Level.WARNING, "There is no DC: nothing is decided until one is elected."))
    if about.get("unsafe"):
        found.append(Notice(Level.ERROR, f"Not safe: {about['unsafe']}."))
    found.extend(_versions(about.get("controller") or {}))
    found.extend(_cib(about.get("cib") or {}))
    order = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTICE: 2}
    return tuple(sorted(found, key=lambda notice: order[notice.level]))


def _versions(controller: Mapping[str, Any]) -> list[Notice]:
    found = [Notice(Level.ERROR, f"Not taken in: {text}.") for text in controller.get("refused") or ()]
    sets: Mapping[str, str] = controller.get("feature_sets") or {}
    if len(set(sets.values())) > 1:
        each = ", ".join(f"{name} {features}" for name, features in sets.items())
        found.append(
            Notice(
                Level.NOTICE,
                f"Mixed versions: an upgrade is under way (feature sets: {each}).",
                "Until it is complete the cluster works with what the oldest node can; after that none that is older can come back.",
            )
        )
    return found


def _cib(about: Mapping[str, Any]) -> list[Notice]:
    found: list[Notice] = []
    if lost := about.get("without"):
        found.append(
            Notice(
                Level.ERROR,
                f"Nothing is decided: every copy of the configuration on {', '.join(lost)} is damaged, and no other node has one.",
                "Start a node that has it. Or, on each of them: put a good copy at "
                f"{about.get('folder')}/cib.xml\nand restart vigild; to begin with an empty configuration, remove the folder instead.",
            )
        )
    for severity, text in about.get("reports") or ():
        found.append(Notice(Level.NOTICE if severity == "notice" else Level.WARNING, f"CIB on disk: {text}"))
    for path, why in about.get("kept_aside") or ():
        found.append(Notice(Level.WARNING, f"A configuration that the cluster did not take is kept in {path} ({why})."))
    return found


def _fencing(state: ClusterState) -> list[Notice]:
    options = state.options
    if not options.fencing_enabled:
        return [
            Notice(
                Level.NOTICE,
                "Fencing is switched off (fencing-enabled=false): after a split data can be damaged.",
            )
        ]
    if state.has_fence_device or not any(rsc.kind is Kind.PRIMITIVE for rsc in state.all_resources):
        return []
    return [
        Notice(
            Level.ERROR,
            "Nothing is started: fencing-enabled is true, and no fencing device is configured.",
            "Add a device:  crm configure primitive NAME stonith:AGENT params ...\n"
            "Or, where nothing can be lost:  crm configure property fencing-enabled=false",
        )
    ]


def _quorum(state: ClusterState, about: Mapping[str, Any], *, quorate: bool) -> list[Notice]:
    if quorate:
        return []
    effects = {
        "stop": "all resources are stopped",
        "freeze": "what runs goes on, nothing else is started",
        "demote": "what is promoted is demoted, the rest goes on",
        "fence": "this partition is fenced",
        "suicide": "this partition is fenced",
        "ignore": "the cluster goes on all the same",
    }
    policy = state.options.no_quorum_policy
    reason = str((about.get("quorum") or {}).get("reason") or "")
    text = f"No quorum{': ' + reason if reason else ''}. no-quorum-policy={policy}: {effects.get(policy, policy)}."
    return [Notice(Level.NOTICE if policy == "ignore" else Level.ERROR, text)]


def _nodes(state: ClusterState) -> list[Notice]:
    found: list[Notice] = []
    for node in state.nodes:
        if node.unclean and not node.online:
            text = f"{node.name} is lost and not known to be off: what it ran is started elsewhere once it is fenced."
            hint = f"When you have switched it off yourself:  crm node clearstate {node.name}"
            found.append(Notice(Level.ERROR, text, hint))
    return found


def _switched_off(state: ClusterState) -> list[Notice]:
    found: list[Notice] = []
    options = state.options
    if options.maintenance_mode:
        found.append(
            Notice(
                Level.WARNING,
                "Maintenance mode: the cluster starts, stops and recovers nothing.",
                "End it:  crm configure property maintenance-mode=false",
            )
        )
    if options.stop_all_resources:
        found.append(
            Notice(
                Level.WARNING,
                "All resources are to be stopped (stop-all-resources=true).",
                "End it:  crm configure property stop-all-resources=false",
            )
        )
    return found
