"""Splits a user's one data file: what calibrates must not evaluate."""

from pathlib import Path

import numpy as np

from secateur_server.errors import InputError

CALIBRATION_RATIO = 0.4
MAX_CALIBRATION = 512
MIN_SAMPLES = 20


def split(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write calibration and evaluation sets, disjoint, chosen by chance with a fixed seed.

    A sample that is there twice is taken once: else both sets might have it.

    Raises:
        InputError: No ``.npz`` with an array ``x`` of enough rows.
    """
    try:
        with np.load(data, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays.get("y")
    except OSError as error:
        raise InputError(
            f"cannot read {data}: {error.strerror or 'not an .npz file'}"
        ) from error
    except (KeyError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise InputError(f"{data} is not an .npz file with an array x") from error
    if len(x) < MIN_SAMPLES or (y is not None and len(y) != len(x)):
        raise InputError(f"{data}: x needs at least {MIN_SAMPLES} rows, and y as many as x")
    _, distinct = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)
    order = np.random.default_rng(0).permutation(np.sort(distinct))
    cut = min(MAX_CALIBRATION, int(CALIBRATION_RATIO * len(order)))
    paths = folder / "calibration.npz", folder / "evaluation.npz"
    for path, rows in zip(paths, (order[:cut], order[cut:]), strict=True):
        arrays = {"x": x[rows]} if y is None else {"x": x[rows], "y": y[rows]}
        np.savez(path, **arrays)
    return paths
