"""One period of one device: all that a decision about it needs.

The device carries its own history, so that the planner is a function of one message.
Every value is bounded (rule W12): telemetry may come from a lying device.
"""

from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import Digest, ModelName, Version
from secateur_protocols.message import Message
from secateur_protocols.plain import MAX_HISTORY
from secateur_protocols.presence import Counter

Ratio = Annotated[float, Field(ge=0, le=1)]
Bytes = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
DeadlineMilliseconds = Annotated[float, Field(gt=0, le=86_400_000)]
Seconds = Annotated[float, Field(ge=0, le=10**10)]
Level = Annotated[int, Field(ge=0, le=63)]


class Resources(Message):
    """What the device has left. ``None``: no such sensor, never a guess."""

    cpu_share: Ratio | None = None
    """Busy share of all cores in the period."""
    cpu_pressure: Ratio | None = None
    """PSI ``some`` of the last ten seconds: the share of time that some task waited."""
    memory_pressure: Ratio | None = None
    """Likewise, for memory; and ``io_pressure`` for disks."""
    io_pressure: Ratio | None = None
    memory_total_bytes: Bytes | None = None
    """The machine's, or its control group's limit if that is less; likewise the available."""
    memory_available_bytes: Bytes | None = None
    temperature_c: Annotated[float, Field(ge=-100, le=250)] | None = None
    """Hottest thermal zone, degrees Celsius."""
    throttled: bool | None = None
    """Whether heat or power slows the processor now."""
    low_voltage: bool | None = None
    """Whether a Raspberry Pi's power supply is too weak now."""
    battery_ratio: Ratio | None = None
    on_mains: bool | None = None
    disk_free_bytes: Bytes | None = None
    """Where the agent keeps its artifacts."""
    link_speed_mbit: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Of the default route's interface, megabits per second. ``None``: wireless, mostly."""
    link_received_bytes: Bytes | None = None
    """All that has passed that interface since it came up; likewise ``link_sent_bytes``."""
    link_sent_bytes: Bytes | None = None


class Served(Message):
    """What one level answered since the last message."""

    level: Level
    answered: Counter
    labelled: Counter
    """Answers to frames that carry a label."""
    correct: Counter


class ModelTelemetry(Message):
    """One model on one device."""

    model: ModelName
    version: Version
    level: Level
    digest: Digest
    precision: str
    deadline_ms: Milliseconds
    p50_ms: Milliseconds | None = None
    """From a frame's arrival to its answer, nearest rank, answers of the serving level in
    this period. ``None``: no answers."""
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    p999_ms: Milliseconds | None = None
    recent_p95_ms: tuple[Milliseconds, ...] = Field(default=(), max_length=MAX_HISTORY)
    """p95 of each period since the last switch, oldest first, this one included; periods
    without answers are left out."""
    since_switch_s: Seconds
    offered: Counter
    """Frames that the source handed over since the agent started."""
    answered: Counter
    dropped: Counter
    """Frames let go by the configured policy, since the agent started."""
    lost: Counter
    """Frames neither answered nor dropped by policy, since the agent started. Never more
    than 0 but for a crash of the inference process."""
    deadline_misses: Counter
    """Answers later than the deadline, since the agent started."""
    switches: Counter
    """Changes of the serving level, since the agent started."""
    served: tuple[Served, ...] = Field(default=(), max_length=MAX_HISTORY)
    prefetched: tuple[Digest, ...] = Field(default=(), max_length=64)


class Telemetry(Message):
    """One period of one device. Order by (``boot``, ``sequence``), never by a clock (W4)."""

    boot: Counter
    sequence: Counter
    """Grows by one per message, from 0 at each boot."""
    sent_at: str
    """The device's UTC clock, ISO 8601. May be wrong."""
    period_s: Annotated[float, Field(gt=0, le=86_400)]
    """How often the device looks; ``p50_ms`` and the like are of the last such period."""
    silence_s: Annotated[float, Field(gt=0, le=10**6)] | None = None
    """The next message comes within this time. What changes little is not said meanwhile:
    a shorter silence does not mean that the device is gone. ``None``: every period is said."""
    wire_sent_bytes: Bytes | None = None
    """On the wire since the agent started, TLS and headers included (rule W11); likewise
    ``wire_received_bytes``. Downloads are not in it."""
    wire_received_bytes: Bytes | None = None
    resources: Resources
    models: tuple[ModelTelemetry, ...] = Field(max_length=64)

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two messages is the newer one."""
        return (self.boot, self.sequence)
