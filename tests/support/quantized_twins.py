"""Turns a float32 ``.tflite`` of the tests into its quantized twins.

Source:
    The TFLite 8-bit quantization specification, for which tensors share a scale and which
    scales are fixed.
"""

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur_server.pruning.flatbuffer import Tree
from support.tiny_models import TYPES, Array, pack

KIND = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
WEIGHTS = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
"""Slots of data, weights and bias, and the axis of the weights that has one scale each."""

SAME_SCALE = {
    "AVERAGE_POOL_2D",
    "BATCH_TO_SPACE_ND",
    "CONCATENATION",
    "DEPTH_TO_SPACE",
    "MAXIMUM",
    "MAX_POOL_2D",
    "PACK",
    "PAD",
    "PADV2",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SPACE_TO_DEPTH",
    "SPACE_TO_BATCH_ND",
    "SPLIT",
    "SPLIT_V",
    "SQUEEZE",
    "EXPAND_DIMS",
    "STRIDED_SLICE",
    "TRANSPOSE",
    "UNPACK",
}
FIXED_RANGE = {
    "SOFTMAX": (0.0, 255 / 256),
    "LOGISTIC": (0.0, 255 / 256),
    "TANH": (-1.0, 127 / 128),
    "L2_NORMALIZATION": (-1.0, 127 / 128),
}
TINY = 1e-6
"""Smallest scale."""


def float16(content: bytes) -> bytes:
    """Store weights and biases as float16, each behind a DEQUANTIZE."""
    return _behind_dequantize(content, _parameters)


def weight_only(content: bytes) -> bytes:
    """Store weights as int8 with a scale per output channel, each behind a DEQUANTIZE."""
    packed = _behind_dequantize(
        content, lambda model, operator: _parameters(model, operator)[:1]
    )
    model = schema.ModelT.InitFromPackedBuf(packed, 0)
    axes = {
        int(operator.inputs[WEIGHTS[kind][1]]): WEIGHTS[kind][3]
        for operator in model.subgraphs[0].operators
        if (kind := _kind(model, operator)) in WEIGHTS
    }
    for operator in model.subgraphs[0].operators:
        if _kind(model, operator) == "DEQUANTIZE":
            stored = model.subgraphs[0].tensors[operator.inputs[0]]
            half = np.asarray(model.buffers[stored.buffer].data, np.uint8).tobytes()
            values = np.frombuffer(half, np.float16).astype(np.float32)
            stored.buffer = _buffer(model, values.reshape(stored.shape))
            stored.type = TYPES["float32"]
            _quantize_weights(model, operator.inputs[0], axes[int(operator.outputs[0])])
    return pack(model)


def _behind_dequantize(
    content: bytes, choose: Callable[[Tree, Tree], list[tuple[int, int]]]
) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    before = []
    model.operatorCodes.append(_code("DEQUANTIZE"))
    for operator in list(graph.operators):
        for slot, index in choose(model, operator):
            values = _floats(model, graph.tensors[index])
            if values is None:
                continue
            stored = schema.TensorT()
            stored.name = graph.tensors[index].name + b"/half"
            stored.shape, stored.type = np.array(values.shape, np.int32), TYPES["float16"]
            stored.buffer = _buffer(model, values.astype(np.float16))
            graph.tensors[index].buffer = 0
            graph.tensors.append(stored)
            unpack = schema.OperatorT()
            unpack.opcodeIndex = len(model.operatorCodes) - 1
            unpack.inputs = np.array([len(graph.tensors) - 1], np.int32)
            unpack.outputs = np.array([operator.inputs[slot]], np.int32)
            before.append(unpack)
    graph.operators = [*before, *graph.operators]
    return pack(model)


