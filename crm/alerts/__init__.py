"""Alerts: which agent is told of what, for whom, with which environment, in which order. No I/O here."""
