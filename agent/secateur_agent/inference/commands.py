"""What control and inference process say to each other over their pipe.

Frozen values, pickled by `multiprocessing.connection`: both ends are our own code, of the
same version, started by one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur_agent.core.telemetry import LaneReport
from secateur_agent.engine import EngineName
from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.ota import ReasonCode


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
class LaneSpec:
    """One model's lane: where its frames come from and when its answers are due.

    Attributes:
        source: ``None``: frames come from callers alone.
        queue: Frames that may wait; of more, the oldest are dropped and counted.
    """

    model: ModelName
    deadline_ms: float
    source: SourceSpec | None
    queue: int


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
        slowdown: Of a simulated device: how many times longer an inference takes than on
            this machine. 1: a real device.
    """

    engine: EngineName
    threads: int
    lanes: tuple[LaneSpec, ...]
    slowdown: float
    http: HttpSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load, warm, and let it answer from the next frame on.

    Answered by `Serving` or `NotServing` with the same ticket.
    """

    ticket: int
    model: ModelName
    version: str
    level: int
    precision: str
    digest: Digest
    path: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Answer with `Watched` after ``count`` more answers, or ``limit_s`` seconds."""

    ticket: int
    model: ModelName
    count: int
    limit_s: float


@dataclass(frozen=True, slots=True)
class Settle:
    """The serving artifact is committed: let go of the one before."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Restore:
    """Let the artifact of this digest answer again, if it is still loaded.

    What is being loaded is forgotten. ``None``: nothing answers.
    """

    model: ModelName
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Judge answers by another deadline, milliseconds."""

    model: ModelName
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class SetSlowdown:
    """Simulate another load."""

    slowdown: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """A payload of a model's source topic arrived."""

    model: ModelName
    payload: bytes


@dataclass(frozen=True, slots=True)
class Collect:
    """Answer with `Collected` and begin a new period."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the frames under way and end."""


Command = (
    Configure
    | Load
    | Watch
    | Settle
    | Restore
    | SetDeadline
    | SetSlowdown
    | Deliver
    | Collect
    | Stop
)


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is imported and the sources are open."""

    engine: str
    engine_version: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """The process cannot do what it was configured for, and ends."""

    problem: str


@dataclass(frozen=True, slots=True)
class Serving:
    """The artifact answers."""

    ticket: int
    model: ModelName


@dataclass(frozen=True, slots=True)
class NotServing:
    """The artifact could not be loaded or warmed; what served before goes on."""

    ticket: int
    model: ModelName
    reason: ReasonCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the serving artifact did under watch.

    Attributes:
        faults: Frames it could not answer, or answered with NaN or infinity; the artifact
            before it, still loaded, answered them.
    """

    ticket: int
    model: ModelName
    answered: int
    faults: int
    detail: str


@dataclass(frozen=True, slots=True)
class Collected:
    """One period of every lane that serves."""

    reports: tuple[LaneReport, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A frame that no loaded artifact could answer: it is lost."""

    model: ModelName
    text: str


Reply = Ready | Unusable | Serving | NotServing | Watched | Collected | Fault
