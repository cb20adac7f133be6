"""What leaves, as data: printed, compared, stored beside the ladder."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupPlan(_Plan):
    """The channels of one group that stay.

    Attributes:
        group: The tensor that names it.
        size: Channels before.
        kept: Indices of those that stay, ascending.
    """

    group: int
    name: str
    size: int
    kept: tuple[int, ...]


class ChannelPlan(_Plan):
    """Remove channels. ``ratio`` is what was asked of every group."""

    kind: Literal["channel"] = "channel"
    ratio: float
    saliency: str
    groups: tuple[GroupPlan, ...]


class WeightPlan(_Plan):
    """Set small weights to zero.

    Attributes:
        rule: Method and amount, in words.
        thresholds: By operator index: every weight with abs(w) below it becomes zero.
    """

    kind: Literal["weight"] = "weight"
    rule: str
    thresholds: dict[int, float]


PruningPlan = ChannelPlan | WeightPlan
