"""Desired and reported state: what the coordinator wants, what the device is.

Both retained, both level-triggered: the last message says all, so that lost, doubled
and reordered messages change nothing (rule W4).
"""

from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import Digest, ModelName, Version
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode
from secateur_protocols.plain import MAX_OUTPUTS_TOLD
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Bytes, DeadlineMilliseconds, Level


class LadderRef(Message):
    """Where a ladder document is found: a blob, named by its digest."""

    version: Version
    digest: Digest
    size_bytes: Bytes


class DesiredModel(Message):
    """What one model on one device should become."""

    model: ModelName
    ladder: LadderRef
    level: Level
    deadline_ms: DeadlineMilliseconds
    infeasible: bool = False
    """Nothing fits; the narrowest level is the least bad."""
    reason: Annotated[str, Field(max_length=512)]
    """Why the planner chose this, in words and numbers."""


class Desired(Message):
    """What the coordinator wants of one device."""

    revision: Counter
    """Grows by one with every change; the device ignores what is not newer."""
    artifacts_url: Annotated[str, Field(max_length=512)]
    """Where blobs are: ``{artifacts_url}/{digest}``. HTTP with ranges."""
    models: tuple[DesiredModel, ...] = Field(max_length=64)


Output = Annotated[float, Field(ge=-1e30, le=1e30)]


class ProofOfRun(Message):
    """What shows that the artifact runs, not only that it lies on disk."""

    digest: Digest
    """Of the artifact's bytes as they were loaded."""
    golden_digest: Digest
    """SHA-256 of the outputs that the golden inputs gave in the probe on this device."""
    outputs: Annotated[tuple[Output, ...], Field(max_length=MAX_OUTPUTS_TOLD)] = ()
    """The first values of those outputs, decoded to real numbers: processors differ in the last
    bits, so the digest alone says little."""


class ReportedModel(Message):
    """What one model on one device is."""

    model: ModelName
    version: Version
    level: Level
    digest: Digest
    proof: ProofOfRun | None = None
    """``None``: loaded after a restart and not probed since."""
    stepped_down: ReasonCode | None = None
    """Why the device made itself narrower than desired. ``None``: it did not. It stays there
    until the coordinator wants another level."""


class Refusal(Message):
    """An artifact that failed here before."""

    digest: Digest
    count: Counter


class Reported(Message):
    """What one device is."""

    boot: Counter
    sequence: Counter
    """Grows by one per message, from 0 at each boot."""
    revision: Counter
    """Of the desired state that this answers; 0 before the first."""
    models: tuple[ReportedModel, ...] = Field(max_length=64)
    refusals: tuple[Refusal, ...] = Field(default=(), max_length=64)

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two messages is the newer one."""
        return (self.boot, self.sequence)
