"""Which weights become zero, as data: small enough to print, exact enough to apply again."""

import base64
import binascii
import zlib
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from secateur_server.errors import InputError
from secateur_server.pruning.distillation.record import DistillationRecord
from secateur_server.pruning.graph import Array
from secateur_server.pruning.sparse.rewrites import Rewriting
from secateur_server.pruning.weight.layer import Layer
from secateur_server.pruning.weight.masked import Keep


class TensorCut(BaseModel):
    """What becomes of the weights of one operator.

    Attributes:
        operator: Its index.
        name: Of the weights.
        size: Number of weights.
        zeros: How many are zero afterwards.
        threshold: Every weight of a smaller magnitude becomes zero. ``None``: see ``mask``.
        ties: Of the weights of just that magnitude, the first so many become zero, too.
        mask: Where the choice was not by magnitude: one bit a weight, in order of storage,
            set if it stays; zlib, then base64.
        spared: Why the tensor was left as it is, although weights should have left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: Annotated[int, Field(ge=0)]
    name: str
    size: Annotated[int, Field(ge=1)]
    zeros: Annotated[int, Field(ge=0)]
    threshold: Annotated[float, Field(ge=0)] | None = None
    ties: Annotated[int, Field(ge=0)] = 0
    mask: str | None = None
    spared: str = ""


class WeightPlan(BaseModel):
    """Set weights to zero.

    Attributes:
        rule: How they were chosen, in words.
        rewrite: What was done to the graph before.
        corrected: Whether the weights that stay make up for those that left.
        cuts: By operator, in the order of execution.
        distilled: What came after; ``None``: nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["weight"] = "weight"
    rule: str
    rewrite: Rewriting = Rewriting.NONE
    corrected: bool = False
    cuts: tuple[TensorCut, ...]
    distilled: DistillationRecord | None = None

    @property
    def zeros_ratio(self) -> float:
        """Share of zeros among the weights that it speaks of."""
        return sum(each.zeros for each in self.cuts) / sum(each.size for each in self.cuts)


def describe(layer: Layer, keep: Keep, spared: str = "") -> TensorCut:
    """Write a choice down, by threshold if it can be said so."""
    magnitudes, flat = np.abs(layer.weights).ravel(), keep.ravel()
    threshold, ties, mask = None, 0, None
    bound = float(magnitudes[~flat].max()) if not flat.all() else 0.0
    ties = int((magnitudes[~flat] == bound).sum())
    if np.array_equal(_by_threshold(layer.weights, bound, ties), keep):
        threshold = bound
    else:
        ties, mask = 0, base64.b64encode(zlib.compress(np.packbits(flat).tobytes(), 9)).decode()
    return TensorCut(
        operator=layer.operator.index,
        name=layer.tensor.name,
        size=flat.size,
        zeros=int((~flat | (magnitudes == 0)).sum()),
        threshold=threshold,
        ties=ties,
        mask=mask,
        spared=spared,
    )


def staying(cut: TensorCut, layer: Layer) -> Keep:
    """Say which weights of a layer stay under a cut, in the shape of the weights.

    Raises:
        InputError: The cut was made for another model, or damaged.
    """
    if cut.size != layer.weights.size:
        raise InputError(
            f"the plan is for {cut.size} weights in {cut.name}, the model has "
            f"{layer.weights.size}: it was made for another model"
        )
    if cut.mask is None:
        return _by_threshold(layer.weights, cut.threshold or 0.0, cut.ties)
    try:
        room = (cut.size + 7) // 8
        packed = zlib.decompressobj().decompress(base64.b64decode(cut.mask), room)
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=cut.size)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InputError(f"the plan's mask of {cut.name} is damaged") from error
    if bits.size != cut.size or len(packed) != room:
        raise InputError(f"the plan's mask of {cut.name} is damaged")
    return bits.astype(np.bool_).reshape(layer.weights.shape)


def _by_threshold(weights: Array, threshold: float, ties: int) -> Keep:
    magnitudes = np.abs(weights).ravel()
    keep = magnitudes >= threshold
    keep[np.flatnonzero(magnitudes == threshold)[:ties]] = False
    return keep.reshape(weights.shape)
