"""Calibration and evaluation sets."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError
from secateur_server.pruning.graph import Tensor

Rows = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs, and labels where there are any.

    Attributes:
        inputs: One array per input of the network, [n, ...], as they are in the file.
        y: [n] integer labels, or ``None``.
    """

    inputs: tuple[Rows, ...]
    y: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.inputs[0])

    def sample(self, k: int) -> tuple[Rows, ...]:
        """Give one sample, an array per input."""
        return tuple(each[k] for each in self.inputs)

    def shuffled(self, seed: int) -> Self:
        """Put the samples into an order of chance: files are often sorted by class."""
        order = np.random.default_rng(seed).permutation(len(self))
        labels = None if self.y is None else self.y[order]
        return replace(self, inputs=tuple(each[order] for each in self.inputs), y=labels)

    def digests(self) -> list[bytes]:
        """Give each sample's digest: equal numbers have equal ones, whatever their type."""
        return [
            hashlib.sha256(
                b"".join(np.asarray(each, np.float64).tobytes() for each in self.sample(k))
            ).digest()
            for k in range(len(self))
        ]


def read_samples(path: Path, tensors: Sequence[Tensor]) -> Samples:
    """Read an ``.npz`` with the inputs and, optionally, ``y`` [n].

    A network of one input takes the array ``x``; one of several takes ``x_0``, ``x_1`` ..
    in the order of its inputs.

    Args:
        path: The file.
        tensors: The network's inputs. Arrays are [n, ...] without a batch axis of 1.

    Raises:
        InputError: Missing, no ``.npz``, or of another shape or type; names what is wrong.
    """
    names = ["x"] if len(tensors) == 1 else [f"x_{k}" for k in range(len(tensors))]
    arrays = _load(path)
    for name in names:
        if name not in arrays:
            raise InputError(f"{path} holds no array named {name}")
    inputs = tuple(
        _checked(path, name, arrays[name], tensor)
        for name, tensor in zip(names, tensors, strict=True)
    )
    count = len(inputs[0])
    if any(len(each) != count for each in inputs):
        raise InputError(f"{path}: {', '.join(names)} hold different numbers of samples")
    y = arrays.get("y")
    if y is None:
        return Samples(inputs, None)
    if y.shape != (count,) or y.dtype.kind not in "iu":
        raise InputError(f"{path}: y must hold {count} integers, it is {y.dtype} {y.shape}")
    return Samples(inputs, y.astype(np.int64))


def check_apart(calibration: Samples, evaluation: Samples) -> None:
    """Make sure that what calibrates does not evaluate.

    Raises:
        InputError: The two sets share samples.
    """
    shared = len(set(calibration.digests()) & set(evaluation.digests()))
    if shared:
        raise InputError(
            f"{shared} samples are both in the calibration and in the evaluation set: "
            "take others, or say --allow-overlap"
        )


def _checked(path: Path, name: str, rows: Rows, tensor: Tensor) -> Rows:
    shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
    if rows.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} holds {rows.dtype}, not numbers")
    if len(rows.shape) == 0 or len(rows) == 0 or rows.shape[1:] != shape:
        raise InputError(
            f"{path}: {name} has shape {rows.shape}, the model takes (n, {_join(shape)})"
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise InputError(f"{path}: {name} holds NaN or infinity")
    return rows


def _load(path: Path) -> Mapping[str, Rows]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InputError(f"{path} is not an .npz file")
            return {name: arrays[name] for name in arrays.files if name[:1] in {"x", "y"}}
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not an .npz file") from error
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or 'not an .npz file'}"
        ) from error


def _join(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)
