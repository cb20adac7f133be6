"""The probe: a candidate's first run, in a process that may die of it.

``python -m secateur_agent.probe`` reads one `ProbeRequest` as JSON from stdin, loads the
artifact, runs the golden inputs, and writes one `ProbeResult` as JSON to stdout. A broken
or malicious flatbuffer can crash the engine, or take all memory and time it gets; then it
does so here, under limits, and as the first that the kernel kills when memory runs out.
"""

import contextlib
import hashlib
import io
import os
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np

from secateur_agent.core.window import nearest_rank
from secateur_agent.engine import (
    InvokeError,
    LoadedModel,
    LoadError,
    Tensor,
    find_engine,
)
from secateur_agent.probe_words import CPU_S, ProbeRequest, ProbeResult, read_request, write
from secateur_protocols.plain import MAX_OUTPUTS_TOLD, ReasonCode

TIMED_RUNS = 20
"""Inferences timed after the golden ones: enough for a p95, a second on a slow device."""

BACKGROUND_NICE = 10
"""Of a probe that nobody waits for: it gives way to everything. One that is waited for does
not, for where the processor is short, that is why it is waited for."""

MEMORY_SHARE = 0.8
"""Share of the memory that is available now that a probe may add where no limit is given."""


def main() -> int:
    """Run one probe; 0 whenever a result was written, passed or not."""
    request = read_request(sys.stdin.read())
    _give_way(is_urgent=request.is_urgent)
    try:
        result = probe(request)
    except MemoryError:
        result = ProbeResult(reason=ReasonCode.OOM, detail="out of memory in the probe")
    sys.stdout.write(write(result))
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
    engine = find_engine(request.engine)  # imported before anything is limited or measured
    _limit(request.memory_limit_bytes)
    before_bytes = _resident_bytes()
    try:
        model = engine.load(artifact, request.threads)
        return _judge(model, golden, request, before_bytes)
    except MemoryError:
        return ProbeResult(reason=ReasonCode.OOM, detail="out of memory in the probe")
    except LoadError as error:
        return ProbeResult(reason=ReasonCode.LOAD_FAILED, detail=str(error))
    except InvokeError as error:
        return ProbeResult(reason=ReasonCode.WARMUP_FAILED, detail=str(error))
    except (KeyError, ValueError) as error:
        return ProbeResult(reason=ReasonCode.GOLDEN_MISMATCH, detail=f"golden inputs: {error}")


def _judge(
    model: LoadedModel, golden: bytes, request: ProbeRequest, before_bytes: int | None
) -> ProbeResult:
    with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
        inputs = [arrays[f"input_{k}"] for k in range(len(model.inputs))]
        expected = [arrays[f"output_{k}"] for k in range(len(model.outputs))]
    digest = hashlib.sha256()
    told: list[float] = []
    worst = [0.0] * len(expected)
    for k in range(len(inputs[0])):
        outputs = model.infer(_feed(model, inputs, k))
        for at, (output, info) in enumerate(zip(outputs, model.outputs, strict=True)):
            digest.update(output.tobytes())
            decoded = info.decode(output).astype(np.float64)
            told += decoded.ravel()[:MAX_OUTPUTS_TOLD].tolist()
            golden_one = info.decode(expected[at][k].reshape(info.shape)).astype(np.float64)
            worst[at] = max(worst[at], _difference(decoded, golden_one))
    for differs, tolerance in zip(worst, _tolerances(request, len(worst)), strict=True):
        if differs > tolerance:
            detail = f"golden outputs differ by {differs:.3g}, {tolerance:.3g} allowed"
            return ProbeResult(reason=ReasonCode.GOLDEN_MISMATCH, detail=detail)
    times_ms = _time(model, _feed(model, inputs, 0))
    return ProbeResult(
        outputs_digest=digest.hexdigest(),
        outputs=tuple(float(f"{value:.6g}") for value in told[:MAX_OUTPUTS_TOLD]),
        p50_ms=nearest_rank(times_ms, 0.5),
        p95_ms=nearest_rank(times_ms, 0.95),
        added_memory_bytes=_added_bytes(before_bytes),
    )


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Give the largest difference; infinity where one is not a number."""
    difference = np.abs(found - wanted)
    return float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")


def _tolerances(request: ProbeRequest, outputs: int) -> tuple[float, ...]:
    known = request.tolerances[:outputs]
    return (*known, *(request.tolerance,) * (outputs - len(known)))


def _feed(model: LoadedModel, inputs: list[Tensor], k: int) -> list[Tensor]:
    return [info.encode(values[k]) for info, values in zip(model.inputs, inputs, strict=True)]


def _time(model: LoadedModel, feed: list[Tensor]) -> list[float]:
    times_ms = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        model.infer(feed)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return sorted(times_ms)


def _give_way(*, is_urgent: bool) -> None:
    """Be killed before others, and slow where nobody waits."""
    if not is_urgent:
        os.nice(BACKGROUND_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(memory_limit_bytes: int | None) -> None:
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, CPU_S)
    if memory_limit_bytes is None:
        available = _kilobytes("/proc/meminfo", "MemAvailable")
        memory_limit_bytes = None if available is None else int(available * MEMORY_SHARE)
    used = _kilobytes("/proc/self/status", "VmData")
    if memory_limit_bytes is None or used is None:
        return
    # The data segment and not the address space: the engine reserves gigabytes of addresses
    # that it never touches.
    _lower(resource.RLIMIT_DATA, used + memory_limit_bytes)


def _lower(kind: int, limit: int) -> None:
    """Set a limit, but never above one that holds already."""
    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, hard))


def _resident_bytes() -> int | None:
    """Measure resident memory, and let the peak begin from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _kilobytes("/proc/self/status", "VmRSS")


def _added_bytes(before_bytes: int | None) -> int | None:
    peak = _kilobytes("/proc/self/status", "VmHWM")
    if before_bytes is None or peak is None:
        return None
    return max(0, peak - before_bytes)


def _kilobytes(path: str, key: str) -> int | None:
    """Read one line of a ``/proc`` file, in bytes; ``None``: it is not there."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


if __name__ == "__main__":
    sys.exit(main())
