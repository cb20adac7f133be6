"""What every engine promises behind the port: run once per engine, in its own environment.

It imports nothing but the agent, numpy and pytest, so that it runs where only they are.
"""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from secateur_agent.engine import Engine, InvokeError, LoadedModel, LoadError, find_engine
from secateur_agent.installed import EngineMissingError, EngineName

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
SHARED = ROOT.parent / "shared" / "data"
EXPECTED = os.environ.get("SECATEUR_TEST_ENGINE", "litert")

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return find_engine()


@pytest.fixture(scope="module")
def digits(engine: Engine) -> LoadedModel:
    return engine.load((DIGITS / "digits.tflite").read_bytes())


def frames() -> tuple[np.ndarray, np.ndarray]:
    data = np.load(DIGITS / "evaluation.npz")
    return data["x"].astype(np.float32), data["y"]


def infer(model: LoadedModel, sample: np.ndarray) -> np.ndarray:
    (output,) = model.infer([model.inputs[0].encode(sample)])
    return output


def test_this_environment_has_the_engine_that_the_test_is_for(engine: Engine) -> None:
    assert engine.name == EXPECTED
    assert engine.version[0].isdigit()


def test_an_engine_that_is_not_here_is_named_with_what_to_install() -> None:
    other = EngineName.LITERT if EXPECTED != "litert" else EngineName.TFLITE_RUNTIME
    with pytest.raises(EngineMissingError, match="pip install"):
        find_engine(other)


def test_a_model_says_what_it_takes_and_gives(digits: LoadedModel) -> None:
    (taken,), (given,) = digits.inputs, digits.outputs
    assert (str(taken.dtype), str(given.dtype)) == ("float32", "float32")
    assert taken.shape[0] == given.shape[0] == 1
    assert given.shape[-1] == 10
    assert taken.name
    assert given.name
    assert taken.scale == 0


def test_the_answers_are_right(digits: LoadedModel) -> None:
    samples, labels = frames()
    guesses = [int(infer(digits, sample).argmax()) for sample in samples]
    assert np.mean(np.array(guesses) == labels) > 0.95


def test_an_answer_belongs_to_the_caller_and_the_same_input_gives_the_same(
    digits: LoadedModel,
) -> None:
    samples, _ = frames()
    first = infer(digits, samples[0])
    kept = first.copy()
    other = infer(digits, samples[1])
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, other)
    assert np.array_equal(infer(digits, samples[0]), kept)
    assert first.flags.writeable


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing_but_the_time(engine: Engine, threads: int) -> None:
    model = engine.load((DIGITS / "digits.tflite").read_bytes(), threads)
    sample = frames()[0][0]
    expected = infer(engine.load((DIGITS / "digits.tflite").read_bytes()), sample)
    assert np.allclose(infer(model, sample), expected, atol=1e-6)


def test_several_models_are_loaded_at_once_and_do_not_disturb_each_other(
    engine: Engine,
) -> None:
    content = (DIGITS / "digits.tflite").read_bytes()
    models = [engine.load(content) for _ in range(3)]
    samples, _ = frames()
    expected = [infer(models[0], sample) for sample in samples[:10]]
    for one, other in pairwise(models):
        for sample, answer in zip(samples[:10], expected, strict=True):
            assert np.array_equal(infer(one, sample), answer)
            assert np.array_equal(infer(other, sample), answer)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"not a model" * 10])
def test_what_is_no_model_is_refused(engine: Engine, content: bytes) -> None:
    with pytest.raises(LoadError):
        engine.load(content)


def test_an_input_of_another_shape_or_type_is_refused_and_the_model_lives_on(
    digits: LoadedModel,
) -> None:
    sample = frames()[0][0]
    expected = infer(digits, sample)
    for wrong in (np.zeros((1, 3), np.float32), np.zeros(digits.inputs[0].shape, np.int8)):
        with pytest.raises(InvokeError):
            digits.infer([wrong])
    with pytest.raises(InvokeError):
        digits.infer([])
    assert np.array_equal(infer(digits, sample), expected)


def test_a_sample_with_too_few_numbers_is_refused(digits: LoadedModel) -> None:
    with pytest.raises(ValueError, match="reshape"):
        digits.inputs[0].encode(np.zeros(3, np.float32))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "floor"), [("kws_int8", 0.85), ("kws_hybrid", 0.85)], ids=["int8", "hybrid"]
)
def test_quantized_models_answer_codes_and_real_numbers_alike(
    engine: Engine, name: str, floor: float
) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the models and data it holds are not committed")
    model = engine.load((SHARED / "kws" / f"{name}.tflite").read_bytes())
    data = np.load(SHARED / "kws" / "kws01.npz")
    codes, labels = data["x"][:200], data["y"][:200]
    real = (codes.astype(np.float32) - 83) * np.float32(0.5847029)
    guesses = [int(infer(model, sample).argmax()) for sample in real]
    assert np.mean(np.array(guesses) == labels) > floor
    if model.inputs[0].scale:
        from_codes = [int(infer(model, sample).argmax()) for sample in codes]
        assert from_codes == guesses
        decoded = model.outputs[0].decode(infer(model, codes[0]))
        assert decoded.dtype == np.float32
        assert abs(float(decoded.sum()) - 1) < 0.1


def test_the_inference_process_starts_on_this_engine() -> None:
    program = "import secateur_agent.inference.__main__, secateur_agent.probe"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
