"""What control and inference process say to each other over their pipe.

Nothing that is imported here may need pydantic: the inference process parses no message, and
would pay for it with 15 MB.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur_agent.core.guard import Crossing
from secateur_agent.core.report import DeviceReport, LaneReport
from secateur_agent.inference.realtime import Realtime
from secateur_agent.installed import EngineName
from secateur_protocols.plain import ReasonCode

NO_SWAP = 0
"""The ticket of what is loaded without a swap: an incumbent, after a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySpec:
    """Frames from an ``.npz`` with ``x`` [n, ...] and, optionally, labels ``y`` [n].

    Attributes:
        rate_hz: Frames per second; the file begins again at its end.
    """

    path: str
    rate_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """Frames of one size from a command's standard output.

    Attributes:
        dtype: Of a frame's numbers, as numpy names it, in the machine's byte order.
        shape: Of a frame.
    """

    command: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """Frames from an MQTT topic, one per payload; ``dtype`` and ``shape`` as above."""

    topic: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSpec:
    """Frames from a third party's source, by its entry point's name."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)


SourceSpec = ReplaySpec | ExecSpec | TopicSpec | PluginSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSpec:
    """Who else is told of results.

    Attributes:
        mqtt_rate_hz: Results per second at most; those between are not sent. 0: none.
        lines: A file for JSON lines, ``-`` for standard output. ``None``: none.
        lines_max_bytes: A longer file is renamed to ``.1``, and a new one begun.
    """

    mqtt_rate_hz: float
    lines: str | None
    lines_max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSpec:
    """One model's lane: where its frames come from and when its answers are due.

    Attributes:
        source: ``None``: frames come from callers alone.
        queue: Frames that may wait; of more, the oldest are dropped and counted.
        drops_late: Frames past their deadline are let go, not answered late.
        miss_ratio: More late ones than this share of the last answers are reported at once.
            1: never.
    """

    model: str
    deadline_ms: float
    source: SourceSpec | None
    queue: int
    results: ResultSpec | None = None
    drops_late: bool = False
    miss_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """Where callers find the models.

    Attributes:
        listen: ``host:port`` on loopback, or ``unix:`` and a path.
    """

    listen: str
    max_request_bytes: int
    max_connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """The first command.

    Attributes:
        http: ``None``: no HTTP server.
        places: Inferences at a time, over all models. ``None``: as many as there are models.
        slowdown: Of a simulated device: how many times longer an inference takes than on
            this machine. 1: a real device.
    """

    engine: EngineName
    threads: int
    lanes: tuple[LaneSpec, ...]
    slowdown: float
    http: HttpSpec | None = None
    places: int | None = None
    realtime: Realtime = field(default_factory=Realtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load, warm, and let it answer from the next frame on.

    Answered by `Serving` or `NotServing` with the same ticket. What is prepared already
    answers at once.
    """

    ticket: int
    model: str
    version: str
    level: int
    precision: str
    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load and warm beside what serves, to answer at once when it is loaded for real.

    Answered by `Prepared` or `NotPrepared` with the same ticket. One per model: the one
    before is let go.
    """

    load: Load


@dataclass(frozen=True, slots=True)
class Release:
    """Let go of what was prepared, or is being prepared."""

    model: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Answer with `Watched` after ``count`` more answers, or ``limit_s`` seconds."""

    ticket: int
    model: str
    count: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Settle:
    """The serving artifact is committed: let go of the one before."""

    model: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Let the artifact of this digest answer again, if it is still loaded.

    What is being loaded is forgotten. If it is not loaded any more, nothing answers, which
    `NotServing` says. ``None``: nothing answers.
    """

    model: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Judge answers by another deadline, milliseconds."""

    model: str
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class SetSlowdown:
    """Simulate another load."""

    slowdown: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """A payload of a model's source topic arrived."""

    model: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Collect:
    """Answer with `Collected` and begin a new period."""


@dataclass(frozen=True, slots=True)
class Describe:
    """The device is like this now: for who asks for metrics."""

    device: DeviceReport


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with `Alive`, at once."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the frames under way and end."""


Command = (
    Configure
    | Load
    | Prepare
    | Release
    | Watch
    | Settle
    | Restore
    | SetDeadline
    | SetSlowdown
    | Deliver
    | Collect
    | Describe
    | Ping
    | Stop
)


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is imported and the sources are open."""

    engine: EngineName


@dataclass(frozen=True, slots=True)
class Unusable:
    """The process cannot do what it was configured for, and ends."""

    problem: str


@dataclass(frozen=True, slots=True)
class Serving:
    """The artifact answers."""

    ticket: int
    model: str


@dataclass(frozen=True, slots=True)
class NotServing:
    """The artifact could not be loaded or warmed; what served before goes on."""

    ticket: int
    model: str
    reason: ReasonCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the serving artifact did under watch.

    Attributes:
        faults: Frames it could not answer, or answered with NaN or infinity; the artifact
            before it, still loaded, answered them.
        p95_ms: Of its inferences, without waiting. ``None``: no answers.
        incumbent_p95_ms: Of the last inferences of the artifact before it. ``None``: none.
    """

    ticket: int
    model: str
    answered: int
    faults: int
    detail: str
    p95_ms: float | None
    incumbent_p95_ms: float | None
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """The artifact can answer from one frame to the next."""

    ticket: int
    model: str


@dataclass(frozen=True, slots=True)
class NotPrepared:
    """The artifact could not be loaded or warmed; nothing is prepared."""

    ticket: int
    model: str
    reason: ReasonCode
    detail: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """Too many of the last answers came after their deadline."""

    model: str
    crossing: Crossing


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """A step of the engine that is under way: an inference, or the loading of an artifact.

    Attributes:
        digest: Of the artifact; ``served_s`` is for how long it has served, seconds.
        busy_s: How long the step has taken by now, seconds.
    """

    model: str
    digest: str
    served_s: float
    busy_s: float
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Alive:
    """The process obeys; and this is what its engine is at."""

    busy: tuple[Busy, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """One period of every lane that serves."""

    reports: tuple[LaneReport, ...]


@dataclass(frozen=True, slots=True)
class ResultReady:
    """A result to publish: the members of the message, but those that order it."""

    model: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A frame that no loaded artifact could answer: it is lost.

    Attributes:
        model: ``None``: something else that the whole process could not do.
    """

    model: str | None
    text: str


Reply = (
    Ready
    | Unusable
    | Serving
    | NotServing
    | Prepared
    | NotPrepared
    | Watched
    | Overdue
    | Alive
    | Collected
    | ResultReady
    | Fault
)
