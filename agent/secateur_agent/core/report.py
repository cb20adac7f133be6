"""What the inference process measured in a period, as it hands it to the control process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LevelServed:
    """What one level answered.

    Attributes:
        labelled: Answers to frames that carry a label; ``correct`` of them agreed with it.
    """

    level: int
    answered: int
    labelled: int
    correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What one model did in one period, and its counters since the agent started.

    Attributes:
        digest: Of the artifact that serves; likewise ``version``, ``level``, ``precision``.
        p50_ms: Of the serving artifact's answers in this period, arrival to answer, nearest
            rank, milliseconds. ``None``: no answers. Likewise the other ranks.
        since_switch_s: Time that the artifact has served, seconds.
        offered: Frames handed over by the source, ``answered``, ``dropped`` by policy, and
            ``deadline_misses``: counters since the inference process started.
        switches: Changes of the serving artifact, the first one not counted.
        served: What each level answered in this period.
    """

    model: str
    version: str
    level: int
    digest: str
    precision: str
    deadline_ms: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    since_switch_s: float
    offered: int
    answered: int
    dropped: int
    lost: int
    deadline_misses: int
    switches: int
    served: tuple[LevelServed, ...]
