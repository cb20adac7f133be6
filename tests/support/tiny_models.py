"""Builds small ``.tflite`` models, operator by operator, so that tests can have any graph."""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from secateur_server.pruning.flatbuffer import Tree

Array = npt.NDArray[Any]

SAME, VALID = 0, 1
RELU, RELU6 = 1, 3

TYPES: dict[str, int] = {
    name.lower(): code for name, code in vars(schema.TensorType).items() if name.isupper()
}

OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "SVDF": "SVDFOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "IF": "IfOptions",
    "WHILE": "WhileOptions",
    "PADV2": "PadV2Options",
}
"""Where the options are not named after the operator, word by word."""


def _options(kind: str, given: dict[str, Any]) -> tuple[int, Any]:
    name = OPTIONS.get(kind, "".join(word.capitalize() for word in kind.split("_")) + "Options")
    code = getattr(schema.BuiltinOptions, name, 0)
    if not code:
        return 0, None
    options = getattr(schema, f"{name}T")()
    for key, value in given.items():
        if not hasattr(options, key):
            msg = f"{kind} has no option {key}"
            raise ValueError(msg)
        setattr(options, key, value)
    return code, options


class Network:
    """One model that grows; the engine itself says what shapes come out.

    Tensors are numbers. Shapes begin with the batch axis.
    """

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph = self.add_subgraph()

    def add_subgraph(self) -> Tree:
        """Begin another subgraph; what is added next is added there, if it is ``graph``."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs = [], [], []
        self.model.subgraphs = [*(self.model.subgraphs or []), graph]
        return graph

    def input(self, *shape: int, name: str = "", dtype: str = "float32") -> int:
        """Add an input; -1: an axis of any size, 1 until it is resized."""
        stored = self._tensor(name or f"input_{len(self.graph.inputs)}", dtype, shape)
        self.graph.inputs.append(stored)
        return stored

    def constant(self, values: npt.ArrayLike, name: str = "") -> int:
        """Add a constant of the array's own type; float64 becomes float32."""
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        index = self._tensor(
            name or f"constant_{len(self.graph.tensors)}", str(array.dtype), array.shape
        )
        self.graph.tensors[index].buffer = self.add_buffer(array)
        return index

    def add_buffer(self, array: Array) -> int:
        """Add a buffer with an array's bytes."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Give a tensor's shape."""
        return tuple(int(size) for size in self.graph.tensors[tensor].shape)

    def add(
        self,
        kind: str,
        *inputs: int,
        name: str = "",
        count: int = 1,
        shapes: Sequence[tuple[int, ...]] | None = None,
        dtype: str | None = None,
        custom: bytes | None = None,
        **options: Any,  # noqa: ANN401 - as the generated options take them
    ) -> tuple[int, ...]:
        """Add an operator with ``count`` outputs.

        Args:
            kind: As the schema names it, or the name of a custom operator.
            inputs: Tensors; -1: left out.
            name: Of the first output.
            count: Of outputs.
            shapes: Of the outputs; ``None``: ask the engine.
            dtype: Of the outputs; ``None``: ask the engine.
            custom: A custom operator's own options.
            options: Fields of the operator's options.
        """
        stored = schema.OperatorT()
        stored.opcodeIndex = self._code(kind, is_custom=custom is not None)
        stored.inputs = np.array(inputs, np.int32)
        if custom is None:
            stored.builtinOptionsType, stored.builtinOptions = _options(kind, options)
        else:
            stored.customOptions = np.frombuffer(custom, np.uint8)
        if shapes is None:
            found = self._ask(stored, count)
        else:
            found = [(shape, dtype or "float32") for shape in shapes]
        base = name or f"{kind.lower()}_{len(self.graph.operators)}"
        outputs = [
            self._tensor(base if k == 0 else f"{base}:{k}", each, shape)
            for k, (shape, each) in enumerate(found)
        ]
        stored.outputs = np.array(outputs, np.int32)
        self.graph.operators.append(stored)
        return tuple(outputs)

    def op(self, kind: str, *inputs: int, name: str = "", **options: Any) -> int:  # noqa: ANN401
        """Add an operator with one output."""
        return self.add(kind, *inputs, name=name, **options)[0]

    def conv(
        self,
        x: int,
        weights: Array,
        bias: Array | None = None,
        *,
        name: str = "",
        stride: int = 1,
        dilation: int = 1,
        padding: int = SAME,
        activation: int = 0,
    ) -> int:
        """Add a CONV_2D; weights [out, h, w, in]; the kernel demands a bias."""
        bias = np.zeros(len(weights)) if bias is None else bias
        return self.op(
            "CONV_2D",
            x,
            *self._parameters(weights, bias),
            name=name,
            padding=padding,
            strideH=stride,
            strideW=stride,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
            fusedActivationFunction=activation,
        )

    def depthwise(
        self,
        x: int,
        weights: Array,
        bias: Array | None = None,
        *,
        name: str = "",
        stride: int = 1,
        activation: int = 0,
    ) -> int:
        """Add a DEPTHWISE_CONV_2D; weights [1, h, w, in x multiplier]."""
        bias = np.zeros(weights.shape[-1]) if bias is None else bias
        return self.op(
            "DEPTHWISE_CONV_2D",
            x,
            *self._parameters(weights, bias),
            name=name,
            padding=SAME,
            strideH=stride,
            strideW=stride,
            depthMultiplier=weights.shape[-1] // self.shape(x)[-1],
            dilationHFactor=1,
            dilationWFactor=1,
            fusedActivationFunction=activation,
        )

    def dense(
        self,
        x: int,
        weights: Array,
        bias: Array | None = None,
        *,
        name: str = "",
        activation: int = 0,
        keep_axes: bool = False,
    ) -> int:
        """Add a FULLY_CONNECTED; weights [out, in]."""
        return self.op(
            "FULLY_CONNECTED",
            x,
            *self._parameters(weights, bias),
            name=name,
            fusedActivationFunction=activation,
            keepNumDims=keep_axes,
        )

    def finish(self, *outputs: int) -> bytes:
        """Give the bytes of the model."""
        for graph in self.model.subgraphs:
            graph.inputs = np.array(graph.inputs, np.int32)
        self.graph.outputs = np.array(outputs, np.int32)
        return pack(self.model)

    def _parameters(self, weights: Array, bias: Array | None) -> tuple[int, ...]:
        held = [self.constant(np.asarray(weights, np.float32))]
        if bias is not None:
            held.append(self.constant(np.asarray(bias, np.float32)))
        return tuple(held)

    def _tensor(self, name: str, dtype: str, shape: Sequence[int]) -> int:
        stored = schema.TensorT()
        stored.name, stored.type, stored.buffer = name.encode(), TYPES[dtype], 0
        stored.shape = np.array([abs(size) for size in shape], np.int32)
        if any(size < 0 for size in shape):
            stored.shapeSignature = np.array(shape, np.int32)
        self.graph.tensors.append(stored)
        return len(self.graph.tensors) - 1

    def _code(self, kind: str, *, is_custom: bool) -> int:
        code = schema.OperatorCodeT()
        number = schema.BuiltinOperator.CUSTOM
        if is_custom:
            code.customCode = kind.encode()
        else:
            number = getattr(schema.BuiltinOperator, kind)
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _ask(self, stored: Tree, count: int) -> list[tuple[tuple[int, ...], str]]:
        """Run one operator alone to see what comes out of it."""
        alone, graph = schema.ModelT(), schema.SubGraphT()
        alone.version, alone.subgraphs, alone.buffers = 3, [graph], self.model.buffers
        alone.operatorCodes = self.model.operatorCodes
        graph.tensors = [*self.graph.tensors, *(schema.TensorT() for _ in range(count))]
        graph.operators = [stored]
        computed = [
            k for k in stored.inputs.tolist() if k >= 0 and not self.graph.tensors[k].buffer
        ]
        graph.inputs = np.array(list(dict.fromkeys(computed)), np.int32)
        first = len(self.graph.tensors)
        stored.outputs = graph.outputs = np.arange(first, first + count, dtype=np.int32)
        types = {self.graph.tensors[k].type for k in computed} or {0}
        for tensor in graph.tensors[first:]:
            tensor.buffer, tensor.type, tensor.shape = 0, max(types), np.zeros(0, np.int32)
        interpreter = Interpreter(model_content=pack(alone), num_threads=1)
        interpreter.allocate_tensors()
        return [
            (tuple(int(size) for size in each["shape"]), np.dtype(each["dtype"]).name)
            for each in interpreter.get_output_details()
        ]


def pack(model: Tree) -> bytes:
    """Pack an object tree as the schema's own code does, and not as the pruner does."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content: bytes, *inputs: Array) -> list[Array]:
    """Run a model on one sample; real numbers in and out, whatever its types."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], _encode(values, detail))
    interpreter.invoke()
    return [
        _decode(interpreter.get_tensor(detail["index"]), detail)
        for detail in interpreter.get_output_details()
    ]


def _encode(values: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        values = np.rint(values / scale + zero_point).clip(limits.min, limits.max)
    return values.astype(detail["dtype"]).reshape(detail["shape"])


def _decode(codes: Array, detail: dict[str, Any]) -> Array:
    scale, zero_point = detail["quantization"]
    return (codes.astype(np.float32) - zero_point) * scale if scale else codes
