"""A constant with many zeros as TFLite stores it: compressed sparse rows.

    shape [2, 3], values 0 5 0 / 7 0 8

    traversal order  0, 1          dimension 0 dense, dimension 1 sparse
    segments         0, 1, 3       where each row begins among the values, and the end
    indices          1, 0, 2       each value's place in its row
    values           5, 7, 8       what the buffer holds

All axes but the last together are the rows.

Source:
    ``SparsityParameters`` in TensorFlow's ``schema.fbs``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree

_VECTORS = (
    (np.uint8, schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    (np.uint16, schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    (np.int32, schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
)
"""Types of indices, the smallest first."""

OVERHEAD_BYTES = 320
"""What a sparse constant adds to a file: a tensor, an operator, their names and tables."""


def encode(values: npt.NDArray[Any]) -> tuple[Tree, npt.NDArray[Any]]:
    """Compress a constant.

    Args:
        values: As stored, any shape of at least one axis; zeros are left out.

    Returns:
        The generated sparsity object, and the values that are not zero, in order.
    """
    rows = values.reshape(-1, values.shape[-1])
    stays = rows != 0
    segments = np.concatenate([[0], np.cumsum(stays.sum(axis=1))])
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.arange(values.ndim, dtype=np.int32)
    sparsity.dimMetadata = [_dense(size) for size in values.shape[:-1]]
    sparsity.dimMetadata.append(_sparse(segments, np.nonzero(stays)[1]))
    return sparsity, rows[stays]


def decode(
    sparsity: Tree, values: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Undo `encode`.

    Raises:
        ValueError: It was stored in another way: in blocks, in another order, or damaged.
    """
    if not shape or sparsity.dimMetadata is None or len(sparsity.dimMetadata) != len(shape):
        raise ValueError("not compressed by rows of its last axis")
    order = sparsity.traversalOrder
    if order is None or list(order) != list(range(len(shape))):
        raise ValueError("not stored in the order of its axes")
    *outer, last = sparsity.dimMetadata
    is_sparse = last.format == schema.DimensionType.SPARSE_CSR
    if any(each.format != schema.DimensionType.DENSE for each in outer) or not is_sparse:
        raise ValueError("not compressed by rows of its last axis")
    segments, indices = (_indices(each) for each in (last.arraySegments, last.arrayIndices))
    dense = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    counts = np.diff(segments)
    is_whole = len(counts) == len(dense) and len(indices) == len(values) == counts.sum()
    if not is_whole or (counts < 0).any() or (indices < 0).any() or segments[0] != 0:
        raise ValueError("its rows do not add up")
    if len(indices) and indices.max() >= shape[-1]:
        raise ValueError("it has a value outside of its row")
    dense[np.repeat(np.arange(len(dense)), counts), indices] = values
    return dense.reshape(shape)


def encoded_bytes(values: npt.NDArray[Any]) -> int:
    """Give what a constant takes in a file once it is compressed, bytes."""
    count, rows = np.count_nonzero(values), values.size // values.shape[-1]
    index, segment = (_fitting(top)[0] for top in (values.shape[-1] - 1, int(count)))
    held = count * (values.itemsize + np.dtype(index).itemsize)
    return int(held + (rows + 1) * np.dtype(segment).itemsize + OVERHEAD_BYTES)


def _fitting(largest: int) -> tuple[type[np.integer[Any]], int, Any]:
    return next(each for each in _VECTORS if largest <= np.iinfo(each[0]).max)


def _dense(size: int) -> Tree:
    described = schema.DimensionMetadataT()
    described.format, described.denseSize = schema.DimensionType.DENSE, size
    return described


def _sparse(segments: npt.NDArray[np.intp], indices: npt.NDArray[np.intp]) -> Tree:
    described = schema.DimensionMetadataT()
    described.format = schema.DimensionType.SPARSE_CSR
    described.arraySegmentsType, described.arraySegments = _vector(segments)
    described.arrayIndicesType, described.arrayIndices = _vector(indices)
    return described


def _vector(numbers: npt.NDArray[np.intp]) -> tuple[int, Tree]:
    dtype, code, make = _fitting(int(numbers.max(initial=0)))
    vector = make()
    vector.values = numbers.astype(dtype)
    return code, vector


def _indices(vector: Tree) -> npt.NDArray[np.intp]:
    if vector is None or vector.values is None:
        return np.zeros(0, np.intp)
    return np.asarray(vector.values, np.intp)
