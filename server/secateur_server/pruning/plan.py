"""What leaves, as data: printed, compared, stored beside the ladder, applied again."""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from secateur_server.pruning.channels import ChannelGroup, Channels
from secateur_server.pruning.distillation.record import DistillationRecord
from secateur_server.pruning.narrowing import Stays, everything
from secateur_server.pruning.saliency import Ranking
from secateur_server.pruning.weight.cut import WeightPlan


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupPlan(_Plan):
    """The channels of one group that stay.

    Attributes:
        group: The group's key.
        size: Channels before.
        kept: Indices of those that stay, ascending.
    """

    group: int
    name: str
    size: int
    kept: tuple[int, ...]


class BlockPlan(_Plan):
    """One block that is taken out.

    Attributes:
        enters: The tensor that stands in.
        leaves: The tensor that it stands in for.
        name: Of that one.
        operators: Indices of what is taken out.
    """

    enters: int
    leaves: int
    name: str
    operators: tuple[int, ...]


class ChannelPlan(_Plan):
    """Remove blocks, then channels.

    Attributes:
        rule: How they were chosen, in words.
        blocks: Taken out in this order; before any channel leaves.
    """

    kind: Literal["channel"] = "channel"
    rule: str
    blocks: tuple[BlockPlan, ...] = ()
    groups: tuple[GroupPlan, ...]
    distilled: DistillationRecord | None = None


PruningPlan = ChannelPlan | WeightPlan


def plan_channels(
    groups: Iterable[ChannelGroup],
    rankings: Mapping[int, Ranking],
    leaving: Mapping[int, int],
    rule: str,
) -> ChannelPlan:
    """Take the least missed channels out of each group.

    Args:
        groups: Those that channels may leave.
        rankings: By the group's key.
        leaving: How many leave, by the group's key; one always stays.
        rule: How the numbers came about, in words.
    """
    plans = []
    for group in groups:
        count = min(leaving[group.key], group.size - 1)
        gone = set(rankings[group.key].order[:count])
        kept = tuple(channel for channel in range(group.size) if channel not in gone)
        plans.append(GroupPlan(group=group.key, name=group.name, size=group.size, kept=kept))
    return ChannelPlan(rule=rule, groups=tuple(plans))


def staying(plan: ChannelPlan, channels: Channels) -> Stays:
    """Say of every unit whether it stays under a plan."""
    groups = {group.key: group for group in channels.groups}
    stays = everything(channels)
    for each in plan.groups:
        units = groups[each.group].channels
        gone = np.setdiff1d(np.arange(len(units)), each.kept)
        stays[units[gone]] = False
    return stays
