"""A table of what each operator takes at several widths, measured on this engine.

Multiply-accumulates mislead: engines compute channels in tiles, and small operators cost
what it costs to call them. So each operator is run alone, in its own precision, as it would
stand in networks that are narrowed evenly.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from secateur_server.pruning.alone import CannotRunError, as_stored, build_alone
from secateur_server.pruning.budget import Prices, Shares, operator_shares, rows_of
from secateur_server.pruning.channels import ChannelGroup, Channels
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.narrowing import everything, narrow
from secateur_server.pruning.teacher import Tick

SHARES = (0.125, 0.25, 0.5, 0.75, 0.875, 1.0)
"""Widths at which operators are measured: of inputs and of outputs."""

ROUNDS = 4
"""Each width runs once per round; the fastest round counts: others only disturb."""

MOST = 1.5
"""Slower when narrower happens, where tiles are cut badly; more than this is noise."""

ROUND_S = 4e-4
"""How long one width of an operator runs in one round at least, seconds."""


def latency_prices(
    graph: Graph,
    channels: Channels,
    groups: Sequence[ChannelGroup],
    threads: int,
    tick: Tick,
    shares: Sequence[float] = SHARES,
) -> Prices:
    """Measure every operator at several widths of its inputs and of its outputs.

    Args:
        graph: The dense network.
        channels: Its channels.
        groups: Those that are narrowed.
        threads: Of the engine.
        tick: Told how far it is.
        shares: The widths, ascending to 1.

    Returns:
        Seconds. An operator that does not run alone counts as free: it costs the same
        whatever leaves.
    """
    operators = [each for each in graph.operators if each.outputs]
    inputs, outputs = operator_shares(graph, channels, groups)
    narrowing = _Narrowing(graph, channels, groups, inputs, outputs)
    dense = np.zeros(len(operators))
    tables = np.ones((len(operators), len(shares), len(shares)))
    known: dict[Any, float] = {}
    for row, operator in enumerate(operators):
        versions = [
            narrowing.at(row, operator, read, made) for read in shares for made in shares
        ]
        taken_s = _time_known(versions, operator.index, threads, known)
        dense[row] = taken_s[-1]
        if taken_s.all():
            ratios = np.minimum(taken_s / dense[row], MOST)
            tables[row] = ratios.reshape(tables[row].shape)
        tick((row + 1) / len(operators))
    return Prices(rows_of(operators), dense, np.array(shares), tables)


def _time_known(
    versions: Sequence[Graph], index: int, threads: int, known: dict[Any, float]
) -> npt.NDArray[np.float64]:
    """Time one operator of several networks, those that look alike once."""
    looks = [_signature(each, each.operators[index]) for each in versions]
    new = {
        look: _alone(each, each.operators[index])
        for look, each in zip(looks, versions, strict=True)
        if look not in known
    }
    known.update(zip(new, time_models([*new.values()], threads).tolist(), strict=True))
    return np.array([known[look] for look in looks])


class _Narrowing:
    """Narrows one operator's inputs and outputs apart, where they are of different groups."""

    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        groups: Sequence[ChannelGroup],
        inputs: Shares,
        outputs: Shares,
    ) -> None:
        self._graph, self._channels, self._groups = graph, channels, groups
        self._inputs, self._outputs = inputs[:, :-1], outputs[:, :-1]
        # A tensor without a storage has no channels: it costs nothing to narrow.
        self._idle = tuple(replace(each, storage=-1, values=None) for each in graph.tensors)

    def at(self, row: int, operator: Operator, read: float, made: float) -> Graph:
        """Give a graph in which the operator has such shares of its inputs and outputs.

        Of a group that it both reads and makes, the share that it makes is left.
        """
        stays = everything(self._channels)
        for k, group in enumerate(self._groups):
            share = made if self._outputs[row, k] > 0 else read
            stays[group.channels[max(1, round(share * group.size)) :]] = False
        used = {each for each in (*operator.inputs, *operator.outputs) if each >= 0}
        used |= {self._graph.tensors[each].storage for each in used}
        tensors = tuple(
            each if each.index in used else idle
            for each, idle in zip(self._graph.tensors, self._idle, strict=True)
        )
        return narrow(replace(self._graph, tensors=tensors), self._channels, stays)


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
            known[looks] = time_models([_alone(*version) for version in versions], threads)
        found[:, index] = known[looks]
        tick((index + 1) / count)
    return found


def _signature(graph: Graph, operator: Operator) -> Any:  # noqa: ANN401 - any hashable
    shapes = tuple(
        (graph.tensors[k].shape, str(graph.tensors[k].dtype)) for k in operator.inputs if k >= 0
    )
    options = vars(operator.options).items() if operator.options is not None else ()
    said = tuple(sorted((name, np.asarray(value).tobytes()) for name, value in options))
    return operator.kind, shapes, said


def time_models(
    models: Sequence[bytes | None], threads: int, rounds: int = ROUNDS
) -> npt.NDArray[np.float64]:
    """Give the seconds that each takes, in turns; 0 for all where one does not run."""
    runners = [_load(model, threads) for model in models]
    fastest = np.full(len(models), np.inf)
    if any(runner is None for runner in runners):
        return np.zeros(len(models))
    for _ in range(rounds):
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
