"""A model's main subgraph as tensors and operators, in the order of execution.

Constants are real numbers here, whatever their type in the file, so that all that decides
and computes is written once for float32, float16, int8 and uint8 models.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.errors import InputError
from secateur_server.pruning.flatbuffer import Tree
from secateur_server.pruning.quantization import Quantization

Array = npt.NDArray[np.float32]

KIND = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
"""Operator names by code."""

DTYPE: dict[int, np.dtype[Any]] = {
    code: np.dtype(name.lower())
    for name, code in vars(schema.TensorType).items()
    if name in {"FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"}
}
"""The types that can be read; tensors of others are opaque."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        index: In the file; what pruning adds is numbered on.
        shape: Axis sizes as stored; a dynamic axis is 1.
        dtype: As stored. ``None``: a type that cannot be read.
        values: Of a constant: real numbers where the type stands for such, else integers.
            ``None``: computed, or opaque.
        quantization: ``None``: the codes are the numbers.
        is_opaque: A constant that is there but cannot be read: sparse, or of such a type.
        storage: Which tensor's buffer holds the values: another one where a DEQUANTIZE
            stands between. Then type and quantization are that one's.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    values: npt.NDArray[Any] | None = None
    quantization: Quantization | None = None
    is_opaque: bool = False
    storage: int = -1

    @property
    def is_constant(self) -> bool:
        """Whether no operator computes it."""
        return self.values is not None or self.is_opaque

    @property
    def is_real(self) -> bool:
        """Whether it stands for real numbers."""
        return self.dtype is not None and (
            self.dtype.kind == "f" or self.quantization is not None
        )


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        inputs: Tensor indices; -1: left out.
        options: The generated options object, ``None`` where there is none.
        stored: The generated operator itself, with whatever else it holds.
        version: Of the operator, as the file demands it.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = field(repr=False)
    stored: Any = field(repr=False)
    version: int = 1


@dataclass(frozen=True, slots=True)
class Graph:
    """The whole network."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def values(self, index: int) -> npt.NDArray[Any] | None:
        """Give a constant's values; ``None``: left out, computed or opaque."""
        return self.tensors[index].values if index >= 0 else None

    def computed(self, operator: Operator) -> tuple[int, ...]:
        """Give the inputs that are no constants, in order."""
        return tuple(k for k in operator.inputs if k >= 0 and not self.tensors[k].is_constant)

    def users(self, tensor: int) -> tuple[int, ...]:
        """Give the operators that read a tensor, or another one with the same storage."""
        storage = self.tensors[tensor].storage
        return tuple(
            operator.index
            for operator in self.operators
            for k in operator.inputs
            if k >= 0 and self.tensors[k].storage == storage and operator.kind != "DEQUANTIZE"
        )

    def maker(self, tensor: int) -> Operator | None:
        """Give the operator that computes a tensor; ``None``: an input or a constant."""
        return next((each for each in self.operators if tensor in each.outputs), None)

    def states_axis(self, shape: int, axis: int) -> bool:
        """Whether a tensor that holds a shape says of an axis by a constant how long it is.

        The whole is a constant, or it is packed for this one use from several, as where
        the size of the batch is taken from the input.
        """
        maker = self.maker(shape)
        if maker is None or maker.kind != "PACK" or len(self.users(shape)) != 1:
            return self.values(shape) is not None
        return self.values(maker.inputs[axis]) is not None

    def with_values(
        self, index: int, values: npt.NDArray[Any], quantization: Quantization | None
    ) -> Self:
        """Give a constant other values of the same shape."""
        changed = replace(self.tensors[index], values=values, quantization=quantization)
        return self._with_tensor(changed)

    def _with_tensor(self, changed: Tensor) -> Self:
        tensors = list(self.tensors)
        tensors[changed.index] = changed
        return replace(self, tensors=tuple(tensors))

    def with_constant(self, operator: int, slot: int, values: npt.NDArray[Any]) -> Self:
        """Give one input of one operator other values, as a tensor of its own."""
        before = self.operators[operator]
        slots = [*before.inputs, *[-1] * (slot + 1 - len(before.inputs))]
        old = self.tensors[slots[slot]] if slots[slot] >= 0 else None
        if old and len(self.users(old.index)) == 1 and old.index not in self.outputs:
            return self._with_tensor(replace(old, values=values, shape=values.shape))
        is_direct = old is not None and old.storage == old.index
        added = Tensor(
            index=len(self.tensors),
            name=f"{old.name if old else 'bias'}/{operator}",
            shape=values.shape,
            dtype=old.dtype if old and is_direct else values.dtype,
            values=values,
            quantization=old.quantization if old and is_direct else None,
            storage=len(self.tensors),
        )
        slots[slot] = added.index
        operators = list(self.operators)
        operators[operator] = replace(before, inputs=tuple(slots))
        return replace(self, tensors=(*self.tensors, added), operators=tuple(operators))


