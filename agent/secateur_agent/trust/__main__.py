"""Starts the check with plain Python's Ed25519, whatever else is installed.

So a check is the same on every device, and takes no memory for a library it does not need.
"""

import sys

sys.modules["cryptography"] = None  # type: ignore[assignment] # "not installed", to imports

from secateur_agent.trust.check import main  # noqa: E402 - see above

sys.exit(main())
