"""Golden inputs: samples with the outputs that an artifact gives here, for the probe elsewhere.

Another engine, or another processor, rounds elsewhere. In float that is a matter of the last
bits. In a quantized network a code more or less in the first layers can be a third of the
whole range behind a softmax, on a sample about which the network is unsure. So candidates are
run by two sets of kernels of this engine. Where the two agree on all of them, samples are
recorded about which the network is unsure, for they tell two networks apart; else samples on
which the two agree. In both cases their outputs are far apart.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import OpResolverType

from secateur_protocols.manifest import Golden
from secateur_server.errors import InputError
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.measurement import Runner, load
from secateur_server.pruning.samples import Rows, Samples

GOLDEN_SAMPLES = 4
MOST_TRIED, TRIED_MACS = 64, 2e9
"""Samples among which they are chosen, and multiply-accumulates that this may take."""

MAX_GOLDEN_BYTES = 1 << 20
FLOAT_TOLERANCE = 1e-3
"""Times the largest output, or 1: sums of floats differ in the last bits; a wrong kernel
differs by far more."""

CODES_TOLERANCE = 2.5
"""Of a quantized output, in codes: two, and a half for the rounding of the scale. Times the
scale it is in units of the output."""

MARGIN = 2.0
"""Times what the two sets of kernels differ by on the samples that are recorded."""

STEADY = 0.1
"""Times the least tolerance: a network on which the two differ by no more is steady."""

OTHER_KERNELS = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """What one set of kernels makes of samples.

    Attributes:
        inputs: As they are fed, one array per input, [samples, *shape].
        outputs: In the outputs' own types, [samples, *shape].
        reals: The same as real numbers, [samples, values].
    """

    inputs: tuple[Rows, ...]
    outputs: tuple[Rows, ...]
    reals: tuple[Reals, ...]


def record(
    artifact: bytes, samples: Samples, *, macs: int, threads: int = 1
) -> tuple[Golden, bytes]:
    """Choose golden inputs, run them, and say by how much outputs may differ elsewhere.

    Args:
        artifact: One that the engine takes.
        samples: To choose from; the first few of many.
        macs: Of one inference.
        threads: Of the engine.

    Returns:
        The manifest's entry, and the ``.npz`` that it describes.
    """
    tried = int(np.clip(TRIED_MACS // max(macs, 1), GOLDEN_SAMPLES, MOST_TRIED))
    rows = list(range(min(tried, len(samples))))
    here = _run(load(artifact, threads), samples, rows)
    there = _elsewhere(artifact, samples, rows, threads)
    count, steps = _affordable(here, len(rows)), _steps(artifact)
    if there is not None and len(rows) > count:
        rows = _chosen(here, _excess(here, there, steps), count)
        # Anew, in this order: a network with a state answers by what it saw before.
        here = _run(load(artifact, threads), samples, rows)
        there = _elsewhere(artifact, samples, rows, threads)
    rows = rows[:count]
    content = _written(here, count)
    tolerances = tuple(
        max(floor, MARGIN * differs)
        for floor, differs in zip(_floors(here, steps), _worst(here, there, count), strict=True)
    )
    described = Golden(
        digest=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        count=count,
        tolerance=max(tolerances),
        tolerances=tolerances,
    )
    return described, content


def _run(runner: Runner, samples: Samples, rows: Sequence[int]) -> Run:
    fed = [runner.encode(samples.sample(k)) for k in rows]
    found = [runner(codes) for codes in fed]
    outputs = tuple(np.array(each) for each in zip(*found, strict=True))
    details = runner.interpreter.get_output_details()
    quantized = [each["quantization"] for each in details]
    return Run(
        inputs=tuple(np.array(each) for each in zip(*fed, strict=True)),
        outputs=outputs,
        reals=tuple(map(_decoded, outputs, quantized)),
    )


def _decoded(codes: Rows, quantized: tuple[float, int]) -> Reals:
    scale, zero_point = quantized
    values = codes.reshape(len(codes), -1).astype(np.float64)
    return (values - zero_point) * scale if scale else values


def _elsewhere(
    artifact: bytes, samples: Samples, rows: Sequence[int], threads: int
) -> Run | None:
    """Run the engine's other kernels; ``None``: they do not take this artifact."""
    try:
        return _run(load(artifact, threads, OTHER_KERNELS), samples, rows)
    except (InputError, ValueError, RuntimeError):
        return None


