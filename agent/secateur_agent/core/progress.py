"""Whether the inference process has come to a standstill."""

SILENT_S = 30.0
"""How long it may not answer a ping, seconds."""

BUSY_S = 60.0
"""How long one inference, or loading one artifact, may always take, seconds."""

BUSY_DEADLINES = 20.0
"""And how many times the deadline: who asks for answers within minutes gets them."""


def is_stuck(busy_s: float, deadline_ms: float) -> bool:
    """Say whether one step of the engine has taken so long that it will not come back."""
    return busy_s > max(BUSY_S, BUSY_DEADLINES * deadline_ms / 1e3)
