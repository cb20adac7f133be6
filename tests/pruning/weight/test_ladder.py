"""Weight pruning as users ask for it: ladders on disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur_protocols.manifest import Encoding, Ladder
from secateur_server.errors import InputError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import Source, read_model, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.samples import read_samples
from secateur_server.pruning.sparse.rewrites import Rewriting
from secateur_server.pruning.sparse.storage import densified
from secateur_server.pruning.sparse.twins import Storing, Twin, objection, superfluous
from secateur_server.pruning.task import Options, Task
from secateur_server.pruning.weight.choice import Scope
from secateur_server.pruning.weight.cut import WeightPlan
from secateur_server.pruning.weight.layer import find_layers
from secateur_server.pruning.weights import replay
from support.mobilenets import mobilenet

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"


def ask(
    out_dir: Path,
    options: Options,
    method: str = "magnitude",
    **more: Any,  # noqa: ANN401 - as the request has them
) -> Ladder:
    request = PruneRequest(
        model_path=DIGITS / "digits.tflite",
        calibration_path=DIGITS / "calibration.npz",
        evaluation_path=DIGITS / "evaluation.npz",
        out_dir=out_dir,
        method=method,
        options=options,
    )
    return prune(replace(request, **more))


def level_source(out_dir: Path, level: int) -> Source:
    return densified(read_model(out_dir / f"level-{level}.tflite"))[0]


def zeros_ratio(source: Source) -> float:
    layers = find_layers(read_graph(source.tree()))
    zeros = sum(int((each.weights == 0).sum()) for each in layers)
    return zeros / sum(each.weights.size for each in layers)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("weights") / "corrected"
    ask(out_dir, Options(amount=0.9, levels=2, storing=Storing.DENSE))
    return out_dir


def test_a_corrected_ladder_has_the_zeros_it_says_and_keeps_its_accuracy(
    corrected: Path, tmp_path: Path
) -> None:
    ladder = Ladder.model_validate_json((corrected / "ladder.json").read_bytes())
    assert zeros_ratio(level_source(corrected, 1)) == pytest.approx(0.9, abs=1e-4)
    plain = ask(tmp_path / "plain", Options(amount=0.9, levels=2, correct=False))
    dense, pruned = ladder.levels
    assert pruned.accuracy.value > plain.levels[1].accuracy.value + 0.2
    assert 0 < (pruned.compressed_bytes or 0) < 0.3 * (dense.compressed_bytes or 0)
    assert pruned.macs == dense.macs


def test_a_plan_on_disk_makes_the_same_artifact_again(corrected: Path) -> None:
    plan = WeightPlan.model_validate_json((corrected / "plan-1.json").read_bytes())
    source = read_model(DIGITS / "digits.tflite")
    graph = read_graph(source.tree())
    inputs = [graph.tensors[k] for k in graph.inputs]
    samples = read_samples(DIGITS / "calibration.npz", inputs).shuffled(seed=0)
    feeds = {
        each.index: as_reals(each, rows)
        for each, rows in zip(inputs, samples.inputs, strict=True)
    }
    pruned = replay(Task(source=source, graph=graph, feeds=feeds, options=Options()), plan)
    tree = source.tree()
    apply(tree, pruned.before, pruned.after)
    assert write_model(tree) == (corrected / "level-1.tflite").read_bytes()


def test_a_level_that_is_stored_sparsely_is_smaller_and_can_be_pruned_again(
    tmp_path: Path,
) -> None:
    out_dir = tmp_path / "sparse"
    ladder = ask(out_dir, Options(amount=0.9, levels=2, storing=Storing.SPARSE, correct=False))
    (level,) = ladder.levels[1:]
    assert level.encoding is Encoding.SPARSE
    assert level.requires is None
    assert level.size_bytes < 0.5 * ladder.levels[0].size_bytes
    assert zeros_ratio(level_source(out_dir, 1)) == pytest.approx(0.9, abs=1e-4)
    again = ask(
        tmp_path / "again",
        Options(amount=0.97, levels=2, storing=Storing.DENSE, correct=False),
        model_path=out_dir / "level-1.tflite",
    )
    assert [each.encoding for each in again.levels] == [Encoding.SPARSE, Encoding.DENSE]


def test_a_tensor_that_would_vanish_is_spared_and_the_level_says_so(tmp_path: Path) -> None:
    options = Options(amount=0.3, levels=2, storing=Storing.DENSE, correct=False)
    ladder = ask(tmp_path / "out", options, "absolute")
    assert "spared" in ladder.levels[1].method


def test_what_sparse_kernels_cannot_take_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CONV_2D #0"):
        ask(tmp_path / "out", Options(amount=0.8, levels=2, rewrite=Rewriting.SPARSE))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for name, count in (("calibration", 60), ("evaluation", 40)):
        rough = random.normal(size=(count, 8, 8, 3)).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=rough.repeat(4, axis=1).repeat(4, axis=2))
    return {f"{each}_path": folder / f"{each}.npz" for each in ("calibration", "evaluation")}


@pytest.mark.parametrize("rewrite", [Rewriting.SPARSE, Rewriting.SPARSE_STEM])
def test_a_level_for_sparse_kernels_says_what_it_requires_and_has_a_dense_twin(
    tmp_path: Path, images: dict[str, Any], rewrite: Rewriting
) -> None:
    model_path = tmp_path / "mobilenet.tflite"
    blocks = ((1, 64), (2, 128), (1, 128))
    is_exact = rewrite is Rewriting.SPARSE
    model_path.write_bytes(mobilenet(width=32, blocks=blocks, pads_stem=is_exact))
    options = Options(amount=0.8, levels=2, rewrite=rewrite, scope=Scope.LAYER)
    ladder = ask(tmp_path / "out", options, **images, model_path=model_path)
    dense, sparse = sorted(ladder.levels[1:], key=lambda each: each.encoding)
    assert (dense.encoding, sparse.encoding) == (Encoding.DENSE, Encoding.SPARSE)
    assert dense.requires is None
    assert sparse.requires is not None
    assert "aarch64" in sparse.requires.machines
    assert "x86_64" not in sparse.requires.machines
    assert dense.accuracy == sparse.accuracy
    assert sparse.size_bytes < 0.5 * dense.size_bytes


def twin(stored: int = 100, travel: int = 50, p50_ms: float = 1.0, **more: Any) -> Twin:  # noqa: ANN401 - fields
    given: dict[str, Any] = {"outputs": np.ones((3, 2), np.float32)} | more
    return Twin(stored_bytes=stored, travel_bytes=travel, p50_ms=p50_ms, **given)


@pytest.mark.parametrize(
    ("sparse", "word"),
    [
        (twin(40, 48), ""),
        (twin(90, 50), "hardly smaller"),
        (twin(40, 48, 1.2), "slower"),
        (twin(40, 48, outputs=np.zeros((3, 2), np.float32)), "something else"),
        (twin(90, 50, 1.2, storing=Storing.SPARSE), ""),
        (twin(40, 48, outputs=np.full((3, 2), np.nan, np.float32)), "something else"),
    ],
)
def test_of_two_ways_to_store_a_network_the_measured_better_one_is_kept(
    sparse: Twin, word: str
) -> None:
    why = objection(sparse, twin())
    assert word in why
    assert bool(word) == bool(why)
    dropped = superfluous([twin(), twin(), sparse], {2: 1})
    assert list(dropped) == ([2] if word else [1])


def test_a_twin_that_is_of_use_on_some_devices_only_replaces_nothing() -> None:
    sparse = twin(40, 48, is_conditional=True)
    assert superfluous([twin(), twin(), sparse], {2: 1}) == {}
