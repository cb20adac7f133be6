"""From a rule to a plan, and from a plan to a network: the same plan, the same network."""

from collections.abc import Sequence

from secateur_server.errors import InputError
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.weight.choice import (
    Scope,
    Scores,
    above,
    least_missed,
    magnitude_scores,
    relative_threshold,
)
from secateur_server.pruning.weight.correction import Feeds, Tick, correct, zeroed
from secateur_server.pruning.weight.cut import TensorCut, WeightPlan, describe, staying
from secateur_server.pruning.weight.layer import Layer


def cut_below(layers: Sequence[Layer], threshold: float) -> tuple[TensorCut, ...]:
    """Take every weight whose magnitude is below a threshold."""
    return tuple(describe(each, *above(each, threshold)) for each in layers)


def cut_relatively(layers: Sequence[Layer], share: float) -> tuple[TensorCut, ...]:
    """Take every weight below a share of its tensor's largest magnitude."""
    return tuple(
        describe(each, *above(each, relative_threshold(each, share))) for each in layers
    )


def cut_least_missed(
    layers: Sequence[Layer], losses: Scores, sparsity: float, scope: Scope
) -> tuple[TensorCut, ...]:
    """Take a share of the weights, those that are missed least.

    Args:
        layers: All that are to be pruned.
        losses: What removing each weight costs, by operator. The weights of operators that
            are not in it are taken by magnitude, the same share of each tensor.
        sparsity: Share of the weights that become zero.
        scope: Of each tensor, or of all together.
    """
    mine = {each.operator.index for each in layers}
    known = {index: each for index, each in losses.items() if index in mine}
    others = [each for each in layers if each.operator.index not in known]
    apart = Scope.LAYER if known else scope
    ranked = {
        **least_missed(known, sparsity, scope),
        **least_missed(magnitude_scores(others, apart), sparsity, apart),
    }
    return tuple(describe(each, ranked[each.operator.index]) for each in layers)


def carry_out(
    graph: Graph,
    layers: Sequence[Layer],
    plan: WeightPlan,
    feeds: Feeds,
    tick: Tick = lambda _share: None,
) -> Graph:
    """Make the network that a plan describes.

    Args:
        graph: What the plan was made for, rewritten already if the plan says so.
        layers: Of it; those that the plan does not name stay as they are.
        plan: What becomes zero.
        feeds: The calibration set; looked at only by a plan with a correction.
        tick: Told how far it is.

    Raises:
        InputError: The plan was made for another model.
    """
    by_operator = {each.operator.index: each for each in layers}
    keeps = {}
    for cut in plan.cuts:
        if cut.operator not in by_operator:
            raise InputError(f"the plan prunes operator #{cut.operator}, which has no weights")
        keeps[cut.operator] = staying(cut, by_operator[cut.operator])
    chosen = [each for each in layers if each.operator.index in keeps]
    if plan.corrected:
        return correct(graph, chosen, keeps, feeds, tick)
    return zeroed(graph, chosen, keeps)
