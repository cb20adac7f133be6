"""Train the vibration detector on made data, and write it as a ``.tflite`` file.

    .venv/bin/python examples/vibration/train.py

Writes ``vibration.tflite`` beside this file, or to ``--out``. It needs what contributors have
(``make .venv/.installed``): JAX, which differentiates the very graph that is written, and the
builder of small models that tests use. No TensorFlow.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from ai_edge_litert.interpreter import Interpreter
from physics import LABELS, WINDOW, Signal, make_set

from secateur_server.pruning.distillation.network import Parameters, differentiable
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph, read_graph

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from support.tiny_models import RELU, Network  # noqa: E402 - found by the line above

TRAIN_COUNT, TRAIN_SEED = 6000, 1
STEPS, BATCH = 2500, 64
PEAK_STEP = 1.5e-3
SMALLEST_PROBABILITY = 1e-7

Array = npt.NDArray[np.float32]
SHAPES: dict[str, tuple[int, ...]] = {
    "stem": (16, 1, 16, 1),
    "narrow": (32, 1, 8, 16),
    "inside": (32, 1, 3, 32),
    "outside": (32, 1, 3, 32),
    "wide": (48, 1, 4, 32),
    "verdict": (len(LABELS), 48),
}
"""Weights by layer: [out, height, width, in], the last [out, in]."""

Weights = dict[str, Array]
"""By layer; biases under the layer's name and ``_bias``."""


def first_weights() -> Weights:
    """Draw weights after He et al., arXiv:1502.01852; biases are zero."""
    rng = np.random.default_rng(0)
    found: Weights = {}
    for name, shape in SHAPES.items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        found[name] = rng.normal(0.0, deviation, shape).astype(np.float32)
        found[f"{name}_bias"] = np.zeros(shape[0], np.float32)
    return found


def build(weights: Weights) -> bytes:
    """Write the network: [1, 1, WINDOW, 1] in g to probabilities [1, labels]."""
    network = Network()

    def convolve(x: int, layer: str, *, stride: int = 1, activation: int = RELU) -> int:
        return network.conv(
            x,
            weights[layer],
            weights[f"{layer}_bias"],
            name=layer,
            stride=stride,
            activation=activation,
        )

    x = network.input(1, 1, WINDOW, 1, name="acceleration")
    x = convolve(x, "stem", stride=4)
    x = convolve(x, "narrow", stride=4)
    branch = convolve(convolve(x, "inside"), "outside", activation=0)
    x = network.op("ADD", x, branch, fusedActivationFunction=RELU)
    x = convolve(x, "wide", stride=4)
    x = network.op("MEAN", x, network.constant(np.array([1, 2], np.int32)), keepDims=False)
    x = network.dense(x, weights["verdict"], weights["verdict_bias"], name="verdict")
    return network.finish(network.op("SOFTMAX", x, name="probabilities", beta=1.0))


def storages(graph: Graph) -> dict[str, int]:
    """Find which constant of the graph is which: the builder names none, shapes repeat."""
    layers = iter(SHAPES)
    found: dict[str, int] = {}
    for operator in graph.operators:
        if operator.kind in {"CONV_2D", "FULLY_CONNECTED"}:
            layer = next(layers)
            _, held, bias = operator.inputs
            found[layer], found[f"{layer}_bias"] = held, bias
    return {name: graph.tensors[index].storage for name, index in found.items()}


def train(weights: Weights, windows: Signal, labels: npt.NDArray[np.int64]) -> Weights:
    """Learn with Adam, the step rising and falling along a cosine; cross entropy."""
    graph = read_graph(Source(Path("untrained"), build(weights)).tree())
    where = storages(graph)
    forward = differentiable(graph, graph.outputs)
    schedule = optax.warmup_cosine_decay_schedule(0.0, PEAK_STEP, STEPS // 20, STEPS)
    optimizer = optax.adamw(schedule, weight_decay=1e-3)

    def loss(held: Parameters, x: Signal, y: npt.NDArray[np.int64]) -> jax.Array:
        (answers,) = forward(held, x)
        right = answers[jnp.arange(len(y)), 0, y]
        return -jnp.log(right + SMALLEST_PROBABILITY).mean()

    @jax.jit
    def step(
        held: Parameters, memory: optax.OptState, x: Signal, y: npt.NDArray[np.int64]
    ) -> tuple[Parameters, optax.OptState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(held, x, y)
        updates, memory = optimizer.update(gradient, memory, held)
        return optax.apply_updates(held, updates), memory, value

    held: Parameters = {where[name]: jnp.asarray(values) for name, values in weights.items()}
    memory, rng = optimizer.init(held), np.random.default_rng(TRAIN_SEED)
    for number in range(STEPS):
        rows = rng.integers(0, len(labels), BATCH)
        shifts = rng.integers(-8, 9, BATCH)
        x = np.stack(
            [np.roll(windows[k], s, axis=1) for k, s in zip(rows, shifts, strict=True)]
        )
        held, memory, value = step(held, memory, x[:, np.newaxis], labels[rows])
        if number % 250 == 0:
            print(f"step {number}: loss {float(value):.3f}", flush=True)
    return {name: np.asarray(held[storage]) for name, storage in where.items()}


def accuracy(artifact: bytes, windows: Signal, labels: npt.NDArray[np.int64]) -> float:
    """Measure top-1 of the artifact itself, by the engine."""
    interpreter = Interpreter(model_content=artifact, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    correct = 0
    for window, label in zip(windows, labels, strict=True):
        interpreter.set_tensor(source["index"], window[np.newaxis])
        interpreter.invoke()
        correct += int(interpreter.get_tensor(sink["index"])[0].argmax() == label)
    return correct / len(labels)


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description="Train the vibration detector.")
    parser.add_argument("--out", type=Path, default=HERE / "vibration.tflite")
    out: Path = parser.parse_args().out
    weights = train(first_weights(), *make_set(TRAIN_COUNT, TRAIN_SEED))
    artifact = build(weights)
    print(f"accuracy on 1,000 other windows: {accuracy(artifact, *make_set(1000, 3)):.3f}")
    out.write_bytes(artifact)
    print(f"{out}: {len(artifact)} bytes, {sum(w.size for w in weights.values())} parameters")


if __name__ == "__main__":
    main()
