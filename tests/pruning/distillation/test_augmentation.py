"""Inputs are changed only in ways that keep them what they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.errors import InputError
from secateur_server.pruning.distillation.augmentation import augment, suitable
from secateur_server.pruning.distillation.options import Augmentation, parse_augmentation
from secateur_server.pruning.graph import Tensor

SHIFT, FLIP, MIX = Augmentation


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    chance = np.random.default_rng(count)
    return (chance.random((count, 1, 32, 48, 3)) * 255).astype(np.float32)


@given(
    kinds=st.sets(st.sampled_from(Augmentation)),
    count=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_numbers_stay_in_their_range_and_the_input_is_left_alone(
    kinds: set[Augmentation], count: int, seed: int
) -> None:
    x = images(count)
    before = x.copy()
    (found,) = augment((x,), frozenset(kinds), np.random.default_rng(seed))
    assert found.shape == x.shape
    assert found.dtype == np.float32
    assert found.min() >= x.min() - 1e-3
    assert found.max() <= x.max() + 1e-3
    assert np.array_equal(x, before)
    (again,) = augment((x,), frozenset(kinds), np.random.default_rng(seed))
    assert np.array_equal(found, again)


def test_a_shift_moves_by_a_sixteenth_at_most() -> None:
    x = images(40)
    (found,) = augment((x,), frozenset({SHIFT}), np.random.default_rng(0))
    inner = found[:, :, 2:-2, 3:-3]
    for each, moved in zip(x, inner, strict=True):
        places = [
            (down, right)
            for down in range(5)
            for right in range(7)
            if np.array_equal(moved, each[:, down : down + 28, right : right + 42])
        ]
        assert len(places) == 1


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    x = images(100)
    (found,) = augment((x,), frozenset({FLIP}), np.random.default_rng(0))
    is_same = [np.array_equal(a, b) for a, b in zip(x, found, strict=True)]
    is_mirrored = [np.array_equal(a[:, :, ::-1], b) for a, b in zip(x, found, strict=True)]
    assert all(a != b for a, b in zip(is_same, is_mirrored, strict=True))
    assert 30 < sum(is_same) < 70


def test_only_photographs_are_moved_and_mirrored() -> None:
    def tensor(shape: tuple[int, ...], dtype: str = "float32") -> Tensor:
        return Tensor(0, "input", shape, np.dtype(dtype))

    assert suitable([tensor((1, 32, 32, 3))]) == {SHIFT, FLIP, MIX}
    assert suitable([tensor((1, 49, 10, 1))]) == {MIX}
    assert suitable([tensor((1, 640))]) == {MIX}
    assert suitable([tensor((1, 640), "int32")]) == set()


def test_augmentations_are_read_from_words() -> None:
    assert parse_augmentation("none") == frozenset()
    assert parse_augmentation("shift+mix") == {SHIFT, MIX}
    with pytest.raises(InputError, match="'spin'"):
        parse_augmentation("shift+spin")
