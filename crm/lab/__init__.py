"""Clusters on one machine: real nodes, real network, a real power switch, faults on demand.

A lab is a folder and one process, the *keeper*: the machine room. The keeper holds the network that the nodes are plugged
into, their power supplies, and the switch that fencing asks to cut the power. What it can isolate depends on the
host (`crm.lab.isolation`):

- `machine`: every node has its own network, PID, mount, UTS and IPC namespaces, so that killing a node is killing a machine. Works as root,
  and without root where the kernel allows unprivileged user namespaces.
- `process`: every node is a tree of plain processes on loopback ports; the keeper relays the traffic between them, so that
  partitions can be made; the service's port stands in for its virtual IP.

Read in this order: `layout` (what a lab is, on disk), `isolation`, `keeper` (the machine room), `machine` and `process` (the two
kinds of nodes), `node_init` (process 1 of a node), `cluster` (what `crm lab` does), `demo`.
"""
