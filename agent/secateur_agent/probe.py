"""The probe: a candidate's first run, in a process that may die of it.

``python -m secateur_agent.probe`` reads one `ProbeRequest` as JSON from stdin, loads the
artifact, runs the golden inputs, and writes one `ProbeResult` as JSON to stdout. A broken
or malicious flatbuffer can crash the engine; then it crashes here.
"""

import hashlib
import io
import resource
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from secateur_agent.core.window import nearest_rank
from secateur_agent.engine import (
    EngineName,
    InvokeError,
    LoadedModel,
    LoadError,
    Tensor,
    find_engine,
)
from secateur_protocols.ids import Digest
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode

TIMED_RUNS = 20
"""Inferences timed after the golden ones: enough for a p95, a second on a slow device."""


class ProbeRequest(Message):
    """What to probe."""

    engine: EngineName
    threads: int
    artifact_path: str
    artifact_digest: Digest
    golden_path: str
    golden_digest: Digest
    tolerance: float = Field(ge=0)
    memory_limit_bytes: int | None = None
    """Data segment the probe may use. ``None``: no limit but the machine's."""


class ProbeResult(Message):
    """What the probe saw."""

    reason: ReasonCode | None = None
    """Why the candidate failed. ``None``: it passed."""
    detail: str = ""
    outputs_digest: Digest | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    peak_memory_bytes: int | None = None


def main() -> int:
    """Run one probe; 0 whenever a result was written, passed or not."""
    request = ProbeRequest.model_validate_json(sys.stdin.read())
    _limit(request)
    try:
        result = probe(request)
    except MemoryError:
        result = ProbeResult(reason=ReasonCode.OOM, detail="out of memory in the probe")
    sys.stdout.write(result.model_dump_json())
    return 0


def probe(request: ProbeRequest) -> ProbeResult:
    """Load the candidate, run its golden inputs, time it."""
    artifact = Path(request.artifact_path).read_bytes()
    golden = Path(request.golden_path).read_bytes()
    for content, digest in (
        (artifact, request.artifact_digest),
        (golden, request.golden_digest),
    ):
        if hashlib.sha256(content).hexdigest() != digest:
            return ProbeResult(reason=ReasonCode.DIGEST_MISMATCH, detail=digest[:12])
    try:
        model = find_engine(request.engine).load(artifact, request.threads)
        return _judge(model, golden, request.tolerance)
    except LoadError as error:
        return ProbeResult(reason=ReasonCode.LOAD_FAILED, detail=str(error))
    except InvokeError as error:
        return ProbeResult(reason=ReasonCode.WARMUP_FAILED, detail=str(error))
    except (KeyError, ValueError) as error:
        return ProbeResult(reason=ReasonCode.GOLDEN_MISMATCH, detail=f"golden inputs: {error}")


def _judge(model: LoadedModel, golden: bytes, tolerance: float) -> ProbeResult:
    with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
        inputs = [arrays[f"input_{k}"] for k in range(len(model.inputs))]
        expected = [arrays[f"output_{k}"] for k in range(len(model.outputs))]
    digest = hashlib.sha256()
    worst = 0.0
    for k in range(len(inputs[0])):
        outputs = model.infer(_feed(model, inputs, k))
        for output, info, values in zip(outputs, model.outputs, expected, strict=True):
            digest.update(output.tobytes())
            difference = np.abs(
                info.decode(output).astype(np.float64)
                - info.decode(values[k].reshape(info.shape)).astype(np.float64)
            )
            worst = max(worst, float(difference.max(initial=0.0)))
            if not np.isfinite(difference).all():
                worst = float("inf")
    if not worst <= tolerance:
        detail = f"golden outputs differ by {worst:.3g}, {tolerance:.3g} allowed"
        return ProbeResult(reason=ReasonCode.GOLDEN_MISMATCH, detail=detail)
    times_ms = _time(model, _feed(model, inputs, 0))
    return ProbeResult(
        outputs_digest=digest.hexdigest(),
        p50_ms=nearest_rank(times_ms, 0.5),
        p95_ms=nearest_rank(times_ms, 0.95),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _feed(model: LoadedModel, inputs: list[Tensor], k: int) -> list[Tensor]:
    return [info.encode(values[k]) for info, values in zip(model.inputs, inputs, strict=True)]


def _time(model: LoadedModel, feed: list[Tensor]) -> list[float]:
    times_ms = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        model.infer(feed)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return sorted(times_ms)


def _limit(request: ProbeRequest) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request.memory_limit_bytes is not None:
        limit = request.memory_limit_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
