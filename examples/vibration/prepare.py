"""Write what the vibration example needs into a folder: ``prepare.py OUT``."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from physics import LABELS, WINDOW, make_set

HERE = Path(__file__).resolve().parent
CALIBRATION_SEED, EVALUATION_SEED = 2, 3
"""Others than that of training: no window is in two sets."""

MODEL_TOML = """\
[[models]]
name = "vibration"
deadline_ms = 50.0
[models.source]
kind = "exec"
command = {command}
dtype = "float32"
shape = [{window}]
"""


def main(out: Path) -> None:
    """Copy the model, make both sets, and say where frames come from."""
    shutil.copy(HERE / "vibration.tflite", out / "model.tflite")
    for name, count, seed in (
        ("calibration", 400, CALIBRATION_SEED),
        ("evaluation", 1000, EVALUATION_SEED),
    ):
        windows, labels = make_set(count, seed)
        np.savez(out / f"{name}.npz", x=windows, y=labels)
    command = json.dumps([sys.executable, str(HERE / "sensor.py"), "--rate-hz", "25"])
    (out / "model.toml").write_text(MODEL_TOML.format(command=command, window=WINDOW))
    (out / "prune.txt").write_text("--budget macs=0.3 --levels 3 --search 2")
    (out / "labels.txt").write_text("\n".join(LABELS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
