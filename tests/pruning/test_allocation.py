"""Widths under a budget: met where they can be, and never worse than narrowing all alike."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.allocation import (
    Curve,
    UnreachableBudgetError,
    Widths,
    allocate,
    allowed_widths,
    uniform,
    worthwhile,
)
from secateur_server.pruning.budget import Resource, SumModel, prices_of
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.narrowing import everything, narrow
from secateur_server.pruning.search import Search
from secateur_server.pruning.selection import free_groups
from support.architectures import ARCHITECTURES
from support.slicing import follow
from support.tiny_models import Network


class Chain:
    """Layers one after the other: each costs its width times that of the one before."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes

    def cost(self, widths: Sequence[int]) -> float:
        return self._total(widths) / self._total(self._sizes)

    def _total(self, widths: Sequence[int]) -> float:
        return float(sum(a * b for a, b in zip([3, *widths], [*widths, 10], strict=True)))


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Curve], Chain]:
    sizes = draw(st.lists(st.sampled_from([4, 8, 16, 24, 32, 64, 100]), min_size=1, max_size=5))
    curves = []
    for size in sizes:
        widths = allowed_widths(size)
        steps = draw(
            st.lists(st.floats(0, 1), min_size=len(widths) - 1, max_size=len(widths) - 1)
        )
        losses = [sum(steps[k:]) for k in range(len(widths))]
        curves.append(Curve(widths, tuple(losses)))
    return curves, Chain(sizes)


def lost(curves: Sequence[Curve], widths: Widths) -> float:
    return sum(curve.loss(width) for curve, width in zip(curves, widths, strict=True))


@given(networks(), st.floats(0.02, 1.0))
def test_a_budget_is_met_by_allowed_widths_or_said_to_be_out_of_reach(
    network: tuple[list[Curve], Chain], budget: float
) -> None:
    curves, model = network
    narrowest = model.cost([curve.widths[0] for curve in curves])
    is_possible = narrowest <= budget
    try:
        widths = allocate(curves, model, budget, [1.0] * len(curves))
    except UnreachableBudgetError:
        widths = tuple(curve.widths[0] for curve in curves)
        budget = narrowest
        assert not is_possible
    assert model.cost(widths) <= budget
    assert all(width in curve.widths for width, curve in zip(widths, curves, strict=True))


@given(networks(), st.floats(0.02, 1.0))
def test_narrowing_all_alike_meets_the_budget_too(
    network: tuple[list[Curve], Chain], budget: float
) -> None:
    curves, model = network
    try:
        assert model.cost(uniform(curves, model, budget)) <= budget
    except UnreachableBudgetError:
        assert model.cost([curve.widths[0] for curve in curves]) > budget


@given(networks())
def test_a_whole_budget_takes_nothing_away(network: tuple[list[Curve], Chain]) -> None:
    curves, model = network
    full = tuple(curve.widths[-1] for curve in curves)
    assert allocate(curves, model, 1.0, [1.0] * len(curves)) == full


@given(networks(), st.floats(0.1, 1.0))
def test_no_single_widening_is_left_that_the_budget_allows(
    network: tuple[list[Curve], Chain], budget: float
) -> None:
    curves, model = network
    try:
        widths = allocate(curves, model, budget, [1.0] * len(curves))
    except UnreachableBudgetError:
        return
    for k, curve in enumerate(curves):
        at = curve.widths.index(widths[k])
        if at + 1 < len(curve.widths):
            wider = (*widths[:k], curve.widths[at + 1], *widths[k + 1 :])
            gain = lost(curves, widths) - lost(curves, wider)
            assert model.cost(wider) > budget or gain <= 1e-6 * lost(curves, widths)


@given(st.integers(2, 2000))
def test_widths_are_whole_tiles_or_all(size: int) -> None:
    widths = allowed_widths(size)
    assert widths[-1] == size
    assert list(widths) == sorted(set(widths))
    assert all(width % 4 == 0 for width in widths[:-1])


