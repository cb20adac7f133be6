"""A model as operators and tensors, in the order of execution. Float32, one subgraph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.errors import InputError
from secateur_server.pruning.flatbuffer import Tree

Array = npt.NDArray[np.float32]

KIND = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
"""Operator names by code."""

ACTIVATION = {
    value: name for name, value in vars(schema.ActivationFunctionType).items() if name.isupper()
}

CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
WEIGHTED = frozenset({*CONVOLUTIONS, "FULLY_CONNECTED"})
POOLS = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"})
SUPPORTED = frozenset({*WEIGHTED, *POOLS, "ADD", "RESHAPE", "SOFTMAX", "RELU", "RELU6", "MEAN"})


class UnsupportedOperatorError(InputError):
    """The model holds something that cannot be followed yet."""

    def __init__(self, operator: str, index: int, tensor: str, why: str) -> None:
        super().__init__(f"operator {operator} (#{index}, tensor {tensor!r}): {why}")
        self.operator = operator
        self.index = index


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        shape: As stored; a dynamic axis is 1.
        data: The values of a constant. ``None``: computed.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        inputs: Tensor indices; -1: left out.
        options: The generated options object.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = field(repr=False)

    @property
    def activation(self) -> str:
        """The fused activation, ``NONE`` where there is none."""
        code = getattr(self.options, "fusedActivationFunction", 0)
        return str(ACTIVATION[code])


@dataclass(frozen=True, slots=True)
class Graph:
    """The whole network."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def weights(self, operator: Operator) -> Array:
        """Give a weighted operator's weights, in TFLite's layout."""
        data = self.tensors[operator.inputs[1]].data
        if data is None:
            tensor = self.tensors[operator.inputs[1]].name
            raise UnsupportedOperatorError(
                operator.kind, operator.index, tensor, "weights are computed"
            )
        return np.asarray(data, np.float32)

    def bias(self, operator: Operator) -> Array | None:
        """Give a weighted operator's bias; ``None``: it has none."""
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:  # noqa: PLR2004 - input, weights, bias
            return None
        data = self.tensors[operator.inputs[2]].data
        return None if data is None else np.asarray(data, np.float32)


Parameters = Mapping[int, tuple[Array, Array | None]]
"""Weights and bias by operator index."""


def read_graph(tree: Tree) -> Graph:
    """View an object tree as a graph.

    Raises:
        UnsupportedOperatorError: It holds an operator, a type or a structure that cannot
            be pruned yet; names operator, index and tensor.
        InputError: It has more than one subgraph or input.
    """
    if len(tree.subgraphs) != 1:
        raise InputError(f"the model has {len(tree.subgraphs)} subgraphs; one is supported")
    subgraph = tree.subgraphs[0]
    if len(subgraph.inputs) != 1:
        raise InputError(f"the model has {len(subgraph.inputs)} inputs; one is supported")
    tensors = tuple(_tensor(tree, subgraph, k) for k in range(len(subgraph.tensors)))
    operators = tuple(
        _operator(tree, subgraph, tensors, k) for k in range(len(subgraph.operators))
    )
    inputs = tuple(int(each) for each in subgraph.inputs)
    return Graph(tensors, operators, inputs, tuple(int(each) for each in subgraph.outputs))


def _tensor(tree: Tree, subgraph: Tree, index: int) -> Tensor:
    stored = subgraph.tensors[index]
    shape = tuple(
        max(1, int(size)) for size in (stored.shape if stored.shape is not None else ())
    )
    name = stored.name.decode(errors="replace") if stored.name else f"#{index}"
    raw = tree.buffers[stored.buffer].data
    data = None
    if raw is not None and len(raw):
        dtype = {
            schema.TensorType.FLOAT32: np.float32,
            schema.TensorType.INT32: np.int32,
            schema.TensorType.INT64: np.int64,
        }.get(stored.type)
        content = np.asarray(raw, np.uint8).tobytes()
        if dtype is not None:
            data = np.frombuffer(content, dtype).reshape(shape)
    return Tensor(index, name, shape, data)


def _operator(tree: Tree, subgraph: Tree, tensors: tuple[Tensor, ...], index: int) -> Operator:
    stored = subgraph.operators[index]
    code = tree.operatorCodes[stored.opcodeIndex]
    kind = KIND.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
    inputs = tuple(int(each) for each in stored.inputs)
    outputs = tuple(int(each) for each in stored.outputs)
    operator = Operator(index, kind, inputs, outputs, stored.builtinOptions)
    if kind not in SUPPORTED:
        name = tensors[outputs[0]].name if outputs else "-"
        raise UnsupportedOperatorError(kind, index, name, "not supported yet")
    for each in (*inputs[:1], *outputs, *(inputs[1:2] if kind in WEIGHTED else ())):
        if subgraph.tensors[each].type != schema.TensorType.FLOAT32:
            why = "only float32 models are supported yet"
            raise UnsupportedOperatorError(kind, index, tensors[each].name, why)
    return operator
