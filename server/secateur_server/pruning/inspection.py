"""Gathers the facts about a model: reads it, follows its channels, and runs it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur_server.pruning import measurement
from secateur_server.pruning.allocation import allowed_widths
from secateur_server.pruning.channels import ChannelGroup, Channels, Ids, find_channels
from secateur_server.pruning.cost import macs, parameters, total_macs, total_parameters
from secateur_server.pruning.execution import live_bytes
from secateur_server.pruning.facts import (
    Facts,
    GroupFacts,
    NotFollowed,
    OperatorFacts,
    Reach,
    Shape,
    Timing,
)
from secateur_server.pruning.flatbuffer import Source, read_model
from secateur_server.pruning.graph import Graph, Operator, read_graph
from secateur_server.pruning.latency import operator_latencies
from secateur_server.pruning.linear import (
    feature_units,
    is_linear,
    output_units,
    weights_of,
)
from secateur_server.pruning.memory import peak_memory_bytes
from secateur_server.pruning.narrowing import everything, narrow
from secateur_server.pruning.pruner import precision_of
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.selection import free_groups
from secateur_server.pruning.sensitivity import Curves, sensitivity
from secateur_server.pruning.sharing import one_thread_each
from secateur_server.pruning.sparse.storage import densified
from secateur_server.pruning.task import Progress
from secateur_server.pruning.teacher import Tick
from secateur_server.pruning.zeros import sparse_kernels, travel

SHARES = (0.5, 0.25)
"""Of every free group's channels: what is left then is told. Latency is measured there."""

OTHERS = "what it reads and makes is held by others"


def inspect_model(
    path: Path,
    *,
    calibration_path: Path | None = None,
    threads: int = 1,
    progress: Progress = lambda _share, _what: None,
) -> Facts:
    """Gather what there is to know of a model.

    Args:
        path: A ``.tflite`` file.
        calibration_path: An ``.npz``; with it, each group's curve of losses.
        threads: Of the engine, where latency is measured.
        progress: Told how far it is.

    Raises:
        InputError: No ``.tflite`` file, or a damaged one; samples that do not fit it. One
            that the engine refuses is described without measurements.
    """
    given = read_model(path, must_run=False)
    source, _ = densified(given)
    tree = source.tree()
    graph = read_graph(tree)
    channels = find_channels(graph, RULES)
    versions = [graph, *_narrowed(graph, channels)]
    taken_s, timing, memory = np.zeros((len(versions), len(graph.operators))), None, None
    if not source.refusal:
        tick = _named(progress, "timing the operators")
        taken_s = operator_latencies(versions, threads, tick)
        timing = _timing(given, threads, progress)
        progress(0.0, "measuring memory")
        memory = peak_memory_bytes(given.content)
    curves: Curves = {}
    samples = 0
    if calibration_path is not None:
        with one_thread_each():
            curves, samples = sensitivity(source, graph, calibration_path, progress)
    operators = _operators(versions, channels, taken_s[0])
    return Facts(
        name=path.name,
        bytes=len(given.content),
        macs=total_macs(graph),
        parameters=total_parameters(graph),
        precision=precision_of(graph).value,
        subgraphs=len(tree.subgraphs),
        operators=operators,
        groups=tuple(_groups(graph, channels, operators, curves)),
        not_followed=tuple(
            NotFollowed(operator=each.operator, index=each.index, reason=each.reason)
            for each in channels.frozen
        ),
        refusal=source.refusal,
        timing=timing,
        peak_memory_bytes=memory,
        activation_bytes=live_bytes(graph),
        travel=None if source.refusal else travel(given, source, graph),
        sparse_kernels=sparse_kernels(graph),
        calibration_samples=samples,
        reach=tuple(_reach(versions, taken_s)),
    )


def _narrowed(graph: Graph, channels: Channels) -> list[Graph]:
    """Narrow all free groups evenly, once for each share; none, where nothing may leave."""
    groups = free_groups(graph, channels)
    versions = []
    for share in SHARES if groups else ():
        stays = everything(channels)
        for group in groups:
            widths = allowed_widths(group.size)
            width = min(widths[:-1] or (1,), key=lambda each: abs(each - share * group.size))
            stays[group.channels[width:]] = False
        versions.append(narrow(graph, channels, stays))
    return versions


def _named(progress: Progress, what: str) -> Tick:
    return lambda share: progress(share, what)


