"""What an operator sees of the fleet: a fold over what devices and coordinator say."""

from collections import Counter
from dataclasses import dataclass, field

from secateur_protocols.codec import decode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import ModelTelemetry, Resources, Telemetry
from secateur_protocols.topics import Leaf, parse_device_topic
from secateur_server.adapters.broker import Received

SIGMAS = 4.0
"""How far an observed accuracy may be from the ladder's, in standard errors of both."""

RESOLUTION = 0.01
"""Added to that: the stream may be a fraction of the evaluation set."""


@dataclass(slots=True)
class Seen:
    """One device as seen so far."""

    resources: Resources = field(default_factory=Resources)
    model: ModelTelemetry | None = None
    desired_level: int | None = None
    reason: str = ""
    labelled: Counter[int] = field(default_factory=Counter)
    correct: Counter[int] = field(default_factory=Counter)

    @property
    def level(self) -> int | None:
        """The level that serves."""
        return self.model.level if self.model else None

    @property
    def is_settled(self) -> bool:
        """Whether what serves is what is wanted."""
        return self.model is not None and self.model.level == self.desired_level

    @property
    def accuracy(self) -> float | None:
        """Share of right answers on the labelled stream; ``None``: no labels yet."""
        labelled = sum(self.labelled.values())
        return sum(self.correct.values()) / labelled if labelled else None


class Observer:
    """All devices of the demo."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = {name: Seen() for name in devices}

    def see(self, received: Received) -> None:
        """Take one message into account; what is none of ours is ignored."""
        try:
            topic = parse_device_topic(received.topic)
            seen = self.devices[topic.device]
            if topic.leaf is Leaf.TELEMETRY:
                self._telemetry(seen, decode(Telemetry, received.payload))
            elif topic.leaf is Leaf.DESIRED:
                self._desired(seen, decode(Desired, received.payload))
        except (ProtocolError, KeyError):
            return

    @staticmethod
    def _telemetry(seen: Seen, telemetry: Telemetry) -> None:
        seen.resources = telemetry.resources
        if not telemetry.models:
            return
        seen.model = telemetry.models[0]
        for served in seen.model.served:
            seen.labelled[served.level] += served.labelled
            seen.correct[served.level] += served.correct

    @staticmethod
    def _desired(seen: Seen, desired: Desired) -> None:
        if desired.models:
            seen.desired_level = desired.models[0].level
            seen.reason = desired.models[0].reason


def accuracy_problem(seen: Seen, ladder: Ladder) -> str | None:
    """Say where the stream's accuracy is not what the ladder promises; ``None``: nowhere."""
    for level, labelled in seen.labelled.items():
        promised = ladder.levels[level].accuracy
        observed = seen.correct[level] / labelled if labelled else promised.value
        spread = max(promised.value * (1 - promised.value), 1 / labelled if labelled else 1)
        error = (spread / max(labelled, 1) + spread / promised.samples) ** 0.5
        if abs(observed - promised.value) > SIGMAS * error + RESOLUTION:
            return (
                f"level {level} was right on {observed:.3f} of {labelled} frames, "
                f"the ladder says {promised.value:.3f}"
            )
    return None
