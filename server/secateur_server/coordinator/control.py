"""What operators ask for, and what is done about it."""

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import nsmallest
from typing import Protocol, assert_never

from pydantic import JsonValue

from secateur_protocols.control import (
    Action,
    AskRebirth,
    ControlRequest,
    ControlResponse,
    Forget,
    ListDevices,
    SetPolicy,
    ShowPolicy,
    ShowRollouts,
    ShowStatus,
    StartRollout,
    SteerRollout,
)
from secateur_protocols.ids import RequestId
from secateur_protocols.presence import PresenceState
from secateur_protocols.rollout import RolloutStatus
from secateur_server.coordinator.counters import Counters
from secateur_server.coordinator.replicas import Alone, Replicas
from secateur_server.coordinator.rollouts import Rollouts
from secateur_server.core.context import Context
from secateur_server.core.fleet import DeviceState
from secateur_server.core.inventory import Inventory
from secateur_server.core.policy import Policies, Scope, change_policy, normalize_selector
from secateur_server.errors import (
    InputError,
    PolicyConflictError,
    RolloutConflictError,
    TransientError,
)

MAX_REASON = 200
"""Characters of a reason in a list: a page must fit a message."""

MAX_MODELS = 100
"""Stable versions that are named."""

MAX_STRANGERS = 20
"""Unpublished models that are named."""


class Coordinator(Protocol):
    """What a request may look at and touch."""

    @property
    def devices(self) -> Mapping[str, DeviceState]:
        """Every device, by name."""

    @property
    def policies(self) -> Policies:
        """All that operators have set."""

    @property
    def context(self) -> Context:
        """What holds for every device."""

    @property
    def counters(self) -> Counters:
        """What has come in."""

    @property
    def inventory(self) -> Inventory:
        """Who is still missing."""

    @property
    def replicas(self) -> Replicas | Alone:
        """Who else coordinates."""

    def set_policies(self, policies: Policies) -> None:
        """Let other policy hold from now on."""

    @property
    def rollouts(self) -> Rollouts:
        """Which version each device is to have."""

    def start_rollout(self, asked: StartRollout, request_id: RequestId) -> RolloutStatus:
        """Begin a rollout."""

    def steer_rollout(self, asked: SteerRollout) -> RolloutStatus:
        """Do to a rollout what an operator says."""

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""

    def forget(self, device: str) -> None:
        """Forget a device."""


class _RefusedError(Exception):
    """A request that cannot be done, with the reason for who asked."""


def answer(coordinator: Coordinator, request: ControlRequest) -> ControlResponse:
    """Do what is asked and say how it went."""
    try:
        result = _do(coordinator, request.action, request.request_id)
    except (_RefusedError, InputError, TransientError) as error:
        return ControlResponse(request_id=request.request_id, ok=False, error=str(error))
    return ControlResponse(request_id=request.request_id, ok=True, result=result)


def _do(coordinator: Coordinator, action: Action, request_id: RequestId) -> JsonValue:
    match action:
        case ListDevices():
            return _list_devices(coordinator, action)
        case SetPolicy():
            _set_policy(coordinator, action)
        case ShowPolicy():
            return _show_policy(coordinator.policies)
        case ShowStatus():
            return describe_status(coordinator)
        case StartRollout() | SteerRollout() | ShowRollouts():
            return _do_rollout(coordinator, action, request_id)
        case AskRebirth():
            coordinator.ask_rebirth(action.device)
        case Forget():
            if action.device not in coordinator.devices:
                raise _RefusedError(
                    f"no device {action.device} is known: see 'secateur devices'"
                )
            coordinator.forget(action.device)
        case _:
            assert_never(action)
    return None


def _do_rollout(
    coordinator: Coordinator,
    action: StartRollout | SteerRollout | ShowRollouts,
    request_id: RequestId,
) -> JsonValue:
    match action:
        case StartRollout():
            return _dump(_again_once(lambda: coordinator.start_rollout(action, request_id)))
        case SteerRollout():
            return _dump(_again_once(lambda: coordinator.steer_rollout(action)))
        case ShowRollouts():
            return _show_rollouts(coordinator.rollouts, action)


def _again_once(change: Callable[[], RolloutStatus]) -> RolloutStatus:
    try:
        return change()
    except RolloutConflictError:
        # Another replica changed a rollout, perhaps by this very request; it is known now.
        return change()


