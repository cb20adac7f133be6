"""Depthwise convolutions: each output is a linear map of the taps of one input channel."""

from typing import Self

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import conv_rows, weights_of


def is_depthwise(graph: Graph, operator: Operator) -> bool:
    """Whether this is a depthwise convolution whose weights can be fitted."""
    return operator.kind == "DEPTHWISE_CONV_2D" and weights_of(graph, operator) is not None


def tap_rows(graph: Graph, operator: Operator, values: Array, per_sample: int) -> Array:
    """Lay its input out.

    Args:
        graph: Where its weights are.
        operator: A depthwise convolution.
        values: Its input, [n, *shape].
        per_sample: At most so many positions of each sample, by chance.

    Returns:
        [n x positions, taps, input channels].
    """
    weights = graph.tensors[operator.inputs[1]].shape
    flat = conv_rows(graph, operator, values, weights, per_sample, operator.outputs[0])
    return flat.reshape(len(flat), weights[1] * weights[2], -1)


def tap_outputs(operator: Operator, laid: Array, weights: Array) -> Array:
    """Apply the weights [1, h, w, outputs] to `tap_rows`, without the bias.

    Returns:
        [rows, outputs].
    """
    multiplier = operator.options.depthMultiplier
    taps = weights.reshape(laid.shape[1], -1, multiplier)
    made = [np.einsum("rtc,tc->rc", laid, taps[:, :, k]) for k in range(multiplier)]
    return np.stack(made, axis=2).reshape(len(laid), -1)


class TapMoments:
    """Sums over rows, for each input channel apart."""

    def __init__(self, taps: int, channels: int, multiplier: int) -> None:
        self.count = 0
        self._x, self._y = np.zeros((channels, taps)), np.zeros((channels, multiplier))
        self._xx = np.zeros((channels, taps, taps))
        self._xy = np.zeros((channels, taps, multiplier))

    def add(self, laid: Array, targets: Array) -> None:
        """Take more rows [rows, taps, channels] and targets [rows, outputs] into account."""
        wanted = targets.reshape(len(laid), self._y.shape[0], -1)
        by_channel = np.ascontiguousarray(laid.transpose(2, 1, 0))
        self.count += len(laid)
        self._x += by_channel.sum(axis=2, dtype=np.float64)
        self._y += wanted.sum(axis=0, dtype=np.float64)
        self._xx += by_channel @ by_channel.transpose(0, 2, 1)
        self._xy += by_channel @ np.ascontiguousarray(wanted.transpose(1, 0, 2))

    def merge(self, other: Self) -> None:
        """Take what others summed up into account."""
        self.count += other.count
        self._x += other._x
        self._y += other._y
        self._xx += other._xx
        self._xy += other._xy

    def solve(self, weights: Array, ridge: float) -> tuple[Array, npt.NDArray[np.float32]]:
        """Fit weights and bias, with a pull towards the weights that are there.

        Args:
            weights: [1, h, w, outputs].
            ridge: In units of the mean of each channel's second moments.

        Returns:
            Weights of the same shape, and the bias [outputs].
        """
        mean = self._x / self.count
        xx = self._xx - mean[:, :, None] * self._x[:, None, :]
        xy = self._xy - mean[:, :, None] * self._y[:, None, :]
        channels, taps = self._x.shape
        start = weights.reshape(taps, channels, -1).transpose(1, 0, 2).astype(np.float64)
        scale = np.trace(xx, axis1=1, axis2=2) / taps
        pull = ridge * np.maximum(scale, 1e-6 * scale.max() + 1e-12)
        damped = xx + pull[:, None, None] * np.eye(taps)
        solved = np.linalg.solve(damped, xy + pull[:, None, None] * start)
        bias = (self._y - np.einsum("ct,ctm->cm", self._x, solved)) / self.count
        fitted = solved.transpose(1, 0, 2).reshape(weights.shape)
        return fitted.astype(np.float32), bias.reshape(-1).astype(np.float32)
