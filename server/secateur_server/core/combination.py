"""The best choice of one option per model, under limits that the models share."""

from collections.abc import Sequence
from dataclasses import dataclass

Amounts = tuple[float, ...]
"""One amount per shared limit, in the order of the limits."""

MAX_STEPS = 20_000
"""Partial choices looked at. Four models of eight levels are 4,680 at most; beyond the bound
the best choice found so far is taken: a device that claims many models must not stall its
coordinator."""


@dataclass(frozen=True, slots=True)
class Option:
    """One level of one model.

    Attributes:
        value: What it is worth; values of different models add up.
        needs: What it takes of each shared limit, each 0 or more.
        cost: Decides between equals: less is better.
    """

    level: int
    value: float
    needs: Amounts
    cost: float = 0.0


def best_combination(
    choices: Sequence[Sequence[Option]], limits: Amounts
) -> tuple[int, ...] | None:
    """Choose one option per model so that the total value is greatest.

    Exact, as long as `MAX_STEPS` suffice: a depth-first search through the options, most
    valuable first, that leaves out what another option of the same model makes superfluous,
    and each branch that cannot keep the limits or be worth more than what was found.

    Args:
        choices: The options of each model.
        limits: Upper bounds of the summed needs; infinity: no limit.

    Returns:
        The level of each model; of equals the one with the least total cost. ``None``: no
        combination keeps the limits.
    """
    return _Search(choices, limits).run()


class _Search:
    def __init__(self, choices: Sequence[Sequence[Option]], limits: Amounts) -> None:
        self._choices = [_undominated(options) for options in choices]
        self._limits = limits
        # What the models from here on can add at most, and take at least.
        self._value_left = [0.0]
        self._needs_left: list[Amounts] = [tuple(0.0 for _ in limits)]
        for options in reversed(self._choices):
            self._value_left.append(self._value_left[-1] + max(each.value for each in options))
            least = tuple(map(min, zip(*(each.needs for each in options), strict=True)))
            self._needs_left.append(_add(self._needs_left[-1], least))
        self._value_left.reverse()
        self._needs_left.reverse()
        self._steps = 0
        self._best: tuple[float, float, tuple[int, ...]] | None = None

    def run(self) -> tuple[int, ...] | None:
        self._descend(0.0, 0.0, self._needs_left[-1], ())
        return None if self._best is None else self._best[2]

    def _descend(
        self, value: float, cost: float, needs: Amounts, levels: tuple[int, ...]
    ) -> None:
        depth = len(levels)
        if depth == len(self._choices):
            if self._best is None or (value, -cost) > (self._best[0], -self._best[1]):
                self._best = (value, cost, levels)
            return
        for option in self._choices[depth]:
            self._steps += 1
            most = value + option.value + self._value_left[depth + 1]
            if self._steps > MAX_STEPS or (self._best and most < self._best[0]):
                return  # options come most valuable first: none of the rest is better
            total = _add(needs, option.needs)
            if _keeps(_add(total, self._needs_left[depth + 1]), self._limits):
                self._descend(
                    value + option.value, cost + option.cost, total, (*levels, option.level)
                )


def _undominated(options: Sequence[Option]) -> list[Option]:
    """Drop options that another one of the same model makes superfluous."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda each: (-each.value, each.cost)):
        if not any(
            better.cost <= option.cost and _keeps(better.needs, option.needs) for better in kept
        ):
            kept.append(option)
    return kept


def _add(first: Amounts, second: Amounts) -> Amounts:
    return tuple(map(float.__add__, first, second))


def _keeps(needs: Amounts, limits: Amounts) -> bool:
    return all(map(float.__le__, needs, limits))
