"""All that the decisions about one device depend on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from secateur_protocols.ids import Digest
from secateur_protocols.manifest import Ladder
from secateur_protocols.telemetry import ModelTelemetry, Resources
from secateur_server.core.beliefs import SAME, Beliefs, Estimate, predict_step
from secateur_server.core.experience import Experience
from secateur_server.core.pace import Pace, pace_of
from secateur_server.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One model on the device.

    Attributes:
        measured: Its part of the newest telemetry. ``None``: none yet.
        desired: The level desired last of this ladder. ``None``: none yet.
        experience: What the device's earlier measurements say.
        excluded: Artifacts that failed on this device too often, or are not made for it.
        running: The level that was measured, by digest; ``None``: none of this ladder.
        pace: How fast it is there. ``None``: it has not answered.
    """

    ladder: Ladder
    policy: Policy
    measured: ModelTelemetry | None = None
    desired: int | None = None
    experience: Experience | None = None
    excluded: frozenset[Digest] = frozenset()
    running: int | None = field(init=False)
    pace: Pace | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "running", self._find_running())
        pace = None if self.measured is None else pace_of(self.measured)
        object.__setattr__(self, "pace", pace)

    def _find_running(self) -> int | None:
        measured, levels = self.measured, self.ladder.levels
        if measured is None:
            return None
        if measured.level < len(levels) and levels[measured.level].digest == measured.digest:
            return measured.level
        return next((each.level for each in levels if each.digest == measured.digest), None)

    def allowed_levels(self) -> tuple[int, ...]:
        """List the levels that may be chosen, widest first; never none."""
        floor, levels = self.policy.accuracy_floor, self.ladder.levels
        if floor is None and not self.excluded:
            return tuple(range(len(levels)))
        accurate = [each for each in levels if each.accuracy.value >= (floor or 0.0)]
        accurate = accurate or [levels[0]]  # nothing is good enough: the best there is
        accepted = [each.level for each in accurate if each.digest not in self.excluded]
        return tuple(accepted or [each.level for each in accurate])


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One device, now.

    Attributes:
        period_s: Of the telemetry.
        fingerprint: Names the kind of hardware in ``beliefs``.
        minute_of_day: UTC.
    """

    tasks: Sequence[Task]
    resources: Resources = field(default_factory=Resources)
    period_s: float = 10.0
    cores: int = 1
    beliefs: Beliefs = field(default_factory=Beliefs)
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
