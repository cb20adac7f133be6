"""Write what the key word example needs into a folder: ``prepare.py OUT``."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from shared_data import find  # noqa: E402 - found by the line above

LABELS = [
    "down",
    "go",
    "left",
    "no",
    "off",
    "on",
    "right",
    "stop",
    "up",
    "yes",
    "silence",
    "unknown",
]
"""In the order of the outputs."""

SCALE, ZERO_POINT = 0.5847029, 83
"""Of the network's input: what a code of the data stands for."""

MODEL_TOML = """\
[[models]]
name = "keywords"
deadline_ms = 100.0
[models.source]
kind = "exec"
command = {command}
dtype = "float32"
shape = [49, 10, 1]
"""


def main(out: Path) -> None:
    """Copy the model, split the samples, and say what stands for the microphone."""
    model, data = find("kws/kws_int8.tflite", "kws/kws01.npz")
    shutil.copy(model, out / "model.tflite")
    with np.load(data) as arrays:
        codes, labels = arrays["x"], arrays["y"]
    _, first = np.unique(codes.reshape(len(codes), -1), axis=0, return_index=True)
    calibrates, evaluates = np.sort(first)[::2], np.sort(first)[1::2]
    np.savez(out / "calibration.npz", x=codes[calibrates])
    np.savez(out / "evaluation.npz", x=codes[evaluates], y=labels[evaluates])
    heard = (codes[evaluates[:200]].astype(np.float32) - ZERO_POINT) * SCALE
    np.save(out / "heard.npy", heard.astype(np.float32))
    command = [sys.executable, str(HERE / "microphone.py"), str((out / "heard.npy").resolve())]
    (out / "model.toml").write_text(MODEL_TOML.format(command=json.dumps(command)))
    (out / "prune.txt").write_text("--budget macs=0.5 --levels 3 --search 2")
    (out / "labels.txt").write_text("\n".join(LABELS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
