"""What happens to a rollout, and what follows from it: the words that `rollout` speaks."""

from collections.abc import Mapping
from dataclasses import dataclass

from secateur_protocols.ids import DeviceId
from secateur_protocols.rollout import RolloutId
from secateur_protocols.state import LadderRef
from secateur_server.core.evidence import Objection


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One device that could take part, as it is now.

    Attributes:
        hardware_class: Devices of one are alike.
        is_online: It is there to be asked.
        has_baseline: Enough is known of it to compare with.
        is_proven: It has shown that it runs the target.
        is_on_target: By its last word it runs the target.
        is_judged: All that can be compared has been.
        objection: What speaks against the target on it.
        is_unsuited: The target was not made for it.
    """

    hardware_class: str
    is_online: bool
    has_baseline: bool = False
    is_proven: bool = False
    is_on_target: bool = False
    is_judged: bool = False
    objection: Objection | None = None
    is_unsuited: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """The whole fleet of the model, as it is at a time, UTC seconds since 1970."""

    at_s: float
    fleet: Mapping[DeviceId, Seen]


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator lets no further device change."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """An operator lets it go on."""


@dataclass(frozen=True, slots=True)
class Approved:
    """An operator lets the wave after this one open."""

    wave: int


@dataclass(frozen=True, slots=True)
class Halted:
    """An operator has had enough."""

    reason: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer rollout of the model begins."""

    by: RolloutId


Event = Looked | Paused | Resumed | Approved | Halted | Superseded


@dataclass(frozen=True, slots=True)
class Replan:
    """Derive anew what is wanted of these devices: their version has changed."""

    devices: frozenset[DeviceId]


@dataclass(frozen=True, slots=True)
class Promote:
    """The target is the stable version from now on."""

    target: LadderRef


Effect = Replan | Promote
