"""From a model to a ladder: read -> graph -> groups -> plan -> apply -> measure -> write."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from secateur_protocols.codec import first_problem
from secateur_protocols.manifest import Ladder, Manifest, Precision
from secateur_server.errors import InputError, NothingToDoError, ServerError
from secateur_server.pruning import measurement
from secateur_server.pruning.apply import apply
from secateur_server.pruning.channels import find_channels
from secateur_server.pruning.cost import total_macs, total_parameters
from secateur_server.pruning.execution import Values, as_reals, live_bytes
from secateur_server.pruning.flatbuffer import Source, read_model, write_model
from secateur_server.pruning.graph import Array, Graph, read_graph
from secateur_server.pruning.linear import layout, weights_of
from secateur_server.pruning.plan import PruningPlan, WeightPlan, plan_channels, staying
from secateur_server.pruning.reconstruction import reconstruct
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.saliency import Ranking, Saliency
from secateur_server.pruning.samples import Samples, read_samples
from secateur_server.pruning.selection import free_groups, measure_inputs, rank_group

DEFAULT_LEVELS = 5
WIDEST_RATIO = 0.75
"""Share of the channels, or of the weights, that the narrowest level of a ladder loses when
nothing else is asked for."""

MAX_ACTIVATION_BYTES = 3 * 2**29
"""Of the calibration set's activations that are held at a time: of more, fewer samples are
used."""


class Method(StrEnum):
    """What leaves."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"
    MAGNITUDE = "magnitude"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """All that one run of the pruner depends on.

    Attributes:
        amount: The threshold, ratio or sparsity of the method; ``None``: spread over the
            ladder up to `WIDEST_RATIO`.
        levels: Of the ladder, the dense one included. ``None``: 2 with an amount, else
            `DEFAULT_LEVELS`.
        progress: Told the share that is done, 0 to 1, and what comes next.
    """

    model_path: Path
    calibration_path: Path
    evaluation_path: Path
    out_dir: Path
    method: Method = Method.CHANNEL
    amount: float | None = None
    levels: int | None = None
    saliency: Saliency = Saliency.OBS
    model: str | None = None
    version: str = "1"
    threads: int = 1
    seed: int = 0
    progress: Callable[[float, str], None] = field(default=lambda _share, _what: None)


@dataclass(frozen=True, slots=True)
class _Candidate:
    method: str
    content: bytes
    plan: PruningPlan | None
    macs: int
    parameters: int


def prune(request: PruneRequest) -> Ladder:
    """Prune a model into a ladder and write it to a folder.

    Returns:
        The ladder as written to ``out_dir/ladder.json``.

    Raises:
        InputError: Something given cannot be used.
        NothingToDoError: No channel or weight may leave.
        ServerError: The folder could not be written. In all three cases it is as before.
    """
    amounts = _amounts(request)
    _check_out(request.out_dir)
    source = read_model(request.model_path)
    graph = read_graph(source.tree())
    if len(graph.inputs) != 1:
        raise InputError(f"{request.model_path} has {len(graph.inputs)} inputs, not one")
    shape = graph.tensors[graph.inputs[0]].shape
    calibration = read_samples(request.calibration_path, shape)
    evaluation = read_samples(request.evaluation_path, shape)
    dense = _Candidate(
        "dense", source.content, None, total_macs(graph), total_parameters(graph)
    )
    if request.method is Method.CHANNEL:
        narrower = _channel_candidates(request, source, graph, calibration, amounts)
    else:
        narrower = _weight_candidates(request, source, graph, amounts)
    ladder, files = _measure(request, graph, [dense, *narrower], evaluation)
    _write(request.out_dir, ladder, files)
    return ladder


def _amounts(request: PruneRequest) -> list[float]:
    """Spread the amount over the levels below the dense one."""
    levels = request.levels or (DEFAULT_LEVELS if request.amount is None else 2)
    if not 2 <= levels <= 64:  # noqa: PLR2004 - as a Ladder allows
        raise InputError(f"--levels is {levels}, it must be 2 to 64")
    amount = request.amount
    if amount is None:
        if request.method in {Method.ABSOLUTE, Method.RELATIVE}:
            raise InputError(f"--method {request.method} needs --threshold")
        amount = WIDEST_RATIO
    is_share = request.method is not Method.ABSOLUTE
    if not (0 < amount < 1 if is_share else 0 < amount < np.inf):
        raise InputError(f"{request.method} takes a number above 0{' and below 1' * is_share}")
    return [amount * step / (levels - 1) for step in range(1, levels)]


