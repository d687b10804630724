"""rustploy-apply.service starts here. It takes no arguments and no environment."""

import sys

from rustploy_agent.apply.host import Host
from rustploy_agent.apply.steps import main

sys.exit(main(Host()))
