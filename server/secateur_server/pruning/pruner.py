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
from secateur_server.pruning.apply import apply_channels, apply_thresholds
from secateur_server.pruning.cost import total_macs, total_parameters
from secateur_server.pruning.flatbuffer import Source, read_model, write_model
from secateur_server.pruning.graph import WEIGHTED, Array, Graph, read_graph
from secateur_server.pruning.groups import Grouping, find_groups
from secateur_server.pruning.plan import ChannelPlan, GroupPlan, PruningPlan, WeightPlan
from secateur_server.pruning.reconstruction import measure_consumers, reconstruct, run_original
from secateur_server.pruning.saliency import Saliency, l1_order, random_order, removal_order
from secateur_server.pruning.samples import Samples, read_samples

DEFAULT_LEVELS = 5
WIDEST_RATIO = 0.75
"""Share of the channels, or of the weights, that the narrowest level of a ladder loses when
nothing else is asked for."""

MAX_ACTIVATION_BYTES = 2**30
"""Of the calibration set's activations of one network: of more, fewer samples are used."""


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
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    calibration = read_samples(request.calibration_path, shape)
    evaluation = read_samples(request.evaluation_path, shape)
    dense = _Candidate(
        "dense", source.content, None, total_macs(graph), total_parameters(graph)
    )
    if request.method is Method.CHANNEL:
        narrower = _channel_candidates(request, source, graph, calibration, amounts)
    else:
        narrower = _weight_candidates(request, source, graph, amounts)
    ladder, files = _measure(request, [dense, *narrower], evaluation)
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
    grouping = find_groups(graph)
    free = [key for key, group in grouping.groups.items() if _is_free(group.frozen, group.size)]
    free = [key for key in free if grouping.groups[key].consumers]
    if not free:
        raise NothingToDoError(f"{request.model_path} has no channel that may leave")
    request.progress(0.05, "running the original on the calibration set")
    original = run_original(graph, _calibrating(graph, calibration))
    orders: dict[int, list[int]] = {}
    for done, key in enumerate(free):
        request.progress(0.1 + 0.3 * done / len(free), f"ranking {grouping.groups[key].name}")
        orders[key] = _order(request, graph, grouping, key, original)
    candidates = []
    for done, ratio in enumerate(ratios):
        share = 0.4 + 0.3 * done / len(ratios)
        request.progress(share, f"reconstructing level {done + 1}")
        plan = _plan(grouping, orders, ratio, request.saliency)
        candidates.append(_pruned(source, graph, grouping, plan, original))
    return candidates


def _is_free(frozen: str, size: int) -> bool:
    return not frozen and size > 1


def _calibrating(graph: Graph, calibration: Samples) -> Array:
    """Take as many samples as memory allows."""
    per_sample = 4 * sum(
        int(np.prod(each.shape)) for each in graph.tensors if each.data is None
    )
    count = max(1, min(len(calibration.x), MAX_ACTIVATION_BYTES // max(per_sample, 1)))
    rows: Array = calibration.x[:count].astype(np.float32)
    return rows


def _order(
    request: PruneRequest,
    graph: Graph,
    grouping: Grouping,
    key: int,
    original: dict[int, Array],
) -> list[int]:
    group = grouping.groups[key]
    match request.saliency:
        case Saliency.OBS:
            consumers = measure_consumers(graph, grouping, key, original)
            return removal_order(group.size, consumers, group.size - 1)
        case Saliency.L1:
            return l1_order(graph, group)
        case Saliency.RANDOM:
            return random_order(group.size, request.seed)


def _plan(
    grouping: Grouping, orders: dict[int, list[int]], ratio: float, saliency: Saliency
) -> ChannelPlan:
    plans = []
    for key, order in orders.items():
        group = grouping.groups[key]
        leaving = set(order[: min(round(ratio * group.size), group.size - 1)])
        kept = tuple(channel for channel in range(group.size) if channel not in leaving)
        plans.append(GroupPlan(group=key, name=group.name, size=group.size, kept=kept))
    return ChannelPlan(ratio=ratio, saliency=saliency, groups=tuple(plans))


def _pruned(
    source: Source,
    graph: Graph,
    grouping: Grouping,
    plan: ChannelPlan,
    original: dict[int, Array],
) -> _Candidate:
    kept = {
        each.group: np.array(each.kept) for each in plan.groups if len(each.kept) < each.size
    }
    fitted = reconstruct(graph, grouping, kept, original)
    tree = source.tree()
    apply_channels(tree, graph, grouping, kept, fitted)
    content = write_model(tree)
    smaller = read_graph(tree)
    words = f"channel ratio={plan.ratio:.4g} saliency={plan.saliency}"
    return _Candidate(words, content, plan, total_macs(smaller), total_parameters(smaller))


def _weight_candidates(
    request: PruneRequest, source: Source, graph: Graph, amounts: Sequence[float]
) -> list[_Candidate]:
    weighted = [operator for operator in graph.operators if operator.kind in WEIGHTED]
    if not weighted:
        raise NothingToDoError(f"{request.model_path} has no weights")
    candidates = []
    for amount in amounts:
        thresholds = {
            operator.index: _threshold(request.method, graph.weights(operator), amount)
            for operator in weighted
        }
        words = f"{request.method} {amount:.4g}"
        plan = WeightPlan(rule=words, thresholds=thresholds)
        tree = source.tree()
        apply_thresholds(tree, graph, thresholds)
        counts = total_macs(graph), total_parameters(graph)
        candidates.append(_Candidate(words, write_model(tree), plan, *counts))
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
    request: PruneRequest, candidates: list[_Candidate], evaluation: Samples
) -> tuple[Ladder, dict[str, bytes]]:
    distinct = list({each.content: each for each in candidates}.values())
    if len(distinct) == 1:
        raise NothingToDoError(f"{request.method} takes nothing away: ask for more")
    request.progress(0.7, "measuring accuracy")
    runners = [measurement.load(each.content, request.threads) for each in distinct]
    predicted = [measurement.predictions(runner, evaluation) for runner in runners]
    request.progress(0.85, "measuring latency")
    latencies = measurement.latencies(runners, evaluation.x[0], lambda: None)
    files: dict[str, bytes] = {}
    manifests: list[Manifest] = []
    for k, candidate in enumerate(distinct):
        level = len(manifests)
        described, golden = measurement.golden(runners[k], evaluation)
        manifest = Manifest(
            level=level,
            precision=Precision.FLOAT32,
            method=candidate.method,
            digest=hashlib.sha256(candidate.content).hexdigest(),
            size_bytes=len(candidate.content),
            macs=candidate.macs,
            parameters=candidate.parameters,
            accuracy=measurement.accuracy(predicted[k], predicted[0], evaluation),
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
