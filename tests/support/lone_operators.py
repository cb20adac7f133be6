"""Graphs of one operator, made without a file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.graph import Graph, Operator, Tensor

Given = tuple[int, ...] | npt.NDArray[Any] | None
"""An input: a shape that is computed, values that are constant, or left out."""


def lone_operator(
    kind: str,
    inputs: Sequence[Given],
    outputs: Sequence[tuple[int, ...]],
    options: str = "",
    *,
    takes: str = "float32",
    gives: str = "float32",
    **fields: Any,  # noqa: ANN401 - whatever the options hold
) -> Graph:
    """Make a graph of one operator.

    Args:
        kind: The operator's.
        inputs: By slot.
        outputs: Their shapes.
        options: Name of the schema's options table; empty: none.
        takes: The type of the inputs that are computed.
        gives: The type of the outputs.
        fields: Of the options.
    """
    tensors: list[Tensor] = []
    slots = [_add(tensors, each, takes) for each in inputs]
    results = [_add(tensors, shape, gives) for shape in outputs]
    stored = schema.OperatorT()
    held = getattr(schema, f"{options}T")() if options else None
    for name, value in fields.items():
        assert hasattr(held, name), f"{options} has no {name}"
        setattr(held, name, value)
    stored.builtinOptionsType = getattr(schema.BuiltinOptions, options) if options else 0
    operator = Operator(0, kind, tuple(slots), tuple(results), held, stored)
    computed = [slot for slot in slots if slot >= 0 and not tensors[slot].is_constant]
    return Graph(tuple(tensors), (operator,), tuple(computed), tuple(results))


def _add(tensors: list[Tensor], given: Given, dtype: str) -> int:
    if given is None:
        return -1
    index = len(tensors)
    if isinstance(given, tuple):
        tensors.append(Tensor(index, f"t{index}", given, np.dtype(dtype), storage=index))
    else:
        tensors.append(
            Tensor(index, f"c{index}", given.shape, given.dtype, given, storage=index)
        )
    return index
