"""Networks of many kinds go through ``inspect`` and ``prune``: a result or a clear refusal."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from secateur_protocols.manifest import Ladder
from secateur_server.cli import app
from secateur_server.pruning.checking import check
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.narrowing import narrow
from secateur_server.pruning.trial import try_model
from support import quantized_twins
from support.architectures import ARCHITECTURES
from support.slicing import assert_alike, follow, mask, thinned, write
from support.tiny_models import Array, run

MINIMAL = {"nothing_to_prune"}
NO_TWIN = {("keyword_spotter_with_svdf", "int8"), ("keyword_spotter_with_svdf", "uint8")}
TWINS: dict[str, Callable[[bytes], bytes]] = {
    "float16": quantized_twins.float16,
    "hybrid": quantized_twins.hybrid,
    "int8": lambda content: quantized_twins.int8(content, *samples(content, 3)),
    "uint8": lambda content: quantized_twins.uint8(content, *samples(content, 3)),
}


def samples(content: bytes, count: int, *, seed: int = 0) -> list[tuple[Array, ...]]:
    random = np.random.default_rng(seed)
    inputs = Interpreter(model_content=content).get_input_details()
    return [
        tuple(random.normal(size=each["shape"]).astype(np.float32) for each in inputs)
        for _ in range(count)
    ]


def save(path: Path, rows: list[tuple[Array, ...]]) -> Path:
    stacked = [np.concatenate(each) for each in zip(*rows, strict=True)]
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
            *("--calibration", str(save(folder / "c.npz", samples(content, 12, seed=1)))),
            *("--evaluation", str(save(folder / "e.npz", samples(content, 4, seed=2)))),
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
    (sample,) = samples(content, 1)
    # Hybrid kernels round by the largest number they see, channels without weights included.
    assert_alike(
        run(pruned, *sample), run(dropped, *sample), 0.1 if precision == "hybrid" else 1e-5
    )


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
