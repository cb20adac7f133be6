"""What we believe of one device: a fold over its messages.

Rule W3: a late last will of an older session changes nothing.
Rule W4: a late, doubled or reordered message changes nothing; order is (boot, sequence).
"""

from dataclasses import dataclass, replace

from secateur_protocols.info import Info
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry

Said = Presence | Info | Telemetry | Reported
"""What a device says that is remembered."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """The newest of each kind of message; ``None``: not heard yet."""

    device: str
    presence: Presence | None = None
    info: Info | None = None
    telemetry: Telemetry | None = None
    reported: Reported | None = None
    desired: Desired | None = None
    """What we want of it; ours, not the device's word."""


def hear(state: DeviceState, said: Said) -> DeviceState:
    """Take one message of the device into account, if it is newer than what is known."""
    match said:
        case Presence():
            is_news = state.presence is None or said.order > state.presence.order
            # The end of the session that we know: same order, another state.
            is_end = state.presence is not None and said.order == state.presence.order
            return replace(state, presence=said) if is_news or is_end else state
        case Info():
            is_news = state.info is None or said.boot >= state.info.boot
            return replace(state, info=said) if is_news else state
        case Telemetry():
            is_news = state.telemetry is None or said.order > state.telemetry.order
            return replace(state, telemetry=said) if is_news else state
        case Reported():
            is_news = state.reported is None or said.order > state.reported.order
            return replace(state, reported=said) if is_news else state
