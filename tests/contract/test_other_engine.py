"""tflite-runtime keeps the same promises as LiteRT: its tests, in an environment of its own."""

import os
import subprocess
from pathlib import Path

import pytest

from support.environments import environment

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Path(__file__).with_name("test_engine.py")

REQUIREMENTS = (
    "tflite-runtime>=2.14,<3",
    "numpy<2",
    "pydantic>=2.7,<3",
    "paho-mqtt>=2.1,<3",
    "pytest==9.2.0",
)
"""The extra ``tflite-runtime``, and pytest. No LiteRT: ``auto`` must find the other."""

MARKERS = "markers=engine: real engine\nshared_data: shared models"


@pytest.mark.engine
@pytest.mark.slow
def test_tflite_runtime_passes_the_same_tests() -> None:
    # Its last release has no wheel past Python 3.11 and was built against numpy 1.
    python = environment("tflite-runtime", *REQUIREMENTS, python="python3.11")
    command = [str(python), "-m", "pytest", "-q", str(CONTRACT), "--noconftest", "-o", MARKERS]
    command += ["-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, "--rootdir", str(CONTRACT.parent)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("agent", "protocols")),
            "SECATEUR_TEST_ENGINE": "tflite-runtime",
        },
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