def test_a_group_that_is_missed_more_stays_wider() -> None:
    cheap = Curve((8, 16, 24, 32), (0.3, 0.2, 0.1, 0.0))
    dear = Curve((8, 16, 24, 32), (30.0, 20.0, 10.0, 0.0))
    first, second = allocate([cheap, dear], Chain([32, 32]), 0.6, [1.0, 1.0])
    assert first < second
    first, second = allocate([cheap, dear], Chain([32, 32]), 0.6, [1000.0, 1.0])
    assert first > second


def test_a_budget_that_nothing_meets_says_what_is_possible() -> None:
    with pytest.raises(UnreachableBudgetError) as caught:
        allocate([Curve((8, 16), (1.0, 0.0))], Chain([16]), 0.1, [1.0])
    assert caught.value.least == pytest.approx(0.5)


def test_widths_that_save_no_time_are_not_chosen_from() -> None:
    curve = Curve((8, 16, 24, 32), (0.3, 0.2, 0.1, 0.0))

    def in_tiles_of_16(group: int, widths: Sequence[int]) -> float:
        return float(-(-widths[group] // 16))

    (found,) = worthwhile([curve], in_tiles_of_16)
    assert found == Curve((16, 32), (0.2, 0.0))


def test_a_width_that_is_slower_than_a_wider_one_is_not_chosen_from() -> None:
    curve = Curve((48, 56, 64), (0.2, 0.1, 0.0))
    taken_us = {48: 4.4, 56: 5.4, 64: 4.6}
    (found,) = worthwhile([curve], lambda group, widths: taken_us[widths[group]])
    assert found.widths == (48, 64)


def test_where_no_width_saves_anything_the_budget_is_out_of_reach_and_nothing_leaves() -> None:
    class Flat:
        def cost(self, widths: Sequence[int]) -> float:
            return 1.0 - 0.0 * len(widths)

    with pytest.raises(UnreachableBudgetError) as caught:
        allocate([Curve((8, 16), (1.0, 0.0))], Flat(), 0.9, [1.0])
    assert caught.value.least == 1.0


def padded_shortcuts() -> bytes:
    """Residual blocks whose shortcut is padded to more channels, as in face detectors."""
    random = np.random.default_rng(0)
    net = Network()
    x = net.conv(net.input(1, 8, 8, 3), random.normal(size=(8, 3, 3, 3)), activation=1)
    for before, after in ((8, 12), (12, 20)):
        inner = net.conv(x, random.normal(size=(after, 1, 1, before)))
        more = np.array([[0, 0], [0, 0], [0, 0], [0, after - before]], np.int32)
        x = net.op("ADD", inner, net.op("PAD", x, net.constant(more)))
    return net.finish(net.conv(x, random.normal(size=(4, 1, 1, 20))))


@pytest.mark.parametrize("name", ["padded_shortcuts", *ARCHITECTURES])
def test_the_cost_of_widths_is_that_of_the_network_that_comes_of_them(name: str) -> None:
    build = padded_shortcuts if name == "padded_shortcuts" else ARCHITECTURES[name]
    graph, channels = follow(build())
    groups = free_groups(graph, channels)
    random = np.random.default_rng(1)
    orders = [random.permutation(group.size).tolist() for group in groups]
    model = SumModel(graph, channels, groups, prices_of(graph, Resource.MACS), orders)
    for share in (0.25, 0.5, 0.75):
        widths = [max(1, round(share * group.size)) for group in groups]
        stays = everything(channels)
        for group, width, order in zip(groups, widths, orders, strict=True):
            stays[group.channels[order[: group.size - width]]] = False
        found = total_macs(narrow(graph, channels, stays)) / max(total_macs(graph), 1)
        assert model.cost(widths) == pytest.approx(found)


def test_where_no_group_is_left_there_is_one_network_to_try() -> None:
    search = Search((), 3, lambda _proposal: 0.5, np.random.default_rng(0))
    found = search.meet(Chain([4]), 1.0, count=4)
    assert [each.proposal.widths for each in found] == [()]
    assert search.reorder((), 4).proposal.widths == ()
