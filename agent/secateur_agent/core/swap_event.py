"""What can happen to a swap. Answers carry the ticket of the effect that they answer."""

from dataclasses import dataclass

from secateur_agent.core.artifact import Artifact, Target
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import ProofOfRun


@dataclass(frozen=True, slots=True)
class Want:
    """The coordinator, or the reconciliation of a period, names the target."""

    target: Target


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The coordinator wants nothing of this model any more; an operator stopped it."""


@dataclass(frozen=True, slots=True)
class StepDown:
    """The device itself wants a narrower level, now.

    Attributes:
        artifact: Verified, and better loaded and warm: then it answers at once.
        proof: That it ran here.
    """

    artifact: Artifact
    proof: ProofOfRun
    reason: ReasonCode
    detail: str


@dataclass(frozen=True, slots=True)
class Broken:
    """What should serve cannot be loaded any more: damaged on disk, or no memory.

    Attributes:
        substitute: Another artifact that the store holds whole. ``None``: none.
    """

    detail: str
    substitute: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Hung:
    """What serves did not come back from an inference; its process was ended.

    Attributes:
        served_s: For how long it had served, seconds.
        previous: The artifact committed before it, whole in the store. ``None``: none is.
    """

    served_s: float
    previous: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """An effect succeeded.

    Attributes:
        detail: What people should know of it.
    """

    ticket: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The ladder was read."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Proven:
    """The probe ran the candidate and its golden outputs were right.

    Attributes:
        detail: What it measured, in words and numbers.
    """

    ticket: int
    proof: ProofOfRun
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An effect failed.

    Attributes:
        permanent: Trying again gives the same.
        retry_after_s: How long the other side asks us to wait at least, seconds.
        chance: In [0, 1), drawn by the driver; sets the jitter of a retry.
    """

    ticket: int
    reason: ReasonCode
    detail: str = ""
    permanent: bool = False
    retry_after_s: float = 0.0
    chance: float = 0.5


@dataclass(frozen=True, slots=True)
class TimedOut:
    """An effect did not answer within its time."""

    ticket: int


Answer = Resolved | Done | Proven | Failed | TimedOut
"""What an effect with a ticket comes to."""

Event = Want | Withdraw | StepDown | Broken | Hung | Answer
