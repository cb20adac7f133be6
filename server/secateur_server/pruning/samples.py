"""Calibration and evaluation sets."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs, and labels where there are any.

    Attributes:
        x: [n, ...], the rows as they are in the file.
        y: [n] integer labels, or ``None``.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64] | None


def read_samples(path: Path, shape: tuple[int, ...]) -> Samples:
    """Read an ``.npz`` with ``x`` and, optionally, ``y`` [n].

    Args:
        path: The file.
        shape: Of the model's input. ``x`` is [n, ...] without its batch axis if that is 1.

    Raises:
        InputError: Missing, no ``.npz``, or of another shape or type; names what is wrong.
    """
    x, y = _load(path)
    shape = shape[1:] if shape[:1] == (1,) else shape
    if x.dtype.kind not in "fiu":
        raise InputError(f"{path}: x holds {x.dtype}, not numbers")
    if len(x) == 0 or x.shape[1:] != shape:
        raise InputError(f"{path}: x has shape {x.shape}, the model takes (n, {_join(shape)})")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{path}: x holds NaN or infinity")
    if y is None:
        return Samples(x, None)
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise InputError(f"{path}: y must hold {len(x)} integers, it is {y.dtype} {y.shape}")
    return Samples(x, y.astype(np.int64))


def _load(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile) or "x" not in arrays:
                raise InputError(f"{path} holds no array named x")
            return arrays["x"], arrays.get("y")
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not an .npz file") from error
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or 'not an .npz file'}"
        ) from error


def _join(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)