def _dump(status: RolloutStatus) -> JsonValue:
    found: JsonValue = status.model_dump(mode="json")
    return found


def _show_rollouts(rollouts: Rollouts, action: ShowRollouts) -> JsonValue:
    found = rollouts.describe_all(action)
    if action.rollout is not None:
        return {"rollouts": [_dump(each) for each in found]}
    short = {"rollout", "model", "version", "from_version", "state", "reason", "started_at"}
    return {"rollouts": [each.model_dump(mode="json", include=short) for each in found]}


def _list_devices(coordinator: Coordinator, action: ListDevices) -> JsonValue:
    names = nsmallest(
        action.limit + 1, (name for name in coordinator.devices if name > action.after)
    )
    return {
        "devices": [_describe(coordinator.devices[name]) for name in names[: action.limit]],
        "more": len(names) > action.limit,
    }


def _set_policy(coordinator: Coordinator, action: SetPolicy) -> None:
    before = coordinator.policies
    if action.if_version is not None and action.if_version != before.version:
        raise _RefusedError(
            f"policy is of version {before.version}, not {action.if_version}: look again"
        )
    if action.device is not None and action.selector is not None:
        raise _RefusedError("a rule is for a device or for a selector, not for both")
    try:
        selector = normalize_selector(action.selector or "")
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    scope = Scope(action.device, action.model, selector)
    try:
        _change(coordinator, scope, action)
    except PolicyConflictError:
        if action.if_version is not None:
            raise
        # Another replica changed policy, perhaps by this very request: look again, once.
        _change(coordinator, scope, action)


def _change(coordinator: Coordinator, scope: Scope, action: SetPolicy) -> None:
    before = coordinator.policies
    after = change_policy(
        before, scope, action.change, is_cleared=action.clear, unset=action.unset
    )
    if after is not before:
        coordinator.set_policies(after)


def _show_policy(policies: Policies) -> JsonValue:
    return {
        "version": policies.version,
        "rules": [
            {
                "device": scope.device,
                "model": scope.model,
                "selector": scope.selector or None,
                "version": rule.version,
                **rule.change.model_dump(exclude_none=True),
            }
            for scope, rule in policies.in_order()
        ],
    }


def describe_status(coordinator: Coordinator) -> dict[str, JsonValue]:
    """Say how the coordinator and its fleet are, in numbers."""
    states = coordinator.devices.values()
    presence = Counter(
        str(state.presence.state if state.presence else "unknown") for state in states
    )
    wishes = [wish for state in states if state.desired for wish in state.desired.models]
    published = coordinator.context.published
    strangers = Counter(
        task.model
        for state in states
        if state.info is not None
        for task in state.info.tasks
        if task.model not in published
    )
    return {
        "devices": len(coordinator.devices),
        "presence": dict(presence),
        "infeasible": sum(wish.infeasible for wish in wishes),
        "stable": {
            model: published[model].ladder.version for model in nsmallest(MAX_MODELS, published)
        },
        "unpublished_models": dict(strangers.most_common(MAX_STRANGERS)),
        "missing": coordinator.inventory.missing_count,
        "silent": coordinator.inventory.silent_count,
        "policy_version": coordinator.policies.version,
        "replicas": list(coordinator.replicas.members),
        "shared_subscription": coordinator.replicas.is_shared,
        **coordinator.counters.describe(),
    }


def _describe(state: DeviceState) -> JsonValue:
    info, presence = state.info, state.presence
    return {
        "device": state.device,
        "state": str(presence.state if presence else PresenceState.OFFLINE),
        "hardware_class": info.hardware.hardware_class if info else None,
        "simulated": info.hardware.simulated if info else None,
        "models": _describe_models(state),
    }


def _describe_models(state: DeviceState) -> list[JsonValue]:
    wishes = {wish.model: wish for wish in state.desired.models} if state.desired else {}
    described: list[JsonValue] = []
    for measured in state.telemetry.models if state.telemetry else ():
        wish = wishes.get(measured.model)
        described.append(
            {
                "model": measured.model,
                "level": measured.level,
                "desired_level": wish.level if wish else None,
                "precision": measured.precision,
                "p95_ms": measured.p95_ms,
                "deadline_ms": measured.deadline_ms,
                "deadline_misses": measured.deadline_misses,
                "answered": measured.answered,
                "lost": measured.lost,
                "reason": wish.reason[:MAX_REASON] if wish else None,
            }
        )
    return described
