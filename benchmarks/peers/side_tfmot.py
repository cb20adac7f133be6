"""The part of `peer_pruning.py` that runs where TF-MOT is installed, and nothing of ours.

    side_tfmot.py WEIGHTS.npz DATA.npz OUT SPARSITY STEPS

Rebuilds ResNet-8 from the weights of the ``.tflite`` file and prunes it by magnitude while it
is trained with labels, as TF-MOT does it; writes ``OUT.tflite``. The last line is one JSON
object.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TF-MOT knows Keras 2 alone

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot

BATCH = 64
PEAK_STEP = 1e-3
BRIGHTEST = 255.0
"""Of a pixel. With images of 0 to 255 the steps of Adam are too long for the first layer."""
keras = tf.keras


def build(weights: dict[str, np.ndarray]) -> "keras.Model":
    """Build the network of MLPerf Tiny, its normalisations folded into its convolutions."""

    def convolve(k: int, x: tf.Tensor, *, stride: int = 1, relu: bool = False) -> tf.Tensor:
        held = weights[f"w{k}"]
        layer = keras.layers.Conv2D(
            held.shape[0],
            held.shape[1:3],
            stride,
            padding="same",
            activation="relu" if relu else None,
            name=f"conv{k}",
        )
        x = layer(x)
        layer.set_weights([held.transpose(1, 2, 3, 0), weights[f"b{k}"]])
        return x

    inputs = keras.Input((32, 32, 3), batch_size=None)
    x = convolve(0, inputs, relu=True)
    inner = convolve(2, convolve(1, x, relu=True))
    x = keras.layers.ReLU()(keras.layers.Add()([x, inner]))
    for first in (3, 6):
        inner = convolve(first + 1, convolve(first, x, stride=2, relu=True))
        shortcut = convolve(first + 2, x, stride=2)
        x = keras.layers.ReLU()(keras.layers.Add()([inner, shortcut]))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    head = keras.layers.Dense(10, activation="softmax", name="head")
    outputs = head(x)
    head.set_weights([weights["w9"].T, weights["b9"]])
    return keras.Model(inputs, outputs)


def brighten(model: "keras.Model", times: float) -> None:
    """Let the first layer take images that are so many times darker."""
    layer = next(each for each in model.layers if each.name.endswith("conv0"))
    weights, bias = layer.get_weights()
    layer.set_weights([weights * times, bias])


def batches(x: np.ndarray, y: np.ndarray, steps: int):
    """Give moved and mirrored images, batch by batch."""
    rng = np.random.default_rng(1)
    for _ in range(steps):
        rows = rng.integers(0, len(y), BATCH)
        images = np.pad(x[rows], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
        top, left = rng.integers(0, 5, 2)
        images = images[:, top : top + 32, left : left + 32].astype(np.float32)
        mirrored = rng.random(BATCH) < 0.5
        images[mirrored] = images[mirrored][:, :, ::-1]
        yield images / BRIGHTEST, y[rows]


def peak_mb() -> float:
    """Give the highest resident memory so far; what the parent had does not count."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e3


def main() -> None:
    """Prune while training, strip, convert."""
    weights, data, out, sparsity, steps_text = sys.argv[1:]
    steps = int(steps_text)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    with np.load(weights) as arrays:
        model = build(dict(arrays))
    brighten(model, BRIGHTEST)
    with np.load(data) as arrays:
        x, y = arrays["x"], arrays["y"]
    began_s = time.monotonic()
    pruned = tfmot.sparsity.keras.prune_low_magnitude(
        model,
        pruning_schedule=tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0,
            final_sparsity=float(sparsity),
            begin_step=0,
            end_step=max(1, steps // 2),
            frequency=max(1, steps // 40),
        ),
    )
    schedule = keras.optimizers.schedules.CosineDecay(PEAK_STEP, steps)
    pruned.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    update = tfmot.sparsity.keras.UpdatePruningStep()
    pruned.fit(batches(x, y, steps), steps_per_epoch=steps, callbacks=[update], verbose=0)
    stripped = tfmot.sparsity.keras.strip_pruning(pruned)
    brighten(stripped, 1 / BRIGHTEST)
    train_s = time.monotonic() - began_s
    signature = tf.function(stripped).get_concrete_function(
        tf.TensorSpec((1, 32, 32, 3), tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], stripped)
    Path(f"{out}.tflite").write_bytes(converter.convert())
    told = peak_mb()
    print(json.dumps({"prune_s": 0.0, "train_s": train_s, "peak_mb": told}))


if __name__ == "__main__":
    main()