def _channel_candidates(
    request: PruneRequest,
    source: Source,
    graph: Graph,
    calibration: Samples,
    ratios: Sequence[float],
) -> list[_Candidate]:
    channels = find_channels(graph, RULES)
    groups = free_groups(graph, channels)
    if not groups:
        raise NothingToDoError(f"{request.model_path} has no channel that may leave")
    x = _calibrating(graph, calibration)
    tick = lambda share: request.progress(0.3 * share, "running the calibration set")  # noqa: E731
    moments = measure_inputs(graph, channels, x, tick)
    rankings: dict[int, Ranking] = {}
    for done, group in enumerate(groups):
        request.progress(0.3 + 0.1 * done / len(groups), f"ranking {group.name}")
        rankings[group.key] = rank_group(
            graph, channels, group, moments, request.saliency, seed=request.seed
        )
    candidates = []
    for done, ratio in enumerate(ratios):
        request.progress(0.4 + 0.3 * done / len(ratios), f"reconstructing level {done + 1}")
        leaving = {group.key: round(ratio * group.size) for group in groups}
        words = f"channel ratio={ratio:.4g} saliency={request.saliency}"
        plan = plan_channels(groups, rankings, leaving, words)
        pruned = reconstruct(graph, channels, staying(plan, channels), x)
        candidates.append(_candidate(words, source, graph, pruned, plan))
    return candidates


