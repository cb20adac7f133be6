"""What the coordinator does about one device: desired follows from what is known.

``plan`` is level-triggered: it derives the whole desired state anew and publishes it only
where it differs from the last one. No state is kept between messages but the device's own.
"""

from collections.abc import Sequence

from secateur_protocols.info import Info
from secateur_protocols.state import Desired, DesiredModel
from secateur_server.core.assignment import Duty, Told, assignment_of
from secateur_server.core.context import Context
from secateur_server.core.decision import Decision
from secateur_server.core.fleet import DeviceState
from secateur_server.core.planner import decide
from secateur_server.core.situation import UNKNOWN, Situation, Task

MAX_REASON = 500
"""Characters of a reason that travel."""


def plan(state: DeviceState, context: Context) -> DeviceState:
    """Derive what is wanted of a device.

    Returns:
        The same state where nothing changes, else one whose ``desired`` has a higher
        revision than any that was sent or that the device reports. A device of which no
        birth is known wants nothing: it has to be asked for one first.
    """
    if state.info is None:
        return state
    assignment = assignment_of(state, state.info, context)
    duties = assignment.duties
    decisions = decide(_situation(state, state.info, duties, context)) if duties else ()
    if [_tell(decision) for decision in decisions] == assignment.told:
        return state
    desired = Desired(
        revision=_next_revision(state),
        artifacts_url=context.artifacts_url,
        models=tuple(map(_wish, duties, decisions)),
    )
    return state._replace(desired=desired)


def _situation(
    state: DeviceState, info: Info, duties: Sequence[Duty], context: Context
) -> Situation:
    telemetry = state.telemetry
    if telemetry is not None and telemetry.boot < info.boot:
        telemetry = None  # of an earlier life of the device
    measured = {each.model: each for each in telemetry.models} if telemetry else {}
    return Situation(
        tasks=[
            Task(
                duty.ladder,
                duty.policy,
                duty.allowed,
                duty.desired,
                measured.get(duty.model),
                state.experiences.get(duty.model),
            )
            for duty in duties
        ],
        resources=telemetry.resources if telemetry else UNKNOWN,
        period_s=telemetry.period_s if telemetry else 1.0,
        cores=info.hardware.cores,
        beliefs=context.beliefs,
        fingerprint=state.fingerprint,
        minute_of_day=context.minute_of_day,
    )


def _tell(decision: Decision) -> Told:
    return Told(decision.level, decision.deadline_ms, decision.is_infeasible)


def _wish(duty: Duty, decision: Decision) -> DesiredModel:
    return DesiredModel(
        model=duty.model,
        ladder=duty.ref,
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
