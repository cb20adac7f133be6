"""``secateur prune`` and ``secateur inspect`` as users run them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur_protocols.manifest import Ladder
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.linear import weights_of

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def secateur(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secateur_server", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def prune(out: Path, *more: str | Path, **given: Path) -> subprocess.CompletedProcess[str]:
    paths = {
        "model": DIGITS / "digits.tflite",
        "calibration": DIGITS / "calibration.npz",
        "evaluation": DIGITS / "evaluation.npz",
    } | given
    return secateur(
        "prune",
        paths["model"],
        *("--calibration", paths["calibration"]),
        *("--evaluation", paths["evaluation"]),
        *("--out", out),
        *more,
    )


def assert_refused(
    done: subprocess.CompletedProcess[str], *words: str, out: Path | None = None
) -> None:
    """One line, exit code 2, nothing written."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("secateur: error: ")
    for word in words:
        assert word in line
    assert done.stdout == ""
    if out is not None:
        assert list(out.parent.iterdir()) == []


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "half.tflite"
    model.write_bytes((DIGITS / "digits.tflite").read_bytes()[:100_000])
    out = tmp_path / "empty" / "ladder"
    out.parent.mkdir()
    assert_refused(prune(out, model=model), str(model), out=out)
    assert_refused(secateur("inspect", model), str(model))


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "notes.tflite"
    model.write_text("this is no model\n" * 100)
    assert_refused(prune(tmp_path / "out", model=model), "is not a .tflite file")
    assert_refused(secateur("inspect", model), "is not a .tflite file")


@pytest.mark.parametrize("role", ["model", "calibration", "evaluation"])
def test_a_missing_file_is_named(tmp_path: Path, role: str) -> None:
    missing = tmp_path / "gone.bin"
    assert_refused(prune(tmp_path / "out", **{role: missing}), str(missing))


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x": np.zeros((30, 9, 9, 1), np.float32)}, "shape"),
        ({"x": np.zeros((30, 8, 8, 1), np.complex64)}, "not numbers"),
        ({"x": np.array([["a"] * 8] * 30)}, "not numbers"),
        ({"x": np.full((30, 8, 8, 1), np.nan, np.float32)}, "NaN"),
        ({"x": np.zeros((0, 8, 8, 1), np.float32)}, "shape"),
        ({"x": np.zeros((30, 8, 8, 1), np.float32), "y": np.zeros(29, int)}, "y must"),
        ({"x": np.zeros((30, 8, 8, 1), np.float32), "y": np.zeros(30)}, "y must"),
        ({"inputs": np.zeros((30, 8, 8, 1), np.float32)}, "no array named x"),
        ({"x": np.array([None] * 30)}, "not an .npz"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], word: str
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, allow_pickle=True, **arrays)
    assert_refused(prune(tmp_path / "out", evaluation=data), str(data), word)


@pytest.mark.parametrize(
    "more",
    [
        ("--method", "absolute"),
        ("--method", "channel", "--ratio", "1.5"),
        ("--method", "magnitude", "--sparsity", "0"),
        ("--levels", "1"),
        ("--levels", "1000"),
        ("--method", "magic"),
        ("--ratio", "0.5", "--sparsity", "0.5"),
        ("--ratio", "0.5", "--rewrite", "sparse"),
        ("--sparsity", "0.5", "--scope", "galaxy"),
        ("--sparsity", "0.5", "--encoding", "zip"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, more: tuple[str, ...]) -> None:
    assert_refused(prune(tmp_path / "out", *more))


def test_what_sparse_kernels_cannot_take_is_named(tmp_path: Path) -> None:
    refused = prune(tmp_path / "out", "--sparsity", "0.8", "--rewrite", "sparse")
    assert_refused(refused, "CONV_2D #0", "no stem")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    assert_refused(prune(out), "not empty")
    assert [each.name for each in out.iterdir()] == ["precious.txt"]


def test_the_ladder_holds_what_it_says(digits_ladder: Path) -> None:
    ladder = Ladder.model_validate_json((digits_ladder / "ladder.json").read_bytes())
    dense, *narrower = ladder.levels
    first = (digits_ladder / "level-0.tflite").read_bytes()
    assert first == (DIGITS / "digits.tflite").read_bytes()
    assert narrower
    for before, after in zip(ladder.levels, narrower, strict=False):
        assert after.macs < before.macs
        assert after.parameters < before.parameters
        assert after.size_bytes < before.size_bytes
        assert after.parent == dense.digest
    for manifest in ladder.levels:
        path = digits_ladder / f"level-{manifest.level}.tflite"
        assert path.stat().st_size == manifest.size_bytes


@pytest.mark.parametrize(
    ("method", "option", "amount"),
    [
        ("absolute", "--threshold", 0.02),
        ("relative", "--threshold", 0.1),
        ("magnitude", "--sparsity", 0.5),
    ],
)
def test_small_weights_become_zero_and_the_others_stay(
    tmp_path: Path, method: str, option: str, amount: float
) -> None:
    out = tmp_path / "out"
    ways = ("--no-correct", "--scope", "layer", "--encoding", "dense")
    done = prune(out, "--method", method, option, str(amount), *ways, "--json")
    assert done.returncode == 0, done.stderr
    ladder = Ladder.model_validate_json(done.stdout)
    assert len(ladder.levels) == 2
    dense, pruned = (_weights(out / f"level-{k}.tflite") for k in (0, 1))
    assert dense.keys() == pruned.keys()
    for index, before in dense.items():
        after = pruned[index]
        is_zero = after == 0
        assert np.array_equal(after[~is_zero], before[~is_zero])
        if method == "magnitude":
            assert is_zero.mean() == pytest.approx(amount, abs=0.5 / is_zero.size)
        else:
            largest = np.abs(before).max() if method == "relative" else 1.0
            assert np.array_equal(is_zero, np.abs(before) < amount * largest)


def _weights(path: Path) -> dict[int, np.ndarray]:
    graph = read_graph(read_model(path).tree())
    held = {operator.index: weights_of(graph, operator) for operator in graph.operators}
    return {index: weights for index, weights in held.items() if weights is not None}


def test_without_labels_the_metric_is_agreement_with_the_dense_level(tmp_path: Path) -> None:
    with np.load(DIGITS / "evaluation.npz") as arrays:
        np.savez(tmp_path / "unlabelled.npz", x=arrays["x"])
    done = prune(
        tmp_path / "out",
        *("--levels", "2", "--json"),
        evaluation=tmp_path / "unlabelled.npz",
    )
    assert done.returncode == 0, done.stderr
    ladder = Ladder.model_validate_json(done.stdout)
    assert [level.accuracy.metric for level in ladder.levels] == ["agreement", "agreement"]
    assert ladder.levels[0].accuracy.value == 1.0


def test_the_same_request_gives_the_same_artifacts(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        done = prune(tmp_path / name, "--ratio", "0.5", "--json")
        assert done.returncode == 0, done.stderr
        ladder = Ladder.model_validate_json(done.stdout)
        digests.append([level.digest for level in ladder.levels])
    assert digests[0] == digests[1]


def test_inspect_tells_operators_and_groups() -> None:
    done = secateur("inspect", DIGITS / "digits.tflite", "--json")
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert described["macs"] == sum(each["macs"] for each in described["operators"]) > 0
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "FULLY_CONNECTED"} <= {
        each["kind"] for each in described["operators"]
    }
    assert any(group["consumers"] and not group["frozen"] for group in described["groups"])
