"""What another policy would have changed: recorded telemetry, judged by the planner twice.

Each recorded moment is judged for itself, by the coordinator's own code, as if the device had
been told to run what it ran: once under today's policy, once under the changed one. Beliefs
about latency are learnt from the recording alone, so both sides know the same, and less than
the coordinator does. What a device would have measured at another level is not made up: the
answer says which level would have been wanted next, not how the hours after would have gone.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from secateur_protocols.control import PolicyChange
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.telemetry import ModelTelemetry
from secateur_server.core.context import Context, Published
from secateur_server.core.coordinator import plan
from secateur_server.core.fleet import DeviceState, hear, know, learn_from
from secateur_server.core.policy import Policies, Rule, Scope
from secateur_server.dashboard.history import Moment
from secateur_server.errors import ServerError

MAX_MOMENTS = 4_000
"""Judged for one answer: some seconds of one core."""

MOST_PER_DEVICE, LEAST_PER_DEVICE = 60, 4
"""Moments of one device, the newest: few of many devices, or many of few."""

MAX_CHANGES = 100
"""Devices that an answer names."""

DAY_S, MINUTE_S = 86_400, 60


@dataclass(frozen=True, slots=True)
class Change:
    """One model on one device that would be told something else, at the newest moment.

    Attributes:
        before: The level wanted under today's policy; ``after`` under the other.
        reason: The planner's, under the other policy.
        differing: Share of the recorded moments at which the two differ.
    """

    device: str
    model: str
    before: int
    after: int
    reason: str
    is_infeasible: bool
    differing: float


@dataclass(frozen=True, slots=True)
class Side:
    """What one policy leads to, over all moments.

    Attributes:
        levels: Wanted at the newest moment, by model and level.
        accuracy: Mean of the levels wanted. ``None``: nothing was wanted.
        infeasible: Share of decisions where nothing fits.
    """

    levels: Mapping[tuple[str, int], int]
    accuracy: float | None
    infeasible: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer.

    Attributes:
        devices: How many were looked at, of ``known``.
        changes: At most `MAX_CHANGES` of ``changed``.
    """

    devices: int
    known: int
    moments: int
    span_s: float
    before: Side
    after: Side
    changed: int
    changes: Sequence[Change]


def read_policies(shown: Mapping[str, Any]) -> Policies:
    """Read what the coordinator shows of policy.

    Raises:
        ServerError: It is not what we know.
    """
    try:
        rules = {
            Scope(each.get("device"), each.get("model"), each.get("selector") or ""): Rule(
                PolicyChange.model_validate(each), each["version"]
            )
            for each in shown["rules"]
        }
        return Policies(rules, shown["version"])
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ServerError("the coordinator's answer about policy is not understood") from error


def share_out(devices: int) -> tuple[int, int]:
    """Say how many devices to look at, and how many moments of each."""
    each = min(MOST_PER_DEVICE, max(LEAST_PER_DEVICE, MAX_MOMENTS // max(1, devices)))
    return min(devices, MAX_MOMENTS // each), each


def sample(names: Sequence[str]) -> list[str]:
    """Choose whom to look at: all, or a part that is the same each time."""
    count, _ = share_out(len(names))
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:count]


def replay(
    births: Mapping[str, Info],
    moments: Mapping[str, Sequence[Moment]],
    ladders: Mapping[str, Ladder],
    policies: tuple[Policies, Policies],
    *,
    known: int,
) -> Outcome:
    """Judge every moment under both policies.

    Args:
        births: What each device is.
        moments: What each has said, oldest first.
        ladders: Of the models.
        policies: Today's, and the changed one.
        known: How many devices there are in all.
    """
    published = {
        name: Published(LadderRef(version=each.version, digest="0" * 64, size_bytes=0), each)
        for name, each in ladders.items()
    }
    context = Context(published, policies[0], "")
    states = {name: know(DeviceState(name), info) for name, info in births.items()}
    tallies = (_Tally(ladders), _Tally(ladders))
    spoken = [(moment, name) for name in births for moment in moments.get(name, ())]
    spoken.sort(key=lambda each: each[0].at_s)
    for moment, name in spoken:
        before = states[name]
        states[name] = state = hear(before, moment.said)
        context = replace(
            context,
            beliefs=learn_from(context.beliefs, before, state),
            minute_of_day=int(moment.at_s % DAY_S // MINUTE_S),
        )
        told = state._replace(desired=_as_it_ran(moment.said.models, published))
        for policy, tally in zip(policies, tallies, strict=True):
            tally.note(name, plan(told, replace(context, policies=policy)).desired)
    changes = _changes(*tallies)
    return Outcome(
        devices=len(births),
        known=known,
        moments=len(spoken),
        span_s=spoken[-1][0].at_s - spoken[0][0].at_s if spoken else 0.0,
        before=tallies[0].side(),
        after=tallies[1].side(),
        changed=len(changes),
        changes=changes[:MAX_CHANGES],
    )


def _as_it_ran(models: Sequence[ModelTelemetry], published: Mapping[str, Published]) -> Desired:
    """Make the wish that a device would have been following."""
    wishes = tuple(
        DesiredModel(
            model=each.model,
            ladder=published[each.model].ref,
            level=each.level,
            deadline_ms=each.deadline_ms or 1.0,
            reason="as it ran",
        )
        for each in models
        if each.model in published
    )
    return Desired(revision=1, artifacts_url="", models=wishes)


class _Tally:
    """What one policy has wanted so far."""

    def __init__(self, ladders: Mapping[str, Ladder]) -> None:
        self._ladders = ladders
        self.wishes: dict[tuple[str, str], list[DesiredModel]] = {}

    def note(self, device: str, desired: Desired | None) -> None:
        for wish in desired.models if desired else ():
            self.wishes.setdefault((device, wish.model), []).append(wish)

    def side(self) -> Side:
        wishes = [wish for each in self.wishes.values() for wish in each]
        worth = [
            self._ladders[wish.model].levels[wish.level].accuracy.value
            for wish in wishes
            if wish.level < len(self._ladders[wish.model].levels)
        ]
        return Side(
            levels=Counter((each[-1].model, each[-1].level) for each in self.wishes.values()),
            accuracy=sum(worth) / len(worth) if worth else None,
            infeasible=sum(wish.infeasible for wish in wishes) / max(1, len(wishes)),
        )


def _changes(before: _Tally, after: _Tally) -> list[Change]:
    changes = []
    for (device, model), wishes in before.wishes.items():
        others = after.wishes[device, model]
        differing = sum(a.level != b.level for a, b in zip(wishes, others, strict=True))
        last = others[-1]
        if differing:
            changes.append(
                Change(
                    device=device,
                    model=model,
                    before=wishes[-1].level,
                    after=last.level,
                    reason=last.reason,
                    is_infeasible=last.infeasible,
                    differing=differing / len(wishes),
                )
            )
    return sorted(changes, key=lambda each: (-each.differing, each.device, each.model))
