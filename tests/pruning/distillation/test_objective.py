"""Outputs are compared as what they are."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.distillation.network import differentiable
from secateur_server.pruning.distillation.objective import (
    Head,
    HeadKind,
    agreement,
    divergence,
    find_heads,
)
from secateur_server.pruning.distillation.training import check
from secateur_server.pruning.graph import Graph, read_graph
from support.tiny_models import Network


def ending(kind: str, **options: Any) -> Graph:  # noqa: ANN401 - the schema's
    """Make a dense layer with an end."""
    network = Network()
    weights = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    dense = network.dense(network.input(1, 6), weights)
    axes = [network.constant(np.array(1, np.int32))] * (kind == "ARG_MAX")
    end = network.op(kind, dense, *axes, **options)
    content = network.finish(end)
    return read_graph(schema.ModelT.InitFromPackedBuf(content, 0))


@pytest.mark.parametrize(
    ("kind", "options", "head"),
    [
        ("SOFTMAX", {"beta": 0.5}, (HeadKind.CLASSES, 0.5)),
        ("LOG_SOFTMAX", {}, (HeadKind.CLASSES, 1.0)),
        ("LOGISTIC", {}, (HeadKind.CHANCES, 1.0)),
        ("ARG_MAX", {"outputType": 2}, (HeadKind.NUMBERS, 1.0)),
    ],
)
def test_an_output_is_compared_before_its_last_operator(
    kind: str, options: dict[str, Any], head: tuple[HeadKind, float]
) -> None:
    graph = ending(kind, **options)
    (found,) = find_heads(graph)
    assert found == Head(graph.operators[0].outputs[0], *head)
    check(graph)
    differentiable(graph, [found.tensor])


def test_any_other_output_is_compared_as_it_is() -> None:
    graph = ending("TANH")
    assert find_heads(graph) == (Head(graph.outputs[0], HeadKind.NUMBERS),)


numbers = st.lists(st.floats(-9, 9, width=32), min_size=8, max_size=8)


@given(kind=st.sampled_from(HeadKind), some=numbers, others=numbers)
def test_nothing_diverges_from_itself_and_from_others_never_by_less_than_nothing(
    kind: HeadKind, some: list[float], others: list[float]
) -> None:
    head = Head(0, kind)
    one, two = (jnp.asarray(each, jnp.float32).reshape(2, 1, 4) for each in (some, others))
    np.testing.assert_allclose(divergence(head, one, one, 1.0), 0, atol=1e-5)
    np.testing.assert_allclose(agreement(head, one, one, 1.0), 1)
    assert np.all(np.asarray(divergence(head, one, two, 1.0)) >= -1e-5)
    assert np.all(np.asarray(agreement(head, one, two, 1.0)) <= 1)


def test_the_divergence_of_two_coins_is_that_of_the_textbook() -> None:
    logits = jnp.log(jnp.array([[[0.5, 0.5]]])), jnp.log(jnp.array([[[0.25, 0.75]]]))
    textbook = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    classes = divergence(Head(0, HeadKind.CLASSES), *logits, 1.0)
    np.testing.assert_allclose(classes, textbook, rtol=1e-4)
    chances = jnp.zeros((1, 1)), jnp.log(jnp.array([[1 / 3]]))
    np.testing.assert_allclose(
        divergence(Head(0, HeadKind.CHANCES), *chances, 1.0), textbook, rtol=1e-4
    )
