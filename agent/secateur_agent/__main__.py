"""``python -m secateur_agent`` is ``secateur-agent``."""

import sys

from secateur_agent.cli import main

sys.exit(main())
