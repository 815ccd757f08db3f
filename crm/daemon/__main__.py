"""`python -m crm.daemon`: see `crm.daemon.main`."""

import sys

from crm.daemon.main import main

sys.exit(main())
