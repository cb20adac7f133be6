"""The probe in its real child process: what it proves, measures, and dies of."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from secateur_agent.adapters import probing
from secateur_agent.adapters.probing import run_probe
from secateur_agent.errors import PermanentError
from secateur_agent.installed import EngineName
from secateur_agent.probe_words import ProbeRequest
from secateur_protocols.manifest import Ladder
from secateur_protocols.ota import ReasonCode

pytestmark = pytest.mark.engine


@pytest.fixture
def request_of(digits_ladder: Path) -> ProbeRequest:
    """Ask for the probe of the ladder's first level."""
    ladder = Ladder.model_validate_json((digits_ladder / "ladder.json").read_bytes())
    manifest = ladder.levels[0]
    held = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path for path in digits_ladder.iterdir()
    }
    return ProbeRequest(
        engine=EngineName.AUTO,
        threads=1,
        artifact_path=str(held[manifest.digest]),
        artifact_digest=manifest.digest,
        golden_path=str(held[manifest.golden.digest]),
        golden_digest=manifest.golden.digest,
        tolerance=manifest.golden.tolerance,
    )


def with_golden(request: ProbeRequest, path: Path, **arrays: np.ndarray) -> ProbeRequest:
    """Replace some of the golden arrays."""
    with np.load(request.golden_path) as known:
        content = io.BytesIO()
        np.savez(content, **{**dict(known), **arrays})
    path.write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return replace(request, golden_path=str(path), golden_digest=digest)


def with_artifact(request: ProbeRequest, path: Path, content: bytes) -> ProbeRequest:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return replace(request, artifact_path=str(path), artifact_digest=digest)


def test_a_good_artifact_is_proven_and_measured(request_of: ProbeRequest) -> None:
    proof, measured = run_probe(request_of)
    assert proof.digest == request_of.artifact_digest
    again, _ = run_probe(replace(request_of, is_urgent=False))
    assert again == proof  # the same outputs, bit by bit
    for word in ("p50", "p95", "MB"):
        assert word in measured


def test_outputs_that_differ_from_the_golden_ones_fail(
    request_of: ProbeRequest, tmp_path: Path
) -> None:
    with np.load(request_of.golden_path) as known:
        shifted = known["output_0"] + request_of.tolerance + 0.5
    wrong = with_golden(request_of, tmp_path / "golden.npz", output_0=shifted)
    with pytest.raises(PermanentError, match="golden outputs differ") as caught:
        run_probe(wrong)
    assert caught.value.reason is ReasonCode.GOLDEN_MISMATCH


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_fail(
    request_of: ProbeRequest, tmp_path: Path, value: float
) -> None:
    with np.load(request_of.golden_path) as known:
        poisoned = np.full_like(known["input_0"], value)
    wrong = with_golden(request_of, tmp_path / "golden.npz", input_0=poisoned)
    with pytest.raises(PermanentError) as caught:
        run_probe(wrong)
    assert caught.value.reason is ReasonCode.GOLDEN_MISMATCH


@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3" + bytes(100)])
def test_what_is_no_model_is_refused_or_crashes_there_and_not_here(
    request_of: ProbeRequest, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(PermanentError) as caught:
        run_probe(with_artifact(request_of, tmp_path / "artifact", content))
    assert caught.value.reason is ReasonCode.LOAD_FAILED


def test_bytes_that_are_not_what_their_digest_says_are_not_run(
    request_of: ProbeRequest, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(Path(request_of.artifact_path).read_bytes()[:-1])
    with pytest.raises(PermanentError) as caught:
        run_probe(replace(request_of, artifact_path=str(damaged)))
    assert caught.value.reason is ReasonCode.DIGEST_MISMATCH


def test_a_probe_gets_no_more_memory_than_its_limit(request_of: ProbeRequest) -> None:
    with pytest.raises(PermanentError) as caught:
        run_probe(replace(request_of, memory_limit_bytes=1))
    assert caught.value.reason in {ReasonCode.OOM, ReasonCode.LOAD_FAILED}


def test_a_probe_that_takes_too_long_is_ended(
    request_of: ProbeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "TIMEOUT_S", 0.05)
    with pytest.raises(PermanentError) as caught:
        run_probe(request_of)
    assert caught.value.reason is ReasonCode.TIMEOUT
    children = psutil.Process(os.getpid()).children(recursive=True)
    assert not any("secateur_agent.probe" in child.cmdline() for child in children)
