"""What a simulation plays, from a TOML file: every figure of it, with its unit."""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from secateur_protocols.codec import first_problem
from secateur_protocols.manifest import (
    Accuracy,
    Golden,
    Ladder,
    Latency,
    Manifest,
    Metric,
    Precision,
    TensorSpec,
)
from secateur_server.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

MAX_SCENARIO_BYTES = 100_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LadderSpec(_Part):
    """The ladder that the fleet runs; lists go from the dense level to the narrowest."""

    model: str = "simulated"
    accuracies: Annotated[tuple[Share, ...], Field(min_length=1, max_length=64)]
    latencies_ms: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=64)]
    """Reference latencies: of the machine that pruned, not of the devices."""
    memory_mb: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _lists_are_as_long(self) -> Self:
        if not len(self.accuracies) == len(self.latencies_ms) == len(self.memory_mb):
            msg = "accuracies, latencies_ms and memory_mb differ in length"
            raise ValueError(msg)
        return self


class HardwareSpec(_Part):
    """One hardware class."""

    share: Positive
    """Of the fleet, relative to the other classes'."""
    slowness: Positive
    """Latency relative to the machine that pruned."""
    surprise: NotNegative = 0.15
    """How wrong the reference latencies are here: standard deviation per unit of log ratio
    between a level and the dense one. Drawn once for the class and level."""
    spread: NotNegative = 0.08
    """Standard deviation of log slowness between devices of the class."""
    deadline_ms: Positive
    rate_hz: Positive = 2.0
    heating_c: NotNegative = 25.0
    """How much warmer than its surroundings a device that always infers becomes."""
    is_outdoors: bool = False
    """Whether heat waves reach it."""
    memory_mb: Positive = 512.0
    """Free for models."""


class LoadSpec(_Part):
    """What else runs on the devices, in bursts."""

    bursts_per_hour: NotNegative = 0.3
    burst_s: Positive = 600.0
    """Mean; exponentially distributed."""
    slowdown: tuple[Positive, Positive] = (1.3, 2.2)
    """Of inference during a burst: uniform between these."""


class HeatSpec(_Part):
    """What the weather does."""

    ambient_c: float = 22.0
    swing_c: NotNegative = 6.0
    """Warmer than that in the afternoon, cooler at night."""
    wave_c: NotNegative = 18.0
    """Added outdoors during a heat wave."""
    wave_from_h: NotNegative = 11.0
    wave_to_h: NotNegative = 17.0
    limit_c: float = 85.0
    """Above it a device throttles, until it is 5 degrees cooler."""
    throttled_slowdown: Positive = 1.6
    settle_s: Positive = 300.0
    """Time constant of a device's temperature."""


class NoiseSpec(_Part):
    """How measurements scatter."""

    within: Positive = 0.12
    """Standard deviation of log latency between the inferences of a period."""
    between: NotNegative = 0.04
    """Of the log p95 between periods."""
    outliers_per_hour: NotNegative = 0.12
    """Periods that are slower for no reason, per device."""
    outlier_slowdown: tuple[Positive, Positive] = (1.3, 3.0)


class LinkSpec(_Part):
    """What the network does to telemetry."""

    loss: Share = 0.01
    doubling: Share = 0.005
    reordering: Share = 0.005
    """Arrives after the next one."""
    absences_per_day: NotNegative = 0.5
    absence_s: Positive = 1200.0
    """Mean; nothing comes through in either direction."""


class SilenceSpec(_Part):
    """What agents leave unsaid; as real ones do with their normal profile.

    To have every period said, set ``refresh_periods`` to 1.
    """

    silence_s: Positive = 180.0
    """A message comes at least this often."""
    refresh_periods: Annotated[int, Field(ge=1)] = 18
    """And after so many periods."""
    latency_ratio: NotNegative = 0.25
    """Dead-band of a p95: this share of what was said last, or a fifth of this share of the
    deadline, whichever is more."""
    resource_ratio: NotNegative = 0.25
    """Dead-band of the busy share of the processor."""
    celsius: NotNegative = 5.0
    """Dead-band of the temperature."""
    following: Annotated[int, Field(ge=0)] = 6
    """Periods said after one that mattered."""


class Scenario(_Part):
    """The whole play."""

    hours: Positive = 24.0
    period_s: Positive = 60.0
    """How often agents look; `SilenceSpec` has how often they say what they see."""
    fetch_s: NotNegative = 20.0
    """To get and prove a level for the first time; after that it is there."""
    seed: int = 1
    ladder: LadderSpec
    hardware: Annotated[dict[str, HardwareSpec], Field(min_length=1, max_length=50)]
    load: LoadSpec = LoadSpec()
    heat: HeatSpec = HeatSpec()
    noise: NoiseSpec = NoiseSpec()
    link: LinkSpec = LinkSpec()
    silence: SilenceSpec = SilenceSpec()

    def with_every_period_said(self) -> "Scenario":
        """Give the same scenario with agents that leave nothing unsaid."""
        every = self.silence.model_copy(update={"refresh_periods": 1})
        return self.model_copy(update={"silence": every})


def read_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        InputError: The file is missing, no TOML, or a value cannot be; names the key.
    """
    try:
        content = path.read_bytes()[:MAX_SCENARIO_BYTES]
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error


def make_ladder(spec: LadderSpec) -> Ladder:
    """Make the ladder document; nothing loads its artifacts."""
    tensor = TensorSpec(name="x", dtype="float32", shape=(1, 1))
    levels = zip(spec.accuracies, spec.latencies_ms, spec.memory_mb, strict=True)
    return Ladder(
        model=spec.model,
        version="1",
        inputs=(tensor,),
        outputs=(tensor,),
        levels=tuple(
            _make_manifest(spec.model, level, *figures) for level, figures in enumerate(levels)
        ),
    )


def stand_in(model: str, level: int) -> bytes:
    """Give the bytes that stand for an artifact, and for its golden inputs."""
    return f"{model} {level} is simulated".encode()


def write_ladder(ladder: Ladder, folder: Path) -> None:
    """Write a folder that ``secateur publish`` takes, for coordinators of simulated fleets.

    Raises:
        InputError: The folder exists or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
        document = ladder.model_dump_json(exclude_none=True)
        (folder / "ladder.json").write_text(document, encoding="utf-8")
        for manifest in ladder.levels:
            content = stand_in(ladder.model, manifest.level)
            (folder / f"level-{manifest.level}.tflite").write_bytes(content)
            (folder / f"level-{manifest.level}.golden.npz").write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from error


def _make_manifest(
    model: str, level: int, accuracy: float, latency_ms: float, memory_mb: float
) -> Manifest:
    digest = hashlib.sha256(stand_in(model, level)).hexdigest()
    return Manifest(
        level=level,
        precision=Precision.FLOAT32,
        method="simulated",
        digest=digest,
        size_bytes=1000,
        macs=1000,
        parameters=1000,
        peak_memory_bytes=int(memory_mb * 1e6),
        accuracy=Accuracy(metric=Metric.TOP1, value=accuracy, samples=1),
        latency=Latency(
            p50_ms=latency_ms, p95_ms=latency_ms, engine="simulated", threads=1, machine="-"
        ),
        golden=Golden(digest=digest, size_bytes=0, count=1, tolerance=0.0),
    )
