"""The deterministic world: virtual clock, network, disks, nodes and faults around the cores that the daemons run.

One seed decides a whole run. Run it as `python -m crm.simulator --scope membership --seeds 1-300`.
"""
