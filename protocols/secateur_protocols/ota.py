"""An update on its way: its state, its reason, its progress."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.message import Message
from secateur_protocols.plain import ReasonCode
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Bytes, Level

__all__ = ["TERMINAL", "Ota", "OtaProgress", "ReasonCode", "Update", "UpdateState"]


class UpdateState(StrEnum):
    """Where an update stands."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    VERIFIED = "verified"
    STAGED = "staged"
    ACTIVATING = "activating"
    PROBATION = "probation"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ROLLED_BACK = "rolled_back"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"


TERMINAL = frozenset(list(UpdateState)[list(UpdateState).index(UpdateState.SUCCEEDED) :])
"""States that nothing follows. Every other one has a timeout."""


class Update(Message):
    """One model's update."""

    model: ModelName
    level: Level
    digest: Digest | None = None
    """``None`` until the ladder document has been read."""
    state: UpdateState
    reason: ReasonCode | None = None
    detail: Annotated[str, Field(max_length=256)] = ""


class Ota(Message):
    """The update under way or last, for each model."""

    boot: Counter
    sequence: Counter
    updates: tuple[Update, ...] = Field(max_length=64)


class OtaProgress(Message):
    """How far a download is."""

    model: ModelName
    digest: Digest
    received_bytes: Bytes
    total_bytes: Bytes
    rate_bytes_per_s: Annotated[float, Field(ge=0)]
    remaining_s: Annotated[float, Field(ge=0)] | None = None
    """``None``: no rate yet."""
