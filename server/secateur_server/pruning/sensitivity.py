"""How much each group of channels is missed: a curve of what is lost at each width."""

from pathlib import Path

from secateur_server.pruning.allocation import Curve, allowed_widths, curve_of
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.saliency import Saliency
from secateur_server.pruning.samples import read_samples
from secateur_server.pruning.selection import free_groups, rank_group
from secateur_server.pruning.task import Options, Progress, Task

SAMPLES = 256
"""Of the calibration set; more hardly move a ranking."""

Curves = dict[int, Curve]
"""By group key."""


def sensitivity(
    source: Source, graph: Graph, calibration_path: Path, progress: Progress
) -> tuple[Curves, int]:
    """Rank the channels of every free group and add up what their absence loses.

    The loss is the share of its consumers' output that is lost when these make up for the
    missing channels by least squares, added up over the consumers, each group alone.

    Returns:
        The curves, and how many samples they are from.

    Raises:
        InputError: The samples cannot be used.
    """
    inputs = [graph.tensors[k] for k in graph.inputs]
    samples = read_samples(calibration_path, inputs)
    used = min(SAMPLES, len(samples))
    feeds = {
        tensor.index: as_reals(tensor, rows[:used])
        for tensor, rows in zip(inputs, samples.inputs, strict=True)
    }
    task = Task(source=source, graph=graph, feeds=feeds, options=Options(), progress=progress)
    groups = free_groups(graph, task.channels)
    curves: Curves = {}
    for k, group in enumerate(groups):
        progress(k / len(groups), f"ranking {group.name}")
        ranking = rank_group(graph, task.channels, group, task.teacher.moments, Saliency.OBS)
        curves[group.key] = curve_of(group, ranking, allowed_widths(group.size))
    return curves, task.teacher.samples if groups else used
