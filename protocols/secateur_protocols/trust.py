"""What signed metadata says beyond The Update Framework's own words; both sides read it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import ModelName, Version, Words
from secateur_protocols.message import Message

MAX_METADATA_BYTES: Mapping[str, int] = {
    "root": 64 * 1024,
    "timestamp": 16 * 1024,
    "snapshot": 64 * 1024,
    "targets": 1024 * 1024,
}
"""By role; a device takes no more, so the registry signs no more. A ladder is some 350 bytes of
targets metadata."""

SIGNED_AT_FIELD = "x-secateur-signed-at"
"""When a document was signed, by the signer's clock: ``2026-11-25T06:00:00Z``. A device's clock
is never before the newest of these that it has verified."""


class LadderTerms(Message):
    """What targets metadata says of a ladder, beside its digest: its ``custom`` object."""

    model: ModelName
    version: Version
    hardware_classes: Annotated[tuple[Words, ...], Field(max_length=64)] = ()
    """Devices that may install it, as `Hardware.hardware_class` names them; none: all."""


def ladder_path(model: ModelName, version: Version) -> str:
    """Give the name of a ladder document in targets metadata."""
    return f"ladders/{model}/{version}.json"
