"""Compressed sparse rows, ours against the engine's own converter."""

import numpy as np
import pytest
from ai_edge_litert import format_converter_wrapper_pybind11 as engine
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.sparse.encoding import decode, encode, encoded_bytes

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def sparse_array(
    shape: tuple[int, ...], seed: int, zeros: float, dtype: type = np.float32
) -> np.ndarray:
    random = np.random.default_rng(seed)
    values: np.ndarray = random.integers(1, 100, size=shape).astype(dtype)
    return np.where(random.random(shape) < zeros, dtype(0), values)


@given(shapes, st.integers(0, 2**31), st.floats(0, 1))
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_what_is_encoded_is_decoded(
    dtype: type, shape: tuple[int, ...], seed: int, zeros: float
) -> None:
    dense = sparse_array(shape, seed, zeros, dtype)
    sparsity, values = encode(dense)
    assert values.dtype == dtype
    assert np.array_equal(values, dense[dense != 0])
    assert np.array_equal(decode(sparsity, values, shape), dense)


@given(shapes, st.integers(0, 2**31))
def test_the_engine_encodes_alike(shape: tuple[int, ...], seed: int) -> None:
    dense = sparse_array(shape, seed, 0.6)
    kinds = [engine.TF_LITE_DIM_DENSE] * (len(shape) - 1) + [engine.TF_LITE_DIM_SPARSE_CSR]
    oracle = engine.FormatConverterFp32(list(shape), list(range(len(shape))), kinds, [], [])
    assert oracle.DenseToSparse(np.ascontiguousarray(dense)) == engine.TF_LITE_OK
    sparsity, values = encode(dense)
    last = sparsity.dimMetadata[-1]
    metadata = oracle.GetDimMetadata()
    segments, indices = metadata[-2:]
    assert list(oracle.GetData()) == values.tolist()
    assert list(segments) == last.arraySegments.values.tolist()
    assert list(indices) == last.arrayIndices.values.tolist()


@pytest.mark.parametrize(("columns", "code"), [(256, 3), (257, 2), (65_536, 2), (65_537, 1)])
def test_indices_are_as_short_as_they_can_be(columns: int, code: int) -> None:
    dense = np.zeros((2, columns), np.float32)
    dense[0, -1] = 1
    assert encode(dense)[0].dimMetadata[-1].arrayIndicesType == code


@given(shapes, st.integers(0, 2**31))
def test_damaged_rows_are_refused(shape: tuple[int, ...], seed: int) -> None:
    dense = sparse_array(shape, seed, 0.5)
    sparsity, values = encode(dense)
    with pytest.raises(ValueError, match="rows"):
        decode(sparsity, np.append(values, np.float32(1)), shape)
    last = sparsity.dimMetadata[-1]
    if len(values):
        last.arrayIndices.values = last.arrayIndices.values + np.uint8(shape[-1])
        with pytest.raises(ValueError, match="outside"):
            decode(sparsity, values, shape)


@pytest.mark.parametrize(("zeros", "pays"), [(0.1, False), (0.5, True), (0.9, True)])
def test_the_size_is_said_before_it_is_encoded(zeros: float, pays: bool) -> None:  # noqa: FBT001
    dense = sparse_array((64, 3, 3, 64), 1, zeros)
    assert (encoded_bytes(dense) < dense.nbytes) == pays
