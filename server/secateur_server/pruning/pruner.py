"""From a model to a ladder: read -> graph -> method -> write -> measure -> choose levels."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from secateur_protocols.manifest import Encoding, Ladder, Precision
from secateur_server.errors import InputError, NothingToDoError, ServerError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.candidates import Candidate, Judged, LeftOut, judge, write_down
from secateur_server.pruning.checking import Checker
from secateur_server.pruning.cost import total_macs, total_parameters
from secateur_server.pruning.distillation.extra import require_jax
from secateur_server.pruning.distillation.options import DistillRequest
from secateur_server.pruning.divergence import answers
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import read_model, write_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.linear import layout, weights_of
from secateur_server.pruning.methods import find_method
from secateur_server.pruning.plan import PruningPlan
from secateur_server.pruning.precision import CannotQuantizeError, check_quantizer, int8_twin
from secateur_server.pruning.replay import replaying
from secateur_server.pruning.samples import Samples, check_apart, read_samples
from secateur_server.pruning.sharing import one_thread_each
from secateur_server.pruning.sparse.storage import densified, store_sparsely
from secateur_server.pruning.sparse.twins import Storing, requirements
from secateur_server.pruning.task import Options, Pruned, Task

FEWEST_LEVELS, MOST_LEVELS = 2, 64
"""The dense one and another; and as many as a ladder holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """All that one run of the pruner depends on.

    Attributes:
        out_dir: A folder that is not there yet, or empty.
        method: By name, as in `methods`.
        plans: Carried out, one level each, instead of a method.
        options: What is asked of the method.
        precisions: Of the levels: the network's own; of one in float32 or float16 also, or
            only, int8, by post-training quantization. Empty: its own.
        floor: Levels less accurate than this are left out.
        distill: Whether and how the levels are distilled. ``None``: they are not.
        allow_overlap: Whether samples may both calibrate and evaluate.
        model: Its name; ``None``: the file's.
        progress: Told the share that is done of a step, 0 to 1, and which step.
        notice: Told what is not given as it was asked for, and why.
    """

    model_path: Path
    calibration_path: Path
    evaluation_path: Path
    out_dir: Path
    method: str = "network"
    plans: tuple[PruningPlan, ...] = ()
    options: Options = field(default_factory=Options)
    precisions: frozenset[Precision] = frozenset()
    floor: float | None = None
    distill: DistillRequest | None = None
    allow_overlap: bool = False
    model: str | None = None
    version: str = "1"
    progress: Callable[[float, str], None] = field(default=lambda _share, _what: None)
    notice: Callable[[str], None] = field(default=lambda _text: None)


def prune(request: PruneRequest) -> Ladder:
    """Prune a model into a ladder and write it to a folder.

    Returns:
        The ladder as written to ``out_dir/ladder.json``; ``report.json`` beside it says
        what was left out, and what of the model could not be followed.

    Raises:
        InputError: Something given cannot be used.
        NothingToDoError: No channel or weight may leave.
        ServerError: The folder could not be written. In all three cases it is as before.
    """
    _check(request)
    with one_thread_each():
        ladder, files = _make(request)
    write_folder(request.out_dir, files)
    return ladder


def _make(request: PruneRequest) -> tuple[Ladder, dict[str, bytes]]:
    """Give the ladder, and the files of its folder by name."""
    method = replaying(request.plans) if request.plans else find_method(request.method)
    given = read_model(request.model_path)
    source, encoding = densified(given)
    graph = read_graph(source.tree())
    inputs = [graph.tensors[k] for k in graph.inputs]
    calibration = read_samples(request.calibration_path, inputs).shuffled(request.options.seed)
    evaluation = read_samples(request.evaluation_path, inputs)
    if not request.allow_overlap:
        check_apart(calibration, evaluation)
    task = Task(
        source=source,
        graph=graph,
        feeds={
            tensor.index: as_reals(tensor, rows)
            for tensor, rows in zip(inputs, calibration.inputs, strict=True)
        },
        options=replace(request.options, is_distilled=request.distill is not None),
        progress=request.progress,
    )
    _check_precisions(request, graph)
    dense = replace(_dense(task), content=given.content, encoding=encoding)
    improve = _distiller(request, task, evaluation)
    narrower = (improve(pruned, level) for level, pruned in enumerate(method(task), start=1))
    candidates = [dense, *(candidate for each in narrower for candidate in _candidates(each))]
    candidates, refused = _in_precisions(request, task, candidates)
    judged = _judge(request, task, candidates, evaluation)
    name = request.model or name_of(request.model_path)
    ladder, files = write_down(
        judged,
        evaluation,
        model=name,
        version=request.version,
        threads=request.options.threads,
    )
    unmet = [LeftOut(asked, why) for asked, why in task.left_out.items()]
    for each in unmet:
        request.notice(f"{each.rule}: {each.reason}")
    files["report.json"] = _report((*unmet, *judged.left_out, *refused), task)
    return ladder, files


def _check(request: PruneRequest) -> None:
    levels, floor = request.options.levels, request.floor
    if not FEWEST_LEVELS <= levels <= MOST_LEVELS:
        raise InputError(f"--levels is {levels}, it must be {FEWEST_LEVELS} to {MOST_LEVELS}")
    if floor is not None and not 0 <= floor <= 1:
        raise InputError(f"--floor is {floor}, it must be 0 to 1")
    out_dir = request.out_dir
    try:
        is_taken = out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir()))
    except OSError as error:
        raise InputError(f"cannot look into {out_dir}: {error.strerror}") from error
    if is_taken:
        raise InputError(f"{out_dir} is not empty: give a folder that is")


