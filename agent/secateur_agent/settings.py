"""The agent's settings: one frozen object, read once from TOML, passed down as values."""

import tomllib
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from secateur_agent.errors import ConfigError
from secateur_agent.installed import EngineName
from secateur_agent.transfer.port import Way
from secateur_protocols.codec import first_problem
from secateur_protocols.ids import DeviceId, ModelName, Name, SiteId
from secateur_protocols.logs import LogForm

BROKER_PORT = 1883
BROKER_TLS_PORT = 8883

MAX_FRAME_NUMBERS = 1 << 24
"""Numbers in one raw frame: sixteen million, five times a full HD picture in colour."""

Axis = Annotated[int, Field(ge=1, le=1 << 24)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class BrokerSettings(_Section):
    """Where the broker is."""

    url: str = "mqtt://127.0.0.1:1883"
    """``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for TLS."""
    keep_alive_s: Annotated[int, Field(ge=5, le=65_535)] | None = None
    """A dead link is noticed within one and a half times this. ``None``: 60; metered 600."""
    ca_file: Path | None = None
    """Whom to trust with ``mqtts://``. ``None``: the system's authorities."""
    cert_file: Path | None = None
    """The device's certificate, for ``mqtts://``; its CN is the device id."""
    key_file: Path | None = None
    """The private key that belongs to it. ``None``: it stands in ``cert_file``."""
    renew_url: str | None = None
    """Where the certificate is renewed, ``https://host:port``. ``None``: nowhere."""

    @field_validator("url")
    @classmethod
    def _is_broker_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            msg = "must be mqtt://host:port or mqtts://host:port"
            raise ValueError(msg)
        _ = parts.port  # raises ValueError when it is no port
        return url

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if self.cert_file is None and (self.key_file or self.renew_url):
            msg = "key_file and renew_url need a cert_file"
            raise ValueError(msg)
        if self.renew_url is not None and not self.renew_url.startswith("https://"):
            msg = "renew_url must be https://host:port"
            raise ValueError(msg)
        return self


class TelemetryProfile(StrEnum):
    """How much the device says."""

    NORMAL = "normal"
    METERED = "metered"


class TelemetrySettings(_Section):
    """How often the device looks, and how much it says."""

    period_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Short periods see pressure sooner. What changes little is not said."""
    profile: TelemetryProfile = TelemetryProfile.NORMAL
    """``metered``: for links that are paid by the byte."""
    budget_mb_month: Annotated[float, Field(ge=1, le=1e6)] | None = None
    """Megabytes (10^6) in 30 days, both ways. ``None``: 72, metered 8."""


class EngineSettings(_Section):
    """What runs the models."""

    name: EngineName = EngineName.AUTO
    """``auto``: LiteRT where it is installed, else tflite-runtime."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """One leaves the other cores to the device's own work."""
    cpu_budget: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Cores that all models together may use at a time. ``None``: as many as they ask for."""
    probe_memory_bytes: Annotated[int, Field(ge=1 << 26)] | None = None
    """What a candidate's probe may allocate. ``None``: most of what is available then."""


class RealtimeSettings(_Section):
    """What the system is asked for on behalf of the deadlines; none of it needs to be there."""

    cpus: tuple[Annotated[int, Field(ge=0, le=4095)], ...] = ()
    """Processors that inference may run on. Empty: all."""
    nice: Annotated[int, Field(ge=-20, le=19)] | None = None
    """Of the inference process. ``None``: as the agent was started."""
    fifo_priority: Annotated[int, Field(ge=1, le=99)] | None = None
    """``SCHED_FIFO`` for the hot loops. ``None``: the normal scheduler."""
    lock_memory: bool = False
    """Keep the inference process out of swap. It takes memory that others may need."""


class TransferSettings(_Section):
    """How models reach the device."""

    way: Way = Way.AUTO
    """``http``; ``mqtt``: in blocks through the broker; ``auto``: HTTP where it is open."""
    rate_bytes_per_s: Annotated[float, Field(ge=1000, le=1e10)] | None = None
    """All downloads together, on average. ``None``: as fast as it goes."""
    budget_mb_month: Annotated[float, Field(ge=0.1, le=1e6)] | None = None
    """Megabytes (10^6) of downloads in 30 days. ``None``: without end."""
    spread_s: Annotated[float, Field(ge=0, le=30)] = 5.0
    """A new model version is fetched after a random part of this: a fleet must not come at
    once."""


class LimitSettings(_Section):
    """When a model steps down without being told."""

    memory_available_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Less available memory than this share. 0: never."""
    temperature_c: Annotated[float, Field(ge=-100, le=250)] = 85.0
    """Hotter than this, degrees Celsius: where a Raspberry Pi throttles. 250: never."""
    miss_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """More late answers than this share of the last 16. 1: never."""


class ReplaySettings(_Section):
    """Frames from a file, at a fixed rate."""

    kind: Literal["replay"]
    path: Path
    """An ``.npz`` with ``x`` [n, ...] and, optionally, integer labels ``y`` [n]."""
    rate_hz: Annotated[float, Field(gt=0, le=10_000)] = 10.0


class HttpSettings(_Section):
    """Where programs on this device ask for inferences, and Prometheus for metrics."""

    listen: str = "127.0.0.1:8000"
    """``host:port`` on loopback, or ``unix:/path``: there is no login."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 1 << 24
    """Longer bodies are refused before they are read."""
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 32
    """At a time; each takes a thread."""

    @field_validator("listen")
    @classmethod
    def _is_local(cls, listen: str) -> str:
        if listen.startswith("unix:"):
            if len(listen.removeprefix("unix:").encode()) not in range(1, 108):
                msg = "the path of a Unix socket has 1 to 107 bytes"
                raise ValueError(msg)
            return listen
        host, _, port = listen.rpartition(":")
        if host not in {"127.0.0.1", "localhost", "[::1]"} or not port.isascii():
            msg = "must be 127.0.0.1:port, localhost:port, [::1]:port or unix:/path"
            raise ValueError(msg)
        if not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the last port
            msg = "the port must be 0 to 65535"
            raise ValueError(msg)
        return listen


class _RawFrames(_Section):
    """Frames that arrive as bytes: numbers of one type, in this machine's byte order."""

    dtype: Literal["uint8", "int8", "uint16", "int16", "int32", "float32"] = "uint8"
    shape: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=8)]
    """Of one frame. ``[n]`` with ``uint8`` says a size in bytes."""

    @field_validator("shape")
    @classmethod
    def _is_small_enough(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if prod(shape) > MAX_FRAME_NUMBERS:
            msg = f"a frame has at most {MAX_FRAME_NUMBERS} numbers"
            raise ValueError(msg)
        return shape


class ExecSettings(_RawFrames):
    """Frames from a command's standard output."""

    kind: Literal["exec"]
    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=256)]
    """Program and arguments, without a shell. It is started again when it ends."""


