"""The structured methods on real graphs: budgets are met, results run, chance is repeatable."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from secateur_server.errors import NothingToDoError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.blocks import find_blocks, without
from secateur_server.pruning.budget import Budget, Resource
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.layers import layer
from secateur_server.pruning.structured import channel, network
from secateur_server.pruning.task import Options, Pruned, Task
from support import architectures
from support.quantized_twins import int8
from support.tiny_models import run

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
