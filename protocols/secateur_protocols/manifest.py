"""What describes an artifact, and the ladder of one model's artifacts."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from secateur_protocols.ids import Digest, ModelName, Version, Words
from secateur_protocols.message import Message
from secateur_protocols.telemetry import Bytes, Level, Milliseconds, Ratio

MAX_LADDER_BYTES = 1_048_576
"""A ladder document above this is refused unread."""


class Precision(StrEnum):
    """Of the weights, and of the activations where they differ."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    HYBRID = "hybrid"
    """int8 weights, float32 activations (dynamic range)."""
    INT8 = "int8"
    UINT8 = "uint8"
    OTHER = "other"


class Metric(StrEnum):
    """What an accuracy counts."""

    TOP1 = "top1"
    """Share of samples that are answered with the label."""
    AGREEMENT = "agreement"
    """Share of answers that are those of level 0; for networks whose outputs all name a class,
    and sets without labels."""
    FIDELITY = "fidelity"
    """The mean over outputs: of those that name a class their agreement, of numbers the share
    of the variance of level 0's that is met; for other networks, and sets without labels."""


class Accuracy(Message):
    """A measured accuracy, never an estimate."""

    metric: Metric
    value: Ratio
    samples: Annotated[int, Field(ge=1)]
    low: Ratio | None = None
    high: Ratio | None = None
    """Its 95 % interval, of shares that were counted: how far ``samples`` samples tell."""


class Latency(Message):
    """A measured latency: on which engine, on which machine."""

    p50_ms: Milliseconds
    p95_ms: Milliseconds
    engine: str
    threads: int
    machine: str


class TensorSpec(Message):
    """One input or output of a model."""

    name: str
    dtype: str
    """As numpy names it."""
    shape: Annotated[
        tuple[Annotated[int, Field(ge=-1, le=2**31 - 1)], ...], Field(max_length=16)
    ]
    """Axis sizes as stored in the file; -1 for a dynamic batch."""
    scale: float | None = None
    zero_point: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None


class Encoding(StrEnum):
    """How the weights stand in the file."""

    DENSE = "dense"
    SPARSE = "sparse"
    """Zeros are left out; the engine puts them back when it loads the file."""


class Requirements(Message):
    """Where an artifact is of use; elsewhere another level is at least as good.

    Attributes:
        machines: Architectures as `Hardware.machine` names them; none: any.
        engine: As `EngineInfo.name` has it. ``None``: any.
        engine_version: The least one, numbers with dots. ``None``: any.
    """

    machines: Annotated[tuple[Words, ...], Field(max_length=16)] = ()
    engine: Words | None = None
    engine_version: Words | None = None


class Golden(Message):
    """Inputs with known outputs, run at probe.

    An ``.npz`` with ``input_0`` .. and ``output_0`` .., one per tensor of the model in the
    ladder's order, each of shape [count, *tensor's shape], a dynamic axis being 1, in the
    tensor's own dtype: entry k of every input is fed together and gives entry k of every
    output.
    """

    digest: Digest
    size_bytes: Bytes
    count: Annotated[int, Field(ge=1, le=1024)]
    tolerance: Annotated[float, Field(ge=0)]
    """Largest absolute difference that still counts as the same output, in units of the
    output: engines and processors differ in the last bits."""
    tolerances: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(max_length=256)] = ()
    """The same for each output; none: ``tolerance`` holds for all."""

    def tolerance_of(self, output: int) -> float:
        """Give what holds for one output, by its place in the ladder."""
        return self.tolerances[output] if output < len(self.tolerances) else self.tolerance


class Manifest(Message):
    """One artifact: what it is, what it costs, how good it was measured to be."""

    level: Level
    precision: Precision
    method: str
    """``dense`` for level 0, else the pruning method and its budget in words."""
    digest: Digest
    size_bytes: Bytes
    macs: Bytes
    """Multiply-accumulates of one inference, batch 1."""
    parameters: Bytes
    peak_memory_bytes: Bytes | None = None
    """Resident memory that loading and running it added. ``None``: not measured."""
    accuracy: Accuracy
    latency: Latency
    golden: Golden
    encoding: Encoding = Encoding.DENSE
    compressed_bytes: Bytes | None = None
    """Of the file once compressed, as it may travel. ``None``: not measured."""
    requires: Requirements | None = None
    """What a device must meet for this level to be chosen for it. ``None``: nothing."""
    parent: Digest | None = None
    """What it was pruned from. ``None`` for level 0."""


class Ladder(Message):
    """One version of one model at several pruning levels; level 0 is dense."""

    schema_version: Annotated[int, Field(ge=1, le=1024)] = 1
    model: ModelName
    version: Version
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    levels: tuple[Manifest, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _levels_count_up(self) -> Self:
        if [manifest.level for manifest in self.levels] != list(range(len(self.levels))):
            msg = "levels must count up from 0 without a gap"
            raise ValueError(msg)
        if len({manifest.digest for manifest in self.levels}) != len(self.levels):
            msg = "two levels are the same artifact"
            raise ValueError(msg)
        return self
