"""What weight pruning costs in accuracy and saves in bytes: the tables of docs/pruning.md.

Prints a table for people and, as the last line, one JSON object: by model, by sparsity, by
way of choosing, ``plain`` and ``corrected`` accuracy and ``correct_s``; and by model and
sparsity, bytes stored and in transit, densely and sparsely.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.pruning import measurement
from secateur_server.pruning.apply import apply
from secateur_server.pruning.candidates import travel_bytes
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import Source, read_model, write_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.samples import Samples
from secateur_server.pruning.sparse.storage import store_sparsely
from secateur_server.pruning.weight.choice import Scope, least_missed, magnitude_scores
from secateur_server.pruning.weight.correction import correct, removal_losses, zeroed
from secateur_server.pruning.weight.layer import Layer, find_layers

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = {
    "resnet8_float32": ("cifar10", "float32"),
    "resnet8_int8": ("cifar10", "float32"),
    "kws_hybrid": ("kws", "float32"),
    "kws_int8": ("kws", "int8"),
}
SPARSITIES = (0.5, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Subject:
    """One model with its data."""

    source: Source
    graph: Graph
    layers: list[Layer]
    feeds: Mapping[int, npt.NDArray[Any]]
    evaluation: Samples

    def written(self, after: Graph, *, sparsely: bool = False) -> bytes:
        """Give the bytes of what the graph has become."""
        tree = self.source.tree()
        apply(tree, self.graph, after)
        if sparsely:
            store_sparsely(tree)
        return write_model(tree)

    def accuracy(self, after: Graph) -> float:
        """Give the top-1 accuracy on the evaluation set."""
        runner = measurement.load(self.written(after), 1)
        found, *_ = measurement.outputs(runner, self.evaluation)
        labels = found.reshape(len(found), -1).argmax(axis=1)
        return round(float((labels == self.evaluation.y).mean()), 4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer samples, two sparsities.")
    quick = parser.parse_args().quick
    results = {}
    for name in MODELS:
        results[name] = measure(subject(name, quick=quick), quick=quick)
        show(name, results[name])
    print(json.dumps(results))


def subject(name: str, *, quick: bool) -> Subject:
    """Read a model, and split its data: what calibrates does not evaluate."""
    folder, kind = MODELS[name]
    if folder == "kws":
        with np.load(DATA / "kws" / "kws01.npz") as arrays:
            x, y = arrays["x"], arrays["y"]
        if kind == "float32":
            x = ((x.astype(np.float32) - 83) * 0.5847029).astype(np.float32)
        calibration, evaluation, labels = x[::2], x[1::2], y[1::2]
    else:
        with np.load(DATA / "cifar10" / "cifar10_subset.npz") as arrays:
            calibration = arrays["x_train"][:512].astype(np.float32)
            evaluation, labels = arrays["x_test"].astype(np.float32), arrays["y_test"]
    few = 160 if quick else None
    source = read_model(DATA / folder / f"{name}.tflite")
    graph = read_graph(source.tree())
    held = graph.tensors[graph.inputs[0]]
    feeds = {held.index: as_reals(held, calibration[:few])}
    samples = Samples((evaluation[:few],), labels[:few])
    return Subject(source, graph, find_layers(graph), feeds, samples)


def measure(given: Subject, *, quick: bool) -> dict[str, Any]:
    """Prune one model in every way."""
    started = time.perf_counter()
    losses = removal_losses(given.graph, given.layers, given.feeds, lambda _share: None)
    ranked: dict[str, Callable[[float], Any]] = {}
    for scope in Scope:
        smallest = magnitude_scores(given.layers, scope)
        ranked[f"magnitude {scope}"] = partial(least_missed, smallest, scope=scope)
        ranked[f"obs {scope}"] = partial(least_missed, losses, scope=scope)
    found: dict[str, Any] = {
        "dense": given.accuracy(given.graph),
        "weigh_s": round(time.perf_counter() - started, 2),
        "sparsities": {},
    }
    for sparsity in SPARSITIES[::3] if quick else SPARSITIES:
        ways = {words: one_way(given, choose(sparsity)) for words, choose in ranked.items()}
        keeps = ranked["obs network"](sparsity)
        ways["bytes"] = sizes(given, zeroed(given.graph, given.layers, keeps))
        found["sparsities"][str(sparsity)] = ways
    return found


def one_way(given: Subject, keeps: Any) -> dict[str, float]:  # noqa: ANN401 - masks
    """Prune with and without a correction."""
    plain = zeroed(given.graph, given.layers, keeps)
    started = time.perf_counter()
    corrected = correct(given.graph, given.layers, keeps, given.feeds)
    taken_s = time.perf_counter() - started
    return {
        "plain": given.accuracy(plain),
        "corrected": given.accuracy(corrected),
        "correct_s": round(taken_s, 2),
    }


def sizes(given: Subject, after: Graph) -> dict[str, float]:
    """Give bytes and latencies of both ways to store a network."""
    contents = [given.written(after, sparsely=each) for each in (False, True)]
    runners = [measurement.load(each, 1) for each in contents]
    sample = given.evaluation.sample(0)
    dense, sparse = measurement.latencies(runners, sample, lambda _share: None)
    return {
        "dense": len(contents[0]),
        "dense_travel": travel_bytes(contents[0]),
        "sparse": len(contents[1]),
        "sparse_travel": travel_bytes(contents[1]),
        "sparse_latency_ratio": round(sparse.p50_ms / dense.p50_ms, 3),
    }


def show(name: str, found: dict[str, Any]) -> None:
    """Print one model's rows of the two tables."""
    for sparsity, ways in found["sparsities"].items():
        cells = [
            f"{each['plain']:.2f} -> {each['corrected']:.2f}"
            for words, each in ways.items()
            if words != "bytes"
        ]
        print(
            f"| {name} ({found['dense']:.3f}) | {float(sparsity):.0%} | {' | '.join(cells)} |"
        )
    for sparsity, ways in found["sparsities"].items():
        size = ways["bytes"]
        numbers = (size[key] for key in ("dense", "dense_travel", "sparse", "sparse_travel"))
        cells = [f"{int(each):,}" for each in numbers]
        ratio = size["sparse_latency_ratio"]
        print(f"| {name} | {float(sparsity):.0%} | {' | '.join(cells)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
