"""Train the digit reader that the demo prunes and runs, and write it with its data.

    pip install -r examples/digits/requirements.txt
    python examples/digits/train.py

Writes `digits.tflite`, `train.npz`, `calibration.npz` and `evaluation.npz` beside this
file, or into ``--out``. Only this script needs TensorFlow and scikit-learn.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from scipy.ndimage import affine_transform
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError as missing:
    sys.exit(f"{missing}; run: pip install -r {Path(__file__).with_name('requirements.txt')}")

SEED = 8
CLASSES = 10
WHITE = 16.0
"""The brightest value of a pixel in the data set: a count of 0..16 dark dots."""
TRAIN_COUNT = 900
CALIBRATION_COUNT = 400
"""The 497 that are left evaluate."""
EPOCHS = 150
BATCH = 50
PEAK_LEARNING_RATE = 3e-3

Images = NDArray[np.float32]
"""[n, height 8, width 8, channel 1], 0 paper to 1 ink."""
Labels = NDArray[np.int64]
"""[n], the digit."""
Split = tuple[Images, Labels]


def load_splits() -> dict[str, Split]:
    """Load the digits as three disjoint splits, every digit in the same share in each."""
    bunch = load_digits()
    images = (bunch.images[..., np.newaxis] / WHITE).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    x_train, x_rest, y_train, y_rest = train_test_split(
        images, labels, train_size=TRAIN_COUNT, stratify=labels, random_state=SEED
    )
    x_calibration, x_evaluation, y_calibration, y_evaluation = train_test_split(
        x_rest, y_rest, train_size=CALIBRATION_COUNT, stratify=y_rest, random_state=SEED
    )
    return {
        "train": (x_train, y_train),
        "calibration": (x_calibration, y_calibration),
        "evaluation": (x_evaluation, y_evaluation),
    }


def augment(image: Images, rng: np.random.Generator) -> Images:
    """Turn, size, shift, fade and soil one image, [8, 8, 1], as a camera would."""
    angle = rng.uniform(-0.2, 0.2)
    scale = rng.uniform(0.9, 1.1)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    centre = np.array([3.5, 3.5])
    offset = centre - matrix @ centre + rng.uniform(-0.8, 0.8, size=2)
    moved = affine_transform(image[..., 0], matrix, offset, order=1)
    faded = moved * rng.uniform(0.7, 1.15)
    soiled = faded + rng.normal(0.0, 0.05, size=moved.shape)
    return np.clip(soiled, 0.0, 1.0)[..., np.newaxis].astype(np.float32)


class AugmentedDigits(tf.keras.utils.Sequence):
    """Every epoch all images once, in another order and otherwise augmented."""

    def __init__(self, images: Images, labels: Labels) -> None:
        super().__init__()
        self._images = images
        self._labels = labels
        self._rng = np.random.default_rng(SEED)
        self._order = self._rng.permutation(len(labels))

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / BATCH)

    def __getitem__(self, index: int) -> Split:
        rows = self._order[index * BATCH : (index + 1) * BATCH]
        images = np.stack([augment(self._images[row], self._rng) for row in rows])
        return images, self._labels[rows]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._order = self._rng.permutation(len(self._labels))


def convolve(x: tf.Tensor, channels: int, size: int = 3, *, relu: bool = True) -> tf.Tensor:
    """Add a convolution whose batch normalisation the converter folds into it."""
    x = tf.keras.layers.Conv2D(channels, size, padding="same", use_bias=False)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    return tf.keras.layers.ReLU()(x) if relu else x


def add_residual(x: tf.Tensor, inner: int) -> tf.Tensor:
    """Add two 3x3 convolutions, ``inner`` channels between them, and a shortcut."""
    branch = convolve(x, inner)
    branch = convolve(branch, x.shape[-1], relu=False)
    return tf.keras.layers.ReLU()(tf.keras.layers.Add()([x, branch]))


def build_network() -> tf.keras.Model:
    """Build the network: 66,762 parameters and 3.7 M MACs after folding.

    Full resolution almost to the end makes it slow for its size: the part of the demo's
    model is to have something worth pruning.
    """
    inputs = tf.keras.Input((8, 8, 1))
    x = convolve(inputs, 32)
    x = add_residual(x, 32)
    x = tf.keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = tf.keras.layers.BatchNormalization()(x)
    x = tf.keras.layers.ReLU()(x)
    x = convolve(x, 64, size=1)
    x = add_residual(x, 32)
    x = tf.keras.layers.MaxPooling2D(2)(x)
    x = tf.keras.layers.AveragePooling2D(2)(x)
    x = tf.keras.layers.Flatten()(x)
    x = tf.keras.layers.Dense(32, activation="relu")(x)
    x = tf.keras.layers.Dropout(0.2)(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(CLASSES, activation="softmax")(x))


def train(network: tf.keras.Model, split: Split) -> None:
    """Train in place with Adam, the learning rate falling along a cosine."""
    batches = AugmentedDigits(*split)
    steps = EPOCHS * len(batches)
    network.compile(
        optimizer=tf.keras.optimizers.Adam(
            tf.keras.optimizers.schedules.CosineDecay(PEAK_LEARNING_RATE, steps)
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(batches, epochs=EPOCHS, shuffle=False, verbose=2)


def to_tflite(network: tf.keras.Model) -> bytes:
    """Convert to float32 TFLite with a fixed batch of 1."""
    signature = tf.TensorSpec((1, 8, 8, 1), tf.float32, name="image")
    with tempfile.TemporaryDirectory() as exported:
        network.export(exported, input_signature=[signature], verbose=False)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(exported).convert())


def measure_accuracy(artifact: bytes, split: Split) -> float:
    """Measure top-1 of the converted artifact: what counts is what is committed."""
    interpreter = tf.lite.Interpreter(model_content=artifact)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]
    correct = 0
    for image, label in zip(*split, strict=True):
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        correct += int(interpreter.get_tensor(sink)[0].argmax() == label)
    return correct / len(split[1])


def write(out: Path, artifact: bytes, splits: dict[str, Split]) -> None:
    """Write all files, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as staging_dir:
        staging = Path(staging_dir)
        (staging / "digits.tflite").write_bytes(artifact)
        for name, (images, labels) in splits.items():
            np.savez_compressed(staging / f"{name}.npz", x=images, y=labels)
        for path in staging.iterdir():
            path.replace(out / path.name)


def main() -> None:
    """Train, convert, measure, write."""
    parser = argparse.ArgumentParser(description="Train the demo's digit reader.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out: Path = parser.parse_args().out
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    splits = load_splits()
    network = build_network()
    train(network, splits["train"])
    artifact = to_tflite(network)
    for name in ("calibration", "evaluation"):
        print(f"{name} accuracy: {measure_accuracy(artifact, splits[name]):.4f}")
    write(out, artifact, splits)
    print(f"digits.tflite: {len(artifact)} bytes, {network.count_params()} parameters unfolded")


if __name__ == "__main__":
    main()
