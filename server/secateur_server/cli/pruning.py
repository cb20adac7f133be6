"""``secateur prune``."""

import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from secateur_server.cli import prune_words as words
from secateur_server.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secateur_protocols.manifest import Accuracy, Ladder, Precision
    from secateur_server.pruning.distillation.options import DistillRequest

Word = TypeVar("Word", bound=StrEnum)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AMOUNTS = {
    "absolute": ("threshold",),
    "relative": ("threshold",),
    "magnitude": ("sparsity",),
    "channel": ("ratio",),
    "layer": ("count", "ratio"),
    "network": ("budget",),
}
"""The options that say how much each of our own methods takes away."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(prune)


def prune(
    model_path: words.Model,
    calibration: words.Calibration,
    evaluation: words.Evaluation,
    out: words.OutDir,
    method: words.Method = None,
    threshold: words.Threshold = None,
    sparsity: words.Sparsity = None,
    ratio: words.Ratio = None,
    count: words.Count = None,
    budget: words.Budget = None,
    plan: words.Plans = None,
    levels: words.Levels = None,
    saliency: words.Saliency = "obs",
    search: words.Search = None,
    distill: words.Distill = None,
    steps: words.Steps = None,
    augment: words.Augment = None,
    resume: words.Resume = None,
    floor: words.Floor = None,
    precision: words.Precision = None,
    scope: words.Scope = "network",
    encoding: words.Encoding = "auto",
    rewrite: words.Rewrite = "none",
    model: words.Name = None,
    version: words.Version = "1",
    report: words.Report = None,
    threads: words.Threads = 1,
    seed: words.Seed = 0,
    *,
    correct: words.Correct = True,
    allow_overlap: words.AllowOverlap = False,
    as_json: JSON = False,
) -> None:
    """Prune a model into a ladder. Exit codes: 2 bad input, 3 nothing to prune."""
    given = {
        "threshold": threshold,
        "sparsity": sparsity,
        "ratio": ratio,
        "count": count,
        "budget": budget,
    }
    is_asked = any(value is not None for value in given.values())
    check_report(report)
    if plan and (method is not None or is_asked):
        raise InputError("--plan says all that a method would: leave the method out")
    method, amount = _method(method, given)
    if rewrite != "none" and not {"threshold", "sparsity"} & set(AMOUNTS.get(method, ())):
        raise InputError(f"--rewrite is for weight pruning, not for --method {method}")
    from secateur_server.pruning.budget import Budget
    from secateur_server.pruning.pruner import PruneRequest
    from secateur_server.pruning.pruner import prune as run
    from secateur_server.pruning.replay import read_plan
    from secateur_server.pruning.saliency import Saliency
    from secateur_server.pruning.sparse.rewrites import Rewriting
    from secateur_server.pruning.sparse.twins import Storing
    from secateur_server.pruning.task import DEFAULT_LEVELS, Options
    from secateur_server.pruning.weight.choice import Scope

    options = Options(
        amount=amount,
        count=count,
        budget=None if budget is None else Budget.parse(budget),
        levels=levels or (2 if is_asked else DEFAULT_LEVELS),
        saliency=_word(Saliency, "saliency", saliency),
        search=search,
        threads=threads,
        seed=seed,
        scope=_word(Scope, "scope", scope),
        correct=correct,
        rewrite=_word(Rewriting, "rewrite", rewrite),
        storing=_word(Storing, "encoding", encoding),
    )
    distillation = _distillation(distill, steps, augment, resume, seed)
    notices: list[str] = []
    with progress_bar() as progress:
        request = PruneRequest(
            model_path=model_path,
            calibration_path=calibration,
            evaluation_path=evaluation,
            out_dir=out,
            method=method,
            plans=tuple(read_plan(each) for each in plan or ()),
            options=options,
            precisions=_precisions(precision),
            floor=floor,
            distill=distillation,
            allow_overlap=allow_overlap,
            model=model,
            version=version,
            progress=progress,
            notice=notices.append,
        )
        ladder = run(request)
        if report is not None:
            _write_report(report, out, threads, progress)
    for each in notices:
        typer.echo(f"not as asked: {each}", err=True)
    typer.echo(ladder.model_dump_json(exclude_none=True)) if as_json else show_ladder(ladder)


def check_report(report: Path | None) -> None:
    """Refuse a place where no page can be written, before anything takes long.

    Raises:
        InputError: It is a folder.
    """
    if report is not None and report.is_dir():
        raise InputError(f"--report {report} is a folder: name a file in it")


def _write_report(
    report: Path, folder: Path, threads: int, progress: "Callable[[float, str], None]"
) -> None:
    from secateur_server.adapters.files import write_atomically
    from secateur_server.pruning.report.folder import page_of_folder

    text = page_of_folder(folder, threads=threads, progress=progress)
    write_atomically(report, text.encode())


def _word(known: type[Word], option: str, given: str) -> Word:
    if given not in list(known):
        raise InputError(f"--{option} {given!r} is none of {', '.join(known)}")
    return known(given)


def _distillation(
    samples: Path | None,
    steps: int | None,
    augment: str | None,
    state_dir: Path | None,
    seed: int,
) -> "DistillRequest | None":
    """Put together what is asked of the distillation."""
    from secateur_server.pruning.distillation.options import (
        DEFAULT_STEPS,
        DistillOptions,
        DistillRequest,
        parse_augmentation,
    )

    if samples is None:
        asked = {"--steps": steps, "--augment": augment, "--resume": state_dir}
        for name, value in asked.items():
            if value is not None:
                raise InputError(f"{name} says how to distill: give --distill too")
        return None
    options = DistillOptions(
        steps=DEFAULT_STEPS if steps is None else steps,
        augment=None if augment is None else parse_augmentation(augment),
        seed=seed,
    )
    options.check()
    return DistillRequest(samples_path=samples, options=options, state_dir=state_dir)


@contextmanager
def progress_bar(doing: str = "pruning") -> "Iterator[Callable[[float, str], None]]":
    """Show one step after the other on a terminal; on anything else, nothing."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(doing, total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what)


