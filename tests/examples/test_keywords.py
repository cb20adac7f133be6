"""The key words' front end computes what the network was trained on.

``data/keyword_features.npz`` holds what TensorFlow 2.15 makes of `sounds`, by MLPerf Tiny's
steps: ``tf.signal.stft`` with a Hann window of 480 samples every 320, magnitudes,
``tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20, 4000)``, the logarithm of 1e-6
more, and the first ten of ``tf.signal.mfccs_from_log_mel_spectrograms``.
"""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

KEYWORDS = Path(__file__).parents[2] / "examples" / "keywords"
EXPECTED = Path(__file__).parent / "data" / "keyword_features.npz"
RATE_HZ = 16_000
SOUNDS = ("chirp", "noise", "click")


def sound(name: str) -> NDArray[np.int16]:
    """Make one second of sound, the same at all times."""
    time_s = np.arange(RATE_HZ) / RATE_HZ
    match name:
        case "chirp":
            made = 0.4 * np.sin(2 * np.pi * (100 + 3000 * time_s) * time_s)
        case "noise":
            made = np.random.default_rng(5).uniform(-0.5, 0.5, RATE_HZ)
        case _:
            made = np.where(np.arange(RATE_HZ) == 8000, 0.9, 0.0)
    return np.rint(32767 * made).astype(np.int16)


@pytest.fixture(scope="module")
def features() -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    sys.path.insert(0, str(KEYWORDS))
    try:
        found: Callable[[NDArray[Any]], NDArray[np.float32]]
        found = importlib.import_module("frontend").features
    finally:
        sys.path.remove(str(KEYWORDS))
    return found


@pytest.mark.parametrize("name", SOUNDS)
def test_features_are_those_of_training(
    name: str, features: Callable[[NDArray[Any]], NDArray[np.float32]]
) -> None:
    with np.load(EXPECTED) as arrays:
        expected = arrays[name]
    found = features(sound(name))
    assert found.shape == expected.shape == (49, 10, 1)
    # TensorFlow computes in single precision, where bands of almost nothing are noise.
    assert np.abs(found - expected).max() < 0.05
    assert np.abs(found - expected).mean() < 0.002


def test_loudness_and_silence_change_nothing_and_break_nothing(
    features: Callable[[NDArray[Any]], NDArray[np.float32]],
) -> None:
    loud = sound("chirp")
    assert np.allclose(features(loud), features(loud / 4096), atol=1e-3)
    assert np.isfinite(features(np.zeros(RATE_HZ, np.int16))).all()


def test_a_frame_comes_with_every_step_of_sound_until_it_ends(
    features: Callable[[NDArray[Any]], NDArray[np.float32]],
) -> None:
    heard = np.concatenate([sound("noise"), sound("chirp")])
    done = subprocess.run(
        [sys.executable, KEYWORDS / "listen.py", "--every-ms", "500"],
        input=heard.astype("<i2").tobytes() + b"x",  # cut short within a sample
        capture_output=True,
        check=True,
        timeout=60,
    )
    frames = np.frombuffer(done.stdout, np.float32).reshape(-1, 49, 10, 1)
    starts = (0, RATE_HZ // 2, RATE_HZ)
    assert np.array_equal(frames, np.stack([features(heard[k : k + RATE_HZ]) for k in starts]))
