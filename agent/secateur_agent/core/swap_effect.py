"""What a swap wants done."""

from dataclasses import dataclass

from secateur_agent.core.artifact import Artifact, Target
from secateur_protocols.ids import Digest
from secateur_protocols.ota import ReasonCode, UpdateState


@dataclass(frozen=True, slots=True)
class Resolve:
    """Read the ladder and find the artifact of the target's level."""

    ticket: int
    target: Target
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the artifact and its golden inputs into the store."""

    ticket: int
    artifact: Artifact
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verify:
    """Hash what is in the store."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the golden inputs in a process of its own."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Activate:
    """Load and warm it beside the incumbent, then let it answer."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Watch:
    """Judge it by its first inferences."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Commit:
    """Make it the one that serves after a restart, and let go of the one before.

    What was counted against it is forgotten in the same write.
    """

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Serve:
    """Load this artifact and let it answer: what served is gone."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class RollBack:
    """Let the incumbent answer again. ``None``: nothing answers until the next swap."""

    incumbent: Artifact | None


@dataclass(frozen=True, slots=True)
class Discard:
    """Let go of what was brought in for a candidate, and is needed for nothing else."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Remember on disk how often this artifact failed by its own fault; 0 forgets it."""

    digest: Digest
    count: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Say where the update stands."""

    state: UpdateState
    level: int
    digest: Digest | None
    reason: ReasonCode | None = None
    detail: str = ""


Asks = Resolve | Fetch | Verify | Probe | Activate | Watch
"""Effects that answer, with their ticket, or are timed out."""

Effect = Asks | Commit | Serve | RollBack | Discard | Refuse | Tell
