"""What the planner decided for one model on one device, and its reason in words and numbers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """Why a level was chosen; the values are the words of a reason."""

    PINNED = "pinned"
    WAITING = "waiting for the first measurement"
    LIKE_DEVICES = "no measurement yet: what fits like devices"
    NARROWEST_FIRST = "no measurement yet: the narrowest level first"
    NO_ANSWERS = "no answers in this period: no change"
    FITS = "nothing wider is predicted to fit"
    IMPATIENT = "too few periods agree to go wider"
    WARY = "it went wider and could not stay: waiting longer"
    WARM = "warm: nothing wider"
    QUIET = "quiet hours: nothing wider"
    ON_ITS_WAY = "on its way"
    WIDER = "wider"
    ELSEWHERE = "narrower in favour of another model"
    NOT_ALLOWED = "below the accuracy floor, refused by the device, or not made for it"
    DEADLINE = "too slow"
    HOT = "too hot"
    MEMORY = "memory is short"
    DISK = "disk is short"
    CPU = "CPU is short"
    BATTERY = "battery is low"


@dataclass(frozen=True, slots=True)
class Shortage:
    """A shared limit that does not hold what the models need, in the limit's unit."""

    cause: Cause
    needed: float
    limit: float

    def __str__(self) -> str:
        match self.cause:
            case Cause.MEMORY | Cause.DISK:
                amounts = f"{self.needed / 1e6:.3g} of {max(0.0, self.limit) / 1e6:.3g} MB"
            case Cause.CPU:
                amounts = f"{self.needed:.0%} of {max(0.0, self.limit):.0%}"
            case _:
                amounts = f"{self.limit / self.needed:.0%} of what it takes"
        return f"{self.cause.value} ({amounts})"


class Decision(NamedTuple):
    """What one model on one device should run, and why.

    Made with each message, and so a tuple: a frozen dataclass takes three times as long.

    Attributes:
        level: In the ladder.
        cause: Why; for an infeasible decision the limit that binds.
        is_infeasible: Nothing fits; ``level`` is the least bad.
        running: The level that was measured. ``None``: nothing was.
        p95_ms: Measured at ``running``, without the scatter of one period.
        predicted_ms: Of ``level``, as expected.
        deviation: How unsure that is, in log latency.
        accuracy: Of ``level``.
        shortage: The shared limit that forced this, if one did.
    """

    level: int
    cause: Cause
    deadline_ms: float
    is_infeasible: bool = False
    running: int | None = None
    p95_ms: float | None = None
    predicted_ms: float | None = None
    deviation: float = 0.0
    accuracy: float = 0.0
    temperature_c: float | None = None
    shortage: Shortage | None = None

    @property
    def reason(self) -> str:
        """Say it in one line."""
        if self.cause is Cause.PINNED:
            return f"pinned to level {self.level}"
        parts = (self._measured(), self._why(), self._promise())
        return "; ".join(part for part in parts if part)

    def _measured(self) -> str:
        if self.p95_ms is None or self.running is None:
            return ""
        relation = "fits" if self.p95_ms <= self.deadline_ms else ">"
        return (
            f"p95 {self.p95_ms:.3g} ms {relation} deadline {self.deadline_ms:.3g} ms "
            f"at level {self.running}"
        )

    def _why(self) -> str:
        words = str(self.shortage) if self.shortage else self.cause.value
        if self.cause in {Cause.HOT, Cause.WARM} and self.temperature_c is not None:
            words = f"{self.temperature_c:.0f} C: {words}"
        if self.cause is Cause.WIDER or (self.cause is Cause.DEADLINE and self.p95_ms):
            words = ""  # the numbers say it
        if self.is_infeasible:
            words = f"{words}; nothing fits, level {self.level} is the least bad"
        return words.removeprefix("; ")

    def _promise(self) -> str:
        if self.predicted_ms is None or self.level == self.running:
            return ""
        return (
            f"level {self.level} predicted {self.predicted_ms:.3g} ms "
            f"+- {100 * self.deviation:.0f} % (accuracy {self.accuracy:.3f})"
        )
