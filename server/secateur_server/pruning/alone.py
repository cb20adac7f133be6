"""One operator as a model of its own, for the engine to run apart from its network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree, write_model
from secateur_server.pruning.graph import DTYPE, Graph, Operator, Tensor

_CODE = {dtype: code for code, dtype in DTYPE.items()}

MakeTensor = Callable[[Tree, Tensor], Tree]
"""Adds a tensor's values to a model's buffers, and gives the tensor that holds them."""


class CannotRunError(Exception):
    """The engine does not run this operator alone."""


def build_alone(graph: Graph, operator: Operator, make: MakeTensor) -> bytes:
    """Build a model of one operator.

    Args:
        graph: Where it stands.
        operator: What becomes the model; its computed inputs become the model's.
        make: How tensors are held: `in_float`, or `as_stored`.

    Raises:
        CannotRunError: It is a custom operator, has no computed input, or a tensor of it
            cannot be read.
    """
    kind = getattr(schema.BuiltinOperator, operator.kind, None)
    computed = tuple(dict.fromkeys(graph.computed(operator)))
    if kind is None or not computed:
        raise CannotRunError
    model, subgraph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [subgraph]
    code.builtinCode, code.deprecatedBuiltinCode = kind, min(kind, 127)
    code.version = operator.version
    used = dict.fromkeys(k for k in (*operator.inputs, *operator.outputs) if k >= 0)
    numbers = {-1: -1, **{k: number for number, k in enumerate(used)}}
    model.operatorCodes = [code]
    subgraph.tensors = [make(model, graph.tensors[k]) for k in used]
    stored = schema.OperatorT()
    stored.opcodeIndex = 0
    stored.inputs = np.array([numbers[k] for k in operator.inputs], np.int32)
    stored.outputs = np.array([numbers[k] for k in operator.outputs], np.int32)
    stored.builtinOptions = operator.options
    stored.builtinOptionsType = operator.stored.builtinOptionsType
    stored.builtinOptions2 = operator.stored.builtinOptions2
    stored.builtinOptions2Type = operator.stored.builtinOptions2Type
    subgraph.operators = [stored]
    subgraph.inputs = np.array([numbers[k] for k in computed], np.int32)
    subgraph.outputs = stored.outputs
    return write_model(model)


def in_float(model: Tree, tensor: Tensor) -> Tree:
    """Hold real numbers as float32, whatever their type in the file.

    Raises:
        CannotRunError: The tensor cannot be read.
    """
    if tensor.is_opaque or tensor.dtype is None:
        raise CannotRunError
    dtype = np.dtype(np.float32) if tensor.is_real else tensor.dtype
    return _hold(model, tensor, dtype, tensor.values)


def as_stored(model: Tree, tensor: Tensor) -> Tree:
    """Hold codes as codes, with their scales; float16 as float32, as engines compute it.

    Raises:
        CannotRunError: The tensor cannot be read.
    """
    if tensor.is_opaque or tensor.dtype is None:
        raise CannotRunError
    dtype = np.dtype(np.float32) if tensor.dtype == np.float16 else tensor.dtype
    values, quantization = tensor.values, tensor.quantization
    if values is not None and quantization is not None and dtype.kind in "iu":
        values = quantization.quantize(values, dtype)
    stored = _hold(model, tensor, dtype, values)
    if quantization is not None:
        stored.quantization = schema.QuantizationParametersT()
        stored.quantization.scale = quantization.scales.astype(np.float32)
        stored.quantization.zeroPoint = quantization.zero_points.astype(np.int64)
        stored.quantization.quantizedDimension = quantization.axis
    return stored


def _hold(
    model: Tree, tensor: Tensor, dtype: np.dtype[Any], values: npt.NDArray[Any] | None
) -> Tree:
    stored = schema.TensorT()
    stored.name, stored.shape = str(tensor.index).encode(), np.array(tensor.shape, np.int32)
    stored.type, stored.buffer = _CODE[dtype], 0
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, dtype).tobytes(), np.uint8)
        model.buffers.append(buffer)
        stored.buffer = len(model.buffers) - 1
    return stored
