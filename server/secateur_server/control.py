"""What operators ask for, and what is done about it."""

from collections.abc import Mapping
from typing import Protocol, assert_never

from pydantic import JsonValue

from secateur_protocols.control import (
    AskRebirth,
    ControlRequest,
    ControlResponse,
    Forget,
    ListDevices,
    SetPolicy,
    ShowPolicy,
)
from secateur_protocols.presence import PresenceState
from secateur_server.core.fleet import DeviceState
from secateur_server.core.policy import Policies, change_policy

MAX_REASON = 200
"""Characters of a reason in a list: a page must fit a message."""


class Coordinator(Protocol):
    """What a request may look at and touch."""

    @property
    def devices(self) -> Mapping[str, DeviceState]:
        """Every device, by name."""

    @property
    def policies(self) -> Policies:
        """All that operators have set."""

    def set_policies(self, policies: Policies) -> None:
        """Let other policy hold from now on."""

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""

    def forget(self, device: str) -> None:
        """Forget a device."""


def answer(coordinator: Coordinator, request: ControlRequest) -> ControlResponse:
    """Do what is asked and say how it went."""
    action = request.action
    error: str | None = None
    result: JsonValue = None
    match action:
        case ListDevices():
            names = sorted(name for name in coordinator.devices if name > action.after)
            page = names[: action.limit]
            result = {
                "devices": [_describe(coordinator.devices[name]) for name in page],
                "more": len(names) > len(page),
            }
        case SetPolicy():
            scope = (action.device, action.model)
            coordinator.set_policies(
                change_policy(
                    coordinator.policies, scope, action.change, is_cleared=action.clear
                )
            )
        case ShowPolicy():
            result = [
                {"device": device, "model": model, **change.model_dump(exclude_none=True)}
                for (device, model), change in coordinator.policies.items()
            ]
        case AskRebirth():
            coordinator.ask_rebirth(action.device)
        case Forget():
            if action.device in coordinator.devices:
                coordinator.forget(action.device)
            else:
                error = f"no device {action.device} is known: see 'secateur devices'"
        case _:
            assert_never(action)
    return ControlResponse(
        request_id=request.request_id, ok=error is None, error=error, result=result
    )


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
