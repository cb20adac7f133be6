"""What operators ask of the coordinator, and its answers.

Rule W5: never retained; each request carries an id that its response repeats; the same
request twice is a no-op.
"""

from enum import StrEnum
from math import isfinite
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from secateur_protocols.ids import ClientId, DeviceId, ModelName, RequestId, Version
from secateur_protocols.message import Message
from secateur_protocols.presence import Counter
from secateur_protocols.rollout import RolloutId, RolloutPlan
from secateur_protocols.telemetry import DeadlineMilliseconds, Level, Ratio

QuietHours = Annotated[
    str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$")
]
"""``HH:MM-HH:MM``, from and to, past midnight if the second is the earlier one."""


class PolicyChange(Message):
    """What an operator sets for a model on a device; what is ``None`` stays as it is."""

    deadline_ms: DeadlineMilliseconds | None = None
    accuracy_floor: Ratio | None = None
    headroom: Ratio | None = None
    """Share of the deadline kept free when going wider."""
    patience: Annotated[int, Field(ge=1, le=16)] | None = None
    """Periods that must agree before going wider."""
    pinned_level: Level | None = None
    weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """How much this model's accuracy counts beside that of others on the same device."""
    cpu_limit: Ratio | None = None
    """Busy share of all cores that the device may reach."""
    temperature_limit_c: Annotated[float, Field(ge=-100, le=250)] | None = None
    """Narrower at once above it, degrees Celsius."""
    battery_floor: Ratio | None = None
    """Charge below which a device on battery is spared."""
    quiet_hours: QuietHours | None = None
    """UTC; nothing goes wider in them, so that nothing is fetched that can wait."""


PolicyOption = Annotated[str, Field(pattern=f"^({'|'.join(PolicyChange.model_fields)})$")]
"""The name of a field of `PolicyChange`."""


class ListDevices(Message):
    """Ask for the devices the coordinator knows, a page at a time."""

    action: Literal["list_devices"] = "list_devices"
    after: str = ""
    """Names up to and including this one are left out."""
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class SetPolicy(Message):
    """Change policy for one device or all (``device`` ``None``), one model or all."""

    action: Literal["set_policy"] = "set_policy"
    device: DeviceId | None = None
    model: ModelName | None = None
    change: PolicyChange
    selector: Annotated[str, Field(max_length=2048)] | None = None
    """Instead of ``device``: those with all of these labels, ``key=value,key=value``."""
    clear: bool = False
    """Forget what was set before for just this scope, first."""
    unset: tuple[PolicyOption, ...] = Field(default=(), max_length=16)
    """Forget these of it, first."""
    if_version: Counter | None = None
    """Refuse if policy is not of this version any more: somebody else changed it."""


class ShowPolicy(Message):
    """Ask for all policy that is set."""

    action: Literal["show_policy"] = "show_policy"


class ShowStatus(Message):
    """Ask how the coordinator and its fleet are: counts of what it knows, met and refused."""

    action: Literal["show_status"] = "show_status"


class AskRebirth(Message):
    """Have one device, or all, say everything again."""

    action: Literal["rebirth"] = "rebirth"
    device: DeviceId | None = None


class Forget(Message):
    """Forget a device: empty its retained topics and its row (rule W6)."""

    action: Literal["forget"] = "forget"
    device: DeviceId


class StartRollout(Message):
    """Bring a published version of a model to the site's devices, in waves."""

    action: Literal["start_rollout"] = "start_rollout"
    model: ModelName
    version: Version | None = None
    """``None``: the one published last."""
    plan: RolloutPlan = RolloutPlan()


class ShowRollouts(Message):
    """Ask where one rollout stands, or all, in short."""

    action: Literal["show_rollouts"] = "show_rollouts"
    rollout: RolloutId | None = None


class Steering(StrEnum):
    """What an operator may do to a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    """Every device gets the stable version again. There is no way back but a new rollout."""
    APPROVE = "approve"
    FORGET = "forget"
    """One that has ended: its record and its retained topic go."""


class SteerRollout(Message):
    """Do something to a rollout."""

    action: Literal["steer_rollout"] = "steer_rollout"
    rollout: RolloutId
    order: Annotated[Steering, Field(strict=False)]
    wave: Annotated[int, Field(ge=0, le=15)] | None = None
    """Of ``approve``: the wave that did well. ``None``: the one that is open."""
    reason: Annotated[str, Field(max_length=200)] | None = None
    """Of ``halt``, for who reads the status."""


Action = Annotated[
    ListDevices
    | SetPolicy
    | ShowPolicy
    | ShowStatus
    | AskRebirth
    | Forget
    | StartRollout
    | ShowRollouts
    | SteerRollout,
    Field(discriminator="action"),
]


class ControlRequest(Message):
    """One request of an operator's client."""

    request_id: RequestId
    client: ClientId
    action: Action


def _refuse_non_finite(value: JsonValue) -> JsonValue:
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, float) and not isfinite(part):
            msg = "NaN and infinity are no JSON"
            raise ValueError(msg)
        if isinstance(part, dict | list):
            left.extend(part.values() if isinstance(part, dict) else part)
    return value


class ControlResponse(Message):
    """The answer to one request."""

    request_id: RequestId
    ok: bool
    error: str | None = None
    """One line that says what to do. ``None`` when ``ok``."""
    result: Annotated[JsonValue, AfterValidator(_refuse_non_finite)] = None
