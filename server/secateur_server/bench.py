"""How fast models run on this machine: in turns, so that all see its good and bad moments."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.manifest import Ladder
from secateur_server.errors import InputError
from secateur_server.pruning.measurement import Runner, load
from secateur_server.pruning.memory import peak_memory_bytes

SLICE_S = 0.05
"""How long one model runs before the next has its turn, seconds."""

WARM_UP = 3
RAPL = Path("/sys/class/powercap")
"""Where Linux counts what the processor's packages take; readable by root alone on most."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to be measured."""

    name: str
    artifact: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured of one model.

    Attributes:
        name: As it was given.
        size_bytes: Of the file.
        runs: Inferences that were timed, one sample each.
        p50_ms: Of them, nearest rank; likewise the others.
        memory_bytes: What loading it and running it once adds to a process; ``None``:
            not measured.
        energy_mj: Of the whole processor while one inference runs, millijoules, what else
            ran included. ``None``: this machine does not tell.
    """

    name: str
    size_bytes: int
    runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    memory_bytes: int | None
    energy_mj: float | None


def read_subjects(paths: Sequence[Path]) -> list[Subject]:
    """Read models, and ladders level by level.

    Raises:
        InputError: One is missing, or a folder holds no ladder.
    """
    subjects: list[Subject] = []
    for path in paths:
        subjects += _levels(path) if path.is_dir() else [Subject(path.name, _read(path))]
    return subjects


def measure(
    subjects: Sequence[Subject],
    *,
    seconds: float,
    threads: int,
    tick: Callable[[float], None] = lambda _: None,
) -> list[Found]:
    """Run all models in turns.

    Args:
        subjects: At least one.
        seconds: For each.
        threads: That the engine may use.
        tick: Told the share that is done, 0 to 1.

    Raises:
        InputError: The engine does not take a model; names it.
    """
    memory = [peak_memory_bytes(subject.artifact) for subject in subjects]
    runners = [_load(subject, threads) for subject in subjects]
    samples = [_sample(runner) for runner in runners]
    meter = EnergyMeter()
    taken_ms: list[list[float]] = [[] for _ in subjects]
    energy_j = [0.0] * len(subjects)
    turns = max(1, round(seconds / SLICE_S))
    for turn in range(-1, turns):  # the first turn warms up
        for k, runner in enumerate(runners):
            before = meter.joules()
            times = _run(runner, samples[k], 0.0 if turn < 0 else SLICE_S)
            if turn >= 0:
                taken_ms[k] += times
                energy_j[k] += meter.since(before)
        tick((turn + 1) / turns)
    return [
        _found(subject, taken, room, energy if meter.is_there else None)
        for subject, taken, room, energy in zip(
            subjects, taken_ms, memory, energy_j, strict=True
        )
    ]


class EnergyMeter:
    """The energy counters of the processor's packages, where they can be read."""

    def __init__(self, folder: Path = RAPL) -> None:
        # One colon is a package; two are its parts, which it counts too.
        zones = [
            path for path in sorted(folder.glob("intel-rapl:*")) if path.name.count(":") == 1
        ]
        self._zones = [
            (path / "energy_uj", limit)
            for path in zones
            if _number(path / "energy_uj") is not None
            and (limit := _number(path / "max_energy_range_uj")) is not None
        ]

    @property
    def is_there(self) -> bool:
        """Whether this machine tells."""
        return bool(self._zones)

    def joules(self) -> list[int]:
        """Read all counters, microjoules."""
        return [_number(path) or 0 for path, _ in self._zones]

    def since(self, before: Sequence[int]) -> float:
        """Give what was taken since a reading, joules; a counter that began anew included."""
        total = 0
        for now, then, (_, limit) in zip(self.joules(), before, self._zones, strict=True):
            total += now - then if now >= then else now - then + limit
        return total / 1e6


def _levels(folder: Path) -> list[Subject]:
    path = folder / "ladder.json"
    try:
        ladder = decode_document(Ladder, _read(path))
    except ProtocolError as error:
        raise InputError(f"{path}: {error}") from error
    return [
        Subject(
            f"{ladder.model} level {manifest.level}",
            _read(folder / f"level-{manifest.level}.tflite"),
        )
        for manifest in ladder.levels
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _load(subject: Subject, threads: int) -> Runner:
    try:
        return load(subject.artifact, threads)
    except InputError as error:
        raise InputError(f"{subject.name}: {error.__cause__}") from error


def _sample(runner: Runner) -> list[npt.NDArray[Any]]:
    """Make an input of noise: zeros are faster than what models see."""
    generator = np.random.default_rng(0)
    made: list[npt.NDArray[Any]] = []
    for detail in runner.interpreter.get_input_details():
        dtype, shape = np.dtype(detail["dtype"]), tuple(detail["shape"])
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            # Indices and lengths must stay small; codes of images are a byte.
            high = limits.max if dtype.itemsize == 1 else 1
            low = limits.min if dtype.itemsize == 1 else 0
            made.append(generator.integers(low, high, shape, dtype, endpoint=True))
        else:
            made.append(generator.random(shape).astype(dtype))
    return made


def _run(runner: Runner, sample: list[npt.NDArray[Any]], seconds: float) -> list[float]:
    taken_ms: list[float] = []
    until_s = time.perf_counter() + seconds
    while len(taken_ms) < WARM_UP or time.perf_counter() < until_s:
        began_s = time.perf_counter()
        runner(sample)
        taken_ms.append((time.perf_counter() - began_s) * 1e3)
    return taken_ms


def _found(
    subject: Subject, taken_ms: list[float], memory: int | None, energy_j: float | None
) -> Found:
    p50, p95, p99 = np.percentile(taken_ms, (50, 95, 99), method="inverted_cdf")
    return Found(
        name=subject.name,
        size_bytes=len(subject.artifact),
        runs=len(taken_ms),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        memory_bytes=memory,
        energy_mj=energy_j * 1e3 / len(taken_ms) if energy_j is not None else None,
    )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
