"""What we believe of one device: a fold over its messages.

Rule W3: a late last will of an older session changes nothing.
Rule W4: a late, doubled or reordered message changes nothing; order is (boot, sequence).
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from secateur_protocols.ids import ModelName
from secateur_protocols.info import Info
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.core.beliefs import Beliefs, fingerprint_of, learn
from secateur_server.core.experience import Experience, observe

MAX_DEVICES = 200_000
"""That one coordinator knows: memory must have a bound, and ids can be invented."""

Said = Presence | Info | Telemetry | Reported
"""What a device says that is remembered."""


class DeviceState(NamedTuple):
    """The newest of each kind of message; ``None``: not heard yet.

    Made with each message, and so a tuple: a frozen dataclass takes three times as long.
    """

    device: str
    presence: Presence | None = None
    info: Info | None = None
    telemetry: Telemetry | None = None
    reported: Reported | None = None
    desired: Desired | None = None
    """What we want of it; ours, not the device's word."""
    experiences: Mapping[ModelName, Experience] = MappingProxyType({})
    """What its telemetry, up to the newest, has shown of each model's levels."""
    fingerprint: str = ""
    """Of its hardware and engine; follows from ``info``, as do ``labels``."""
    labels: Mapping[str, str] = MappingProxyType({})
    """What selectors look at: the device's own, and its hardware class as ``class``."""


def hear(state: DeviceState, said: Said) -> DeviceState:
    """Take one message of the device into account, if it is newer than what is known."""
    match said:
        case Telemetry():  # first: almost all messages are
            is_news = state.telemetry is None or said.order > state.telemetry.order
            return _hear_telemetry(state, said) if is_news else state
        case Presence():
            is_news = state.presence is None or said.order > state.presence.order
            # The end of the session that we know: same order, another state.
            is_end = state.presence is not None and said.order == state.presence.order
            return state._replace(presence=said) if is_news or is_end else state
        case Info():
            is_news = state.info is None or said.boot >= state.info.boot
            return know(state, said) if is_news else state
        case Reported():
            is_news = state.reported is None or said.order > state.reported.order
            return state._replace(reported=said) if is_news else state


def know(state: DeviceState, info: Info) -> DeviceState:
    """Take over what a device is, and what follows from it."""
    return state._replace(
        info=info,
        fingerprint=fingerprint_of(info),
        labels={"class": info.hardware.hardware_class, **info.labels},
    )


def _hear_telemetry(state: DeviceState, said: Telemetry) -> DeviceState:
    experiences = {}
    for measured in said.models:
        known = state.experiences.get(measured.model)
        after = observe(
            known,
            measured,
            boot=said.boot,
            sequence=said.sequence,
            period_s=said.period_s,
        )
        if after is not None:
            experiences[measured.model] = after
    # Spelled out: `_replace` takes three times as long, and almost all messages come here.
    return DeviceState(
        state.device,
        state.presence,
        state.info,
        said,
        state.reported,
        state.desired,
        experiences,
        state.fingerprint,
        state.labels,
    )


def learn_from(beliefs: Beliefs, before: DeviceState, after: DeviceState) -> Beliefs:
    """Let what a device has newly experienced count for like devices.

    Returns:
        The same beliefs where it says nothing new, or its hardware is not known.
    """
    if after.info is None or after.experiences is before.experiences:
        return beliefs
    for model, experience in after.experiences.items():
        known = before.experiences.get(model)
        if known is not experience:
            beliefs = learn(beliefs, after.device, after.fingerprint, known, experience)
    return beliefs


def recall(states: Iterable[DeviceState]) -> Beliefs:
    """Form beliefs from what devices had experienced before."""
    beliefs = Beliefs()
    for state in states:
        for experience in state.experiences.values():
            if state.info is not None:
                beliefs = learn(beliefs, state.device, state.fingerprint, None, experience)
    return beliefs
