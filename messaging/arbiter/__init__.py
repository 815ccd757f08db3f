"""The network arbiter: a small process on a third machine that decides even splits for any number of clusters.

Read in this order: `core` (what it decides, and why there are never two winners), `protocol` (what is said on the wire),
`records` (what it keeps on disk), `certificates` (who may speak), `server` (sockets), `command` (`vigil-arbiter`). The other end is
`messaging.tiebreak.arbiter`, in every node.
"""
