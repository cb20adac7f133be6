"""Candidates for the ladder: measured, and those that are worth a rung written down."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from secateur_protocols.codec import first_problem
from secateur_protocols.manifest import (
    Accuracy,
    Encoding,
    Ladder,
    Latency,
    Manifest,
    Precision,
    Requirements,
)
from secateur_server.errors import InputError
from secateur_server.pruning import measurement
from secateur_server.pruning.divergence import Answer
from secateur_server.pruning.golden import record
from secateur_server.pruning.memory import peak_memory_bytes
from secateur_server.pruning.pareto import Merits, rungs
from secateur_server.pruning.plan import PruningPlan
from secateur_server.pruning.samples import Samples
from secateur_server.pruning.sharing import share
from secateur_server.pruning.sparse.twins import Storing, Twin, superfluous

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One artifact that may become a level.

    Attributes:
        rule: Method, amount and whatever else made it, in words.
        plan: What left; ``None`` for the dense network.
        encoding: How its weights are stored.
        twin: Of a sparsely stored one, the bytes of the same network stored densely.
        storing: How it was asked to be stored.
        requires: Where it is of use; ``None``: everywhere.
    """

    rule: str
    content: bytes
    plan: PruningPlan | None
    macs: int
    parameters: int
    precision: Precision
    encoding: Encoding = Encoding.DENSE
    twin: bytes | None = None
    storing: Storing = Storing.DENSE
    requires: Requirements | None = None

    @property
    def digest(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate, and what is true of it."""

    candidate: Candidate
    accuracy: Accuracy
    latency: Latency
    memory_bytes: int | None

    @property
    def merits(self) -> Merits:
        """What it is weighed by."""
        return Merits(
            accuracy=self.accuracy.value,
            p50_ms=self.latency.p50_ms,
            size_bytes=travel_bytes(self.candidate.content),
            macs=self.candidate.macs,
            memory_bytes=self.memory_bytes,
            is_conditional=self.candidate.requires is not None,
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A candidate that is no level, and why."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The levels, the dense one first, and what is left out."""

    levels: tuple[Measured, ...]
    left_out: tuple[LeftOut, ...]


def travel_bytes(content: bytes) -> int:
    """Give the size of an artifact as it travels: compressed."""
    return len(zlib.compress(content, 6))


def judge(
    candidates: Sequence[Candidate],
    evaluation: Samples,
    *,
    kinds: Sequence[Answer],
    threads: int,
    floor: float | None,
    progress: Progress,
) -> Judged:
    """Measure candidates, all in the same run, and choose those that become levels.

    Args:
        candidates: The dense network first.
        evaluation: What accuracy is measured on.
        kinds: What each output says.
        threads: Of the engine.
        floor: The least accuracy of a level.
        progress: Told the share that is done and what comes next.

    Raises:
        InputError: The engine refuses a candidate.
    """
    runners = [measurement.load(each.content, threads) for each in candidates]
    outputs: list[measurement.Outputs] = []
    for found in share(lambda runner: measurement.outputs(runner, evaluation), runners):
        progress(len(outputs) / len(runners), "measuring accuracy")
        outputs.append(found)
    latencies = measurement.latencies(
        runners, evaluation.sample(0), lambda share: progress(share, "measuring latency")
    )
    measured = []
    for k, candidate in enumerate(candidates):
        progress(k / len(candidates), "measuring memory")
        accuracy = measurement.accuracy(outputs[k], outputs[0], evaluation, kinds)
        memory = peak_memory_bytes(candidate.content)
        measured.append(Measured(candidate, accuracy, latencies[k], memory))
    apart = _superfluous(measured, outputs)
    left_out = [LeftOut(candidates[k].rule, why) for k, why in apart.items()]
    measured = [each for k, each in enumerate(measured) if k not in apart]
    chosen, dropped = rungs([each.merits for each in measured], floor)
    rules = [each.candidate.rule for each in measured]
    left_out += [LeftOut(rules[each.index], each.reason(rules)) for each in dropped]
    return Judged(tuple(measured[k] for k in chosen), tuple(left_out))


def _superfluous(
    measured: Sequence[Measured], outputs: Sequence[measurement.Outputs]
) -> dict[int, str]:
    """Say which of the networks that are stored in two ways are not to be kept."""
    twins = [
        Twin(
            stored_bytes=len(each.candidate.content),
            travel_bytes=each.merits.size_bytes,
            p50_ms=each.latency.p50_ms,
            outputs=answers,
            storing=each.candidate.storing,
            is_conditional=each.merits.is_conditional,
        )
        for each, answers in zip(measured, outputs, strict=True)
    ]
    contents = [each.candidate.content for each in measured]
    pairs = {
        k: contents.index(each.candidate.twin)
        for k, each in enumerate(measured)
        if each.candidate.twin is not None
    }
    return superfluous(twins, pairs)


def write_down(
    judged: Judged, evaluation: Samples, *, model: str, version: str, threads: int
) -> tuple[Ladder, dict[str, bytes]]:
    """Describe the levels as a ladder.

    Returns:
        The ladder, and the files of its folder by name, ``ladder.json`` included.

    Raises:
        InputError: The name, the version or the model does not fit into a ladder.
    """
    files: dict[str, bytes] = {}
    manifests: list[Manifest] = []
    golden_inputs = share(
        lambda each: record(
            each.candidate.content, evaluation, macs=each.candidate.macs, threads=threads
        ),
        judged.levels,
    )
    for level, (each, (golden, recorded)) in enumerate(
        zip(judged.levels, golden_inputs, strict=True)
    ):
        manifests.append(
            Manifest(
                level=level,
                precision=each.candidate.precision,
                method=each.candidate.rule,
                digest=each.candidate.digest,
                size_bytes=len(each.candidate.content),
                macs=each.candidate.macs,
                parameters=each.candidate.parameters,
                peak_memory_bytes=each.memory_bytes,
                accuracy=each.accuracy,
                latency=each.latency,
                golden=golden,
                encoding=each.candidate.encoding,
                compressed_bytes=each.merits.size_bytes,
                requires=each.candidate.requires,
                parent=manifests[0].digest if manifests else None,
            )
        )
        files[f"level-{level}.tflite"] = each.candidate.content
        files[f"level-{level}.golden.npz"] = recorded
        if each.candidate.plan is not None:
            files[f"plan-{level}.json"] = each.candidate.plan.model_dump_json(indent=1).encode()
    dense = measurement.load(judged.levels[0].candidate.content, threads)
    inputs, outputs = measurement.specs(dense)
    try:
        ladder = Ladder(
            model=model,
            version=version,
            inputs=inputs,
            outputs=outputs,
            levels=tuple(manifests),
        )
    except ValidationError as error:
        raise InputError(first_problem(error)) from error
    files["ladder.json"] = ladder.model_dump_json(indent=1, exclude_none=True).encode()
    return ladder, files
