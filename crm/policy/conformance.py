"""Adapters that hold the engine against recorded cases: graph, scores and the text of a simulation, from a CIB file."""

from __future__ import annotations

import time
from pathlib import Path

from lxml import etree

from crm.policy.render.simulation import render_simulation
from crm.policy.schedule import schedule, without_collection
from crm.policy.state import effective_now


def _parse(cib_path: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True)
    return etree.fromstring(Path(cib_path).read_bytes(), parser)


def run(cib_path: str, now: str | None) -> tuple[str, str, str]:
    """What `crm_simulate -G`, `-sSQ` and `-S` give for a CIB at a time."""
    cib = _parse(cib_path)
    when = effective_now(cib, now, int(time.time()))[0]
    transition = schedule(cib, when, show_scores=True)
    scores = "\n".join(transition.assignment.score_lines) + "\n"
    return transition.to_xml(), scores, render_simulation(transition, cib, int(time.time()), now)


def graph(cib_path: str, now: str | None) -> str:
    """The transition graph alone."""
    with without_collection():
        cib = _parse(cib_path)
        return schedule(cib, effective_now(cib, now, int(time.time()))[0]).to_xml()
