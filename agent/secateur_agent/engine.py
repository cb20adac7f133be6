"""The inference engine: one small port with LiteRT and tflite-runtime behind it.

Both have the same Python interface, so that one adapter serves both; ``auto`` takes
LiteRT where it is installed. Why LiteRT is the default: tflite-runtime 2.14, its last
release, runs int8 models several times slower on x86-64 and has no wheel past Python
3.11; it is a tenth of LiteRT's size on disk and has wheels for 32-bit Arm.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from secateur_agent.installed import Candidate, EngineMissingError, EngineName, candidates

Tensor: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""One tensor's values, in the tensor's own dtype and shape."""


class LoadError(Exception):
    """The engine does not take these bytes as a model."""


class InvokeError(Exception):
    """The engine failed while it ran the model."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output.

    Attributes:
        name: As the model has it.
        dtype: As numpy names it.
        shape: Axis sizes as allocated; a dynamic axis is 1.
        scale: Of a quantized tensor, real = scale x (code - zero_point). 0: not quantized.
    """

    index: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    def encode(self, sample: Tensor) -> Tensor:
        """Bring one sample into the tensor's dtype and shape.

        Integers in the tensor's dtype are taken as codes; real numbers for a quantized
        tensor are quantized, rounding half to even and saturating.

        Raises:
            ValueError: The sample has another number of elements.
        """
        if sample.dtype == self.dtype:
            codes = sample
        elif self.scale > 0 and np.issubdtype(sample.dtype, np.floating):
            limits = np.iinfo(self.dtype)
            real = np.rint(sample / self.scale) + self.zero_point
            codes = real.clip(limits.min, limits.max).astype(self.dtype)
        else:
            codes = sample.astype(self.dtype)
        return np.ascontiguousarray(codes).reshape(self.shape)

    def decode(self, codes: Tensor) -> Tensor:
        """Give the real numbers that a quantized tensor's codes stand for."""
        if self.scale == 0:
            return codes
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class LoadedModel(Protocol):
    """A model that can answer. Used by one thread at a time."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What `infer` takes, in this order."""

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What `infer` gives, in this order."""

    def infer(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the model once.

        Args:
            inputs: One array per input, of its dtype and shape.

        Returns:
            One array per output, owned by the caller.

        Raises:
            InvokeError: The engine failed; the model may be used again.
        """


class Engine:
    """One installed engine."""

    def __init__(self, installed: Candidate, interpreter: Any) -> None:  # noqa: ANN401 - the engines have no types
        self._installed = installed
        self._interpreter = interpreter

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        return self._installed.name

    @property
    def version(self) -> str:
        """Of its distribution."""
        return self._installed.version()

    def load(self, artifact: bytes, threads: int = 1) -> LoadedModel:
        """Load a model and allocate its tensors.

        The bytes come from a verified artifact: a malformed flatbuffer can crash the
        process, which is why a candidate meets the engine in the probe first.

        Raises:
            LoadError: Not a model, or one that this engine cannot run.
        """
        try:
            interpreter = self._interpreter(model_content=artifact, num_threads=threads)
            interpreter.allocate_tensors()
            return _TfliteModel(interpreter)
        except (ValueError, RuntimeError, TypeError) as error:
            raise LoadError(_first_line(error)) from error


def find_engine(name: EngineName = EngineName.AUTO) -> Engine:
    """Import the engine of this name, or the first that is installed.

    Raises:
        EngineMissingError: It is not installed.
    """
    for candidate in candidates(name):
        try:
            module = importlib.import_module(candidate.module)
        except ImportError:
            continue
        return Engine(candidate, module.Interpreter)
    raise EngineMissingError(name)


class _TfliteModel:
    """A model in an interpreter of the TFLite family."""

    def __init__(self, interpreter: Any) -> None:  # noqa: ANN401 - the engines have no types
        self._interpreter = interpreter
        self.inputs = tuple(_describe(each) for each in interpreter.get_input_details())
        self.outputs = tuple(_describe(each) for each in interpreter.get_output_details())

    def infer(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        try:
            for info, values in zip(self.inputs, inputs, strict=True):
                self._interpreter.set_tensor(info.index, values)
            self._interpreter.invoke()
            return tuple(self._interpreter.get_tensor(info.index) for info in self.outputs)
        except (ValueError, RuntimeError) as error:
            raise InvokeError(_first_line(error)) from error


def _describe(detail: dict[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    return TensorInfo(
        index=int(detail["index"]),
        name=str(detail["name"]),
        dtype=np.dtype(detail["dtype"]),
        shape=tuple(int(size) for size in detail["shape"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