def _affordable(run: Run, most: int) -> int:
    size = sum(each[0].nbytes for each in run.inputs)
    return int(np.clip(MAX_GOLDEN_BYTES // max(size, 1), 1, min(GOLDEN_SAMPLES, most)))


def _steps(artifact: bytes) -> list[float]:
    """Give what one code of each output stands for, also where it is made a float in the end.

    0: the output is not quantized.
    """
    graph = read_graph(Source(Path("artifact"), artifact).tree())
    steps = []
    for output in graph.outputs:
        maker = graph.maker(output)
        is_float_again = maker is not None and maker.kind == "DEQUANTIZE"
        coded = graph.tensors[maker.inputs[0] if maker and is_float_again else output]
        known = coded.quantization
        steps.append(0.0 if known is None else float(np.max(known.scales)))
    return steps


def _floors(run: Run, steps: Sequence[float]) -> list[float]:
    """Give the least tolerance of each output, in its units."""
    floors = []
    for codes, reals, step in zip(run.outputs, run.reals, steps, strict=True):
        floor = CODES_TOLERANCE * step
        if codes.dtype.kind == "f":
            known = np.nan_to_num(reals, posinf=0.0, neginf=0.0)
            largest = float(np.abs(known).max(initial=0))
            floor = max(floor, FLOAT_TOLERANCE * max(1.0, largest))
        floors.append(floor)
    return floors


def _differences(here: Run, there: Run) -> list[Reals]:
    """Give by how much each output differs on each sample, [outputs][samples]."""
    return [
        np.nan_to_num(np.abs(one - other), nan=np.inf).max(axis=1, initial=0.0)
        for one, other in zip(here.reals, there.reals, strict=True)
    ]


def _excess(here: Run, there: Run, steps: Sequence[float]) -> Reals:
    """Give how many times the least tolerance each sample differs by, [samples]."""
    each = [
        differs / max(floor, 1e-30)
        for differs, floor in zip(_differences(here, there), _floors(here, steps), strict=True)
    ]
    worst: Reals = np.max(each, axis=0)
    return worst


def _worst(here: Run, there: Run | None, count: int) -> list[float]:
    if there is None:
        return [0.0] * len(here.reals)
    found = [float(each[:count].max(initial=0.0)) for each in _differences(here, there)]
    return [each if np.isfinite(each) else 0.0 for each in found]


def _chosen(run: Run, excess: Reals, count: int) -> list[int]:
    """Take, of the better half, samples whose outputs are far apart."""
    places = np.concatenate([_in_range(each) for each in run.reals], axis=1)
    unsure = np.abs(places - 0.5).mean(axis=1)
    order = np.argsort(unsure if excess.max() <= STEADY else excess, kind="stable")
    better = order[: max(count, len(order) // 2)]
    places, taken = places[better], [0]
    while len(taken) < count:
        apart = np.min([_apart(places, places[k]) for k in taken], axis=0)
        apart[taken] = -1.0
        taken.append(int(apart.argmax()))
    return [int(better[k]) for k in taken]


def _in_range(reals: Reals) -> Reals:
    """Give each value's place between the least and the greatest of all, 0 to 1."""
    known = np.nan_to_num(reals, posinf=0.0, neginf=0.0)
    low, high = known.min(initial=0.0), known.max(initial=0.0)
    places: Reals = (known - low) / max(float(high - low), 1e-30)
    return places


def _apart(places: Reals, one: Reals) -> Reals:
    distances: Reals = np.linalg.norm(places - one, axis=1)
    return distances


def _written(run: Run, count: int) -> bytes:
    arrays: dict[str, Any] = {f"input_{k}": each[:count] for k, each in enumerate(run.inputs)}
    arrays |= {f"output_{k}": each[:count] for k, each in enumerate(run.outputs)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()
