"""Units, the single channels that are followed: which leave together, and which never do."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.intp]
"""One unit by index along an axis, or by element of a tensor."""

FIXED = 0
"""The unit that never leaves: padding, inputs, outputs, whatever cannot be followed."""


@dataclass(slots=True)
class Units:
    """Sets of units that are tied, each named by its lowest one, and why some are held."""

    _parents: list[int] = field(default_factory=lambda: [FIXED])
    _reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the units, `FIXED` included."""
        return len(self._parents)

    def make(self, count: int) -> Ids:
        """Begin so many new ones."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, some: Ids, others: Ids) -> None:
        """Make units leave together, index by index."""
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            first, second = self._find(one), self._find(other)
            if first != second:
                # The lower one represents: `FIXED` wins over all.
                low, high = min(first, second), max(first, second)
                self._parents[high] = low
                if low == FIXED:
                    self._reasons.setdefault(high, "coupled to channels that cannot leave")

    def hold(self, ids: Ids, why: str) -> None:
        """Let these stay, and what is tied to them."""
        for unit in np.unique(ids).tolist():
            root = self._find(unit)
            if root != FIXED:
                self._parents[root] = FIXED
                self._reasons[root] = why

    def roots(self, ids: Ids) -> Ids:
        """Give the unit that represents each."""
        units, inverse = np.unique(ids, return_inverse=True)
        return np.array([self._find(unit) for unit in units.tolist()], np.intp)[inverse]

    def reason(self, ids: Ids) -> str:
        """Say why the first of these that is held is so."""
        for unit in ids.tolist():
            at = unit
            while at not in self._reasons and self._parents[at] != at:
                at = self._parents[at]
            if at in self._reasons:
                return self._reasons[at]
        return "fixed"

    def _find(self, unit: int) -> int:
        root = unit
        while self._parents[root] != root:
            root = self._parents[root]
        # The way to `FIXED` is left as it is: the reason stands along it.
        while root not in {FIXED, self._parents[unit]}:
            self._parents[unit], unit = root, self._parents[unit]
        return root
