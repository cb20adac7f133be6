"""What happened on a device, for people and for counting."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import ModelName
from secateur_protocols.message import Message
from secateur_protocols.presence import Counter


class EventKind(StrEnum):
    """What sort of thing happened."""

    SWITCHED = "switched"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    FAULT = "fault"


class DeviceEvent(Message):
    """One thing that happened."""

    boot: Counter
    sequence: Counter
    kind: EventKind
    model: ModelName | None = None
    text: Annotated[str, Field(max_length=512)]
