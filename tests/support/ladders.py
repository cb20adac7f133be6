"""Small valid ladders, manifests and artifacts for tests of what decides about them."""

import hashlib

from secateur_agent.core.swap import Artifact, Target
from secateur_protocols.ids import Digest
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
from secateur_protocols.state import Desired, DesiredModel, LadderRef, ProofOfRun


def digest_of(text: str) -> Digest:
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(level: int, *, version: str = "1", p95_ms: float = 2.0) -> Manifest:
    return Manifest(
        level=level,
        precision=Precision.FLOAT32,
        method="channel" if level else "dense",
        digest=digest_of(f"{version} {level}"),
        size_bytes=1000 - level,
        macs=1000 // (level + 1),
        parameters=100,
        accuracy=Accuracy(metric=Metric.TOP1, value=0.9 - level / 100, samples=100),
        latency=Latency(p50_ms=1.0, p95_ms=p95_ms, engine="litert", threads=1, machine="test"),
        golden=Golden(
            digest=digest_of(f"golden {version} {level}"), size_bytes=10, count=1, tolerance=0.1
        ),
    )


def ladder(levels: int = 3, *, version: str = "1", model: str = "digits") -> Ladder:
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 8))
    return Ladder(
        model=model,
        version=version,
        inputs=(spec,),
        outputs=(spec,),
        levels=tuple(manifest(level, version=version) for level in range(levels)),
    )


def reference(version: str = "1") -> LadderRef:
    return LadderRef(version=version, digest=digest_of(f"ladder {version}"), size_bytes=100)


def target(level: int, *, version: str = "1") -> Target:
    return Target(reference(version), level)


def artifact(level: int, *, version: str = "1") -> Artifact:
    return Artifact(target(level, version=version), manifest(level, version=version))


def proof(digest: Digest) -> ProofOfRun:
    return ProofOfRun(digest=digest, golden_digest=digest_of(f"outputs {digest}"))


def desired(revision: int, level: int = 0, *, model: str = "digits", **more: str) -> Desired:
    wish = DesiredModel(
        model=model,
        ladder=reference(more.get("version", "1")),
        level=level,
        deadline_ms=10.0,
        reason="test",
    )
    return Desired(revision=revision, artifacts_url="http://127.0.0.1:1", models=(wish,))
