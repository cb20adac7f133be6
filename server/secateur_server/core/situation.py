"""All that the decisions about one device depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from secateur_protocols.manifest import Ladder
from secateur_protocols.telemetry import ModelTelemetry, Resources
from secateur_server.core.beliefs import SAME, Beliefs, Estimate, predict_step
from secateur_server.core.experience import Experience
from secateur_server.core.pace import Pace, pace_of
from secateur_server.core.policy import Policy

UNKNOWN, NO_BELIEFS = Resources(), Beliefs()


@dataclass(slots=True)
class Task:
    """One model on the device.

    Made with each message, and so not frozen: that takes three times as long.

    Attributes:
        allowed: The levels that may be chosen, widest first; never none.
        desired: The level desired last of this ladder. ``None``: none yet.
        measured: Its part of the newest telemetry. ``None``: none yet.
        experience: What the device's earlier measurements say.
        running: The level that was measured, by digest; ``None``: none of this ladder.
        pace: How fast it is there. ``None``: it has not answered.
    """

    ladder: Ladder
    policy: Policy
    allowed: Sequence[int]
    desired: int | None = None
    measured: ModelTelemetry | None = None
    experience: Experience | None = None
    running: int | None = field(init=False)
    pace: Pace | None = field(init=False)

    def __post_init__(self) -> None:
        measured = self.measured
        self.running = None if measured is None else _running(self.ladder, measured)
        self.pace = None if measured is None else pace_of(measured)


def _running(ladder: Ladder, measured: ModelTelemetry) -> int | None:
    levels = ladder.levels
    if measured.level < len(levels) and levels[measured.level].digest == measured.digest:
        return measured.level
    return next((each.level for each in levels if each.digest == measured.digest), None)


class Situation(NamedTuple):
    """One device, now.

    Attributes:
        period_s: Of the telemetry.
        fingerprint: Names the kind of hardware in ``beliefs``.
        minute_of_day: UTC.
    """

    tasks: Sequence[Task]
    resources: Resources = UNKNOWN
    period_s: float = 10.0
    cores: int = 1
    beliefs: Beliefs = NO_BELIEFS
    fingerprint: str = ""
    minute_of_day: int = 0

    def predict(self, task: Task, level: int) -> Estimate:
        """Predict ln(latency at ``level`` / latency at the running level)."""
        running = task.running
        if running is None or running == level:
            return SAME
        return predict_step(
            self.beliefs,
            self.fingerprint,
            task.experience,
            task.ladder,
            running=running,
            level=level,
        )
