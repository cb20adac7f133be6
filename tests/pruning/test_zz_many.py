"""What holds of every network: a plan applied is channels masked, and the model always runs."""

from pathlib import Path

import numpy as np
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from secateur_server.pruning.channels import Channels
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.narrowing import Stays, everything, narrow
from secateur_server.pruning.trial import try_model
from support.generated_networks import CHANNELS, SIDE, Generated, networks
from support.quantized_twins import int8
from support.slicing import assert_alike, follow, mask, write
from support.tiny_models import Array, run

PATH = Path("generated.tflite")
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""All but the slow one that explains."""


def draw_stays(data: st.DataObject, channels: Channels) -> Stays:
    """Let any of the channels that may leave do so, but for one of each group."""
    stays = everything(channels)
    for group in channels.groups:
        if not group.frozen:
            kept = data.draw(st.integers(0, group.size - 1))
            leaving = data.draw(
                st.lists(st.booleans(), min_size=group.size, max_size=group.size)
            )
            leaving[kept] = False
            stays[group.channels[np.array(leaving)]] = False
    return stays


def sample(seed: int) -> Array:
    random = np.random.default_rng(seed)
    return random.normal(size=(1, SIDE, SIDE, CHANNELS)).astype(np.float32)


def assert_runs_as_written(content: bytes) -> Graph:
    """The engine runs it, and every shape that it finds is the one in the file."""
    verdict = try_model(PATH, content)
    assert (verdict.damage, verdict.refusal) == ("", "")
    assert verdict.shapes == {}
    return follow(content)[0]


@given(networks(), st.data())
@settings(max_examples=1500, phases=PHASES)
def test_a_plan_applied_is_channels_masked(network: Generated, data: st.DataObject) -> None:
    content = network.content
    graph, channels = follow(content)
    assert not channels.frozen
    stays = draw_stays(data, channels)
    pruned = write(content, graph, narrow(graph, channels, stays))
    dropped = write(content, graph, mask(graph, channels, stays))
    written = assert_runs_as_written(pruned)
    assert [each.shape for each in written.tensors][: len(graph.tensors)] == [
        each.shape for each in narrow(graph, channels, stays).tensors
    ][: len(graph.tensors)]
    assert_alike(run(pruned, sample(1)), run(dropped, sample(1)), 1e-5)


@given(networks(), st.data())
@settings(max_examples=500, phases=PHASES)
def test_codes_of_a_quantized_network_are_sliced_the_same_way(
    network: Generated, data: st.DataObject
) -> None:
    twin = int8(network.content, *((sample(k),) for k in range(4)))
    assume(not try_model(PATH, twin).refusal)  # an engine has no kernel for some codes
    graph, channels = follow(twin)
    stays = draw_stays(data, channels)
    pruned = write(twin, graph, narrow(graph, channels, stays))
    dropped = write(twin, graph, mask(graph, channels, stays))
    assert_runs_as_written(pruned)
    assert_alike(run(pruned, sample(1)), run(dropped, sample(1)), 1e-5)


@given(networks())
@settings(max_examples=500, phases=PHASES)
def test_taking_nothing_away_changes_nothing(network: Generated) -> None:
    content = network.content
    graph, channels = follow(content)
    same = write(content, graph, narrow(graph, channels, everything(channels)))
    again = write(same, *(follow(same)[0],) * 2)
    assert same == again
    before, after = run(content, sample(2)), run(same, sample(2))
    assert [each.tobytes() for each in before] == [each.tobytes() for each in after]


@given(networks(), st.data())
@settings(max_examples=500, phases=PHASES)
def test_what_was_pruned_can_be_pruned_again(network: Generated, data: st.DataObject) -> None:
    content = network.content
    for _ in range(2):
        graph, channels = follow(content)
        stays = draw_stays(data, channels)
        pruned = write(content, graph, narrow(graph, channels, stays))
        assert pruned == write(content, graph, narrow(graph, channels, stays))
        dropped = write(content, graph, mask(graph, channels, stays))
        assert_alike(run(pruned, sample(1)), run(dropped, sample(1)), 1e-5)
        content = pruned
