"""What to do about a model: how easily it prunes, and which method fits which shortage.

Advice is a function of the facts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from secateur_server.pruning.facts import Facts, GroupFacts, OperatorFacts
from secateur_server.pruning.shortages import Recommendation, recommend

EASY_SHARE, FAIR_SHARE = 0.9, 0.5
"""Shares of the multiply-accumulates that may shrink, for a model that prunes easily, or in
part."""

STAIRS = 0.15
"""Latency that is left beyond the MACs that are left, from where on it is worth a word."""

NAMED = 3
"""How many operators or groups a sentence names."""


class Ease(StrEnum):
    """How easily a model prunes."""

    EASILY = "easily"
    PARTLY = "in part"
    HARDLY = "hardly"
    NOT_AT_ALL = "not at all"


@dataclass(frozen=True, slots=True)
class Advice:
    """All that is advised.

    Attributes:
        reasons: Why it prunes so easily or hardly.
        recommendations: One for each shortage.
    """

    ease: Ease
    reasons: tuple[str, ...]
    recommendations: tuple[Recommendation, ...]


def advise(facts: Facts) -> Advice:
    """Say how easily a model prunes, and what fits which shortage."""
    return Advice(
        ease_of(facts),
        (*_what_may_shrink(facts), *_what_is_held(facts), *_what_is_missed(facts)),
        recommend(facts),
    )


def ease_of(facts: Facts) -> Ease:
    """Say how easily a model prunes: by how much of its work may shrink at all."""
    if not facts.free_groups:
        return Ease.NOT_AT_ALL
    share = facts.shrinking_macs_share
    if share >= EASY_SHARE:
        return Ease.EASILY
    return Ease.PARTLY if share >= FAIR_SHARE else Ease.HARDLY


def _what_may_shrink(facts: Facts) -> list[str]:
    free = facts.free_groups
    if not free:
        return ["No channel may leave: every group is held."]
    first = (
        f"{len(free)} of {len(facts.groups)} channel groups may shrink. The operators at "
        f"them have {facts.shrinking_macs_share:.0%} of the MACs and "
        f"{facts.shrinking_bytes_share:.0%} of the bytes of all constants."
    )
    told = [first]
    half = facts.reach_at(0.5)
    if half is None:
        return told
    left = f"{half.macs_ratio:.0%} of the MACs, {half.bytes_ratio:.0%} of the constants' bytes"
    if half.latency_ratio is not None and facts.timing is not None:
        left += (
            f" and {half.latency_ratio:.0%} of the operators' latency (measured on "
            f"{facts.timing.engine})"
        )
    told.append(f"Half of the channels of each would leave {left}.")
    if half.latency_ratio is not None and half.latency_ratio > half.macs_ratio + STAIRS:
        told.append(
            "Latency falls less than MACs: the engine computes channels in tiles, and "
            "calling an operator costs something however narrow it is."
        )
    return told


def _what_is_held(facts: Facts) -> list[str]:
    held: dict[str, list[OperatorFacts]] = {}
    for operator in facts.operators:
        if operator.held_by:
            held.setdefault(operator.held_by, []).append(operator)
    told = []
    for why, operators in sorted(held.items(), key=lambda each: -_macs(each[1])):
        share = _macs(operators) / max(facts.macs, 1)
        stays = "stays" if len(operators) == 1 else "stay"
        told.append(f"{_named(operators)} {stays} ({share:.0%} of the MACs): {why}.")
    if facts.not_followed:
        told.append(
            f"{len(facts.not_followed)} of the {len(facts.operators)} operators cannot be "
            "followed and hold all channels that touch them."
        )
    return told


def _macs(operators: Sequence[OperatorFacts]) -> int:
    return sum(each.macs for each in operators)


def _named(operators: Sequence[OperatorFacts]) -> str:
    told = [f"{each.kind} #{each.index}" for each in operators[:NAMED]]
    more = len(operators) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def loss_at_half(group: GroupFacts) -> float | None:
    """Give what is lost at the width next to half; ``None``: not known."""
    if group.curve is None:
        return None
    width = min(group.curve.widths, key=lambda each: abs(each - group.size / 2))
    return group.curve.loss(width)


def _what_is_missed(facts: Facts) -> list[str]:
    lost = [
        (loss, each) for each in facts.free_groups if (loss := loss_at_half(each)) is not None
    ]
    if not lost:
        return []
    least, most = min(lost, key=lambda each: each[0]), max(lost, key=lambda each: each[0])
    told = (
        f"At half its width {short_name(least[1].name)} loses least ({least[0]:.1%} of what "
        f"its readers compute), {short_name(most[1].name)} most ({most[0]:.1%}); each alone, "
        f"on {facts.calibration_samples} samples."
    )
    return [told]


def short_name(name: str, most: int = 40) -> str:
    """Give the first of fused names, and of a long one its end, which tells more."""
    first = name.split(";", maxsplit=1)[0]
    return first if len(first) <= most else f"…{first[1 - most :]}"
