"""The four roles of The Update Framework, who holds their keys, and how long they hold."""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tuf.api.metadata import Root

from secateur_server.errors import InputError

LIFETIMES_FIELD = "x-secateur-lifetime-hours"
"""In signed root metadata: how long each role's metadata holds once signed, hours."""

DAY_H = 24


class Role(StrEnum):
    """Who signs what."""

    ROOT = "root"
    """Which keys count at all. Offline, several of them."""
    TARGETS = "targets"
    """Which ladders may be installed. Offline."""
    SNAPSHOT = "snapshot"
    """Which version of the targets metadata is current. The coordinator's."""
    TIMESTAMP = "timestamp"
    """That all of this is still so. The coordinator's, and short-lived."""


ONLINE = (Role.SNAPSHOT, Role.TIMESTAMP)
OFFLINE = (Role.ROOT, Role.TARGETS)


class Lifetimes(BaseModel):
    """How long metadata holds once signed, hours.

    The timestamp's is the time for which a network that is against us can hide a newer
    version from a device, and for which devices install without hearing from the
    coordinator. The other three are bounded in case their keys get lost or stolen.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    root: int = Field(default=730 * DAY_H, ge=1, le=3650 * DAY_H)
    targets: int = Field(default=365 * DAY_H, ge=1, le=3650 * DAY_H)
    snapshot: int = Field(default=7 * DAY_H, ge=1, le=3650 * DAY_H)
    timestamp: int = Field(default=DAY_H, ge=1, le=3650 * DAY_H)

    def of(self, role: Role) -> timedelta:
        """Give one role's."""
        hours: int = getattr(self, role)
        return timedelta(hours=hours)

    def until(self, role: Role, now: datetime) -> datetime:
        """Say when what is signed now expires, to the second, as metadata has it."""
        return (now + self.of(role)).replace(microsecond=0)


def lifetimes_of(root: Root) -> Lifetimes:
    """Read what the root says.

    Raises:
        InputError: It says something that cannot be.
    """
    try:
        return Lifetimes.model_validate(root.unrecognized_fields.get(LIFETIMES_FIELD, {}))
    except ValidationError as error:
        raise InputError("the root metadata holds impossible lifetimes") from error
