"""The structured methods on real graphs: budgets are met, results run, chance is repeatable."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur_server.errors import NothingToDoError
from secateur_server.pruning import structured
from secateur_server.pruning.apply import apply
from secateur_server.pruning.bases import whole
from secateur_server.pruning.blocks import find_blocks, without
from secateur_server.pruning.budget import Budget, Resource, prices_of
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.divergence import Answer, agreement
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.layers import layer
from secateur_server.pruning.meeting import Met, answered_alike, choose, spending
from secateur_server.pruning.plan import staying
from secateur_server.pruning.precision import int8_twin
from secateur_server.pruning.search import Found, Proposal
from secateur_server.pruning.structured import channel, network
from secateur_server.pruning.task import Options, Pruned, Task
from secateur_server.pruning.work import Narrowing
from support import architectures
from support.quantized_twins import int8
from support.tiny_models import Network, run

WITH_BLOCKS = {
    "resnet": architectures.resnet,
    "mobilenet_v2": architectures.mobilenet_v2,
    "transformer": architectures.transformer,
}


def make_task(content: bytes, options: Options, count: int = 24) -> Task:
    source = Source(Path("model.tflite"), content)
    graph = read_graph(source.tree())
    random = np.random.default_rng(0)
    feeds = {}
    for tensor in (graph.tensors[k] for k in graph.inputs):
        rows = random.normal(size=(count, *tensor.shape)).astype(np.float32)
        feeds[tensor.index] = as_reals(tensor, rows)
    return Task(source=source, graph=graph, feeds=feeds, options=options)


def written(pruned: Pruned) -> bytes:
    tree = pruned.source.tree()
    apply(tree, pruned.before, pruned.after)
    return write_model(tree)


def answers(task: Task, content: bytes) -> list[np.ndarray]:
    return run(content, *(task.feeds[k][0] for k in task.graph.inputs))


def assert_runs(task: Task, several: Iterable[Pruned]) -> list[Pruned]:
    found = list(several)
    wanted = answers(task, task.source.content)
    for pruned in found:
        outputs = answers(task, written(pruned))
        assert [each.shape for each in outputs] == [each.shape for each in wanted]
        assert all(np.isfinite(each).all() for each in outputs)
    return found


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_any_block_can_be_taken_out(name: str) -> None:
    content = WITH_BLOCKS[name]()
    task = make_task(content, Options())
    blocks = find_blocks(task.graph)
    assert blocks
    for block in blocks:
        shorter = without(task.source, [block])
        graph = read_graph(shorter.tree())
        assert len(graph.operators) == len(task.graph.operators) - len(block.operators)
        assert total_macs(graph) < total_macs(task.graph)
        assert len(shorter.content) < len(content)
        outputs = answers(task, shorter.content)
        wanted = answers(task, content)
        assert [each.shape for each in outputs] == [each.shape for each in wanted]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_layers_leave_one_after_the_other(name: str) -> None:
    task = make_task(WITH_BLOCKS[name](), Options(levels=3, count=2))
    found = assert_runs(task, layer(task))
    macs = [total_macs(each.after) for each in found]
    assert macs == sorted(macs, reverse=True)
    assert macs[0] < total_macs(task.graph)


def test_a_level_without_one_of_its_blocks_has_an_int8_twin() -> None:
    task = make_task(WITH_BLOCKS["resnet"](), Options(levels=2, count=1))
    (pruned,) = layer(task)
    content = written(pruned)
    (wanted,), (found,) = (
        answers(task, each) for each in (content, int8_twin(content, task.feeds))
    )
    assert np.abs(wanted - found).max() < 0.3 * np.ptp(wanted)


@pytest.mark.parametrize("resource", [Resource.MACS, Resource.BYTES])
@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "inception", "unet"])
def test_a_budget_is_met(name: str, resource: Resource) -> None:
    options = Options(budget=Budget(resource, 0.6), levels=3, search=2)
    task = make_task(getattr(architectures, name)(), options)
    found = assert_runs(task, network(task))
    assert len(found) == 2
    if resource is Resource.MACS:
        shares = [total_macs(each.after) / total_macs(task.graph) for each in found]
        assert shares[0] <= 0.8 + 1e-6
        assert shares[1] <= 0.6 + 1e-6
    else:
        assert len(written(found[1])) < len(task.source.content)


def test_a_latency_budget_is_spread_by_what_operators_were_measured_to_take() -> None:
    options = Options(budget=Budget(Resource.LATENCY, 0.7), levels=2, search=2)
    task = make_task(architectures.resnet(), options)
    (pruned,) = assert_runs(task, network(task))
    assert total_macs(pruned.after) < total_macs(task.graph)


def test_a_quantized_network_stays_quantized() -> None:
    float_model = architectures.resnet()
    samples = [
        tuple(each[k] for each in make_task(float_model, Options()).feeds.values())
        for k in range(8)
    ]
    content = int8(float_model, *samples)
    task = make_task(content, Options(budget=Budget(Resource.MACS, 0.6), levels=2, search=2))
    (pruned,) = assert_runs(task, network(task))
    after = read_graph(Source(Path("pruned"), written(pruned)).tree())
    for index in task.graph.inputs:
        assert after.tensors[index].dtype == task.graph.tensors[index].dtype == np.int8


def test_the_same_seed_gives_the_same_network() -> None:
    content = architectures.mobilenet_v2()
    options = Options(budget=Budget(Resource.MACS, 0.5), levels=2, search=5, seed=3)
    one, other = (written(next(iter(network(make_task(content, options))))) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("method", [channel, network, layer])
def test_a_network_without_anything_to_take_says_so(method: object) -> None:
    task = make_task(architectures.nothing_to_prune(), Options())
    assert callable(method)
    with pytest.raises(NothingToDoError):
        list(method(task))


def test_windows_that_touch_without_overlapping_can_be_pruned() -> None:
    """As networks over signals have them: height 1, steps as long as the kernel."""
    random = np.random.default_rng(0)
    net = Network()
    x = net.input(1, 1, 64, 1)
    x = net.conv(x, random.normal(size=(16, 1, 4, 1)), stride=4, activation=1)
    x = net.conv(x, random.normal(size=(16, 1, 4, 16)), stride=4, activation=1)
    x = net.dense(
        net.op("RESHAPE", x, net.constant(np.array([1, 64], np.int32))),
        random.normal(size=(3, 64)),
    )
    task = make_task(net.finish(x), Options(levels=2, amount=0.5))
    [pruned] = assert_runs(task, channel(task))
    assert total_macs(pruned.after) < total_macs(pruned.before)


def test_answers_are_judged_on_samples_that_the_network_was_not_fitted_to() -> None:
    count, fitted_to = 24, 18
    task = make_task(architectures.resnet(), Options(), count)
    work = Narrowing(whole(task))
    half = tuple(group.size // 2 for group in work.groups)
    proposal = Proposal(half, (0,) * len(half))
    fitted = work.fit(proposal, samples=count, fitted_to=fitted_to)

    (tensor,) = task.graph.inputs
    other = {tensor: task.feeds[tensor].copy()}
    other[tensor][fitted_to:] = 100.0
    stays = staying(work.plan(proposal, ""), task.channels)
    same = whole(replace(task, feeds=other)).fit(stays, count, fitted_to).graph
    for one, another in zip(fitted.tensors, same.tensors, strict=True):
        np.testing.assert_array_equal(one.values, another.values)

    content = written(Pruned("", work.plan(proposal, ""), task.source, task.graph, fitted))
    rows = task.feeds[tensor][fitted_to:]
    wanted, found = (
        np.array([run(each, row)[0] for row in rows]) for each in (task.source.content, content)
    )
    alike = agreement([Answer.CLASS], [wanted], [found])
    assert answered_alike(work, proposal) == pytest.approx(alike)


def test_a_network_that_gives_only_labels_is_judged_by_what_they_are_told_from() -> None:
    net = architectures.Sketch(12)
    x = net.layer(net.input(1, 16, 16, 3), 12, stride=2)
    logits = net.dense(net.mean(net.layer(x, 16)), net.normal(5, 16))
    axis = net.constant(np.int32(-1))
    content = net.finish(net.op("ARG_MAX", logits, axis, outputType=2))
    work = Narrowing(whole(make_task(content, Options())))
    half = Proposal(tuple(group.size // 2 for group in work.groups), (0,) * len(work.groups))
    assert 0 < work.judge(half, 24) < 1


@pytest.mark.parametrize("is_distilled", [False, True])
def test_only_where_speed_counts_a_network_is_taken_that_is_not_the_closest(
    *, is_distilled: bool
) -> None:
    task = make_task(architectures.resnet(), Options(is_distilled=is_distilled))
    work = Narrowing(whole(task))
    full = tuple(group.size for group in work.groups)
    half = tuple(size // 2 for size in full)
    orders = (0,) * len(full)
    close = Met(work, Found(Proposal(full, orders), 1.0))
    fast = Met(work, Found(Proposal(half, orders), 1.05))
    macs = prices_of(task.graph, Resource.MACS)
    assert choose([close, fast], None) is close
    assert choose([close, fast], macs) is fast
    far = Met(work, Found(Proposal(half, orders), 1.5))
    assert choose([close, far], macs) is (far if is_distilled else close)


@pytest.mark.parametrize("slow", ["none", "one", "all"])
def test_groups_that_would_slow_the_engine_stay_whole_unless_all_would(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(architectures.resnet(), Options(levels=2, amount=0.5))
    full = tuple(group.size for group in Narrowing(whole(task)).groups)
    kept = {"none": 0, "one": 1, "all": len(full)}[slow]
    monkeypatch.setattr(
        structured, "_not_slower", lambda _, widths, __: ((*full[:kept], *widths[kept:]), kept)
    )
    [pruned] = assert_runs(task, channel(task))
    assert total_macs(pruned.after) < total_macs(pruned.before)
    assert pruned.rule.endswith(" whole=1") == (slow == "one")
    assert len(task.left_out) == (slow != "none")
    assert any("smaller, not faster" in why for why in task.left_out.values()) == (
        slow == "all"
    )


def test_what_uses_far_less_of_a_budget_than_it_may_is_a_last_resort() -> None:
    task = make_task(architectures.resnet(), Options(is_distilled=True))
    work = Narrowing(whole(task))
    full = tuple(group.size for group in work.groups)
    half = tuple(size // 2 for size in full)
    orders = (0,) * len(full)
    macs = prices_of(task.graph, Resource.MACS)
    wide = Met(work, Found(Proposal(full, orders), 1.0))
    narrow = Met(work, Found(Proposal(half, orders), 1.0))
    share = work.model(macs).cost(half)
    assert share < 0.5
    assert spending([wide, narrow], macs, Budget(Resource.MACS, 0.99)) == [wide]
    assert spending([wide, narrow], macs, Budget(Resource.MACS, share)) == [wide, narrow]
    assert spending([narrow], macs, Budget(Resource.MACS, 0.99)) == [narrow]
