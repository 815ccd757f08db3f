"""Metrics: what Prometheus is told of the cluster and of this node. No I/O here."""
