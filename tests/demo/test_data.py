"""A user's one data file, split: what calibrates must not evaluate."""

from pathlib import Path

import numpy as np

from secateur_server.demo.data import split


def test_a_sample_that_is_there_twice_is_in_one_set_only(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 4, 4, 1)).astype(np.float32)
    y = np.arange(100) % 50
    np.savez(tmp_path / "data.npz", x=np.concatenate([x, x]), y=y)
    sets = []
    for path in split(tmp_path / "data.npz", tmp_path):
        with np.load(path) as arrays:
            assert all(
                np.array_equal(x[label], row)
                for row, label in zip(arrays["x"], arrays["y"], strict=True)
            )
            sets.append(set(arrays["y"].tolist()))
    calibration, evaluation = sets
    assert not calibration & evaluation
    assert calibration | evaluation == set(range(50))
