"""One device's recorded telemetry, decoded once, as what charts are drawn from."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur_protocols.codec import decode
from secateur_protocols.telemetry import ModelTelemetry, Telemetry
from secateur_server.dashboard.charts import Mark, Series
from secateur_server.dashboard.recording import MAX_PER_DEVICE, Recorded


@dataclass(frozen=True, slots=True)
class Moment:
    """One message and when it came, UTC seconds since 1970."""

    at_s: float
    said: Telemetry

    def of(self, model: str) -> ModelTelemetry | None:
        """Give its part about one model."""
        return next((each for each in self.said.models if each.model == model), None)


class History:
    """What has been decoded; `follow` adds what has come since."""

    def __init__(self) -> None:
        self.moments: deque[Moment] = deque(maxlen=MAX_PER_DEVICE)

    def follow(self, recorded: Iterable[Recorded]) -> None:
        """Decode what is newer than what is known; the recording holds valid messages only."""
        last_s = self.moments[-1].at_s if self.moments else 0.0
        for each in recorded:
            if each.at_s > last_s:
                self.moments.append(Moment(each.at_s, decode(Telemetry, each.payload)))

    @property
    def times_s(self) -> list[float]:
        """Give the moments, oldest first."""
        return [moment.at_s for moment in self.moments]

    def resource(
        self, name: str, kind: str, measure: Callable[[Telemetry], float | None]
    ) -> Series:
        """Give something of the device as a line."""
        return Series(name, kind, [measure(moment.said) for moment in self.moments])

    def measured(
        self,
        model: str,
        name: str,
        kind: str,
        measure: Callable[[ModelTelemetry], float | None],
    ) -> Series:
        """Give something of one model as a line; a gap where it was not measured."""
        parts = (moment.of(model) for moment in self.moments)
        return Series(name, kind, [measure(part) if part else None for part in parts])

    def switches(self, model: str) -> list[Mark]:
        """Mark where the level that serves became another."""
        marks: list[Mark] = []
        level: int | None = None
        for moment in self.moments:
            part = moment.of(model)
            if part is None:
                continue
            if level is not None and part.level != level:
                marks.append(Mark(moment.at_s, f"level {part.level}"))
            level = part.level
        return marks


def thin(marks: Sequence[Mark], least_s: float) -> list[Mark]:
    """Leave the word out of marks that follow too closely for it."""
    kept: list[Mark] = []
    last_s = float("-inf")
    for mark in marks:
        has_room = mark.at - last_s >= least_s
        kept.append(mark if has_room else Mark(mark.at, ""))
        last_s = mark.at if has_room else last_s
    return kept
