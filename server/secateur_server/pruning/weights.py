"""Weight pruning: weights become zero, shapes stay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from secateur_server.errors import InputError, NothingToDoError
from secateur_server.pruning.execution import Values, live_bytes
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.saliency import Saliency
from secateur_server.pruning.sparse.eligibility import assess
from secateur_server.pruning.sparse.rewrites import Rewriting, rewrite_for_sparse
from secateur_server.pruning.sparse.stem import repair_stem
from secateur_server.pruning.task import MAX_ACTIVATION_BYTES, Pruned, Task
from secateur_server.pruning.weight.correction import removal_losses
from secateur_server.pruning.weight.cut import TensorCut, WeightPlan
from secateur_server.pruning.weight.layer import Layer, find_layers
from secateur_server.pruning.weight.pruning import (
    carry_out,
    cut_below,
    cut_least_missed,
    cut_relatively,
)

MOST_ZEROS = 0.75
"""Share of the weights that become zero at the last level, where none is asked for."""

SPARSE_ZEROS = 0.85
"""The same of the weights in which sparse kernels skip zeros: two thirds do not suffice."""

Cutter = Callable[[float], tuple[TensorCut, ...]]
"""Says which weights become zero, for an amount."""


def absolute(task: Task) -> Iterator[Pruned]:
    """Zero every weight whose magnitude is below a threshold."""
    amount = _asked(task, "absolute")
    if not 0 < amount < np.inf:
        raise InputError("absolute takes a number above 0")
    work = _Work.begin(task)
    return work.levels("absolute", amount, lambda each: cut_below(work.layers, each))


def relative(task: Task) -> Iterator[Pruned]:
    """Zero every weight below a share of its tensor's largest magnitude."""
    amount = task.options.share(_asked(task, "relative"), "relative")
    work = _Work.begin(task)
    return work.levels("relative", amount, lambda each: cut_relatively(work.layers, each))


def magnitude(task: Task) -> Iterator[Pruned]:
    """Zero a given share of the weights, those that are missed least.

    These are the smallest; or, with a correction and the saliency ``obs``, those without
    which the outputs change least once the others make up for them.
    """
    options = task.options
    is_sparse = options.rewrite is not Rewriting.NONE
    amount = options.share(SPARSE_ZEROS if is_sparse else MOST_ZEROS, "magnitude")
    work = _Work.begin(task)
    losses = {}
    words = f"magnitude scope={options.scope}"
    if options.correct and options.saliency is Saliency.OBS:
        words += " saliency=obs"
        tick = lambda share: task.progress(share, "weighing every weight")  # noqa: E731
        losses = removal_losses(work.graph, work.layers, work.feeds, tick)
    return work.levels(
        words,
        amount,
        lambda each: cut_least_missed(work.layers, losses, each, options.scope),
    )


def replay(task: Task, plan: WeightPlan) -> Pruned:
    """Make the network that a plan describes, from the model it was made for.

    Raises:
        InputError: The plan was made for another model.
    """
    options = replace(task.options, rewrite=plan.rewrite, correct=plan.corrected)
    return _Work.begin(replace(task, options=options)).carry_out(plan)


def _asked(task: Task, method: str) -> float:
    if task.options.amount is None:
        raise InputError(f"--method {method} needs --threshold")
    return task.options.amount


@dataclass(frozen=True, slots=True)
class _Work:
    """What all levels of one ladder share.

    Attributes:
        source: The model, rewritten if that is asked for.
        before: Its network as in ``source``.
        graph: The same; with a repaired stem if it has a shifted one.
        layers: Those whose weights may leave.
        feeds: As many samples as fit into memory, by input tensor.
    """

    task: Task
    source: Source
    before: Graph
    graph: Graph
    layers: Sequence[Layer]
    feeds: Mapping[int, Values]

    @classmethod
    def begin(cls, task: Task) -> "_Work":
        """Rewrite the model if asked, and find what may be pruned."""
        rewriting = task.options.rewrite
        most = max(1, MAX_ACTIVATION_BYTES // (2 * live_bytes(task.graph)))
        feeds = {tensor: values[:most] for tensor, values in task.feeds.items()}
        source, before, layers = task.source, task.graph, find_layers(task.graph)
        if not layers:
            raise NothingToDoError(f"{source.path} has no weights")
        if rewriting is Rewriting.NONE:
            return cls(task, source, before, before, layers, feeds)
        source, before = _rewritten(source, rewriting)
        graph = before
        if rewriting is Rewriting.SPARSE_STEM and task.options.correct:
            graph = repair_stem(task.graph, before, feeds)
        pointwise = assess(graph).pointwise
        layers = [each for each in find_layers(graph) if each.operator.index in pointwise]
        return cls(task, source, before, graph, layers, feeds)

    def levels(self, words: str, most: float, cutter: Cutter) -> Iterator[Pruned]:
        """Make a plan for each amount, and carry it out."""
        options = self.task.options
        for amount in options.spread(most):
            cuts = cutter(amount)
            spared = sum(bool(each.spared) for each in cuts)
            details = [
                f"{words} {amount:.4g}",
                *(["corrected"] if options.correct else []),
                *([f"rewrite={options.rewrite}"] if options.rewrite != Rewriting.NONE else []),
                *([f"{spared} tensors spared"] if spared else []),
            ]
            plan = WeightPlan(
                rule=" ".join(details),
                rewrite=options.rewrite,
                corrected=options.correct,
                cuts=cuts,
            )
            yield self.carry_out(plan)

    def carry_out(self, plan: WeightPlan) -> Pruned:
        """Make the network that a plan describes."""
        tick = lambda share: self.task.progress(share, f"pruning: {plan.rule}")  # noqa: E731
        after = carry_out(self.graph, self.layers, plan, self.feeds, tick)
        return Pruned(
            plan.rule,
            plan,
            self.source,
            self.before,
            after,
            storing=self.task.options.storing,
        )


def _rewritten(source: Source, rewriting: Rewriting) -> tuple[Source, Graph]:
    """Rewrite a model until XNNPACK's sparse kernels can take it.

    Raises:
        InputError: They cannot; says what is in the way.
    """
    tree = source.tree()
    rewrite_for_sparse(tree, with_stem=rewriting is Rewriting.SPARSE_STEM)
    found = assess(read_graph(tree))
    if not found.is_possible:
        why = "it has no 1x1 convolution that they take"
        if found.pointwise:
            first = found.obstacles[0]
            way = ": --rewrite sparse-stem helps, not exactly" if first.rewrite else ""
            why = f"{first.kind} #{first.operator}: {first.reason}{way}"
        raise InputError(f"--rewrite: sparse kernels cannot take {source.path}: {why}")
    content = write_model(tree)
    rewritten = replace(source, content=content)
    return rewritten, read_graph(rewritten.tree())