def _method(method: str | None, given: dict[str, Any]) -> tuple[str, float | None]:
    """Find out which method is meant, and its amount if that is a share or a threshold."""
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise InputError(f"--{asked[0]} and --{asked[1]} do not go together: give one")
    if method is None:
        method = _meant(asked[0]) if asked else "network"
    for name in asked:
        takes = AMOUNTS.get(method, (name,))
        if name not in takes:
            raise InputError(f"--method {method} takes --{' or --'.join(takes)}, not --{name}")
    is_number = bool(asked) and asked[0] not in {"budget", "count"}
    return method, given[asked[0]] if is_number else None


def _precisions(text: str | None) -> "frozenset[Precision]":
    from secateur_protocols.manifest import Precision

    words = [] if text is None else text.split(",")
    return frozenset(_word(Precision, "precision", word.strip()) for word in words)


def _meant(option: str) -> str:
    """Find the method that an amount belongs to; a ratio alone is one of channels."""
    methods = [name for name, takes in AMOUNTS.items() if takes[0] == option]
    if len(methods) > 1:
        raise InputError(f"--{option} belongs to {' and '.join(methods)}: give --method")
    return methods[0]


def show_ladder(ladder: "Ladder") -> None:
    """Print a ladder as a table."""
    from rich.console import Console
    from rich.table import Table

    first = ladder.levels[0]
    table = Table(
        *("level", "method", "MACs", "bytes", "compressed", "p50 ms", "accuracy"),
        title=f"{ladder.model} ladder",
    )
    for each in ladder.levels:
        table.add_row(
            str(each.level),
            each.method,
            f"{each.macs:,} ({each.macs / max(first.macs, 1):.0%})",
            f"{each.size_bytes:,}",
            f"{each.compressed_bytes or 0:,}",
            f"{each.latency.p50_ms:.4f}",
            _accuracy(each.accuracy),
        )
    Console().print(table)
    typer.echo(
        f"latency: {first.latency.engine}, {first.latency.machine}, "
        f"{first.latency.threads} thread, levels in turns; accuracy: "
        f"{first.accuracy.samples} samples, 95 % interval"
    )


def _accuracy(found: "Accuracy") -> str:
    text = f"{found.value:.4f} {found.metric}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:.3f}, {found.high:.3f}]"
