"""What a device is to do, as far as what it measures does not decide it.

Almost all messages are telemetry, and none of this changes with them: it is found once, and
anew when any of what it follows from is replaced.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from secateur_protocols.ids import DeviceId, Digest, ModelName
from secateur_protocols.info import Info, ModelTask
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired, LadderRef, Reported
from secateur_server.core.context import Context, Published
from secateur_server.core.fleet import MAX_DEVICES, DeviceState
from secateur_server.core.policy import Policies, Policy, effective_policy
from secateur_server.core.suitability import NONE_EXCLUDED, allowed_levels, unsuited_levels

MAX_REFUSALS = 3
"""An artifact that failed so often on a device is not wanted of it again."""


class Duty(NamedTuple):
    """One model that a device is to run.

    Attributes:
        ref: Of the ladder, as it travels.
        allowed: The levels that may be chosen, widest first; never none.
        desired: The level desired last of this ladder. ``None``: none yet.
    """

    model: ModelName
    ref: LadderRef
    ladder: Ladder
    policy: Policy
    allowed: Sequence[int]
    desired: int | None


class Told(NamedTuple):
    """What a device is told of one model, but for the reason's words."""

    level: int
    deadline_ms: float
    is_infeasible: bool


class Assignment(NamedTuple):
    """All models that a device is to run.

    Attributes:
        duties: Of the models that are published, in the order in which the device names them.
        told: What the last desired state says of each duty. ``None``: it is of other models,
            of other ladders, or names another address.

    The rest is what these follow from.
    """

    duties: Sequence[Duty]
    told: Sequence[Told] | None
    info: Info
    reported: Reported | None
    desired: Desired | None
    policies: Policies
    published: Mapping[ModelName, Published]
    moved: Mapping[ModelName, Mapping[DeviceId, Published]]
    artifacts_url: str

    def still_holds(self, state: DeviceState, context: Context) -> bool:
        """Say whether nothing that it follows from was replaced."""
        return (
            self.info is state.info
            and self.reported is state.reported
            and self.desired is state.desired
            and self.policies is context.policies
            and self.published is context.published
            and self.moved is context.moved
            and self.artifacts_url == context.artifacts_url
        )


def assignment_of(state: DeviceState, info: Info, context: Context) -> Assignment:
    """Find what a device is to do.

    Args:
        state: The device.
        info: Its birth.
        context: Where it is remembered, too.
    """
    known = context.assignments.get(state.device)
    if known is not None and known.still_holds(state, context):
        return known
    if len(context.assignments) >= MAX_DEVICES:
        context.assignments.clear()
    found = context.assignments[state.device] = _assign(state, info, context)
    return found


def _assign(state: DeviceState, info: Info, context: Context) -> Assignment:
    duties = [
        _duty(state, info, task, context)
        for task in info.tasks
        if task.model in context.published
    ]
    return Assignment(
        duties,
        _told(state.desired, context.artifacts_url, duties),
        info,
        state.reported,
        state.desired,
        context.policies,
        context.published,
        context.moved,
        context.artifacts_url,
    )


def _duty(state: DeviceState, info: Info, task: ModelTask, context: Context) -> Duty:
    published = context.version_for(state.device, task.model)
    ladder, excluded = published.ladder, _refused(state)
    if published.is_choosy:
        excluded |= unsuited_levels(ladder, info)
    policy = effective_policy(
        context.policies,
        state.device,
        task.model,
        own_deadline_ms=task.deadline_ms,
        labels=state.labels,
    )
    return Duty(
        task.model,
        published.ref,
        ladder,
        policy,
        allowed_levels(ladder, policy.accuracy_floor, excluded),
        _desired_level(state, task.model, ladder),
    )


def _desired_level(state: DeviceState, model: ModelName, ladder: Ladder) -> int | None:
    """Find the level desired last; another version begins at the place the old one had."""
    stepped = _stepped_level(state, model)
    last = len(ladder.levels) - 1
    if stepped is not None:
        return min(stepped, last)
    for wish in state.desired.models if state.desired else ():
        if wish.model == model:
            return min(wish.level, last)
    return None


def _stepped_level(state: DeviceState, model: ModelName) -> int | None:
    """Find the level that a device chose alone, in answer to what was desired last.

    It is taken for desired from then on: the device goes wider again only when a desired
    state says another level than it did.
    """
    reported = state.reported
    if reported is None or state.desired is None or state.desired.revision != reported.revision:
        return None
    for told in reported.models:
        if told.model == model and told.stepped_down is not None:
            return told.level
    return None


def _refused(state: DeviceState) -> frozenset[Digest]:
    """List the artifacts that failed on a device too often."""
    refusals = state.reported.refusals if state.reported else ()
    if not refusals:
        return NONE_EXCLUDED
    return frozenset(each.digest for each in refusals if each.count >= MAX_REFUSALS)


def _told(
    desired: Desired | None, artifacts_url: str, duties: Sequence[Duty]
) -> Sequence[Told] | None:
    if desired is None:
        return None if duties else []
    wishes = [(wish.model, wish.ladder.digest) for wish in desired.models]
    if desired.artifacts_url != artifacts_url or wishes != [
        (duty.model, duty.ref.digest) for duty in duties
    ]:
        return None
    return [Told(wish.level, wish.deadline_ms, wish.infeasible) for wish in desired.models]
