"""The same network stored densely and sparsely, and which of the two is worth keeping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from secateur_protocols.manifest import Requirements
from secateur_server.pruning.flatbuffer import Tree
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.sparse.eligibility import assess

SMALLER = 0.9
"""What a sparsely stored model may take at most, of the dense one's bytes in store and in
transit added up."""

SLOWER = 1.05
"""How much longer it may take: measuring is not more exact than that."""

SAME = 1e-5
"""Largest difference between the twins' outputs, times the largest output or 1."""


class Storing(StrEnum):
    """How a model with many zeros is stored."""

    AUTO = "auto"
    """Sparsely where that was measured to be smaller and no slower."""
    DENSE = "dense"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """One of the two, as measured.

    Attributes:
        stored_bytes: Of the file.
        travel_bytes: Of the file compressed.
        outputs: On the evaluation set, as real numbers, an array per output.
        storing: What was asked for.
        is_conditional: Whether it is of use on some devices only.
    """

    stored_bytes: int
    travel_bytes: int
    p50_ms: float
    outputs: Sequence[npt.NDArray[np.float32]]
    storing: Storing = Storing.AUTO
    is_conditional: bool = False


def requirements(tree: Tree) -> Requirements | None:
    """Say where a densely stored model, once it is stored sparsely, is of use.

    Returns:
        The processors and the engine on which sparse kernels take it; ``None``: they do not
        take it anywhere, so it runs everywhere alike.
    """
    if not assess(read_graph(tree)).is_eligible:
        return None
    return Requirements(
        machines=("aarch64", "armv7l", "riscv64"), engine="litert", engine_version="1.2"
    )


def objection(sparse: Twin, dense: Twin) -> str:
    """Say why the sparse twin is not to be kept; empty: it is."""
    if not all(map(_is_same, sparse.outputs, dense.outputs)):
        return "stored sparsely it computes something else"
    if sparse.storing is Storing.SPARSE:
        return ""
    taken, given = (each.stored_bytes + each.travel_bytes for each in (sparse, dense))
    if taken > SMALLER * given:
        return "stored sparsely it is hardly smaller, in store and in transit together"
    if sparse.p50_ms > SLOWER * dense.p50_ms:
        return "stored sparsely it is slower"
    return ""


def _is_same(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> bool:
    reach = max(1.0, float(np.abs(wanted).max()))
    return bool(np.abs(found - wanted).max() <= SAME * reach)


def superfluous(twins: Sequence[Twin], pairs: Mapping[int, int]) -> dict[int, str]:
    """Say which of several twins are not to be kept, and why.

    A dense twin stays beside a sparse one that is of use on some devices only.

    Args:
        twins: What was measured; the first is the model as it was given, which stays.
        pairs: The dense twin of each sparse one, as indices of ``twins``.
    """
    dropped = {}
    for sparse, dense in pairs.items():
        why = objection(twins[sparse], twins[dense])
        if why:
            dropped[sparse] = why
        elif dense > 0 and not twins[sparse].is_conditional:
            dropped[dense] = "stored sparsely it is smaller and no slower"
    return dropped
