"""What is true of an artifact: measured by running it in the engine."""

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur_protocols.manifest import Accuracy, Latency, Metric, TensorSpec
from secateur_server.errors import InputError
from secateur_server.pruning.divergence import Answer, agreement, named
from secateur_server.pruning.samples import Rows, Samples

ROUNDS = 30
"""Each level runs once per round, so that all see the machine's good and bad moments."""

FEWEST_ROUNDS = 10
"""After these it is over as soon as all medians are settled."""

SETTLED = 0.01
"""A median is settled when its error is at most so much of it, with 95 % confidence."""

ROUND_S = 0.01
"""How long one level runs in one round at least, seconds: a machine's moments differ by more
than the inferences of one."""


Outputs = tuple[npt.NDArray[np.float32], ...]
"""What a network answers to samples: an array per output, real numbers, [n, *shape]."""


class Runner:
    """One artifact in the engine, its tensors allocated."""

    def __init__(self, interpreter: Any, threads: int) -> None:  # noqa: ANN401 - untyped
        self.interpreter = interpreter
        self.threads = threads
        # Asked for once: describing a tensor takes as long as a small model's inference.
        self._inputs = interpreter.get_input_details()
        self._outputs = [each["index"] for each in interpreter.get_output_details()]

    def __call__(self, codes: Sequence[Rows]) -> list[Rows]:
        """Run one sample, as `encode` gives it, and give the outputs in their own types."""
        for held, each in zip(self._inputs, codes, strict=True):
            self.interpreter.set_tensor(held["index"], each)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self._outputs]

    def encode(self, sample: Sequence[Rows]) -> tuple[Rows, ...]:
        """Bring a sample into the inputs' types and shapes; real numbers are quantized."""
        return tuple(
            _encode(held, each) for held, each in zip(self._inputs, sample, strict=True)
        )


def _encode(held: Mapping[str, Any], values: Rows) -> Rows:
    dtype, (scale, zero_point) = held["dtype"], held["quantization"]
    if scale and values.dtype != dtype:
        limits = np.iinfo(dtype)
        values = np.rint(values / scale + zero_point).clip(limits.min, limits.max)
    return values.astype(dtype).reshape(held["shape"])


def load(
    artifact: bytes, threads: int, kernels: OpResolverType = OpResolverType.AUTO
) -> Runner:
    """Load an artifact of ours.

    Raises:
        InputError: The engine does not take it: a fault of ours, or of the input model.
    """
    try:
        interpreter = Interpreter(
            model_content=artifact, num_threads=threads, experimental_op_resolver_type=kernels
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the engine refuses the pruned model: {error}") from error
    return Runner(interpreter, threads)


def specs(runner: Runner) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe inputs and outputs."""
    inputs, outputs = (
        tuple(_spec(detail) for detail in details)
        for details in (
            runner.interpreter.get_input_details(),
            runner.interpreter.get_output_details(),
        )
    )
    return inputs, outputs


def outputs(runner: Runner, samples: Samples) -> Outputs:
    """Give what a network answers, an array per output, real numbers, [n, *shape]."""
    details = runner.interpreter.get_output_details()
    found = [runner(runner.encode(samples.sample(k))) for k in range(len(samples))]
    return tuple(
        _decode(detail["quantization"], np.array(codes, np.float32))
        for detail, codes in zip(details, zip(*found, strict=True), strict=True)
    )


def _decode(
    quantized: tuple[float, int], codes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    scale, zero_point = quantized
    return (codes - zero_point) * scale if scale else codes


def accuracy(
    found: Outputs, dense: Outputs, samples: Samples, kinds: Sequence[Answer]
) -> Accuracy:
    """Compare answers with the labels, or with level 0 where there are none.

    Labels are those of the first output, as on a device. Without labels all outputs count.

    Args:
        found: Of the level in question.
        dense: Of level 0.
        samples: With labels or without.
        kinds: What each output says.
    """
    count = len(samples)
    if samples.y is not None:
        told = found[0].reshape(count, -1)
        is_label = kinds[0] is Answer.LABEL and told.shape[1] == 1
        answer = told[:, 0] if is_label else told.argmax(axis=1)
        return _counted(Metric.TOP1, answer == samples.y)
    if Answer.NUMBERS not in kinds:
        both = zip(kinds, found, dense, strict=True)
        alike = [(named(kind, one) == named(kind, other)).ravel() for kind, one, other in both]
        return _counted(Metric.AGREEMENT, np.concatenate(alike))
    value = agreement(kinds, dense, found)
    return Accuracy(metric=Metric.FIDELITY, value=value, samples=count)


def _counted(metric: Metric, right: npt.NDArray[np.bool_]) -> Accuracy:
    low, high = interval(int(right.sum()), right.size)
    return Accuracy(
        metric=metric, value=float(right.mean()), samples=right.size, low=low, high=high
    )


def interval(right: int, samples: int) -> tuple[float, float]:
    """Give the 95 % interval of a share that was counted.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference",
        Journal of the American Statistical Association 22, 1927.
    """
    share, z = right / samples, 1.959964
    middle = share + z**2 / (2 * samples)
    half = z * ((share * (1 - share) + z**2 / (4 * samples)) / samples) ** 0.5
    scale = 1 + z**2 / samples
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def latencies(
    runners: Sequence[Runner], sample: Sequence[Rows], tick: Callable[[float], None]
) -> list[Latency]:
    """Time all levels in turns on this machine, one sample at a time."""
    times_ms: list[list[float]] = [[] for _ in runners]
    medians_ms: list[list[float]] = [[] for _ in runners]
    codes = runners[0].encode(sample)
    for runner in runners:
        for _ in range(3):
            runner(codes)
    for done in range(ROUNDS):
        for k, runner in enumerate(runners):
            taken_ms = _round(runner, codes)
            times_ms[k] += taken_ms
            medians_ms[k].append(float(np.median(taken_ms)))
        tick((done + 1) / ROUNDS)
        if done + 1 >= FEWEST_ROUNDS and all(map(_is_settled, medians_ms)):
            break
    return [
        _latency(taken_ms, runner.threads)
        for runner, taken_ms in zip(runners, times_ms, strict=True)
    ]


def _round(runner: Runner, codes: Sequence[Rows]) -> list[float]:
    """Run for one round, and give the milliseconds that each inference took."""
    taken_ms: list[float] = []
    until = time.perf_counter() + ROUND_S
    while not taken_ms or time.perf_counter() < until:
        started = time.perf_counter()
        runner(codes)
        taken_ms.append((time.perf_counter() - started) * 1e3)
    return taken_ms


def _is_settled(medians_ms: Sequence[float]) -> bool:
    """Whether more rounds would hardly change the median of all.

    The spread is taken from the quartiles, so that a few bad moments do not count; of
    normal errors the median's own is 1.25 times the mean's.
    """
    low, middle, high = np.percentile(medians_ms, (25, 50, 75))
    error = 1.96 * 1.25 * (high - low) / 1.35 / len(medians_ms) ** 0.5
    return bool(error <= SETTLED * middle)


def _latency(taken_ms: list[float], threads: int) -> Latency:
    return Latency(
        p50_ms=float(np.percentile(taken_ms, 50, method="inverted_cdf")),
        p95_ms=float(np.percentile(taken_ms, 95, method="inverted_cdf")),
        engine=f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        threads=threads,
        machine=platform.machine(),
    )


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        name=detail["name"],
        dtype=np.dtype(detail["dtype"]).name,
        shape=tuple(int(size) for size in detail["shape_signature"]),
        scale=float(scale) if scale else None,
        zero_point=int(zero_point) if scale else None,
    )
