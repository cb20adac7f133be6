"""Networks of many kinds go through ``inspect`` and ``prune``: a result or a clear refusal."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur_protocols.manifest import Ladder
from secateur_server.cli import app
from secateur_server.pruning import measurement
from secateur_server.pruning.checking import check
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.narrowing import narrow
from secateur_server.pruning.trial import try_model
from support import quantized_twins
from support.architectures import ARCHITECTURES, Sketch, rows
from support.slicing import assert_alike, follow, mask, thinned, write
from support.tiny_models import Array, run

MINIMAL = {"nothing_to_prune"}
NO_TWIN = {("keyword_spotter_with_svdf", "int8"), ("keyword_spotter_with_svdf", "uint8")}
TWINS: dict[str, Callable[[bytes], bytes]] = {
    "float16": quantized_twins.float16,
    "weight only": quantized_twins.weight_only,
    "hybrid": quantized_twins.hybrid,
    "int8": lambda content: quantized_twins.int8(content, *rows(content, 3, 0)),
    "uint8": lambda content: quantized_twins.uint8(content, *rows(content, 3, 0)),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure latency in few rounds: here it only has to be measured."""
    monkeypatch.setattr(measurement, "ROUNDS", 2)


def save(path: Path, seen: list[tuple[Array, ...]]) -> Path:
    stacked = [np.concatenate(each) for each in zip(*seen, strict=True)]
    named = {"x": stacked[0]} if len(stacked) == 1 else {}
    named |= {f"x_{k}": each for k, each in enumerate(stacked) if len(stacked) > 1}
    np.savez(path, allow_pickle=False, **named)
    return path


def prune(folder: Path, model: Path, content: bytes) -> int:
    """Prune by the command, with a few samples made up."""
    return app.run(
        [
            "prune",
            str(model),
            *("--calibration", str(save(folder / "c.npz", rows(content, 12, 1)))),
            *("--evaluation", str(save(folder / "e.npz", rows(content, 4, 2)))),
            *("--out", str(folder / "ladder")),
            *("--method", "channel", "--ratio", "0.3", "--json"),
        ]
    )


def weights_in(graph: Graph) -> int:
    return sum(each.values.size for each in graph.tensors if each.values is not None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_inspected_and_pruned(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = ARCHITECTURES[name]()
    model = tmp_path / f"{name}.tflite"
    model.write_bytes(content)
    assert app.run(["inspect", str(model), "--json"]) == 0
    described = json.loads(capfd.readouterr().out)
    code = prune(tmp_path, model, content)
    said = capfd.readouterr()
    if name in MINIMAL:
        assert code == 3
        assert len([line for line in said.err.splitlines() if "secateur: error" in line]) == 1
        return
    assert code == 0, said.err
    dense, pruned = Ladder.model_validate_json(said.out).levels
    assert pruned.macs < dense.macs == described["macs"]
    assert pruned.size_bytes < dense.size_bytes
    verdict = check(tmp_path / "ladder" / "level-1.tflite")
    assert (verdict.damage, verdict.refusal, verdict.shapes) == ("", "", {})


@pytest.mark.parametrize("precision", TWINS)
@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - MINIMAL))
def test_a_quantized_architecture_computes_what_is_masked(name: str, precision: str) -> None:
    if (name, precision) in NO_TWIN:
        pytest.skip("its state has a type of its own in this precision")
    content = TWINS[precision](ARCHITECTURES[name]())
    if try_model(Path(name), content).refusal:
        pytest.skip(f"the engine has no {precision} kernel for all of it")
    graph, channels = follow(content)
    stays = thinned(graph, channels)
    narrowed = narrow(graph, channels, stays)
    pruned = write(content, graph, narrowed)
    assert weights_in(narrowed) < weights_in(graph)
    verdict = try_model(Path(name), pruned)
    assert (verdict.damage, verdict.refusal, verdict.shapes) == ("", "", {})
    dropped = write(content, graph, mask(graph, channels, stays))
    (sample,) = rows(content, 1, 0)
    # Hybrid kernels round by the largest number they see, channels without weights included.
    assert_alike(
        run(pruned, *sample), run(dropped, *sample), 0.1 if precision == "hybrid" else 1e-5
    )


@pytest.mark.parametrize("precision", TWINS)
def test_a_quantized_network_is_fitted_in_its_own_precision(
    precision: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = TWINS[precision](ARCHITECTURES["resnet"]())
    model = tmp_path / "twin.tflite"
    model.write_bytes(content)
    assert prune(tmp_path, model, content) == 0, capfd.readouterr().err
    fitted = (tmp_path / "ladder" / "level-1.tflite").read_bytes()
    before, after = follow(content)[0], follow(fitted)[0]
    assert [(each.kind, each.version) for each in after.operators] == [
        (each.kind, each.version) for each in before.operators
    ]
    kinds = [[each.dtype for each in graph.tensors] for graph in (before, after)]
    assert kinds[1][: len(kinds[0])] == kinds[0]
    seen = rows(content, 8, 3)
    graph, channels = follow(content)
    sliced = write(content, graph, narrow(graph, channels, thinned(graph, channels)))
    assert distance(fitted, content, seen) < distance(sliced, content, seen)


def distance(some: bytes, other: bytes, seen: list[tuple[Array, ...]]) -> float:
    """Give the mean squared difference of the first outputs."""
    pairs = [(run(some, *row)[0], run(other, *row)[0]) for row in seen]
    return float(np.mean([((one - two) ** 2).mean() for one, two in pairs]))


def test_a_model_for_another_engine_is_inspected_but_not_pruned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = Sketch(0)
    x = net.layer(net.layer(net.input(1, 8, 8, 3), 6), 4)
    content = net.finish(net.add("Mystery", x, shapes=[(1, 8, 8, 4)], custom=b"")[0])
    model = tmp_path / "custom.tflite"
    model.write_bytes(content)
    assert app.run(["inspect", str(model), "--json"]) == 0
    described = json.loads(capfd.readouterr().out)
    assert [each["operator"] for each in described["not_followed"]] == ["CUSTOM Mystery"]
    assert "Mystery" in described["refusal"]
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 8, 8, 3), np.float32))
    data = str(tmp_path / "x.npz")
    out = tmp_path / "ladder"
    given = ["--calibration", data, "--evaluation", data, "--out", str(out)]
    assert app.run(["prune", str(model), *given]) == 2
    (line,) = [each for each in capfd.readouterr().err.splitlines() if "error" in each]
    assert "custom.tflite: the engine does not run it" in line
    assert "Mystery" in line
    assert not out.exists()


@pytest.mark.shared_data
def test_every_shared_model_is_inspected_and_pruned(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = sorted(shared_data.glob("**/*.tflite"))
    assert models
    for model in models:
        folder = tmp_path / model.stem
        folder.mkdir()
        assert app.run(["inspect", str(model)]) == 0
        assert prune(folder, model, model.read_bytes()) == 0, capfd.readouterr().err
        assert not check(folder / "ladder" / "level-1.tflite").refusal
