"""Ladders and situations for tests of what the coordinator decides."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from secateur_protocols.info import EngineInfo, Hardware, Info, ModelTask
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
from secateur_protocols.telemetry import ModelTelemetry, Resources, Telemetry

MEBIBYTE = 1024 * 1024

LATENCIES_MS = (8.0, 6.0, 4.0, 2.0)
ACCURACIES = (0.95, 0.93, 0.90, 0.80)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def artifact_of(model: str, version: str, level: int) -> bytes:
    """Give bytes that stand for an artifact where nothing loads them."""
    return f"{model} {version} level {level}".encode()


def make_ladder(
    latencies_ms: Sequence[float] = LATENCIES_MS,
    accuracies: Sequence[float] = ACCURACIES,
    memories_bytes: Sequence[int] | None = None,
    *,
    model: str = "digits",
    version: str = "1",
) -> Ladder:
    """Make a ladder with these reference latencies, accuracies and memories."""
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 8, 8, 1))
    return Ladder(
        model=model,
        version=version,
        inputs=(spec,),
        outputs=(spec,),
        levels=tuple(
            Manifest(
                level=level,
                precision=Precision.FLOAT32,
                method="channel" if level else "dense",
                digest=digest_of(artifact_of(model, version, level)),
                size_bytes=len(artifact_of(model, version, level)),
                macs=int(1e6 * latency_ms),
                parameters=1000,
                peak_memory_bytes=(
                    memories_bytes[level] if memories_bytes else (8 - min(level, 7)) * MEBIBYTE
                ),
                accuracy=Accuracy(metric=Metric.TOP1, value=accuracies[level], samples=100),
                latency=Latency(
                    p50_ms=latency_ms, p95_ms=latency_ms, engine="e", threads=1, machine="m"
                ),
                golden=Golden(
                    digest=digest_of(b"golden" + artifact_of(model, version, level)),
                    size_bytes=6 + len(artifact_of(model, version, level)),
                    count=1,
                    tolerance=0.0,
                ),
            )
            for level, latency_ms in enumerate(latencies_ms)
        ),
    )


def write_ladder_dir(folder: Path, ladder: Ladder) -> Path:
    """Write what ``prune`` would, with bytes that only stand for artifacts."""
    folder.mkdir(parents=True)
    (folder / "ladder.json").write_bytes(ladder.model_dump_json(exclude_none=True).encode())
    for manifest in ladder.levels:
        content = artifact_of(ladder.model, ladder.version, manifest.level)
        (folder / f"level-{manifest.level}.tflite").write_bytes(content)
        (folder / f"level-{manifest.level}.golden.npz").write_bytes(b"golden" + content)
    return folder


def make_info(
    *,
    boot: int = 1,
    models: Sequence[str] = ("digits",),
    deadline_ms: float = 10.0,
    hardware_class: str = "pi-4",
    labels: dict[str, str] | None = None,
) -> Info:
    return Info(
        boot=boot,
        agent_version="0",
        hardware=Hardware(
            machine="aarch64",
            cpu_model="c",
            cores=4,
            memory_bytes=1024 * MEBIBYTE,
            hardware_class=hardware_class,
        ),
        engine=EngineInfo(name="e", version="1", threads=1),
        tasks=tuple(ModelTask(model=model, deadline_ms=deadline_ms) for model in models),
        labels=labels or {},
    )


def make_measured(
    ladder: Ladder,
    level: int,
    recent_p95_ms: Sequence[float],
    *,
    deadline_ms: float = 10.0,
    since_switch_s: float = 60.0,
) -> ModelTelemetry:
    """Make one model's telemetry: it runs ``level`` and measured these periods."""
    last_ms = recent_p95_ms[-1] if recent_p95_ms else None
    return ModelTelemetry(
        model=ladder.model,
        version=ladder.version,
        level=level,
        digest=ladder.levels[level].digest,
        precision="float32",
        deadline_ms=deadline_ms,
        p50_ms=last_ms,
        p95_ms=last_ms,
        p99_ms=last_ms,
        recent_p95_ms=tuple(recent_p95_ms),
        since_switch_s=since_switch_s,
        offered=100,
        answered=100,
        dropped=0,
        lost=0,
        deadline_misses=0,
        switches=0,
    )


def make_telemetry(
    *measured: ModelTelemetry,
    boot: int = 1,
    sequence: int = 0,
    resources: Resources | None = None,
) -> Telemetry:
    return Telemetry(
        boot=boot,
        sequence=sequence,
        sent_at="2026-11-25T00:00:00+00:00",
        period_s=10.0,
        resources=resources or Resources(),
        models=measured,
    )
