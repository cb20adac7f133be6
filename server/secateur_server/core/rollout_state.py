"""Where a rollout stands and where its devices do: what `rollout` remembers and changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from secateur_protocols.ids import DeviceId, ModelName
from secateur_protocols.rollout import ENDED, RolloutId, RolloutPlan, RolloutState
from secateur_protocols.state import LadderRef
from secateur_server.core.evidence import Objection


class Stand(StrEnum):
    """Where a device of a rollout stands."""

    WAITING = "waiting"
    TOLD = "told"
    SOAKING = "soaking"
    GOOD = "good"
    BAD = "bad"
    EXPIRED = "expired"
    UNSUITED = "unsuited"


FRUITLESS = frozenset({Stand.BAD, Stand.EXPIRED, Stand.UNSUITED})
SETTLED = FRUITLESS | {Stand.GOOD}
VACANT = frozenset({Stand.EXPIRED, Stand.UNSUITED})
"""Where a device takes no place in its wave."""

KEEPS_OLD = frozenset({Stand.BAD, Stand.UNSUITED})
"""Where a device keeps the old version when the target becomes stable (rule 9)."""

CHANGED = frozenset({Stand.TOLD, Stand.SOAKING, Stand.GOOD})
"""Where the target is wanted (rule 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One device of a rollout.

    Attributes:
        wave: That took it.
        hardware_class: Devices of one are alike.
        since_s: When it came to where it stands, by the rollout's clock.
        objection: Why it is BAD.
        is_back: Does not run the target, by its last word.
    """

    wave: int
    hardware_class: str
    stand: Stand = Stand.WAITING
    since_s: float
    objection: Objection | None = None
    is_back: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """All that a rollout remembers.

    Attributes:
        stable: What devices had before; ``target`` what they get.
        wave: That is open, from 0.
        resumes: Where `Resumed` leads to.
        approved: Waves before this one may open without asking.
        clock_s: How long it has been watched (rule 6).
        seen_at_s: UTC of the last look, seconds since 1970.
        warnings: What the versions' manifests say, for people.
        members: Whom it has taken.
    """

    rollout: RolloutId
    model: ModelName
    stable: LadderRef
    target: LadderRef
    plan: RolloutPlan
    state: RolloutState = RolloutState.WATCHING
    reason: str = ""
    wave: int = 0
    resumes: RolloutState = RolloutState.WATCHING
    approved: int = 1
    clock_s: float = 0.0
    seen_at_s: float
    started_at_s: float
    warnings: tuple[str, ...] = ()
    members: Mapping[DeviceId, Member] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Say whether nothing follows."""
        return self.state in ENDED


def wants_target(rollout: Rollout, device: DeviceId) -> bool:
    """Say whether a device is to run the target because of this rollout (rule 2)."""
    member = rollout.members.get(device)
    return not rollout.has_ended and member is not None and member.stand in CHANGED


def may_run_target(rollout: Rollout, member: Member) -> bool:
    """Say whether a device of a rollout has the target, or may keep it (rules 2 and 9)."""
    if rollout.state is RolloutState.SUCCEEDED:
        return member.stand not in KEEPS_OLD
    return not rollout.has_ended and member.stand in CHANGED


def must_go_back(rollout: Rollout, member: Member) -> bool:
    """Say whether a device was let go by its rollout."""
    is_let_go = rollout.has_ended or member.stand in FRUITLESS
    return is_let_go and not may_run_target(rollout, member)


def held_back(rollout: Rollout) -> frozenset[DeviceId]:
    """Give the devices that keep the old version although the target is stable (rule 9)."""
    if rollout.state is not RolloutState.SUCCEEDED:
        return frozenset()
    members = rollout.members.items()
    return frozenset(name for name, each in members if each.stand in KEEPS_OLD)


def changed_devices(rollout: Rollout) -> frozenset[DeviceId]:
    """Give the devices that are to run the target because of this rollout."""
    if rollout.has_ended:
        return frozenset()
    return frozenset(name for name, each in rollout.members.items() if each.stand in CHANGED)
