"""Weight pruning: small weights become zero, shapes stay."""

from collections.abc import Callable, Iterator

import numpy as np

from secateur_server.errors import InputError, NothingToDoError
from secateur_server.pruning.graph import Array
from secateur_server.pruning.linear import layout, weights_of
from secateur_server.pruning.plan import WeightPlan
from secateur_server.pruning.task import Pruned, Task

MOST_ZEROS = 0.75
"""Share of the weights that become zero at the last level, where none is asked for."""

Threshold = Callable[[Array, float], float]
"""Gives the magnitude below which weights become zero."""


def absolute(task: Task) -> Iterator[Pruned]:
    """Zero every weight whose magnitude is below a threshold."""
    amount = _asked(task, "absolute")
    if not 0 < amount < np.inf:
        raise InputError("absolute takes a number above 0")
    return _prune(task, "absolute", amount, lambda _weights, threshold: threshold)


def relative(task: Task) -> Iterator[Pruned]:
    """Zero every weight below a share of its tensor's largest magnitude."""
    amount = task.options.share(_asked(task, "relative"), "relative")
    return _prune(
        task, "relative", amount, lambda weights, ratio: ratio * float(np.abs(weights).max())
    )


def magnitude(task: Task) -> Iterator[Pruned]:
    """Zero the smallest weights of each tensor, a given share of them."""
    return _prune(task, "magnitude", task.options.share(MOST_ZEROS, "magnitude"), _quantile)


def _asked(task: Task, method: str) -> float:
    if task.options.amount is None:
        raise InputError(f"--method {method} needs --threshold")
    return task.options.amount


def _quantile(weights: Array, sparsity: float) -> float:
    """Give the smallest magnitude that stays; of equal ones at the threshold all stay."""
    magnitudes = np.abs(weights)
    rank = min(round(sparsity * magnitudes.size), magnitudes.size - 1)
    return float(np.partition(magnitudes.ravel(), rank)[rank])


def _prune(task: Task, method: str, most: float, threshold: Threshold) -> Iterator[Pruned]:
    weights = {
        operator.index: held
        for operator in task.graph.operators
        if (held := weights_of(task.graph, operator)) is not None
    }
    if not weights:
        raise NothingToDoError(f"{task.source.path} has no weights")
    for amount in task.options.spread(most):
        pruned = task.graph
        thresholds: dict[int, float] = {}
        for index, held in weights.items():
            operator = task.graph.operators[index]
            tensor = task.graph.tensors[operator.inputs[layout(operator).weights]]
            thresholds[index] = threshold(held, amount)
            zeroed = np.where(np.abs(held) < thresholds[index], np.float32(0), held)
            pruned = pruned.with_values(tensor.index, zeroed, tensor.quantization)
        rule = f"{method} {amount:.4g}"
        plan = WeightPlan(rule=rule, thresholds=thresholds)
        yield Pruned(rule, plan, task.source, task.graph, pruned)
