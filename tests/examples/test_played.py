"""Each example plays from end to end by its one command."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOT_HERE = 3


def play(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "run.py", name, "--seconds", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.broker
@pytest.mark.parametrize(
    "name",
    [
        "vibration",
        pytest.param("keywords", marks=pytest.mark.shared_data),
        pytest.param("camera", marks=pytest.mark.shared_data),
    ],
)
def test_an_example_infers_on_what_its_command_writes(name: str) -> None:
    found = play(name)
    assert found["answers"] >= 10
    assert sum(found["levels"].values()) == found["answers"]
    assert sum(count > 0 for count in found["labels"].values()) >= 2


def test_an_example_without_its_data_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))
    done = subprocess.run(
        [sys.executable, EXAMPLES / "run.py", "camera"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == NOT_HERE
    assert f"{tmp_path}/cifar10/resnet8_float32.tflite is not here" in done.stderr


def test_vibrations_show_what_physics_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Misalignment shakes twice a turn; a damaged race rings at the housing's resonance."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "vibration"))
    physics = importlib.import_module("physics")

    windows, labels = physics.make_set(500, seed=7)
    frequencies = np.fft.rfftfreq(physics.WINDOW, 1 / physics.RATE_HZ)
    power = np.abs(np.fft.rfft(windows[:, 0, :, 0])) ** 2

    def share(label: str, low_hz: float, high_hz: float) -> float:
        rows = power[labels == physics.LABELS.index(label)]
        band = (frequencies >= low_hz) & (frequencies < high_hz)
        return float(np.median(rows[:, band].sum(axis=1) / rows.sum(axis=1)))

    twice = 2 * physics.SHAFT_HZ[0] - 4, 2 * physics.SHAFT_HZ[1] + 4
    assert share("misalignment", *twice) > 2 * share("unbalance", *twice)
    ringing = physics.RESONANCE_HZ[0] - 200, physics.RESONANCE_HZ[1] + 200
    for race in ("outer_race", "inner_race"):
        assert share(race, *ringing) > 1.5 * share("healthy", *ringing)


@pytest.mark.engine
def test_the_vibration_detector_is_as_good_as_its_readme_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "vibration"))
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(
        model_path=str(EXAMPLES / "vibration/vibration.tflite"), num_threads=1
    )
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    physics = importlib.import_module("physics")

    windows, labels = physics.make_set(1000, seed=3)
    right = 0
    for window, label in zip(windows, labels, strict=True):
        interpreter.set_tensor(source["index"], window[np.newaxis])
        interpreter.invoke()
        right += int(interpreter.get_tensor(sink["index"])[0].argmax() == label)
    readme = (EXAMPLES / "vibration/README.md").read_text(encoding="utf-8")
    assert f"| 1,000 | {right / 1000:.3f} |" in readme
