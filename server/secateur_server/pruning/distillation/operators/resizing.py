"""Resizing of images: where each new pixel lies among the old ones.

Source:
    TFLite's reference kernels ``resize_bilinear.h`` and ``resize_nearest_neighbor.h``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.pruning.distillation.operators.call import Call, Kernel

Places = npt.NDArray[np.float32]


def _bilinear(call: Call) -> jax.Array:
    x = call.array(0)
    rows, columns = (
        _interpolation(_places(call, axis).clip(0), x.shape[axis]) for axis in (1, 2)
    )
    return jnp.einsum("ih,nhwc,jw->nijc", rows, x, columns)


def _interpolation(places: Places, size: int) -> Places:
    """Give the weight of each old pixel in each new one, [new, old]."""
    lower = np.floor(places).astype(int).clip(0, size - 1)
    upper = (lower + 1).clip(0, size - 1)
    share = places - lower
    weights = np.zeros((len(places), size), np.float32)
    np.add.at(weights, (np.arange(len(places)), lower), 1 - share)
    np.add.at(weights, (np.arange(len(places)), upper), share)
    return weights


def _nearest(call: Call) -> jax.Array:
    x = call.array(0)
    rounded = []
    for axis in (1, 2):
        places = _places(call, axis)
        if call.options.halfPixelCenters or call.options.alignCorners:
            places = places + np.float32(0.5)
        rounded.append(np.floor(places).astype(int).clip(0, x.shape[axis] - 1))
    return x[:, rounded[0]][:, :, rounded[1]]


def _places(call: Call, axis: int) -> Places:
    """Give where the centre of each new pixel lies, counted in old ones."""
    old, new = call.array(0).shape[axis], call.shape[axis]
    at = np.arange(new, dtype=np.float32)
    if call.options.alignCorners and new > 1:
        return at * np.float32((old - 1) / (new - 1))
    scale = np.float32(old / new)
    if call.options.halfPixelCenters:
        return (at + np.float32(0.5)) * scale - np.float32(0.5)
    return at * scale


KERNELS: dict[str, Kernel] = {
    "RESIZE_BILINEAR": _bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _nearest,
}
