"""What the agent and the check of signed metadata say to each other, a line of JSON each.

agent -> check   CheckRequest
check -> agent   Wanted          for each file of metadata; the check has no network
agent -> check   Brought
check -> agent   Verdict
"""

from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import Digest, ModelName, Words
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import LadderRef

CPU_S = 60
"""Processor time a check may use, seconds: hostile metadata must not keep a device busy."""

MEMORY_BYTES = 128 << 20
"""What a check may allocate beyond its libraries."""


class CheckRequest(Message):
    """What to check."""

    root_path: str
    """The pinned root."""
    metadata_dir: str
    """What was verified before: where rollback is noticed from."""
    now: str
    """ISO 8601, UTC: the device's clock, or its floor where that is later."""
    is_clock_believed: bool
    """Whether ``now`` is the clock's: else what is held may be older than it seems."""
    model: ModelName
    ladder: LadderRef
    hardware_class: Words
    known: tuple[tuple[str, Digest], ...] = ()
    """Ladders accepted before, as metadata names them: which of them are listed still?"""


class Wanted(Message):
    """A file that the check needs."""

    path: str
    max_bytes: Annotated[int, Field(ge=1)]


class Brought(Message):
    """What came of it."""

    content: str | None = None
    """In base64. ``None``: nothing came."""
    is_missing: bool = False
    is_too_long: bool = False


class Verdict(Message):
    """Whether the ladder may be installed.

    Attributes:
        reason: Why not. ``None``: it may.
        is_unreachable: A file did not come; the agent knows why.
        signed_at: The latest time at which something that was verified was signed.
        listed: Those of ``known`` that are listed still.
    """

    reason: ReasonCode | None = None
    detail: str = ""
    is_unreachable: bool = False
    signed_at: str | None = None
    listed: tuple[Digest, ...] = ()


class Line(Message):
    """One line from the check."""

    wanted: Wanted | None = None
    verdict: Verdict | None = None
