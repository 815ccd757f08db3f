"""The event log: what happened on a node, as records that lead from a cause to what came of it. No I/O here."""
