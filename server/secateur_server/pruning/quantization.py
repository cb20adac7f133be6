"""Codes and the real numbers that they stand for: real = scale x (code - zero point).

Source:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877, section 2.1; limits of
    the codes from the TFLite 8-bit quantization specification.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[Any]
Reals = npt.NDArray[np.float32]

SMALLEST_SCALE = 1e-12
"""A channel of zeros still needs a scale that can be divided by."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How one tensor's codes are read.

    Attributes:
        scales: [1] for the whole tensor, or one per index along ``axis``.
        zero_points: As many.
        axis: Counts only where there are several scales.
    """

    scales: npt.NDArray[np.float64]
    zero_points: npt.NDArray[np.int64]
    axis: int

    @property
    def is_per_channel(self) -> bool:
        """Whether each index along the axis has a scale of its own."""
        return len(self.scales) > 1

    def dequantize(self, codes: Codes) -> Reals:
        """Give the real numbers, in the shape of the codes."""
        scales, zero_points = self.spread(codes.ndim)
        reals: Reals = ((codes.astype(np.float64) - zero_points) * scales).astype(np.float32)
        return reals

    def quantize(self, values: Reals, dtype: np.dtype[Any]) -> Codes:
        """Give the nearest codes, saturating."""
        scales, zero_points = self.spread(values.ndim)
        limits = np.iinfo(dtype)
        # Some converters write a scale of zero for a channel of zeros.
        steps = np.divide(values, scales, out=np.zeros(values.shape), where=scales > 0)
        steps = np.rint(steps) + zero_points
        codes: Codes = steps.clip(limits.min, limits.max).astype(dtype)
        return codes

    def bounds(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Give the least and the greatest real number that a code of the tensor can mean."""
        limits, scale, zero = np.iinfo(dtype), float(self.scales[0]), int(self.zero_points[0])
        return (limits.min - zero) * scale, (limits.max - zero) * scale

    def take(self, axis: int, keep: npt.NDArray[np.intp]) -> Self:
        """Follow a tensor that keeps some indices along an axis."""
        if not self.is_per_channel or axis != self.axis:
            return self
        return replace(self, scales=self.scales[keep], zero_points=self.zero_points[keep])

    def refit(self, values: Reals, dtype: np.dtype[Any]) -> Self:
        """Choose scales that just hold other values, symmetric or not as they are now."""
        if self.is_per_channel or not self.zero_points.any():
            others = tuple(k for k in range(values.ndim) if k != self.axis)
            largest = np.abs(values).max(axis=others if self.is_per_channel else None)
            largest = np.atleast_1d(largest).astype(np.float64)
            limit = np.iinfo(dtype).max
            return replace(self, scales=np.maximum(largest / limit, SMALLEST_SCALE))
        limits = np.iinfo(dtype)
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        scale = max((high - low) / (limits.max - limits.min), SMALLEST_SCALE)
        zero = int(np.clip(round(limits.min - low / scale), limits.min, limits.max))
        return replace(self, scales=np.array([scale]), zero_points=np.array([zero]))

    def spread(self, rank: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Give scales and zero points in shapes that broadcast to a tensor of a rank."""
        shape = [1] * rank
        if self.is_per_channel:
            shape[self.axis] = -1
        return self.scales.reshape(shape), self.zero_points.reshape(shape)
