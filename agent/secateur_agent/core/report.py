"""What the two processes tell each other of a period that has ended."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What the control process read of the device. ``None``: no such sensor.

    Attributes:
        wire_sent_bytes: To brokers since the agent started, TLS and headers included;
            likewise ``wire_received_bytes``.
    """

    cpu_share: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    wire_sent_bytes: int = 0
    wire_received_bytes: int = 0
