"""The verdict on a new artifact from its first answers."""

from dataclasses import dataclass

ANSWERS = 20
"""Answers that make a verdict."""

LIMIT_S = 10.0
"""How long to wait for them, seconds: a quiet source must not hold an update up."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the artifact did under watch.

    Attributes:
        answered: Frames that were answered while it served.
        faults: Frames among them that it could not answer itself.
        detail: What the last fault was.
    """

    answered: int
    faults: int
    detail: str


def objection(evidence: Evidence) -> str | None:
    """Say what speaks against committing the artifact; ``None``: nothing.

    One fault is enough: the probe has shown that it can run here, so a frame it cannot
    answer is not chance. No frame at all is no fault.
    """
    if evidence.faults:
        return f"{evidence.faults} of {evidence.answered} frames failed: {evidence.detail}"
    return None
