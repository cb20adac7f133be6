"""Tensors as the protocol writes them: datatype names, JSON lists, raw bytes.

Source: Open Inference Protocol, "Tensor Data"; its binary tensor data extension. Raw tensors
are row-major and little-endian.
"""

from http import HTTPStatus
from math import prod

import numpy as np

from secateur_agent.engine import Tensor
from secateur_agent.oip.errors import RequestError

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The protocol's datatypes but ``BYTES``, which no ``.tflite`` input of ours has."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}

MAX_RANK = 16


def datatype_of(dtype: "np.dtype[np.generic]") -> str:
    """Name a tensor's type; one that the protocol lacks keeps numpy's name."""
    return _NAMES.get(dtype) or str(dtype)


def dtype_of(datatype: object, name: str) -> "np.dtype[np.generic]":
    """Find the numpy type of a datatype.

    Raises:
        RequestError: It is none, or one that is not supported.
    """
    dtype = DTYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise bad(f"input {name}: datatype must be one of {', '.join(DTYPES)}")
    return dtype


def shape_of(value: object, name: str) -> tuple[int, ...]:
    """Check a shape.

    Raises:
        RequestError: It is no list of sizes.
    """
    if (
        not isinstance(value, list)
        or len(value) > MAX_RANK
        or not all(type(size) is int and 0 <= size < 1 << 31 for size in value)
    ):
        raise bad(f"input {name}: shape must be a list of sizes")
    return tuple(value)


def read_json(
    data: object, dtype: "np.dtype[np.generic]", shape: tuple[int, ...], name: str
) -> Tensor:
    """Take a tensor from JSON numbers, flat or nested, row-major.

    Raises:
        RequestError: They are no such numbers, too many or too few, or out of range.
    """
    if not isinstance(data, list):
        raise bad(f"input {name}: data must be a list")
    try:
        # Left alone, numpy would make floats of whole numbers around 2^63.
        numbers = np.array(data, dtype=object if dtype == np.uint64 else None)
    except (ValueError, OverflowError, TypeError):
        raise bad(f"input {name}: data is no regular list of numbers") from None
    if numbers.size != prod(shape):
        raise bad(f"input {name}: {numbers.size} numbers where the shape has {prod(shape)}")
    if numbers.size and not _fits(numbers, dtype):
        raise bad(f"input {name}: data does not fit its datatype")
    with np.errstate(
        over="ignore"
    ):  # what becomes infinite is refused with all that is not finite
        return numbers.astype(dtype).reshape(shape)


def _fits(numbers: Tensor, dtype: "np.dtype[np.generic]") -> bool:
    if dtype.kind == "b":
        return numbers.dtype.kind == "b"
    if dtype.kind == "f":
        return numbers.dtype.kind in "iuf"
    if numbers.dtype.kind == "O" and not all(type(each) is int for each in numbers.flat):
        return False
    if numbers.dtype.kind not in "iuO":
        return False
    limits = np.iinfo(str(dtype))
    return limits.min <= int(numbers.min()) and int(numbers.max()) <= limits.max


def read_binary(
    content: memoryview, dtype: "np.dtype[np.generic]", shape: tuple[int, ...], name: str
) -> Tensor:
    """Take a tensor from its bytes, without a copy.

    Raises:
        RequestError: There are more or fewer than the shape needs.
    """
    needed = dtype.itemsize * prod(shape)
    if len(content) != needed:
        raise bad(f"input {name}: {len(content)} bytes where the shape has {needed}")
    if dtype.kind == "b":  # any byte but 0 and 1 would be a boolean that is neither
        booleans: Tensor = np.frombuffer(content, np.uint8).reshape(shape) != 0
        return booleans
    return np.frombuffer(content, dtype).reshape(shape)


def write_binary(tensor: Tensor) -> bytes:
    """Give a tensor's bytes."""
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def bad(problem: str) -> RequestError:
    """Make the error for a body that cannot be used."""
    return RequestError(HTTPStatus.BAD_REQUEST, problem)
