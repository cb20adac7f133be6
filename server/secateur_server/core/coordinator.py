"""What the coordinator does about one device: desired follows from what is known.

``plan`` is level-triggered: it derives the whole desired state anew and publishes it only
where it differs from the last one. No state is kept between messages but the device's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secateur_protocols.ids import DeviceId, Digest, ModelName
from secateur_protocols.info import Info, ModelTask
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.telemetry import ModelTelemetry
from secateur_server.core.beliefs import Beliefs
from secateur_server.core.decision import Decision
from secateur_server.core.fleet import DeviceState
from secateur_server.core.planner import decide
from secateur_server.core.policy import Policies, effective_policy
from secateur_server.core.situation import NONE_EXCLUDED, UNKNOWN, Situation, Task
from secateur_server.core.suitability import unsuited_levels

MAX_REFUSALS = 3
"""An artifact that failed so often on a device is not wanted of it again."""

MAX_REASON = 500
"""Characters of a reason that travel."""


@dataclass(frozen=True, slots=True)
class Published:
    """A ladder that the registry holds."""

    ref: LadderRef
    ladder: Ladder
    is_choosy: bool = field(init=False)
    """Whether a level is not for every machine and engine."""

    def __post_init__(self) -> None:
        is_choosy = any(each.requires is not None for each in self.ladder.levels)
        object.__setattr__(self, "is_choosy", is_choosy)


@dataclass(frozen=True, slots=True)
class Context:
    """What holds for every device.

    Attributes:
        published: The stable version of each model.
        moved: Devices that a rollout has given another one, by model.
        minute_of_day: UTC, for quiet hours.
    """

    published: Mapping[ModelName, Published]
    policies: Policies
    artifacts_url: str
    beliefs: Beliefs = field(default_factory=Beliefs)
    minute_of_day: int = 0
    moved: Mapping[ModelName, Mapping[DeviceId, Published]] = field(default_factory=dict)

    def version_for(self, device: DeviceId, model: ModelName) -> Published:
        """Give the version of a published model that a device is to run."""
        moved = self.moved.get(model)
        return moved.get(device, self.published[model]) if moved else self.published[model]


def plan(state: DeviceState, context: Context) -> DeviceState:
    """Derive what is wanted of a device.

    Returns:
        The same state where nothing changes, else one whose ``desired`` has a higher
        revision than any that was sent or that the device reports. A device of which no
        birth is known wants nothing: it has to be asked for one first.
    """
    if state.info is None:
        return state
    tasks = [task for task in state.info.tasks if task.model in context.published]
    published = [context.version_for(state.device, task.model) for task in tasks]
    decisions = (
        decide(_situation(state, state.info, tasks, published, context)) if tasks else ()
    )
    if _is_told(state.desired, context.artifacts_url, published, decisions):
        return state
    models = tuple(map(_wish, published, decisions))
    desired = Desired(
        revision=_next_revision(state), artifacts_url=context.artifacts_url, models=models
    )
    return state._replace(desired=desired)


def _situation(
    state: DeviceState,
    info: Info,
    tasks: Sequence[ModelTask],
    published: Sequence[Published],
    context: Context,
) -> Situation:
    telemetry = state.telemetry
    if telemetry is not None and telemetry.boot < info.boot:
        telemetry = None  # of an earlier life of the device
    measured = {each.model: each for each in telemetry.models} if telemetry else {}
    refused = _refused(state)
    return Situation(
        tasks=[
            _task(
                state,
                task,
                each,
                context,
                measured=measured.get(task.model),
                excluded=(refused | unsuited_levels(each.ladder, info))
                if each.is_choosy
                else refused,
            )
            for task, each in zip(tasks, published, strict=True)
        ],
        resources=telemetry.resources if telemetry else UNKNOWN,
        period_s=telemetry.period_s if telemetry else 1.0,
        cores=info.hardware.cores,
        beliefs=context.beliefs,
        fingerprint=state.fingerprint,
        minute_of_day=context.minute_of_day,
    )


def _task(
    state: DeviceState,
    task: ModelTask,
    published: Published,
    context: Context,
    *,
    measured: ModelTelemetry | None,
    excluded: frozenset[Digest],
) -> Task:
    return Task(
        ladder=published.ladder,
        policy=effective_policy(
            context.policies,
            state.device,
            task.model,
            own_deadline_ms=task.deadline_ms,
            labels=state.labels,
        ),
        measured=measured,
        desired=_desired_level(state, task.model, published),
        experience=state.experiences.get(task.model),
        excluded=excluded,
    )


def _desired_level(state: DeviceState, model: ModelName, published: Published) -> int | None:
    """Find the level desired last; another version begins at the place the old one had."""
    stepped = _stepped_level(state, model)
    last = len(published.ladder.levels) - 1
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
    refusals = state.reported.refusals if state.reported else ()
    if not refusals:
        return NONE_EXCLUDED
    return frozenset(each.digest for each in refusals if each.count >= MAX_REFUSALS)


def _is_told(
    desired: Desired | None,
    artifacts_url: str,
    published: Sequence[Published],
    decisions: Sequence[Decision],
) -> bool:
    """Say whether the last desired state says all this; the reason's words do not count."""
    if desired is None:
        return not decisions
    wishes = desired.models
    if desired.artifacts_url != artifacts_url or len(wishes) != len(decisions):
        return False
    for wish, each, decision in zip(wishes, published, decisions, strict=True):
        if (
            wish.level != decision.level
            or wish.deadline_ms != decision.deadline_ms
            or wish.infeasible != decision.is_infeasible
            or wish.ladder.digest != each.ref.digest
            or wish.model != each.ladder.model
        ):
            return False
    return True


def _wish(published: Published, decision: Decision) -> DesiredModel:
    return DesiredModel(
        model=published.ladder.model,
        ladder=published.ref,
        level=decision.level,
        deadline_ms=decision.deadline_ms,
        infeasible=decision.is_infeasible,
        reason=decision.reason[:MAX_REASON],
    )


def _next_revision(state: DeviceState) -> int:
    """Go beyond what the device has seen, also after our own records were lost."""
    ours = state.desired.revision if state.desired else 0
    theirs = state.reported.revision if state.reported else 0
    return max(ours, theirs) + 1