def read_graph(tree: Tree) -> Graph:
    """View the main subgraph of an object tree as a graph.

    Raises:
        InputError: It has no subgraph or no input, or something in it names what is not
            there.
    """
    if not tree.subgraphs or tree.subgraphs[0].inputs is None:
        raise InputError("the model has no subgraph with an input")
    subgraph = tree.subgraphs[0]
    _check(tree, subgraph)
    tensors = [_tensor(tree, subgraph, k) for k in range(len(subgraph.tensors or ()))]
    operators = tuple(
        _operator(tree, each, k) for k, each in enumerate(subgraph.operators or ())
    )
    for operator in operators:
        _fold(tensors, operator)
    return Graph(
        tuple(tensors), operators, _indices(subgraph.inputs), _indices(subgraph.outputs)
    )


def _check(tree: Tree, subgraph: Tree) -> None:
    """Make sure that every number names something, so that nothing later has to."""
    named = [
        ("a buffer", len(tree.buffers or ()), [each.buffer for each in subgraph.tensors or ()]),
        (
            "an operator code",
            len(tree.operatorCodes or ()),
            [each.opcodeIndex for each in subgraph.operators or ()],
        ),
        ("a tensor", len(subgraph.tensors or ()), _used_tensors(subgraph)),
    ]
    for what, count, numbers in named:
        if any(not 0 <= number < count for number in numbers):
            raise InputError(f"the model uses {what} that it does not hold")


def _used_tensors(subgraph: Tree) -> list[int]:
    used = [*_indices(subgraph.inputs), *_indices(subgraph.outputs)]
    for operator in subgraph.operators or ():
        used += _indices(operator.outputs)
        used += (k for k in _indices(operator.inputs) if k != -1)  # left out
    return used


def _tensor(tree: Tree, subgraph: Tree, index: int) -> Tensor:
    stored = subgraph.tensors[index]
    known = getattr(tree, "shapes", {}).get(index)
    shape = tuple(max(1, size) for size in known or _indices(stored.shape))
    dtype = DTYPE.get(stored.type)
    quantization = _quantization(stored, shape)
    raw = tree.buffers[stored.buffer].data
    content = b"" if raw is None else np.asarray(raw, np.uint8).tobytes()
    is_elsewhere = bool(stored.externalBuffer)  # in another file
    is_opaque, values = is_elsewhere or stored.sparsity is not None, None
    if content and not is_opaque:
        fits = dtype is not None and len(content) == dtype.itemsize * math.prod(shape)
        is_opaque = not fits or (quantization is None and _has_scales(stored))
    if content and not is_opaque and dtype is not None:
        values = _reals(np.frombuffer(content, dtype).reshape(shape), quantization)
    name = stored.name.decode(errors="replace") if stored.name else f"#{index}"
    return Tensor(index, name, shape, dtype, values, quantization, is_opaque, index)


def _reals(codes: npt.NDArray[Any], quantization: Quantization | None) -> npt.NDArray[Any]:
    if quantization is not None:
        return quantization.dequantize(codes)
    return codes.astype(np.float32) if codes.dtype.kind == "f" else codes


def _quantization(stored: Tree, shape: tuple[int, ...]) -> Quantization | None:
    """Read how codes stand for numbers; ``None``: they do not, or it makes no sense."""
    if not _has_scales(stored):
        return None
    given, axis = stored.quantization, int(stored.quantization.quantizedDimension)
    scales = np.asarray(given.scale, np.float64)
    is_fitting = len(scales) == 1 or (0 <= axis < len(shape) and len(scales) == shape[axis])
    if not is_fitting or not np.isfinite(scales).all() or (scales < 0).any():
        return None
    zero_points = np.zeros(len(scales), np.int64)
    if given.zeroPoint is not None and len(given.zeroPoint) == len(scales):
        zero_points = np.asarray(given.zeroPoint, np.int64)
    return Quantization(scales, zero_points, axis)


def _has_scales(stored: Tree) -> bool:
    given = stored.quantization
    return given is not None and given.scale is not None and len(given.scale) > 0


def _operator(tree: Tree, stored: Tree, index: int) -> Operator:
    code = tree.operatorCodes[stored.opcodeIndex]
    kind = KIND.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
    if kind == "CUSTOM" and code.customCode:
        kind = f"CUSTOM {code.customCode.decode(errors='replace')}"
    return Operator(
        index=index,
        kind=kind,
        inputs=_indices(stored.inputs),
        outputs=_indices(stored.outputs),
        options=stored.builtinOptions,
        stored=stored,
        version=int(code.version),
    )


def _fold(tensors: list[Tensor], operator: Operator) -> None:
    """Read what a DEQUANTIZE makes of a constant as that constant."""
    if operator.kind != "DEQUANTIZE" or not operator.inputs or not operator.outputs:
        return
    source, output = tensors[operator.inputs[0]], tensors[operator.outputs[0]]
    if source.values is not None:
        tensors[output.index] = replace(source, index=output.index, name=output.name)


def _indices(stored: Any) -> tuple[int, ...]:  # noqa: ANN401 - a numpy vector, a list or None
    return () if stored is None else tuple(int(each) for each in stored)
