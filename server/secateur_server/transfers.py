"""What a fleet is downloading now, in all: a fold over devices' words about their progress."""

from dataclasses import dataclass

from secateur_protocols.ids import DeviceId
from secateur_protocols.ota import OtaProgress

STALE_S = 15.0
"""A download of which nothing was heard for so long is over or stuck, seconds."""

MAX_DEVICES = 100_000
"""More are not added up."""


@dataclass(frozen=True, slots=True)
class Total:
    """All downloads under way together."""

    devices: int
    received_bytes: int
    total_bytes: int
    rate_bytes_per_s: float

    @property
    def remaining_s(self) -> float | None:
        """Say how long it takes at this rate, seconds; ``None``: there is no rate."""
        left_bytes = self.total_bytes - self.received_bytes
        if left_bytes <= 0:
            return 0.0
        return left_bytes / self.rate_bytes_per_s if self.rate_bytes_per_s > 0 else None


class Transfers:
    """Adds up the downloads of one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._under_way: dict[DeviceId, tuple[float, OtaProgress]] = {}

    def take(self, device: DeviceId, progress: OtaProgress, now_s: float) -> None:
        """Take one message into account; ``now_s`` is monotonic."""
        is_known = device in self._under_way
        if progress.model == self._model and (is_known or len(self._under_way) < MAX_DEVICES):
            self._under_way[device] = (now_s, progress)

    def total(self, now_s: float) -> Total:
        """Add up what is under way."""
        fresh = {
            device: (heard_s, progress)
            for device, (heard_s, progress) in self._under_way.items()
            if now_s - heard_s < STALE_S
        }
        self._under_way = fresh
        under_way = [progress for _, progress in fresh.values()]
        return Total(
            devices=sum(each.received_bytes < each.total_bytes for each in under_way),
            received_bytes=sum(each.received_bytes for each in under_way),
            total_bytes=sum(each.total_bytes for each in under_way),
            rate_bytes_per_s=sum(
                each.rate_bytes_per_s
                for each in under_way
                if each.received_bytes < each.total_bytes
            ),
        )
