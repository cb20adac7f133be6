"""Who is there: the birth of a device or a coordinator, and its death by last will."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from secateur_protocols.message import Message

Counter = Annotated[int, Field(ge=0, le=2**53)]
"""A number that only grows; 2**53 keeps it exact in every JSON reader."""


class PresenceState(StrEnum):
    """Where a device stands towards the broker."""

    ONLINE = "online"
    SLEEPING = "sleeping"
    STOPPED = "stopped"
    """Said by the agent itself on a clean stop, so that a crash can be told apart (W3)."""
    OFFLINE = "offline"
    """Said by the broker: the last will."""


class Presence(Message):
    """Whether a device can be spoken to.

    A last will that comes late carries an older ``session`` and is ignored (rule W3).
    """

    state: PresenceState
    boot: Counter
    """Grows by one each time the agent starts; kept on the device's disk."""
    session: Counter
    """Grows by one with each connection of this boot."""

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two messages is the newer one."""
        return (self.boot, self.session)


class CoordinatorStatus(Message):
    """Whether the site's coordinator is there."""

    state: PresenceState
    since: str
    """UTC, ISO 8601."""


class Rebirth(Message):
    """The coordinator's wish that devices say everything again (rule W8)."""

    device: str | None = None
    """``None``: every device of the site, each after a random delay (rule W10)."""
