"""Int8 versions: the same inputs and outputs, smaller, and close to the float network."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur_protocols.manifest import Ladder, Precision
from secateur_server.cli import app
from secateur_server.pruning.candidates import Candidate
from secateur_server.pruning.checking import Verdict, check
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.precision import int8_twin
from secateur_server.pruning.pruner import _sound
from support import architectures
from support.quantized_twins import float16
from support.tiny_models import run

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def as_before_2020(content: bytes) -> bytes:
    """Say which operators there are in the old field only."""
    tree = Source(Path("aged"), content).tree()
    for code in tree.operatorCodes:
        code.builtinCode = 0
    return write_model(tree)


@pytest.mark.parametrize("disguise", [as_before_2020, float16])
def test_a_file_of_another_kind_is_quantized_as_one_in_float32_is(
    disguise: Callable[[bytes], bytes],
) -> None:
    model = architectures.resnet()
    other = disguise(model)
    graph = read_graph(Source(Path("model"), other).tree())
    (tensor,) = graph.inputs
    shape = (32, *graph.tensors[tensor].shape)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    wanted, found = (int8_twin(each, {tensor: x}) for each in (model, other))
    assert other != model
    assert abs(len(found) - len(wanted)) < 0.1 * len(wanted)
    for one, another in zip(run(wanted, x[0]), run(found, x[0]), strict=True):
        assert np.abs(one - another).max() <= 0.05 * np.ptp(one)


def test_a_model_in_float16_gives_levels_in_int8_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits.tflite"
    path.write_bytes(float16((DIGITS / "digits.tflite").read_bytes()))
    arguments = [
        *("prune", str(path), "--ratio", "0.5", "--json", "--out", str(tmp_path / "out")),
        *("--calibration", str(DIGITS / "calibration.npz")),
        *("--evaluation", str(DIGITS / "evaluation.npz")),
        "--precision",
    ]
    assert app.run([*arguments, "float32,int8"]) == 2
    assert "float16 or int8" in capfd.readouterr().err
    assert app.run([*arguments, "float16,int8"]) == 0
    ladder = Ladder.model_validate_json(capfd.readouterr().out)
    assert {level.precision for level in ladder.levels} == {"float16", "int8"}


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "convolutional_autoencoder"])
def test_an_int8_twin_takes_and_gives_what_the_float_network_does(name: str) -> None:
    content = getattr(architectures, name)()
    graph = read_graph(Source(Path(name), content).tree())
    random = np.random.default_rng(0)
    feeds = {
        k: random.normal(size=(32, *graph.tensors[k].shape)).astype(np.float32)
        for k in graph.inputs
    }
    twin = int8_twin(content, feeds)
    after = read_graph(Source(Path(name), twin).tree())
    for before, now in ((graph.inputs, after.inputs), (graph.outputs, after.outputs)):
        assert [after.tensors[k].dtype for k in now] == [graph.tensors[k].dtype for k in before]
        assert [after.tensors[k].shape for k in now] == [graph.tensors[k].shape for k in before]
    assert any(tensor.dtype == np.int8 for tensor in after.tensors)
    sample = [rows[0] for rows in feeds.values()]
    for wanted, found in zip(run(content, *sample), run(twin, *sample), strict=True):
        spread = float(np.ptp(wanted)) + 1e-6
        assert np.abs(wanted - found).max() < 0.3 * spread


def test_a_ladder_of_both_precisions_says_which_level_is_which(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("prune", str(DIGITS / "digits.tflite"), "--ratio", "0.5", "--json"),
        *("--calibration", str(DIGITS / "calibration.npz")),
        *("--evaluation", str(DIGITS / "evaluation.npz")),
        *("--out", str(tmp_path / "out"), "--precision", "float32,int8"),
    ]
    assert app.run(arguments) == 0
    ladder = Ladder.model_validate_json(capfd.readouterr().out)
    assert ladder.levels[0].precision == "float32"
    int8 = [level for level in ladder.levels if level.precision == "int8"]
    assert int8
    assert all(level.method.endswith(", int8") for level in int8)
    assert min(level.size_bytes for level in int8) < ladder.levels[0].size_bytes / 2


@pytest.mark.parametrize("precision", ["int4", "float32;int8", ""])
def test_a_precision_that_is_none_is_refused(
    tmp_path: Path, precision: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("prune", str(DIGITS / "digits.tflite"), "--precision", precision),
        *("--calibration", str(DIGITS / "calibration.npz")),
        *("--evaluation", str(DIGITS / "evaluation.npz")),
        *("--out", str(tmp_path / "out")),
    ]
    assert app.run(arguments) == 2
    assert "--precision" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_int8_version_that_crashes_the_engine_is_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = architectures.mobilenet_v3()
    (tmp_path / "model.tflite").write_bytes(content)
    for name, seed in (("c.npz", 1), ("e.npz", 2)):
        (x,) = zip(*architectures.rows(content, 8, seed), strict=True)
        np.savez(tmp_path / name, x=np.concatenate(x))
    arguments = [
        *("prune", str(tmp_path / "model.tflite"), "--ratio", "0.3", "--json"),
        *("--calibration", str(tmp_path / "c.npz"), "--evaluation", str(tmp_path / "e.npz")),
        *("--out", str(tmp_path / "out"), "--precision", "float32,int8"),
    ]
    assert app.run(arguments) == 0
    ladder = Ladder.model_validate_json(capfd.readouterr().out)
    left_out = json.loads((tmp_path / "out" / "report.json").read_bytes())["left_out"]
    for level in ladder.levels:
        assert check(tmp_path / "out" / f"level-{level.level}.tflite") == Verdict()
    known = [level.method for level in ladder.levels] + [each["rule"] for each in left_out]
    assert {"dense, int8", f"{ladder.levels[1].method}, int8"} <= set(known)


def test_what_the_engine_does_not_run_is_left_out_with_the_reason() -> None:
    content = architectures.resnet()
    dense = Candidate("dense", content, None, 1, 1, Precision.FLOAT32)
    broken = replace(dense, rule="broken", content=content[: len(content) // 2])
    sound, left_out = _sound([dense, broken, replace(dense, rule="same")], lambda *_: None)
    assert [each.rule for each in sound] == ["dense", "same"]
    assert [each.rule for each in left_out] == ["broken"]
    assert left_out[0].reason.startswith("it does not run: ")
