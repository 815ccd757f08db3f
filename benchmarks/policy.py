"""Time the policy engine on a large cluster: the first schedule, one with everything running, and what the daemon's worker makes of it.

The cluster: of the resources two in five are members of groups of four, a few are clones, the rest primitives with a preferred node; a
tenth of the groups is ordered after and placed with a clone. "first" has nothing running and every resource to be probed on every
node; "running" is the same cluster once all that is done. Each figure is the best of several runs: user and system time of the process (the
worker's figures: elapsed), so that other work on the machine counts little.

    python benchmarks/policy.py --size 32x1000
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable

from crm.cib import xml
from crm.daemon import worker
from crm.daemon.policy_client import PolicyClient
from crm.policy.schedule import schedule
from crm.policy.simulate import execute

NOW = 1_700_000_000


def primitive(name: str) -> str:
    return (
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy"><operations>'
        f'<op id="{name}-monitor" name="monitor" interval="10s"/></operations></primitive>'
    )


def cluster(nodes: int, resources: int) -> bytes:
    """A new cluster: everybody online, nothing known about any resource."""
    groups, clones = resources // 10, max(2, resources // 250)
    singles = resources - 4 * groups - clones
    numbers = range(1, nodes + 1)
    parts = [f'<node id="{n}" uname="node{n}"/>' for n in numbers]
    parts.append("</nodes><resources>")
    parts += [primitive(f"p{i}") for i in range(singles)]
    parts += [f'<group id="g{i}">{"".join(primitive(f"g{i}m{k}") for k in range(4))}</group>' for i in range(groups)]
    parts += [f'<clone id="c{i}">{primitive(f"ci{i}")}</clone>' for i in range(clones)]
    parts.append("</resources><constraints>")
    parts += [f'<rsc_location id="l{i}" rsc="p{i}" node="node{i % nodes + 1}" score="100"/>' for i in range(singles)]
    for i in range(0, groups, 10):
        parts.append(f'<rsc_order id="o{i}" first="c{i % clones}" then="g{i}"/>')
        parts.append(f'<rsc_colocation id="k{i}" rsc="g{i}" with-rsc="c{i % clones}" score="INFINITY"/>')
    parts.append("</constraints></configuration><status>")
    parts += [
        f'<node_state id="{n}" uname="node{n}" in_ccm="true" crmd="online" join="member" expected="member">'
        f'<lrm id="{n}"><lrm_resources/></lrm></node_state>'
        for n in numbers
    ]
    return (
        '<cib crm_feature_set="3.20.0" validate-with="pacemaker-4.0" epoch="1" num_updates="0" admin_epoch="0" '
        'have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="o">'
        '<nvpair id="o1" name="fencing-enabled" value="false"/></cluster_property_set></crm_config><nodes>'
        f"{''.join(parts)}</status></cib>"
    ).encode()


def running(new: bytes) -> bytes:
    """The same cluster when there is nothing left to do."""
    root = xml.parse(new)
    while not (transition := schedule(root, NOW, masked=False)).idle:
        execute(root, transition, NOW, realistic=True)
    return xml.to_bytes(root)


def best(runs: int, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(runs):
        gc.collect()
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def in_process(name: str, document: bytes, runs: int) -> None:
    root = xml.parse(document, comments=False)

    def explained() -> None:
        schedule(root, NOW, masked=False, explain=True).to_xml()

    figures = {
        "parse": best(runs, lambda: xml.parse(document, comments=False)),
        "schedule": best(runs, lambda: schedule(root, NOW, masked=False).to_xml()),
        "schedule, explained": best(runs, explained),
    }
    print(f"{name:8}", *(f"{what} {taken:.3f} s" for what, taken in figures.items()), sep="  ")


async def through_worker(documents: dict[str, bytes]) -> None:
    """What the daemon waits for: from asking to the answer."""
    answered: asyncio.Queue[tuple[bytes | None, str]] = asyncio.Queue()
    pid, channel = worker.fork()
    client = PolicyClient(lambda _number, graph, error: answered.put_nowait((graph, error)), pid, channel)
    for number, (name, document) in enumerate(documents.items()):
        began = time.perf_counter()
        client.ask(number, document, NOW)
        graph, error = await answered.get()
        print(f"worker    {name:30}{time.perf_counter() - began:.3f} s{error and ' ' + error}")
        assert graph is not None
        await asyncio.sleep(1)  # garbage is collected after an answer
    await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="32x1000", help="NODESxRESOURCES")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    nodes, resources = map(int, arguments.size.split("x"))
    first = cluster(nodes, resources)
    later = running(first)
    print(f"{arguments.size}: the running cluster's CIB has {len(later) / 2**20:.1f} MiB")
    in_process("first", first, arguments.runs)
    in_process("running", later, arguments.runs)
    asyncio.run(
        through_worker(
            {
                "first": first,
                "everything runs": later,
                "unchanged": later,
                "one node's history changed": later.replace(b'crm-debug-origin="crm_simulate"', b"", 1),
                "unchanged again": later.replace(b'crm-debug-origin="crm_simulate"', b"", 1),
            }
        )
    )


if __name__ == "__main__":
    main()