def _calibrating(graph: Graph, calibration: Samples) -> Values:
    """Take as many samples as memory allows: of two networks, what is held at a time."""
    most = max(1, MAX_ACTIVATION_BYTES // (2 * live_bytes(graph)))
    return as_reals(graph.tensors[graph.inputs[0]], calibration.x[:most])


def _candidate(
    words: str, source: Source, graph: Graph, pruned: Graph, plan: PruningPlan
) -> _Candidate:
    tree = source.tree()
    apply(tree, graph, pruned)
    counts = total_macs(pruned), total_parameters(pruned)
    return _Candidate(words, write_model(tree), plan, *counts)


def _weight_candidates(
    request: PruneRequest, source: Source, graph: Graph, amounts: Sequence[float]
) -> list[_Candidate]:
    weights = {
        operator.index: held
        for operator in graph.operators
        if (held := weights_of(graph, operator)) is not None
    }
    if not weights:
        raise NothingToDoError(f"{request.model_path} has no weights")
    candidates = []
    for amount in amounts:
        pruned = graph
        thresholds: dict[int, float] = {}
        for index, held in weights.items():
            operator = graph.operators[index]
            tensor = graph.tensors[operator.inputs[layout(operator).weights]]
            thresholds[index] = _threshold(request.method, held, amount)
            zeroed = np.where(np.abs(held) < thresholds[index], np.float32(0), held)
            pruned = pruned.with_values(tensor.index, zeroed, tensor.quantization)
        words = f"{request.method} {amount:.4g}"
        plan = WeightPlan(rule=words, thresholds=thresholds)
        candidates.append(_candidate(words, source, graph, pruned, plan))
    return candidates


def _threshold(method: Method, weights: Array, amount: float) -> float:
    """Give the magnitude below which weights become zero."""
    magnitudes = np.abs(weights)
    if method is Method.ABSOLUTE:
        return amount
    if method is Method.RELATIVE:
        return amount * float(magnitudes.max())
    # The smallest weight that stays; of equal ones at the threshold all stay.
    rank = min(round(amount * magnitudes.size), magnitudes.size - 1)
    return float(np.partition(magnitudes.ravel(), rank)[rank])


def _measure(
    request: PruneRequest, graph: Graph, candidates: list[_Candidate], evaluation: Samples
) -> tuple[Ladder, dict[str, bytes]]:
    distinct = list({each.content: each for each in candidates}.values())
    if len(distinct) == 1:
        raise NothingToDoError(f"{request.method} takes nothing away: ask for more")
    request.progress(0.7, "measuring accuracy")
    runners = [measurement.load(each.content, request.threads) for each in distinct]
    found = [measurement.outputs(runner, evaluation) for runner in runners]
    is_classifier = _is_classifier(graph)
    request.progress(0.85, "measuring latency")
    latencies = measurement.latencies(runners, evaluation.x[0], lambda: None)
    files: dict[str, bytes] = {}
    manifests: list[Manifest] = []
    precision = precision_of(graph)
    for k, candidate in enumerate(distinct):
        level = len(manifests)
        described, golden = measurement.golden(runners[k], evaluation)
        manifest = Manifest(
            level=level,
            precision=precision,
            method=candidate.method,
            digest=hashlib.sha256(candidate.content).hexdigest(),
            size_bytes=len(candidate.content),
            macs=candidate.macs,
            parameters=candidate.parameters,
            accuracy=measurement.accuracy(
                found[k], found[0], evaluation, is_classifier=is_classifier
            ),
            latency=latencies[k],
            golden=described,
            parent=manifests[0].digest if manifests else None,
        )
        manifests.append(manifest)
        files[f"level-{level}.tflite"] = candidate.content
        files[f"level-{level}.golden.npz"] = golden
        if candidate.plan is not None:
            files[f"plan-{level}.json"] = candidate.plan.model_dump_json(indent=1).encode()
    inputs, outputs = measurement.specs(runners[0])
    try:
        ladder = Ladder(
            model=request.model or _legal_name(request.model_path),
            version=request.version,
            inputs=inputs,
            outputs=outputs,
            levels=tuple(manifests),
        )
    except ValidationError as error:
        raise InputError(first_problem(error)) from error
    files["ladder.json"] = ladder.model_dump_json(indent=1, exclude_none=True).encode()
    return ladder, files


def _is_classifier(graph: Graph) -> bool:
    """Whether the first output comes from a SOFTMAX: then the largest number is the answer."""
    makers = {output: operator for operator in graph.operators for output in operator.outputs}
    maker = makers.get(graph.outputs[0])
    while maker is not None and maker.kind in {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}:
        maker = makers.get(maker.inputs[0])
    return maker is not None and maker.kind in {"SOFTMAX", "LOG_SOFTMAX"}


def precision_of(graph: Graph) -> Precision:
    """Name the precision of a model by its weights and by what they are applied to."""
    kinds = set()
    for operator in graph.operators:
        if weights_of(graph, operator) is None:
            continue
        place = layout(operator)
        weights = graph.tensors[graph.tensors[operator.inputs[place.weights]].storage].dtype
        data = graph.tensors[operator.inputs[place.data]].dtype
        kinds.add((str(weights), str(data)))
    named = {
        ("float32", "float32"): Precision.FLOAT32,
        ("float16", "float32"): Precision.FLOAT16,
        ("int8", "float32"): Precision.HYBRID,
        ("int8", "int8"): Precision.INT8,
        ("uint8", "uint8"): Precision.UINT8,
    }
    if kinds == {("int8", "float32"), ("float32", "float32")}:
        return Precision.HYBRID  # the converter leaves small weights as they are
    if len(kinds) == 1:
        return named.get(kinds.pop(), Precision.OTHER)
    return Precision.FLOAT32 if not kinds else Precision.OTHER


def _legal_name(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:64].strip("-") or "model"


def _check_out(out_dir: Path) -> None:
    try:
        is_taken = out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir()))
    except OSError as error:
        raise InputError(f"cannot look into {out_dir}: {error.strerror}") from error
    if is_taken:
        raise InputError(f"{out_dir} is not empty: give a folder that is")


def _write(out_dir: Path, ladder: Ladder, files: dict[str, bytes]) -> None:
    """Write all files to a sibling folder and rename it: whole, or not at all."""
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        sibling = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    except OSError as error:
        raise ServerError(f"cannot write {out_dir}: {error.strerror}") from error
    try:
        for name, content in files.items():
            (sibling / name).write_bytes(content)
        sibling.chmod(0o755)
        sibling.replace(out_dir)
    except OSError as error:
        shutil.rmtree(sibling, ignore_errors=True)
        msg = f"cannot write {ladder.model} to {out_dir}: {error.strerror}"
        raise ServerError(msg) from error