def _distiller(
    request: PruneRequest, task: Task, evaluation: Samples
) -> Callable[[Pruned, int], Pruned]:
    """Give what distills each level, or leaves it as it is."""
    if request.distill is None:
        return lambda pruned, _level: pruned
    require_jax()
    from secateur_server.pruning.distillation.levels import (  # noqa: PLC0415 - needs JAX
        Distiller,
    )

    inputs = [task.graph.tensors[k] for k in task.graph.inputs]
    samples = read_samples(request.distill.samples_path, inputs)
    if not request.allow_overlap:
        check_apart(samples, evaluation)
    return Distiller(request.distill, task, samples)


def _check_precisions(request: PruneRequest, graph: Graph) -> None:
    own = precision_of(graph)
    quantized = {Precision.INT8} if own in {Precision.FLOAT32, Precision.FLOAT16} else set()
    if none := sorted(request.precisions - quantized - {own}):
        possible = " or ".join([own, *quantized])
        raise InputError(f"--precision {none[0]}: {request.model_path} gives {possible}")
    if request.precisions & quantized:
        check_quantizer()


def _dense(task: Task) -> Candidate:
    graph = task.graph
    costs = total_macs(graph), total_parameters(graph)
    return Candidate("dense", task.source.content, None, *costs, precision_of(graph))


def _candidates(pruned: Pruned) -> Iterator[Candidate]:
    """Write a network down: densely, and sparsely too where that may be worth while."""
    tree = pruned.source.tree()
    apply(tree, pruned.before, pruned.after)
    costs = total_macs(pruned.after), total_parameters(pruned.after)
    dense = Candidate(
        pruned.rule, write_model(tree), pruned.plan, *costs, precision_of(pruned.after)
    )
    yield dense
    requires = requirements(tree)
    if pruned.storing is not Storing.DENSE and store_sparsely(tree):
        yield replace(
            dense,
            rule=f"{pruned.rule}, stored sparsely",
            content=write_model(tree),
            encoding=Encoding.SPARSE,
            twin=dense.content,
            storing=pruned.storing,
            requires=requires,
        )


def _judge(
    request: PruneRequest, task: Task, candidates: list[Candidate], evaluation: Samples
) -> Judged:
    distinct = list({each.content: each for each in reversed(candidates)}.values())[::-1]
    if len(distinct) == 1:
        unmet = [f"{asked}: {why}" for asked, why in task.left_out.items()]
        raise NothingToDoError(
            "; ".join(unmet) or f"{request.method} takes nothing away: ask for more"
        )
    distinct, broken = _sound(distinct, request.progress)
    judged = judge(
        distinct,
        evaluation,
        kinds=answers(task.graph),
        threads=request.options.threads,
        floor=request.floor,
        progress=request.progress,
    )
    judged = replace(judged, left_out=(*broken, *judged.left_out))
    if len(judged.levels) == 1:
        why = "; ".join(f"{each.rule}: {each.reason}" for each in judged.left_out)
        raise NothingToDoError(f"no level is worth having: {why}")
    return judged


def _sound(
    candidates: list[Candidate], progress: Callable[[float, str], None]
) -> tuple[list[Candidate], list[LeftOut]]:
    """Leave out what the engine does not run: in a child, since it may crash it.

    The dense network, which comes first, was opened that way when it was read.
    """
    sound, broken = candidates[:1], []
    with tempfile.TemporaryDirectory() as folder, Checker() as checker:
        path = Path(folder) / "candidate.tflite"
        for done, candidate in enumerate(candidates[1:]):
            progress(done / len(candidates), f"opening {candidate.rule}")
            path.write_bytes(candidate.content)
            verdict = checker.check(path)
            why = verdict.damage or verdict.refusal
            if why:
                broken.append(LeftOut(candidate.rule, f"it does not run: {why}"))
            else:
                sound.append(candidate)
    return sound, broken


def _in_precisions(
    request: PruneRequest, task: Task, candidates: list[Candidate]
) -> tuple[list[Candidate], list[LeftOut]]:
    """Add int8 twins, and let go of those in float but the dense one, as asked."""
    if request.precisions <= {candidates[0].precision}:
        return candidates, []
    found, refused = candidates[:1], []
    for done, candidate in enumerate(candidates):
        request.progress(done / len(candidates), f"quantizing {candidate.rule}")
        if candidate.precision in request.precisions and done > 0:
            found.append(candidate)
        if candidate.encoding is Encoding.SPARSE:
            continue
        rule = f"{candidate.rule}, int8"
        try:
            content = int8_twin(candidate.content, task.feeds)
        except CannotQuantizeError as error:
            refused.append(LeftOut(rule, str(error)))
        else:
            twin = replace(candidate, rule=rule, content=content, precision=Precision.INT8)
            found.append(twin)
    return found, refused


def _report(left_out: Iterable[LeftOut], task: Task) -> bytes:
    report = {
        "left_out": [asdict(each) for each in left_out],
        "not_followed": [asdict(each) for each in task.channels.frozen],
        "sensitivity": [{"group": name, **asdict(each)} for name, each in task.curves.items()],
    }
    return json.dumps(report, indent=1).encode()


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


def name_of(path: Path) -> str:
    """Make a model's name of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:64].strip("-") or "model"


def write_folder(out_dir: Path, files: dict[str, bytes]) -> None:
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
        raise ServerError(f"cannot write {out_dir}: {error.strerror}") from error
