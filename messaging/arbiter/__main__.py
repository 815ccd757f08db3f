"""`python -m messaging.arbiter`: the same as `vigil-arbiter`."""

from __future__ import annotations

import sys

from messaging.arbiter.command import main

sys.exit(main())
