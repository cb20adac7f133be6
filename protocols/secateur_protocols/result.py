"""What a model made of one frame: off by default, for consumers of the device's owner."""

from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import Digest, ModelName, Version, Words
from secateur_protocols.message import Message
from secateur_protocols.plain import MAX_NUMBERS, MAX_OUTPUTS
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Level, Milliseconds


class Output(Message):
    """One output tensor, in real numbers: a quantized one is decoded."""

    name: Words
    shape: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=16)]
    data: Annotated[tuple[float, ...], Field(max_length=MAX_NUMBERS)] | None = None
    """Row-major. ``None``: too many numbers for a message."""


class Result(Message):
    """One answer."""

    boot: Counter
    sequence: Counter
    """Grows by one per result that is sent; those between are not sent (rate limit)."""
    sent_at: str
    """The device's UTC clock, ISO 8601. May be wrong."""
    model: ModelName
    version: Version
    level: Level
    digest: Digest
    latency_ms: Milliseconds
    label: int | None = None
    """The right answer, where the source knows it."""
    outputs: Annotated[tuple[Output, ...], Field(max_length=MAX_OUTPUTS)]
