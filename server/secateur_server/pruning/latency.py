"""A table of what each operator takes at several widths, measured on this engine.

Multiply-accumulates mislead: engines compute channels in tiles, and small operators cost
what it costs to call them. So each operator is run alone, in its own precision, as it would
stand in networks that are narrowed evenly.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.alone import CannotRunError, as_stored, build_alone
from secateur_server.pruning.budget import GRID, Prices, operator_shares, rows_of
from secateur_server.pruning.channels import ChannelGroup, Channels
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.narrowing import everything, narrow
from secateur_server.pruning.teacher import Tick

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Widths at which operators are measured."""

ROUNDS = 5
"""Each width runs once per round; the fastest round counts: others only disturb."""

ROUND_S = 5e-4
"""How long one width of an operator runs in one round at least, seconds."""


def latency_prices(
    graph: Graph,
    channels: Channels,
    groups: Sequence[ChannelGroup],
    curves: Sequence[Curve],
    threads: int,
    tick: Tick,
) -> Prices:
    """Measure every operator at several widths.

    Args:
        graph: The dense network.
        channels: Its channels.
        groups: Those that are narrowed.
        curves: What widths each may have.
        threads: Of the engine.
        tick: Told how far it is.

    Returns:
        Seconds. An operator that does not run alone counts as free: it costs the same
        whatever leaves.
    """
    narrowed, sides = _at_shares(graph, channels, groups, curves)
    operators = [each for each in graph.operators if each.outputs]
    dense, tables = np.zeros(len(operators)), []
    known: dict[Any, npt.NDArray[np.float64]] = {}
    for row, operator in enumerate(operators):
        versions = [(each, each.operators[operator.index]) for each in narrowed]
        looks = tuple(_signature(*version) for version in versions)
        if looks not in known:
            known[looks] = _time([_alone(*version) for version in versions], threads)
        taken = known[looks]
        dense[row] = taken[0]
        tables.append(_tabulate(sides[:, row], taken))
        tick((row + 1) / len(operators))
    return Prices(rows_of(operators), dense, np.array(tables))


def operator_latencies(
    graphs: Sequence[Graph], threads: int, tick: Tick
) -> npt.NDArray[np.float64]:
    """Measure every operator alone, in each of several versions of a network in turns.

    Args:
        graphs: With the same operators, by number.
        threads: Of the engine.
        tick: Told how far it is.

    Returns:
        Seconds, [graphs, operators]; 0 where an operator does not run alone.
    """
    count = len(graphs[0].operators)
    found = np.zeros((len(graphs), count))
    known: dict[Any, npt.NDArray[np.float64]] = {}
    for index in range(count):
        versions = [(each, each.operators[index]) for each in graphs]
        looks = tuple(_signature(*version) for version in versions)
        if looks not in known:
            known[looks] = _time([_alone(*version) for version in versions], threads)
        found[:, index] = known[looks]
        tick((index + 1) / count)
    return found


def _at_shares(
    graph: Graph,
    channels: Channels,
    groups: Sequence[ChannelGroup],
    curves: Sequence[Curve],
) -> tuple[list[Graph], npt.NDArray[np.float64]]:
    """Narrow all groups evenly; give the networks, and each operator's side in each."""
    inputs, outputs = operator_shares(graph, channels, groups)
    narrowed, sides = [], []
    for share in SHARES:
        stays, kept = everything(channels), [1.0] * (len(groups) + 1)
        for k, (group, curve) in enumerate(zip(groups, curves, strict=True)):
            width = min(curve.widths, key=lambda each: abs(each - share * group.size))
            stays[group.channels[width:]] = False
            kept[k] = width / group.size
        narrowed.append(narrow(graph, channels, stays) if share < 1 else graph)
        sides.append(np.sqrt((inputs @ kept) * (outputs @ kept)))
    return narrowed, np.array(sides)


def _tabulate(
    sides: npt.NDArray[np.float64], taken_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bring measured shares onto the grid; below the narrowest, straight towards nothing."""
    grid = np.linspace(0.0, 1.0, GRID + 1)
    if taken_s[0] <= 0 or np.ptp(sides) == 0:
        return np.ones(GRID + 1)
    order = np.argsort(sides)
    # Slower when narrower is noise, or a tile cut badly: never a reason to stay wide.
    shares = np.maximum.accumulate(np.minimum(taken_s[order] / taken_s[0], 1.0))
    found: npt.NDArray[np.float64] = np.interp(
        grid, np.append(0.0, sides[order]), np.append(0.0, shares)
    )
    return found


def _signature(graph: Graph, operator: Operator) -> Any:  # noqa: ANN401 - any hashable
    shapes = tuple(
        (graph.tensors[k].shape, str(graph.tensors[k].dtype)) for k in operator.inputs if k >= 0
    )
    options = vars(operator.options).items() if operator.options is not None else ()
    said = tuple(sorted((name, np.asarray(value).tobytes()) for name, value in options))
    return operator.kind, shapes, said


def _time(models: Sequence[bytes | None], threads: int) -> npt.NDArray[np.float64]:
    """Give the seconds that each takes; 0 for all where one does not run."""
    runners = [_load(model, threads) for model in models]
    fastest = np.full(len(models), np.inf)
    if any(runner is None for runner in runners):
        return np.zeros(len(models))
    for _ in range(ROUNDS):
        for k, runner in enumerate(runners):
            fastest[k] = min(fastest[k], _run(runner))
    return fastest if np.isfinite(fastest).all() else np.zeros(len(models))


def _run(runner: Any) -> float:  # noqa: ANN401 - the engine has no types
    count, started = 0, time.perf_counter()
    while (taken_s := time.perf_counter() - started) < ROUND_S or count == 0:
        runner.invoke()
        count += 1
    return taken_s / count


def _load(model: bytes | None, threads: int) -> Any:  # noqa: ANN401 - the engine has no types
    if model is None:
        return None
    try:
        runner = Interpreter(model_content=model, num_threads=threads)
        runner.allocate_tensors()
        runner.invoke()
    except (ValueError, RuntimeError):
        return None
    return runner


def _alone(graph: Graph, operator: Operator) -> bytes | None:
    try:
        return build_alone(graph, operator, as_stored)
    except CannotRunError:
        return None
