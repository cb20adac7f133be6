"""What can happen to an agent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur_agent.core import guard, standby, swap
from secateur_agent.core.report import LaneReport
from secateur_agent.core.telemetry import WireBytes
from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import Resources


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection with this number, and subscriptions are asked."""

    session: int


@dataclass(frozen=True, slots=True)
class RebirthDue:
    """The coordinator wants everything said again, and the random delay is over."""

    session: int


@dataclass(frozen=True, slots=True)
class DesiredArrived:
    """A desired state, in any order, any number of times."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class Swap:
    """Something happened to one model's swap."""

    model: ModelName
    event: swap.Event


@dataclass(frozen=True, slots=True)
class Standby:
    """Something happened to the level that stands by for one model."""

    model: ModelName
    event: standby.Event


@dataclass(frozen=True, slots=True)
class Crossed:
    """A limit is crossed.

    Attributes:
        model: Whose. ``None``: the whole device's.
        since_switch_s: How long ago each model's serving artifact changed last, seconds.
    """

    model: ModelName | None
    crossing: guard.Crossing
    since_switch_s: Mapping[ModelName, float]


@dataclass(frozen=True, slots=True)
class ReconcileDue:
    """Time to compare what is with what is wanted: a failed update is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodEnded:
    """One telemetry period is over, or a crossed limit has ended it early.

    Attributes:
        sent_at: The device's UTC clock, ISO 8601.
        period_s: How long one is meant to be.
        elapsed_s: How long this one was.
        held: Digests of verified artifacts in the store.
    """

    sent_at: str
    period_s: float
    elapsed_s: float
    resources: Resources
    reports: tuple[LaneReport, ...]
    held: tuple[Digest, ...]
    wire: WireBytes = field(default_factory=WireBytes)


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """Something broke and was survived."""

    model: ModelName | None
    text: str


Event = (
    Connected
    | RebirthDue
    | DesiredArrived
    | Swap
    | Standby
    | Crossed
    | ReconcileDue
    | PeriodEnded
    | FaultSeen
)
