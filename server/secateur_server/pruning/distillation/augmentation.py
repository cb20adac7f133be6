"""Changes to inputs that make a small set of samples go further.

The teacher answers for the changed inputs too, so that no label can become wrong; an input
that the network would never see only wastes the student's capacity.

Source:
    Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR
    2022, arXiv:2106.05237, for showing both networks the same changed input; Zhang et al.,
    "mixup", ICLR 2018, arXiv:1710.09412.
"""

from collections.abc import Sequence

import numpy as np

from secateur_server.pruning.distillation.network import Inputs, Rows
from secateur_server.pruning.distillation.options import Augmentation
from secateur_server.pruning.graph import Tensor

SHIFT_RATIO = 1 / 16
"""Of height and width: the furthest that an image is moved."""

COLOURS = 3
"""Channels of a photograph. With any other number the plane may be time and frequency."""

IMAGE_RANK = 4


def suitable(tensors: Sequence[Tensor]) -> frozenset[Augmentation]:
    """Choose for a network's inputs: only a photograph is moved and mirrored."""
    if not all(tensor.is_real for tensor in tensors):
        return frozenset()  # between two words' numbers is another word's
    if len(tensors) > 1:
        return frozenset({Augmentation.MIX})
    shape = tensors[0].shape
    if len(shape) == IMAGE_RANK and shape[3] == COLOURS and min(shape[1:3]) > COLOURS:
        return frozenset(Augmentation)
    return frozenset({Augmentation.MIX})


def augment(inputs: Inputs, kinds: frozenset[Augmentation], rng: np.random.Generator) -> Inputs:
    """Change a batch.

    Args:
        inputs: Not changed themselves. Shifts and flips are for images, [n, 1, h, w, c].
        kinds: What to do.
        rng: Chance.

    Returns:
        The same shapes: moved with the edge repeated, mirrored left to right, then mixed in
        pairs, by shares that are equally likely; the same for all inputs.
    """
    count = len(inputs[0])
    if Augmentation.SHIFT in kinds:
        inputs = tuple(_shift(x, rng) for x in inputs)
    if Augmentation.FLIP in kinds:
        mirrored = rng.random(count) < 0.5  # noqa: PLR2004 - a coin
        inputs = tuple(np.where(_spread(mirrored, x), x[..., ::-1, :], x) for x in inputs)
    if Augmentation.MIX in kinds:
        share, others = rng.random(count, np.float32), rng.permutation(count)
        inputs = tuple(_mix(x, x[others], _spread(share, x)) for x in inputs)
    return tuple(np.ascontiguousarray(x) for x in inputs)


def _mix(some: Rows, others: Rows, share: Rows) -> Rows:
    return np.asarray(share * some + (1 - share) * others, some.dtype)


def _shift(x: Rows, rng: np.random.Generator) -> Rows:
    height, width = x.shape[-3:-1]
    down, right = (max(1, round(size * SHIFT_RATIO)) for size in (height, width))
    edges = [(0, 0)] * (x.ndim - 3)
    padded = np.pad(x, [*edges, (down, down), (right, right), (0, 0)], mode="edge")
    tops, lefts = (rng.integers(0, 2 * most + 1, len(x)) for most in (down, right))
    moved = [
        each[..., top : top + height, left : left + width, :]
        for each, top, left in zip(padded, tops, lefts, strict=True)
    ]
    return np.stack(moved)


def _spread(each: Rows, like: Rows) -> Rows:
    return each.reshape(-1, *[1] * (like.ndim - 1))