def hybrid(content: bytes) -> bytes:
    """Store weights as int8 with one scale per output channel; activations stay float."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for operator in model.subgraphs[0].operators:
        kind = _kind(model, operator)
        if kind in WEIGHTS and kind != "TRANSPOSE_CONV":
            _, slot, _, axis = WEIGHTS[kind]
            _quantize_weights(model, operator.inputs[slot], axis)
    return pack(model)


def int8(content: bytes, *samples: tuple[Array, ...]) -> bytes:
    """Make all of it int8; weights with one scale per output channel."""
    return _fully(content, samples, "int8")


def uint8(content: bytes, *samples: tuple[Array, ...]) -> bytes:
    """Make all of it uint8 in the old way: one scale and zero point per tensor."""
    return _fully(content, samples, "uint8")


def _fully(content: bytes, samples: tuple[tuple[Array, ...], ...], dtype: str) -> bytes:
    ranges = _ranges(content, samples)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for tensor, (low, high) in _shared(model, ranges).items():
        _set_range(graph.tensors[tensor], low, high, dtype)
    for operator in graph.operators:
        kind = _kind(model, operator)
        if kind not in WEIGHTS:
            continue
        data, weights, bias, axis = WEIGHTS[kind]
        if dtype == "int8":
            _quantize_weights(model, operator.inputs[weights], axis)
        else:
            _quantize_constant(model, graph.tensors[operator.inputs[weights]], dtype)
        if bias < len(operator.inputs) and operator.inputs[bias] >= 0:
            scales = (
                graph.tensors[operator.inputs[data]].quantization.scale[0]
                * graph.tensors[operator.inputs[weights]].quantization.scale
            )
            _quantize_bias(model, graph.tensors[operator.inputs[bias]], scales)
    for stored in graph.tensors:
        if stored.type == TYPES["float32"] and stored.buffer:
            _quantize_constant(model, stored, dtype)
    return pack(model)


def _ranges(
    content: bytes, samples: tuple[tuple[Array, ...], ...]
) -> dict[int, tuple[float, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it takes memory
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    ranges: dict[int, tuple[float, float]] = {}
    for sample in samples:
        for detail, values in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()
        for detail in interpreter.get_tensor_details():
            if detail["dtype"] is not np.float32:
                continue
            try:
                seen = interpreter.get_tensor(detail["index"])
            except ValueError:
                continue  # scratch space
            low, high = ranges.get(detail["index"], (0.0, 0.0))
            ranges[detail["index"]] = (min(low, seen.min()), max(high, seen.max()))
    return ranges


def _shared(
    model: Tree, ranges: dict[int, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    graph = model.subgraphs[0]
    computed = {
        k: ranges[k]
        for k, stored in enumerate(graph.tensors)
        if stored.type == TYPES["float32"] and not stored.buffer and k in ranges
    }
    for operator in graph.operators:
        fixed = FIXED_RANGE.get(_kind(model, operator))
        if fixed:
            computed[operator.outputs[0]] = fixed
    for _ in range(len(graph.operators)):
        for operator in graph.operators:
            if _kind(model, operator) in SAME_SCALE:
                tied = [k for k in (*operator.inputs, *operator.outputs) if k in computed]
                low = min(computed[k][0] for k in tied)
                high = max(computed[k][1] for k in tied)
                computed.update(dict.fromkeys(tied, (low, high)))
    return computed


def _set_range(stored: Tree, low: float, high: float, dtype: str) -> None:
    limits = np.iinfo(dtype)
    scale = np.float32(max((high - low) / 255, TINY))
    zero = int(np.clip(round(limits.min - low / scale), limits.min, limits.max))
    stored.type = TYPES[dtype]
    stored.quantization = _quantization([scale], [zero], 0)


def _quantization(scales: npt.ArrayLike, zero_points: npt.ArrayLike, axis: int) -> Tree:
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.asarray(scales, np.float32)
    quantization.zeroPoint = np.asarray(zero_points, np.int64)
    quantization.quantizedDimension = axis
    return quantization


def _quantize_weights(model: Tree, index: int, axis: int) -> None:
    stored = model.subgraphs[0].tensors[index]
    values = _floats(model, stored)
    if values is None:
        return  # shared, and done
    others = tuple(k for k in range(values.ndim) if k != axis)
    scales = np.maximum(np.abs(values).max(axis=others) / 127, TINY).astype(np.float32)
    spread = scales.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    stored.buffer = _buffer(model, np.rint(values / spread).clip(-127, 127).astype(np.int8))
    stored.type = TYPES["int8"]
    stored.quantization = _quantization(scales, np.zeros(len(scales)), axis)


def _quantize_constant(model: Tree, stored: Tree, dtype: str) -> None:
    values = _floats(model, stored)
    if values is None:
        return
    _set_range(stored, min(0.0, values.min()), max(0.0, values.max()), dtype)
    scale, zero = stored.quantization.scale[0], stored.quantization.zeroPoint[0]
    limits = np.iinfo(dtype)
    codes = np.rint(values / scale + zero).clip(limits.min, limits.max)
    stored.buffer = _buffer(model, codes.astype(dtype))


def _quantize_bias(model: Tree, stored: Tree, scales: Array) -> None:
    values = _floats(model, stored)
    if values is not None:
        codes = np.rint(np.float64(values) / np.maximum(scales, TINY**2)).clip(
            -(2**31), 2**31 - 1
        )
        stored.buffer = _buffer(model, codes.astype(np.int32))
        stored.type = TYPES["int32"]
        stored.quantization = _quantization(scales, np.zeros(len(scales)), 0)


def _parameters(model: Tree, operator: Tree) -> list[tuple[int, int]]:
    _, weights, bias, _ = WEIGHTS.get(_kind(model, operator), (0, -1, -1, 0))
    return [
        (slot, int(operator.inputs[slot]))
        for slot in (weights, bias)
        if 0 <= slot < len(operator.inputs)
    ]


def _floats(model: Tree, stored: Tree) -> npt.NDArray[np.float32] | None:
    if stored.type != TYPES["float32"] or not stored.buffer:
        return None
    data = np.asarray(model.buffers[stored.buffer].data, np.uint8)
    return np.frombuffer(data.tobytes(), np.float32).reshape(stored.shape)


def _buffer(model: Tree, array: Array) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _code(kind: str) -> Tree:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 3
    return code


def _kind(model: Tree, operator: Tree) -> str:
    return str(KIND[model.operatorCodes[operator.opcodeIndex].builtinCode])
