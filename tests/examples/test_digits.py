"""The committed digit reader is what its README says it is."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SPLITS = ("train", "calibration", "evaluation")
OPERATORS = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "ADD",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "RESHAPE",
    "FULLY_CONNECTED",
    "SOFTMAX",
}
DELEGATE = "DELEGATE"
"""What the engine adds to the list when it hands operators to XNNPACK."""


def load(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(DIGITS / f"{split}.npz") as arrays:
        assert set(arrays) == {"x", "y"}
        return arrays["x"], arrays["y"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_the_models_input_shape_and_range(split: str) -> None:
    images, labels = load(split)
    assert images.dtype == np.float32
    assert images.shape == (len(labels), 8, 8, 1)
    assert images.min() == 0
    assert images.max() == 1
    assert labels.dtype == np.int64


@pytest.mark.parametrize("split", SPLITS)
def test_every_digit_has_its_tenth_of_a_split(split: str) -> None:
    _, labels = load(split)
    counts = np.bincount(labels, minlength=10)
    assert len(counts) == 10
    assert np.abs(counts / len(labels) - 0.1).max() < 0.01


def test_no_image_is_in_two_splits() -> None:
    rows = [{image.tobytes() for image in load(split)[0]} for split in SPLITS]
    assert [len(split) for split in rows] == [900, 400, 497]
    assert len(set.union(*rows)) == 1797


def test_the_files_stay_small_enough_for_a_repository() -> None:
    assert 10_000 < (DIGITS / "digits.tflite").stat().st_size < 300_000
    assert sum((DIGITS / f"{split}.npz").stat().st_size for split in SPLITS) < 300_000


@pytest.mark.engine
def test_the_model_holds_every_promised_operator_and_no_other() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        model_path=str(DIGITS / "digits.tflite")
    )
    names = {operator["op_name"] for operator in interpreter._get_ops_details()}
    assert names - {DELEGATE} == OPERATORS


@pytest.mark.engine
def test_the_model_reads_as_many_digits_as_its_readme_says() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        model_path=str(DIGITS / "digits.tflite"), num_threads=1
    )
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == np.float32
    assert tuple(source["shape"]) == tuple(source["shape_signature"]) == (1, 8, 8, 1)
    images, labels = load("evaluation")
    correct = 0
    for image, label in zip(images, labels, strict=True):
        interpreter.set_tensor(source["index"], image[np.newaxis])
        interpreter.invoke()
        correct += int(interpreter.get_tensor(sink["index"])[0].argmax() == label)
    said = re.search(r"evaluation[^\n]*\| (0\.\d+) \|", (DIGITS / "README.md").read_text())
    assert said is not None
    # Two images of slack: kernels of other processors round otherwise.
    assert correct / len(labels) == pytest.approx(float(said[1]), abs=2.5 / len(labels))
    assert correct / len(labels) >= 0.97
