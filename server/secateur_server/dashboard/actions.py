"""What a form of the dashboard asks for, as requests to the coordinator.

A form is hostile until it has been read here: its fields become a message of the protocol,
which bounds everything, or one line that says what is wrong.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from secateur_protocols.codec import first_problem
from secateur_protocols.control import (
    Action,
    AskRebirth,
    ControlResponse,
    Forget,
    SetPolicy,
    SteerRollout,
)
from secateur_server.errors import InputError, ServerError

Fields = Mapping[str, str]

Ask = Callable[[Action], Awaitable[Any]]
"""Asks the coordinator and gives the result; `ServerError`: it refuses, or does not answer."""

_ACTION: TypeAdapter[Action] = TypeAdapter(Action)


def read_action(document: Mapping[str, object]) -> Action:
    """Read a request.

    Raises:
        InputError: A value cannot be; one line.
    """
    try:
        return _ACTION.validate_python(document)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None


def number(fields: Fields, name: str) -> int:
    """Read a whole number.

    Raises:
        InputError: It is none.
    """
    text = fields.get(name, "").strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:  # noqa: PLR2004 - digits
        raise InputError(f"{name.replace('_', ' ')}: a whole number is expected")
    return int(text)


def decimal(fields: Fields, name: str) -> float | None:
    """Read a number; an empty field is ``None``.

    Raises:
        InputError: It is none.
    """
    text = fields.get(name, "").strip().replace(",", ".")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name.replace('_', ' ')}: a number is expected") from None


async def pin(ask: Ask, fields: Fields) -> str:
    """Hold a model on a device at one level."""
    device, model, level = fields.get("device"), fields.get("model"), number(fields, "level")
    await ask(
        read_action(
            {
                "action": "set_policy",
                "device": device,
                "model": model,
                "change": {"pinned_level": level},
            }
        )
    )
    return f"{model} on {device} is pinned to level {level}."


async def unpin(ask: Ask, fields: Fields) -> str:
    """Let the planner decide again; what else is set for the pair stays."""
    device, model = fields.get("device"), fields.get("model")
    await ask(
        read_action(
            {
                "action": "set_policy",
                "device": device,
                "model": model,
                "change": {},
                "unset": ("pinned_level",),
            }
        )
    )
    return f"The planner decides about {model} on {device} again."


async def rebirth(ask: Ask, fields: Fields) -> str:
    """Have a device say everything again."""
    action = AskRebirth.model_validate({"device": fields.get("device")}, strict=True)
    await ask(action)
    return f"{action.device} is asked to say everything again."


async def forget(ask: Ask, fields: Fields) -> str:
    """Forget a device."""
    action = read_action({"action": "forget", "device": fields.get("device")})
    await ask(action)
    device = action.device if isinstance(action, Forget) else ""
    return f"{device} is forgotten. If it is alive, it comes back by itself."


async def abort(ask: Ask, fields: Fields) -> str:
    """Let a device keep what it runs: a newer wish takes the place of the update under way."""
    await pin(ask, fields)
    return (
        f"Aborted: {fields.get('model')} on {fields.get('device')} keeps level "
        f"{fields.get('level')}, pinned until you let the planner decide again."
    )


async def steer(ask: Ask, fields: Fields) -> str:
    """Do something to a rollout."""
    order, rollout = fields.get("order", ""), fields.get("rollout", "")
    document: dict[str, object] = {
        "action": "steer_rollout",
        "rollout": rollout,
        "order": order,
    }
    if fields.get("wave"):
        document["wave"] = number(fields, "wave")
    if fields.get("reason"):
        document["reason"] = fields["reason"]
    action = read_action(document)
    await ask(action)
    done = {
        "pause": "is paused",
        "resume": "goes on",
        "halt": "is halted: its devices get the stable version again",
        "approve": "goes on to its next wave",
        "forget": "is forgotten",
    }
    name = action.rollout if isinstance(action, SteerRollout) else ""
    return f"{name} {done[order]}."


_DURATIONS = ("soak_s", "baseline_s", "deadline_s")
_GATES = (
    "max_p95_ratio",
    "max_miss_rise",
    "max_accuracy_drop",
    "max_memory_rise",
    "max_temperature_rise_c",
    "max_bad_ratio",
)


async def start(ask: Ask, fields: Fields) -> str:
    """Start a rollout; what a field leaves empty is the default."""
    plan: dict[str, object] = {"approve_each_wave": fields.get("approve_each_wave") == "yes"}
    waves = [each.strip() for each in fields.get("waves", "").split(",") if each.strip()]
    if waves:
        plan["waves"] = tuple(waves)
    plan.update(_given(fields, _DURATIONS))
    plan["gates"] = _given(fields, _GATES)
    document = {"action": "start_rollout", "model": fields.get("model"), "plan": plan}
    if version := fields.get("version", "").strip():
        document["version"] = version
    status = await ask(read_action(document))
    return f"{status['rollout']} has begun: {status['model']} {status['version']}."


_NUMBERS = (
    "deadline_ms",
    "accuracy_floor",
    "headroom",
    "weight",
    "cpu_limit",
    "temperature_limit_c",
    "battery_floor",
)
_COUNTS = ("patience", "pinned_level")


def read_policy(fields: Fields) -> SetPolicy:
    """Read a change of policy.

    Raises:
        InputError: A value cannot be, or nothing is to change.
    """
    change = _given(fields, _NUMBERS)
    change.update(
        {name: number(fields, name) for name in _COUNTS if fields.get(name, "").strip()}
    )
    if hours := fields.get("quiet_hours", "").strip():
        change["quiet_hours"] = hours
    clears = fields.get("clear") == "yes"
    if not change and not clears:
        raise InputError("nothing is to change: fill in what should be different")
    scope = {
        name: value
        for name in ("device", "selector", "model")
        if (value := fields.get(name, "").strip())
    }
    if "device" in scope and "selector" in scope:
        raise InputError("a change is for a selector or for one device, not for both")
    document: dict[str, object] = {
        "action": "set_policy",
        "change": change,
        "clear": clears,
        **scope,
    }
    if fields.get("if_version"):
        document["if_version"] = number(fields, "if_version")
    action = read_action(document)
    if not isinstance(action, SetPolicy):  # pragma: no cover - what was just read
        raise InputError("no policy")
    return action


async def policy(ask: Ask, fields: Fields) -> str:
    """Change policy."""
    await ask(read_policy(fields))
    return "The policy holds from now on."


def _given(fields: Fields, names: Sequence[str]) -> dict[str, object]:
    values = {name: decimal(fields, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


ACTIONS: Mapping[str, Callable[[Ask, Fields], Awaitable[str]]] = {
    "pin": pin,
    "unpin": unpin,
    "rebirth": rebirth,
    "forget": forget,
    "abort": abort,
    "steer": steer,
    "start": start,
    "policy": policy,
}
"""By the last part of a form's address; each says in a sentence what it did."""


def result_of(response: ControlResponse) -> object:
    """Give what the coordinator answered.

    Raises:
        ServerError: It refuses; its own words.
    """
    if not response.ok:
        raise ServerError(response.error or "the coordinator refuses")
    return response.result
