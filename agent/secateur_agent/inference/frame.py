"""What goes into a lane and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass

from secateur_agent.engine import LoadedModel, Tensor
from secateur_agent.inference.commands import Load


@dataclass(slots=True)
class Answered:
    """What one artifact made of one frame. Not frozen, for the reason that `Frame` has.

    Attributes:
        load: Which artifact it was.
        model: The same, loaded: its tensors say what the outputs mean.
        latency_ms: From the frame's arrival to its answer.
    """

    load: Load
    model: LoadedModel
    outputs: tuple[Tensor, ...]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a frame has no answer.

    Attributes:
        is_dropped: Let go by policy, because more waited than may; else it is lost.
    """

    problem: str
    is_dropped: bool


Outcome = Answered | Unanswered


@dataclass(slots=True)
class Frame:
    """One input. Not frozen: a frozen one takes four times as long to make.

    Attributes:
        arrived_s: On the monotonic clock.
        sample: One input, without the batch axis or with it.
        label: The right answer, where it is known.
        settle: Called once with what became of it, on the lane's thread or on that which
            dropped it; must not block. ``None``: nobody waits for the answer.
    """

    arrived_s: float
    sample: Tensor
    label: int | None = None
    settle: Callable[[Outcome], None] | None = None
