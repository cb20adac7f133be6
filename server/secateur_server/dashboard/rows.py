"""A line of the fleet's table, and what to make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from secateur_protocols.ota import TERMINAL, Update, UpdateState
from secateur_protocols.presence import PresenceState
from secateur_protocols.state import DesiredModel, ReportedModel

FAILED = frozenset(
    {
        UpdateState.FAILED,
        UpdateState.REJECTED,
        UpdateState.ROLLED_BACK,
        UpdateState.TIMED_OUT,
    }
)
"""Ends of an update that somebody should look at."""


class Health(StrEnum):
    """What to make of a model on a device, from worst to best."""

    OFFLINE = "offline"
    SILENT = "silent"
    INFEASIBLE = "infeasible"
    LATE = "late"
    UPDATE_FAILED = "update failed"
    STEPPED_DOWN = "stepped down"
    STOPPED = "stopped"
    UPDATING = "updating"
    WAITING = "waiting"
    GOOD = "good"


WORST_FIRST = {health: place for place, health in enumerate(Health)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one device, as a line of the table; ``model`` ``None``: nothing known yet.

    Attributes:
        trend: p95 as a share of the deadline, of the last periods, oldest first.
        missed: Answers past the deadline since the message before; likewise ``answered``,
            ``labelled`` and ``correct``.
        overdue_at_s: From when on the device is silent. ``None``: it never spoke.
    """

    device: str
    state: str
    hardware_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    version: str = ""
    level: int | None = None
    desired_level: int | None = None
    p95_ms: float | None = None
    deadline_ms: float | None = None
    trend: tuple[float, ...] = ()
    answered: int = 0
    missed: int = 0
    labelled: int = 0
    correct: int = 0
    temperature_c: float | None = None
    cpu_share: float | None = None
    spoken_health: Health = Health.WAITING
    overdue_at_s: float | None = None

    @property
    def share(self) -> float | None:
        """p95 as a share of the deadline."""
        if self.p95_ms is None or not self.deadline_ms:
            return None
        return self.p95_ms / self.deadline_ms

    def health(self, now_s: float) -> Health:
        """Say how it is now: who said nothing for too long is silent, whatever it said last."""
        is_due = self.overdue_at_s is not None and now_s > self.overdue_at_s
        if is_due and self.state == PresenceState.ONLINE:
            return Health.SILENT
        return self.spoken_health


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the health of one model on one device follows from; time apart."""

    state: str
    has_spoken: bool
    share: float | None
    wish: DesiredModel | None
    report: ReportedModel | None
    update: Update | None


_ABSENT = {
    PresenceState.OFFLINE: Health.OFFLINE,
    PresenceState.STOPPED: Health.STOPPED,
    PresenceState.SLEEPING: Health.STOPPED,
}


def judge(said: Said) -> Health:
    """Name the worst that is true of it."""
    wish, update = said.wish, said.update
    truths = (
        (wish is not None and wish.infeasible, Health.INFEASIBLE),
        (said.share is not None and said.share > 1, Health.LATE),
        (update is not None and update.state in FAILED, Health.UPDATE_FAILED),
        (said.report is not None and said.report.stepped_down is not None, Health.STEPPED_DOWN),
        (update is not None and update.state not in TERMINAL, Health.UPDATING),
        (said.has_spoken, Health.GOOD),
    )
    absent = _ABSENT.get(PresenceState(said.state))
    return absent or next((health for is_so, health in truths if is_so), Health.WAITING)
