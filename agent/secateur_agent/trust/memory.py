"""What is remembered of trust across restarts: how late it is at least, and what was accepted.

    {folder}/clock           the latest time at which anything that was verified was signed
    {folder}/accepted.json   ladders whose listing was verified, by model
    {folder}/metadata/       python-tuf's own: the newest metadata that was verified

Whatever cannot be read counts as not there: it is verified again when it is needed.
"""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from secateur_agent.adapters.files import write_atomically
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import Digest, ModelName, Version
from secateur_protocols.message import Message

RELEASED_AT = datetime(2026, 11, 25, tzinfo=UTC)
"""No clock that is before this is right."""

MAX_ACCEPTED = 64
"""Ladders remembered per model; the oldest go first."""


class Accepted(Message):
    """What ``accepted.json`` holds: by model, ladders' digests and versions, oldest first."""

    models: dict[ModelName, dict[Digest, Version]] = Field(default_factory=dict)


class TrustMemory:
    """The agent's folder of trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def metadata_dir(self) -> Path:
        """Give the folder of verified metadata."""
        return self._folder / "metadata"

    def floor(self) -> datetime:
        """Say how late it is at least."""
        with contextlib.suppress(OSError, ValueError):
            text = (self._folder / "clock").read_text(encoding="ascii")
            return max(RELEASED_AT, datetime.fromisoformat(text).astimezone(UTC))
        return RELEASED_AT

    def raise_floor(self, at: datetime) -> None:
        """Remember that it is at least so late.

        Raises:
            AgentError: It cannot be written.
        """
        if at > self.floor():
            write_atomically(self._folder / "clock", at.isoformat().encode())

    def accepted(self, model: ModelName) -> dict[Digest, Version]:
        """Give the ladders of a model whose listing was verified."""
        return dict(self._read().models.get(model, {}))

    def keep_accepted(self, model: ModelName, ladders: dict[Digest, Version]) -> None:
        """Remember these and no others.

        Raises:
            AgentError: It cannot be written.
        """
        held = self._read()
        newest = dict(list(ladders.items())[-MAX_ACCEPTED:])
        changed = Accepted(models={**held.models, model: newest})
        if changed != held:
            write_atomically(self._folder / "accepted.json", changed.model_dump_json().encode())

    def _read(self) -> Accepted:
        with contextlib.suppress(OSError, ProtocolError):
            return decode_document(Accepted, (self._folder / "accepted.json").read_bytes())
        return Accepted()