class MqttSettings(_RawFrames):
    """Frames from a topic of the same broker, one per payload."""

    kind: Literal["mqtt"]
    topic: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^+#\x00]+$")]
    """Without wildcards."""


class PluginSettings(_Section):
    """Frames from a source that another distribution brings."""

    kind: Literal["plugin"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Of its entry point in the group ``secateur.sources``."""
    options: dict[str, object] = Field(default_factory=dict)
    """Handed to it as they are."""


SourceSettings = Annotated[
    ReplaySettings | ExecSettings | MqttSettings | PluginSettings, Field(discriminator="kind")
]


class ResultSettings(_Section):
    """Who else is told of results; callers always get theirs."""

    mqtt_rate_hz: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """On ``.../result/{model}``, at most so many per second. 0: none."""
    lines: Annotated[str, Field(min_length=1)] | None = None
    """A file to which each result is added as a line of JSON; ``-``: standard output."""
    lines_max_bytes: Annotated[int, Field(ge=10_000)] = 10_000_000
    """A longer file is renamed to ``.1``: twice this is what they take at most."""


class TrustSettings(_Section):
    """Whose signature lets a model be installed here."""

    root: Path | None = None
    """Root metadata that ``secateur keys init`` made. ``None``: nothing new is installed."""
    accept_unsigned: bool = False
    """Install whatever the broker says; for a laboratory."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.root is not None and self.accept_unsigned:
            msg = "root and accept_unsigned contradict each other: leave one out"
            raise ValueError(msg)
        return self


class ModelSettings(_Section):
    """One model the device runs."""

    name: ModelName
    deadline_ms: Annotated[float, Field(gt=0, le=86_400_000)]
    """From a frame's arrival to its answer; the operator's policy comes first."""
    queue: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Frames that may wait; of more, the oldest are dropped and counted."""
    late: Literal["answer", "drop"] = "answer"
    """What becomes of a frame whose deadline has passed before its turn comes."""
    standby: bool = True
    """Keep the next narrower level loaded. It costs that level's memory."""
    source: SourceSettings | None = None
    """``None``: the model answers callers alone."""
    results: ResultSettings = ResultSettings()


class SimulationSettings(_Section):
    """A device that this machine only plays: for demos and tests, never on a device."""

    hardware_class: Name
    slowdown: Annotated[float, Field(ge=1, le=100_000)] = 1.0
    """How many times longer an inference takes than on this machine."""
    memory_total_bytes: Annotated[int, Field(gt=0)] | None = None
    temperature_c: float | None = None
    overrides: Path | None = None
    """A JSON file, read again each period, that puts the device under pressure: any of
    ``slowdown_factor``, ``cpu_share``, ``memory_available_bytes``, ``temperature_c``."""


class AgentSettings(_Section):
    """All of ``agent.toml``."""

    site: SiteId = "default"
    device: DeviceId
    """Also the MQTT client id."""
    state_dir: Path = Path("/var/lib/secateur")
    """Artifacts and the record of what is committed; must outlive a reboot."""
    labels: dict[str, str] = Field(default_factory=dict)
    log_format: LogForm = LogForm.CONSOLE
    """How lines on stderr are written: in words, or as JSON for programs."""
    broker: BrokerSettings = BrokerSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    engine: EngineSettings = EngineSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    limits: LimitSettings = LimitSettings()
    transfer: TransferSettings = TransferSettings()
    http: HttpSettings | None = None
    """``None``: no HTTP server."""
    trust: TrustSettings = TrustSettings()
    models: Annotated[tuple[ModelSettings, ...], Field(min_length=1, max_length=16)]
    simulation: SimulationSettings | None = None

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        if len({model.name for model in models}) != len(models):
            msg = "two models have the same name"
            raise ValueError(msg)
        return models


def read_settings(path: Path) -> AgentSettings:
    """Read and check ``agent.toml``.

    Raises:
        ConfigError: It is missing, no TOML, or says something that cannot be; the message
            names the file and the key.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return AgentSettings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from error
