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


class Runner:
    """One artifact in the engine, its tensors allocated."""

    def __init__(self, interpreter: Any, threads: int) -> None:  # noqa: ANN401 - untyped
        self.interpreter = interpreter
        self.threads = threads
        # Asked for once: describing a tensor takes as long as a small model's inference.
        self._inputs = interpreter.get_input_details()
        self._output_index = interpreter.get_output_details()[0]["index"]

    def __call__(self, codes: Sequence[Rows]) -> Rows:
        """Run one sample, as `encode` gives it, and give the first output."""
        for held, each in zip(self._inputs, codes, strict=True):
            self.interpreter.set_tensor(held["index"], each)
        self.interpreter.invoke()
        result: Rows = self.interpreter.get_tensor(self._output_index)
        return result

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


def outputs(runner: Runner, samples: Samples) -> npt.NDArray[np.float32]:
    """Give the first output of every sample as real numbers, [n, *shape]."""
    detail = runner.interpreter.get_output_details()[0]
    scale, zero_point = detail["quantization"]
    codes = np.array(
        [runner(runner.encode(samples.sample(k))) for k in range(len(samples))], np.float32
    )
    return (codes - zero_point) * scale if scale else codes


def accuracy(
    found: npt.NDArray[np.float32],
    dense: npt.NDArray[np.float32],
    samples: Samples,
    *,
    is_classifier: bool,
) -> Accuracy:
    """Compare outputs with the labels, or with level 0 where there are none.

    Args:
        found: [n, *shape] of the level in question.
        dense: The same of level 0.
        samples: With labels or without.
        is_classifier: Whether the last axis holds one number per class.
    """
    count = len(samples)
    if samples.y is not None:
        right = found.reshape(count, -1).argmax(axis=1) == samples.y
        return _counted(Metric.TOP1, right)
    if is_classifier:
        return _counted(Metric.AGREEMENT, found.argmax(axis=-1) == dense.argmax(axis=-1))
    return Accuracy(metric=Metric.FIDELITY, value=_fidelity(found, dense), samples=count)


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


def _fidelity(found: npt.NDArray[np.float32], dense: npt.NDArray[np.float32]) -> float:
    """Give the share of the variance of the dense outputs that is met, 0 to 1."""
    error = float(((found - dense) ** 2).sum())
    spread = float(((dense - dense.mean(axis=0)) ** 2).sum())
    if not np.isfinite(error):
        return 0.0
    return 1.0 if error == 0 else max(0.0, 1.0 - error / max(spread, 1e-30))


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
