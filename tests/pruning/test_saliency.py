"""The order in which channels leave."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.saliency import DAMPING, Consumer, Matrix, removal_order


def make_consumer(seed: int, channels: int, positions: int) -> Consumer:
    random = np.random.default_rng(seed)
    features = channels * positions
    inputs = random.normal(size=(4 * features, features)) @ random.normal(
        size=(features, features)
    )
    return Consumer(
        moments=inputs.T @ inputs,
        weights=random.normal(size=(features, 3)),
        channels=np.tile(np.arange(channels), positions),
    )


def error_without(consumer: Consumer, gone: int) -> float:
    """Fit the other channels by least squares; a direct restatement, for one channel."""
    mean = np.trace(consumer.moments) / len(consumer.moments)
    damped = consumer.moments + DAMPING * mean * np.eye(len(consumer.moments))
    stays = consumer.channels != gone
    right: Matrix = damped[stays] @ consumer.weights
    fitted = np.zeros_like(consumer.weights)
    fitted[stays] = np.linalg.solve(damped[np.ix_(stays, stays)], right)
    change = fitted - consumer.weights
    return float(np.einsum("ij,ik,kj->", change, damped, change))


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(1, 3))
def test_the_first_to_leave_is_missed_least(seed: int, channels: int, positions: int) -> None:
    consumer = make_consumer(seed, channels, positions)
    first = removal_order(channels, [consumer], 1).order[0]
    errors = [error_without(consumer, gone) for gone in range(channels)]
    assert errors[first] <= min(errors) * (1 + 1e-6)


@given(st.integers(0, 2**31), st.integers(2, 6))
def test_an_order_names_every_channel_once_and_begins_like_a_shorter_one(
    seed: int, channels: int
) -> None:
    consumers = [make_consumer(seed, channels, 1), make_consumer(seed + 1, channels, 2)]
    whole = removal_order(channels, consumers, channels).order
    assert sorted(whole) == list(range(channels))
    for count in range(channels):
        assert removal_order(channels, consumers, count).order == whole[:count]


@given(st.integers(0, 2**31), st.integers(3, 6))
def test_a_copy_of_another_channel_leaves_before_a_channel_that_is_needed(
    seed: int, channels: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(200, channels))
    inputs[:, 1] = inputs[:, 0]
    weights = random.choice([-1.0, 1.0], size=(channels, 2)) * random.uniform(
        0.5, 1.0, size=(channels, 2)
    )
    consumer = Consumer(inputs.T @ inputs, weights, np.arange(channels))
    assert removal_order(channels, [consumer], 1).order[0] in {0, 1}


def test_the_scale_of_one_consumer_does_not_outvote_the_others() -> None:
    one, other = make_consumer(1, 5, 1), make_consumer(2, 5, 1)
    louder = Consumer(other.moments, 1e3 * other.weights, other.channels)
    quiet, loud = (removal_order(5, [one, each], 5) for each in (other, louder))
    assert quiet.order == loud.order
