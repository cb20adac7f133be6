"""What the pruner records as golden, the probe and the coordinator judge alike."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur_agent.adapters.probing import run_probe
from secateur_agent.errors import PermanentError
from secateur_agent.installed import EngineName
from secateur_agent.probe_words import ProbeRequest
from secateur_protocols.manifest import Golden
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import ProofOfRun, ReportedModel
from secateur_server.core.proof import ExpectedOutputs, Proof, check_proof
from secateur_server.pruning.golden import CODES_TOLERANCE, FLOAT_TOLERANCE, record
from secateur_server.pruning.measurement import load, specs
from secateur_server.pruning.precision import int8_twin
from secateur_server.pruning.samples import Samples
from support import quantized_twins
from support.architectures import resnet, ssd
from support.architectures import rows as noise
from support.tiny_models import Array

pytestmark = pytest.mark.engine
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
TRIED_MACS = 100_000


@dataclass(frozen=True)
class Recorded:
    """An artifact in a folder, and what was recorded of it."""

    folder: Path
    artifact: bytes
    golden: Golden
    arrays: dict[str, Array]

    @classmethod
    def of(cls, folder: Path, artifact: bytes, inputs: tuple[Array, ...]) -> "Recorded":
        golden, content = record(artifact, Samples(inputs, None), macs=TRIED_MACS)
        with np.load(io.BytesIO(content)) as arrays:
            return cls(folder, artifact, golden, dict(arrays))

    def request(self, **changed: Array) -> ProbeRequest:
        """Ask for the probe, some golden arrays being others."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {**self.arrays, **changed}
        np.savez(content, **arrays)
        digests = {}
        for name, held in (("artifact", self.artifact), ("golden", content.getvalue())):
            (self.folder / name).write_bytes(held)
            digests[name] = hashlib.sha256(held).hexdigest()
        return ProbeRequest(
            engine=EngineName.AUTO,
            threads=1,
            artifact_path=str(self.folder / "artifact"),
            artifact_digest=digests["artifact"],
            golden_path=str(self.folder / "golden"),
            golden_digest=digests["golden"],
            tolerance=self.golden.tolerance,
            tolerances=self.golden.tolerances,
        )

    def scale(self, output: int) -> float:
        _, outputs = specs(load(self.artifact, 1))
        return outputs[output].scale or 0.0


def digits() -> tuple[bytes, Array]:
    with np.load(DIGITS / "calibration.npz") as held:
        x = held["x"]
    return (DIGITS / "digits.tflite").read_bytes(), x


@pytest.fixture
def int8_network(tmp_path: Path) -> Recorded:
    content = resnet()
    seen = noise(content, 32, 0)
    twin = quantized_twins.int8(content, *seen)
    return Recorded.of(tmp_path, twin, (np.concatenate([each for (each,) in seen]),))


def refused(request: ProbeRequest) -> bool:
    try:
        run_probe(request)
    except PermanentError as error:
        return error.reason is ReasonCode.GOLDEN_MISMATCH
    return False


def shifted(codes: Array, by: int) -> Array:
    """Move one code of the last sample, away from the end of its range."""
    moved = codes.astype(np.int16)
    moved.reshape(-1)[-1] += by if moved.reshape(-1)[-1] <= 0 else -by
    return moved.astype(codes.dtype)


def test_two_codes_of_a_quantized_output_are_rounding_and_more_are_wrong(
    int8_network: Recorded,
) -> None:
    scale = int8_network.scale(0)
    codes = int(int8_network.golden.tolerances[0] / scale + 1e-6)
    assert CODES_TOLERANCE - 0.5 <= codes <= 20
    right = int8_network.arrays["output_0"]
    assert not refused(int8_network.request())
    assert not refused(int8_network.request(output_0=shifted(right, codes)))
    assert refused(int8_network.request(output_0=shifted(right, codes + 1)))


def test_the_outputs_of_another_int8_network_are_refused(int8_network: Recorded) -> None:
    others = np.roll(int8_network.arrays["output_0"], 1, axis=0)
    assert refused(int8_network.request(output_0=others))


def test_each_output_has_a_tolerance_of_its_own(tmp_path: Path) -> None:
    content = ssd()
    seen = noise(content, 16, 0)
    inputs = tuple(np.concatenate(each) for each in zip(*seen, strict=True))
    recorded = Recorded.of(tmp_path, quantized_twins.int8(content, *seen), inputs)
    for k, tolerance in enumerate(recorded.golden.tolerances):
        assert tolerance >= CODES_TOLERANCE * recorded.scale(k)
        codes = int(tolerance / recorded.scale(k) + 1e-6) + 1
        name = f"output_{k}"
        assert refused(recorded.request(**{name: shifted(recorded.arrays[name], codes)}))
    assert recorded.golden.tolerance == max(recorded.golden.tolerances)


def test_a_network_that_is_int8_inside_has_the_tolerance_of_codes(tmp_path: Path) -> None:
    content, x = digits()
    twin = int8_twin(content, {0: x[:, None].astype(np.float32)})
    recorded = Recorded.of(tmp_path, twin, (x,))
    assert recorded.golden.tolerance >= CODES_TOLERANCE / 256
    assert refused(recorded.request(output_0=recorded.arrays["output_0"] + 0.2))


def test_a_float_output_may_differ_in_its_last_bits_only(tmp_path: Path) -> None:
    content, x = digits()
    recorded = Recorded.of(tmp_path, content, (x,))
    right = recorded.arrays["output_0"]
    answers = right.reshape(recorded.golden.count, -1).argmax(axis=1)
    assert len(set(answers.tolist())) >= 3  # samples far apart
    assert recorded.golden.tolerance == pytest.approx(FLOAT_TOLERANCE)
    assert not refused(recorded.request(output_0=right + 1e-5))
    assert refused(recorded.request(output_0=right + 2e-3))


@pytest.mark.parametrize(
    ("told", "expected"),
    [((0.5, 70.0), Proof.GOOD), ((0.508, 70.4), Proof.GOOD), ((0.6, 70.0), Proof.WRONG)],
)
def test_the_coordinator_holds_each_value_to_its_own_outputs_tolerance(
    told: tuple[float, ...], expected: Proof
) -> None:
    known = ExpectedOutputs("f" * 64, values=(0.5, 70.0), tolerances=(0.01, 0.5))
    proof = ProofOfRun(digest="d" * 64, golden_digest="e" * 64, outputs=told)
    model = ReportedModel(model="m", version="1", level=0, digest="d" * 64, proof=proof)
    assert check_proof(model, known)[0] is expected
