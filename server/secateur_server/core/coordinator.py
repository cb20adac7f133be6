"""What the coordinator does about one device: desired follows from what is known.

``plan`` is level-triggered: it derives the whole desired state anew and publishes it only
where it differs from the last one. No state is kept between messages but the device's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from secateur_protocols.ids import ModelName
from secateur_protocols.info import Info, ModelTask
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.telemetry import ModelTelemetry, Resources
from secateur_server.core.fleet import DeviceState
from secateur_server.core.planner import Situation, decide
from secateur_server.core.policy import Policies, effective_policy


@dataclass(frozen=True, slots=True)
class Published:
    """A ladder that the registry holds."""

    ref: LadderRef
    ladder: Ladder


@dataclass(frozen=True, slots=True)
class Context:
    """What holds for every device."""

    published: Mapping[ModelName, Published]
    """The newest version of each model."""
    policies: Policies
    artifacts_url: str


def plan(state: DeviceState, context: Context) -> DeviceState:
    """Derive what is wanted of a device.

    Returns:
        The same state where nothing changes, else one whose ``desired`` has a higher
        revision than any that was sent or that the device reports. A device of which no
        birth is known wants nothing: it has to be asked for one first.
    """
    if state.info is None:
        return state
    models = tuple(_models(state, state.info, context))
    before = state.desired
    is_same = (
        before is not None
        and before.artifacts_url == context.artifacts_url
        and [_essence(each) for each in before.models] == [_essence(each) for each in models]
    )
    if is_same or (before is None and not models):
        return state
    desired = Desired(
        revision=_next_revision(state), artifacts_url=context.artifacts_url, models=models
    )
    return replace(state, desired=desired)


def _models(state: DeviceState, info: Info, context: Context) -> list[DesiredModel]:
    wishes = []
    for task in info.tasks:
        published = context.published.get(task.model)
        if published is not None:
            wishes.append(_model(state, task, published, context))
    return wishes


def _model(
    state: DeviceState, task: ModelTask, published: Published, context: Context
) -> DesiredModel:
    policy = effective_policy(
        context.policies, state.device, task.model, own_deadline_ms=task.deadline_ms
    )
    decision = decide(
        Situation(
            ladder=published.ladder,
            policy=policy,
            resources=state.telemetry.resources if state.telemetry else Resources(),
            measured=_measured(state, task.model),
            desired=_desired_level(state, task.model, published.ref),
        )
    )
    return DesiredModel(
        model=task.model,
        ladder=published.ref,
        level=decision.level,
        deadline_ms=policy.deadline_ms,
        infeasible=decision.is_infeasible,
        reason=decision.reason,
    )


def _measured(state: DeviceState, model: ModelName) -> ModelTelemetry | None:
    telemetry, info = state.telemetry, state.info
    if telemetry is None or info is None or telemetry.boot < info.boot:
        return None  # of an earlier life of the device
    return next((each for each in telemetry.models if each.model == model), None)


def _desired_level(state: DeviceState, model: ModelName, ref: LadderRef) -> int | None:
    stepped = _stepped_level(state, model)
    if stepped is not None:
        return stepped
    for wish in state.desired.models if state.desired else ():
        if wish.model == model and wish.ladder.digest == ref.digest:
            return wish.level
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


def _next_revision(state: DeviceState) -> int:
    """Go beyond what the device has seen, also after our own records were lost."""
    ours = state.desired.revision if state.desired else 0
    theirs = state.reported.revision if state.reported else 0
    return max(ours, theirs) + 1


def _essence(wish: DesiredModel) -> DesiredModel:
    """Leave out what alone does not justify a message: the words of the reason."""
    return wish.model_copy(update={"reason": ""})
