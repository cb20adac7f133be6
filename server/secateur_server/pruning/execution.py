"""Runs a graph in float, one operator after the other, each as a model of its own.

The engine itself computes: whatever it can run, pruning can see the inputs of, with the
engine's own padding, rounding and order of summation. One sample at a time and in the
stored shapes, so that no operator has to know of a batch, but for those that surely do not
care: small ones, called a sample at a time, spend their time on being called. Threads share
the samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from secateur_server.pruning.alone import CannotRunError, build_alone, in_float
from secateur_server.pruning.graph import Array, Graph, Operator, Tensor
from secateur_server.pruning.sharing import WORKERS, share

Values = npt.NDArray[Any]
"""One tensor of many samples, [n, *shape]."""

_RELABELLING = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
"""What only gives the same elements in the same order another shape."""

_SAMPLEWISE = {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "ADD", "MUL"}
"""What treats each index of the first of four axes alike, whatever its constants are."""

IMAGE_RANK = 4

BATCH, BATCH_BYTES = 8, 2**20
"""Most samples of a batch, and most bytes that it reads or makes: it stays in the cache."""


class Frontier:
    """The tensors of many samples that operators still to come need; no more are held."""

    def __init__(self, graph: Graph, inputs: Mapping[int, Values]) -> None:
        self.values: dict[int, Values | None] = dict(inputs)
        self._last_use = _last_uses(graph)

    def step(self, graph: Graph, operator: Operator) -> None:
        """Run the next operator; its inputs stay until `release`."""
        outputs = run_operator(graph, operator, self.values)
        self.values.update(zip(operator.outputs, outputs, strict=True))

    def release(self, operator: Operator) -> None:
        """Let go of what no later operator needs."""
        for tensor in (*operator.inputs, *operator.outputs):
            if self._last_use.get(tensor, -1) <= operator.index:
                self.values.pop(tensor, None)


def _last_uses(graph: Graph) -> dict[int, int]:
    return {
        tensor: operator.index for operator in graph.operators for tensor in operator.inputs
    }


def run_operator(
    graph: Graph, operator: Operator, values: Mapping[int, Values | None]
) -> list[Values | None]:
    """Run one operator on all samples.

    Returns:
        Its outputs; ``None`` each where an input is missing or the engine refuses.
    """
    nothing: list[Values | None] = [None] * len(operator.outputs)
    computed = tuple(dict.fromkeys(graph.computed(operator)))
    if operator.kind in _RELABELLING:
        computed = computed[:1]  # the shape that comes out is known
    given = [values.get(tensor) for tensor in computed]
    arrays = [each for each in given if each is not None]
    if len(arrays) < len(given) or not arrays:
        return nothing
    if operator.kind in {"QUANTIZE", "DEQUANTIZE"}:
        return [_clip(graph.tensors[operator.outputs[0]], arrays[0])]
    if operator.kind in _RELABELLING:
        shape = graph.tensors[operator.outputs[0]].shape
        return [arrays[0].reshape(len(arrays[0]), *shape)]
    try:
        model = build_alone(graph, operator, in_float)
        outputs = _invoke(
            model,
            arrays,
            [graph.tensors[k].shape for k in operator.outputs],
            batch=_batch(graph, operator),
        )
    except (CannotRunError, ValueError, RuntimeError, TypeError):
        return nothing
    return [
        _clip(graph.tensors[k], output)
        for k, output in zip(operator.outputs, outputs, strict=True)
    ]


def _batch(graph: Graph, operator: Operator) -> int:
    """Say how many samples the engine may be given at once."""
    tensors = [graph.tensors[k] for k in (*graph.computed(operator), *operator.outputs)]
    are_samples = all(len(each.shape) == IMAGE_RANK and each.shape[0] == 1 for each in tensors)
    if operator.kind not in _SAMPLEWISE or not are_samples:
        return 1
    return min(BATCH, max(1, BATCH_BYTES // max(1, *map(_bytes, tensors))))


def live_bytes(graph: Graph) -> int:
    """Give the most that a `Frontier` holds at a time, bytes per sample."""
    last_use = _last_uses(graph)
    held = {tensor: _bytes(graph.tensors[tensor]) for tensor in graph.inputs}
    most = sum(held.values())
    for operator in graph.operators:
        held.update({tensor: _bytes(graph.tensors[tensor]) for tensor in operator.outputs})
        most = max(most, sum(held.values()))
        for tensor in (*operator.inputs, *operator.outputs):
            if last_use.get(tensor, -1) <= operator.index:
                held.pop(tensor, None)
    return most


def _bytes(tensor: Tensor) -> int:
    return 4 * int(np.prod(tensor.shape))


def _clip(tensor: Tensor, values: Values) -> Values:
    """Saturate as the codes of a quantized tensor would: often that is the activation."""
    if tensor.quantization is None or tensor.dtype is None or tensor.dtype.kind not in "iu":
        return values
    low, high = tensor.quantization.bounds(tensor.dtype)
    clipped: Values = values.clip(low, high)
    return clipped


def _invoke(
    model: bytes,
    arrays: Sequence[Values],
    shapes: Sequence[tuple[int, ...]],
    *,
    batch: int,
) -> list[Values]:
    count = len(arrays[0])
    parts = np.array_split(np.arange(count), min(WORKERS, count))
    batch = min(batch, *map(len, parts))
    engines = [_engine(model, batch) for _ in parts]
    made = [each["dtype"] for each in engines[0].get_output_details()]
    results = [
        np.empty((count, *shape), dtype) for shape, dtype in zip(shapes, made, strict=True)
    ]
    jobs = zip(engines, parts, strict=True)
    list(share(lambda job: _invoke_part(*job, batch, arrays, results), jobs))
    return results


def _engine(model: bytes, batch: int) -> Any:  # noqa: ANN401 - the engine has no types
    engine = Interpreter(model_content=model, num_threads=1)
    if batch > 1:
        for each in engine.get_input_details():
            engine.resize_tensor_input(each["index"], (batch, *each["shape"][1:]))
    engine.allocate_tensors()
    return engine


def _invoke_part(
    engine: Any,  # noqa: ANN401 - as above
    part: npt.NDArray[np.intp],
    batch: int,
    arrays: Sequence[Values],
    results: Sequence[Values],
) -> None:
    feeds = engine.get_input_details()
    made = [each["index"] for each in engine.get_output_details()]
    first, last = int(part[0]), int(part[-1]) + 1 - batch
    for k in (*range(first, last, batch), last):  # the last batch may overlap the one before
        for feed, array in zip(feeds, arrays, strict=True):
            engine.set_tensor(feed["index"], array[k : k + batch].reshape(feed["shape"]))
        engine.invoke()
        for index, result in zip(made, results, strict=True):
            result[k : k + batch] = engine.get_tensor(index).reshape(batch, *result.shape[1:])


def as_reals(tensor: Tensor, x: npt.NDArray[Any]) -> Array:
    """Bring samples into the form that a graph is run on.

    Args:
        tensor: The network's input.
        x: [n, ...], real numbers, or codes in the tensor's own type.

    Returns:
        [n, *shape of the tensor]; integers only where the tensor holds plain integers.
    """
    laid = x.reshape(len(x), *tensor.shape)
    if tensor.quantization is not None and laid.dtype == tensor.dtype:
        return tensor.quantization.dequantize(laid)
    dtype = np.float32 if tensor.is_real or tensor.dtype is None else tensor.dtype
    return laid.astype(dtype, copy=False)
