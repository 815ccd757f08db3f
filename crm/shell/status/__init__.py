"""`crm status`: one picture of the cluster.

Theory of operation. `read` makes a `ClusterStatus` (`model`, plain values) from a CIB and, when there is one, from what the daemon reports; how the status section
is to be understood is the policy engine's business (`crm.policy.state`), not ours. `render` draws the model, for a terminal of any width and without colours where
they are not wanted; `watch` draws it again whenever something happens. Nothing in `model`, `read` and `render` does input or output.
"""
