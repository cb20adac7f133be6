"""What an agent remembers, and what may follow from an event."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur_agent.core import descent, quiet, standby, swap
from secateur_agent.core.profile import NORMAL, Profile
from secateur_agent.core.report import LevelServed
from secateur_agent.core.telemetry import History
from secateur_protocols.ids import ModelName
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.ota import Update
from secateur_protocols.state import Desired
from secateur_protocols.topics import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """All that the agent remembers.

    Attributes:
        info: What the device is; its tasks name the models it runs.
        desired: The newest desired state of this boot. ``None``: none yet.
        swaps: One machine per task, by model.
        standbys: Likewise, for the tasks that keep the next narrower level at hand.
        lids: Models that stepped down alone.
        updates: What was last told of each model's update.
        histories: What each model's earlier periods say.
        unsaid: What each model's levels answered since the last telemetry message.
        profile: How much telemetry is said; ``saying`` remembers what was.
        sequence: Of the next reported, ota or event message.
        telemetry_sequence: Of the next telemetry message.
    """

    info: Info
    desired: Desired | None = None
    swaps: Mapping[ModelName, swap.SwapState]
    standbys: Mapping[ModelName, standby.StandbyState] = field(default_factory=dict)
    lids: Mapping[ModelName, descent.Lid] = field(default_factory=dict)
    updates: Mapping[ModelName, Update] = field(default_factory=dict)
    histories: Mapping[ModelName, History] = field(default_factory=dict)
    unsaid: Mapping[ModelName, tuple[LevelServed, ...]] = field(default_factory=dict)
    profile: Profile = NORMAL
    saying: quiet.Quiet = field(default_factory=quiet.Quiet)
    sequence: int = 0
    telemetry_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message on one of our leaves."""

    leaf: Leaf
    message: Message


@dataclass(frozen=True, slots=True)
class ForModel:
    """Run an effect of one model's swap."""

    model: ModelName
    effect: swap.Effect


@dataclass(frozen=True, slots=True)
class ForStandby:
    """Run an effect of one model's standby."""

    model: ModelName
    effect: standby.Effect


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Judge one model's answers by another deadline, milliseconds."""

    model: ModelName
    deadline_ms: float


Effect = Publish | ForModel | ForStandby | SetDeadline


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one event."""

    state: AgentState
    effects: tuple[Effect, ...] = ()