def _timing(source: Source, threads: int, progress: Progress) -> Timing:
    """Time the whole network on zeros."""
    runner = measurement.load(source.content, threads)
    zeros = [
        np.zeros(detail["shape"], detail["dtype"])
        for detail in runner.interpreter.get_input_details()
    ]
    tick = _named(progress, "timing the network")
    (found,) = measurement.latencies([runner], zeros, tick)
    return Timing(
        engine=found.engine,
        machine=found.machine,
        threads=threads,
        p50_ms=found.p50_ms,
        p95_ms=found.p95_ms,
    )


def _operators(
    versions: Sequence[Graph], channels: Channels, taken_s: npt.NDArray[np.float64]
) -> tuple[OperatorFacts, ...]:
    graph, narrowest = versions[0], versions[-1]
    reasons = {group.key: group.frozen for group in channels.groups}
    counted: set[int] = set()
    found = []
    for operator in graph.operators:
        computed = graph.computed(operator)
        can_shrink = _shapes(graph, operator) != _shapes(narrowest, operator)
        is_held = weights_of(graph, operator) is not None and not can_shrink
        why = next((reasons[k] for k in operator.outputs if reasons.get(k)), OTHERS)
        measured_ms = float(taken_s[operator.index]) * 1e3
        found.append(
            OperatorFacts(
                index=operator.index,
                kind=operator.kind,
                input=graph.tensors[computed[0]].shape if computed else (),
                output=graph.tensors[operator.outputs[0]].shape if operator.outputs else (),
                macs=macs(graph, operator),
                parameters=parameters(graph, operator),
                bytes=_constant_bytes(graph, operator, counted),
                latency_ms=measured_ms or None,
                can_shrink=can_shrink,
                held_by=why if is_held else "",
            )
        )
    return tuple(found)


def _shapes(graph: Graph, operator: Operator) -> list[Shape]:
    return [graph.tensors[k].shape for k in (*operator.inputs, *operator.outputs) if k >= 0]


def _constant_bytes(graph: Graph, operator: Operator, counted: set[int]) -> int:
    """Add up the constants that no operator before has counted."""
    total = 0
    for index in operator.inputs:
        storage = graph.tensors[index].storage if index >= 0 else -1
        if storage < 0 or storage in counted or graph.values(index) is None:
            continue
        counted.add(storage)
        held = graph.tensors[storage]
        total += int(np.prod(held.shape)) * (held.dtype.itemsize if held.dtype else 0)
    return total


def _groups(
    graph: Graph, channels: Channels, operators: Sequence[OperatorFacts], curves: Curves
) -> Iterator[GroupFacts]:
    free = {group.key for group in free_groups(graph, channels)}
    linear = [operator for operator in graph.operators if is_linear(graph, operator)]
    made = [(each.index, output_units(graph, channels, each)) for each in linear]
    read = [(each.index, feature_units(graph, channels, each)) for each in linear]
    for group in channels.groups:
        producers = tuple(index for index, units in made if _touches(group, units))
        consumers = tuple(index for index, units in read if _touches(group, units))
        touched = [operators[k] for k in {*producers, *consumers}]
        timed = [each.latency_ms for each in touched if each.latency_ms is not None]
        yield GroupFacts(
            name=group.name,
            size=group.size,
            producers=producers,
            consumers=consumers,
            is_free=group.key in free,
            frozen=group.frozen,
            macs=sum(each.macs for each in touched),
            latency_ms=sum(timed) if timed else None,
            curve=curves.get(group.key),
        )


def _touches(group: ChannelGroup, units: Ids) -> bool:
    return not group.frozen and bool(np.isin(units, group.channels).any())


def _reach(versions: Sequence[Graph], taken_s: npt.NDArray[np.float64]) -> Iterator[Reach]:
    dense, *narrowed = versions
    for k, (share, graph) in enumerate(zip(SHARES, narrowed, strict=False), start=1):
        yield Reach(
            share=share,
            macs_ratio=total_macs(graph) / max(total_macs(dense), 1),
            bytes_ratio=_all_bytes(graph) / max(_all_bytes(dense), 1),
            latency_ratio=float(taken_s[k].sum() / taken_s[0].sum())
            if taken_s[0].any()
            else None,
        )


def _all_bytes(graph: Graph) -> int:
    counted: set[int] = set()
    return sum(_constant_bytes(graph, operator, counted) for operator in graph.operators)
