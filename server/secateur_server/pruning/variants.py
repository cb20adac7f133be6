"""A user's own artifacts as a ladder: checked against each other, measured and described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secateur_protocols.manifest import Ladder, TensorSpec
from secateur_server.errors import InputError
from secateur_server.pruning import measurement
from secateur_server.pruning.candidates import Candidate, LeftOut, judge, write_down
from secateur_server.pruning.cost import total_macs, total_parameters
from secateur_server.pruning.divergence import answers
from secateur_server.pruning.flatbuffer import Source, read_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.pruner import precision_of, write_folder
from secateur_server.pruning.samples import read_samples
from secateur_server.pruning.sharing import one_thread_each
from secateur_server.pruning.sparse.storage import densified


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsRequest:
    """What is to become a ladder.

    Attributes:
        paths: Of the artifacts; the first is level 0, and what the others are compared with.
        evaluation_path: Samples that accuracy is measured on.
        out_dir: A folder that is not there yet, or empty.
        model: Its name.
        version: Of the ladder.
        threads: Of the engine.
        progress: Told the share that is done of a step, 0 to 1, and which step.
    """

    paths: tuple[Path, ...]
    evaluation_path: Path
    out_dir: Path
    model: str
    version: str = "1"
    threads: int = 1
    progress: Callable[[float, str], None] = field(default=lambda _share, _what: None)


def describe_variants(request: VariantsRequest) -> tuple[Ladder, tuple[LeftOut, ...]]:
    """Measure the artifacts and write them as a ladder.

    Returns:
        The ladder as it stands in ``out_dir``, and which artifacts are no level, with why.

    Raises:
        InputError: An artifact cannot be read or run, or takes or gives other tensors than
            the first; or the samples do not fit. The folder is as before.
        ServerError: The folder could not be written.
    """
    sources = [read_model(path) for path in request.paths]
    _check_distinct(sources)
    graphs = [read_graph(densified(source)[0].tree()) for source in sources]
    _check_alike(sources, request.threads)
    inputs = [graphs[0].tensors[k] for k in graphs[0].inputs]
    evaluation = read_samples(request.evaluation_path, inputs)
    candidates = [
        _candidate(source, graph, is_first=k == 0)
        for k, (source, graph) in enumerate(zip(sources, graphs, strict=True))
    ]
    with one_thread_each():
        judged = judge(
            candidates,
            evaluation,
            kinds=answers(graphs[0]),
            threads=request.threads,
            floor=None,
            progress=request.progress,
        )
        ladder, files = write_down(
            judged,
            evaluation,
            model=request.model,
            version=request.version,
            threads=request.threads,
        )
    write_folder(request.out_dir, files)
    return ladder, judged.left_out


def _candidate(source: Source, graph: Graph, *, is_first: bool) -> Candidate:
    return Candidate(
        rule="dense" if is_first else source.path.name,
        content=source.content,
        plan=None,
        macs=total_macs(graph),
        parameters=total_parameters(graph),
        precision=precision_of(graph),
        encoding=densified(source)[1],
    )


def _check_distinct(sources: Sequence[Source]) -> None:
    seen: dict[bytes, Path] = {}
    for source in sources:
        if source.content in seen:
            raise InputError(f"{source.path} and {seen[source.content]} are the same")
        seen[source.content] = source.path


def _check_alike(sources: Sequence[Source], threads: int) -> None:
    """Make sure that a frame that fits one fits all, and that answers mean the same."""
    first, *others = [
        measurement.specs(measurement.load(source.content, threads)) for source in sources
    ]
    for source, specs in zip(sources[1:], others, strict=True):
        for what, found, wanted in zip(("inputs", "outputs"), specs, first, strict=True):
            if [_form(each) for each in found] != [_form(each) for each in wanted]:
                raise InputError(
                    f"{source.path}: its {what} are {_words(found)}, those of "
                    f"{sources[0].path} {_words(wanted)}: a device feeds all levels alike"
                )


def _form(spec: TensorSpec) -> tuple[object, ...]:
    return spec.dtype, spec.shape, spec.scale, spec.zero_point


def _words(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{each.dtype} {list(each.shape)}" for each in specs)
