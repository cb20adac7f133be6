"""How channels pass each operator. To teach Secateur an operator, write its rule here."""

from secateur_server.pruning.flow import Rule
from secateur_server.pruning.rules import elementwise, layout, linear

RULES: dict[str, Rule] = {**elementwise.RULES, **layout.RULES, **linear.RULES}
"""By operator kind."""
