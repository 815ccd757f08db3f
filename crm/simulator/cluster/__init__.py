"""Whole clusters in virtual time: `crm.daemon.node.Node` and everything below it, on simulated machines.

What is simulated is the machine: its clock, power, network, messaging's socket, agents and fence devices. What runs on it are the daemon's own
classes: messaging's `Node`, its client, and crm's `Node` with replica, controller, transition engine, executor, attributes and fencer, with the
policy engine in the same process. Run it as `python -m crm.simulator --scope cluster --seeds 1-200`.
"""
