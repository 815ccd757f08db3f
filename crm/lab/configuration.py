"""The files a lab's nodes start from: vigil.toml for each node, the key ring, the hosts table."""

from __future__ import annotations

from crm.lab.layout import Lab


def write_configuration(lab: Lab) -> None:
    for node in lab.nodes:
        lab.state_dir(node).mkdir(parents=True)
        lab.run_dir(node).mkdir(parents=True)
    hosts = ["127.0.0.1 localhost", *(f"{lab.address(node)} {node}" for node in lab.nodes)]
    (lab.folder / "hosts").write_text("\n".join(hosts) + "\n", encoding="ascii")
