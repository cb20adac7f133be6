"""Write what the camera example needs into a folder: ``prepare.py OUT``."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from shared_data import find  # noqa: E402 - found by the line above

LABELS = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
"""In the order of the outputs."""

MODEL_TOML = """\
[[models]]
name = "camera"
deadline_ms = 50.0
queue = 1
late = "drop"
[models.source]
kind = "exec"
command = {command}
dtype = "uint8"
shape = [32, 32, 3]
"""
"""``queue = 1``: of a camera, only the latest picture matters."""


def write_pictures(folder: Path, pictures: np.ndarray) -> None:
    """Write [n, height, width, 3] as portable pixmaps, the plainest image files there are."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        height, width, _ = picture.shape
        head = f"P6\n{width} {height}\n255\n".encode()
        (folder / f"{number:04}.ppm").write_bytes(head + picture.tobytes())


def main(out: Path) -> None:
    """Copy the model, split the pictures, and say what stands for the camera."""
    model, data = find("cifar10/resnet8_float32.tflite", "cifar10/cifar10_subset.npz")
    shutil.copy(model, out / "model.tflite")
    with np.load(data) as arrays:
        train, test, labels = arrays["x_train"], arrays["x_test"], arrays["y_test"]
    np.savez(out / "calibration.npz", x=train[:256].astype(np.float32))
    np.savez(out / "evaluation.npz", x=test.astype(np.float32), y=labels.astype(np.int64))
    write_pictures(out / "pictures", test[:100])
    command = [sys.executable, str(HERE / "camera.py"), str((out / "pictures").resolve())]
    (out / "model.toml").write_text(MODEL_TOML.format(command=json.dumps(command)))
    (out / "prune.txt").write_text("--budget macs=0.6 --levels 2 --search 1")
    (out / "labels.txt").write_text("\n".join(LABELS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
