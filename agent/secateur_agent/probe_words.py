"""What the agent and the probe say to each other; apart, so that asking needs no engine."""

from pydantic import Field

from secateur_agent.installed import EngineName
from secateur_protocols.ids import Digest
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode

CPU_S = 90
"""Processor time a probe may use, seconds: a busy device must not pay for a model that turns
in circles until the swap's timeout."""


class ProbeRequest(Message):
    """What to probe."""

    engine: EngineName
    threads: int
    artifact_path: str
    artifact_digest: Digest
    golden_path: str
    golden_digest: Digest
    tolerance: float = Field(ge=0)
    is_urgent: bool = True
    """Whether somebody waits for the verdict."""
    memory_limit_bytes: int | None = None
    """What the probe may allocate beyond the engine itself. ``None``: `MEMORY_SHARE` of what
    the device has available."""


class ProbeResult(Message):
    """What the probe saw."""

    reason: ReasonCode | None = None
    """Why the candidate failed. ``None``: it passed."""
    detail: str = ""
    outputs_digest: Digest | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    added_memory_bytes: int | None = None
    """Resident memory that loading and running it added at most. ``None``: unknown."""
