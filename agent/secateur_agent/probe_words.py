"""What the agent and the probe say to each other.

Apart, so that asking needs no engine and answering no pydantic.
"""

import json
from dataclasses import asdict, dataclass, replace

from secateur_agent.installed import EngineName
from secateur_protocols.plain import ReasonCode

CPU_S = 90
"""Processor time a probe may use, seconds: a busy device must not pay for a model that turns
in circles until the swap's timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """What to probe.

    Attributes:
        artifact_digest: Of the file at ``artifact_path``; likewise ``golden_digest``.
        tolerances: By how much each output may differ from the golden one, in its units; of
            outputs beyond these, ``tolerance``.
        is_urgent: Whether somebody waits for the verdict.
        memory_limit_bytes: What the probe may allocate beyond the engine itself. ``None``:
            `MEMORY_SHARE` of what the device has available.
    """

    engine: EngineName
    threads: int
    artifact_path: str
    artifact_digest: str
    golden_path: str
    golden_digest: str
    tolerance: float
    tolerances: tuple[float, ...] = ()
    is_urgent: bool = True
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What the probe saw.

    Attributes:
        reason: Why the candidate failed. ``None``: it passed.
        outputs: The first golden outputs, decoded, for the proof of run.
        added_memory_bytes: Resident memory that loading and running it added at most.
            ``None``: unknown.
    """

    reason: ReasonCode | None = None
    detail: str = ""
    outputs_digest: str | None = None
    outputs: tuple[float, ...] = ()
    p50_ms: float | None = None
    p95_ms: float | None = None
    added_memory_bytes: int | None = None


def write(words: ProbeRequest | ProbeResult) -> str:
    """Write either as JSON."""
    return json.dumps(asdict(words))


def read_request(document: str) -> ProbeRequest:
    """Read what our own control process has written."""
    request = ProbeRequest(**json.loads(document))
    return replace(
        request, engine=EngineName(request.engine), tolerances=tuple(request.tolerances)
    )
