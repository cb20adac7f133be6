"""Which message each topic carries, who writes it and how: one table for all sides.

The schemas and the AsyncAPI document under ``docs/protocol/`` are made from it.
"""

from dataclasses import dataclass
from enum import StrEnum

from secateur_protocols.blocks import Block, BlocksRequest
from secateur_protocols.control import ControlRequest, ControlResponse
from secateur_protocols.event import DeviceEvent
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, OtaProgress
from secateur_protocols.presence import CoordinatorStatus, Presence, Rebirth
from secateur_protocols.result import Result
from secateur_protocols.rollout import RolloutStatus
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import (
    QOS,
    RETAINED,
    Leaf,
    control_request,
    control_response,
    coordinator_status,
    device_topic,
    model_topic,
    rebirth,
    result_topic,
    rollout_topic,
)

MESSAGES: dict[Leaf, type[Message]] = {
    Leaf.PRESENCE: Presence,
    Leaf.INFO: Info,
    Leaf.TELEMETRY: Telemetry,
    Leaf.DESIRED: Desired,
    Leaf.REPORTED: Reported,
    Leaf.OTA: Ota,
    Leaf.OTA_PROGRESS: OtaProgress,
    Leaf.BLOCKS_REQUEST: BlocksRequest,
    Leaf.BLOCKS_DATA: Block,
    Leaf.EVENT: DeviceEvent,
}
"""What a device's leaves carry."""


class Writer(StrEnum):
    """Who publishes on a topic; there is never a second one (rule W1)."""

    AGENT = "agent"
    """The broker speaks for it when it is gone: the last will."""
    COORDINATOR = "coordinator"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One kind of topic.

    Attributes:
        pattern: The topic with ``{site}``, ``{device}``, ``{model}``, ``{rollout}``,
            ``{client}`` for the names in it.
        message: What its payload is.
        writer: Who publishes there.
        qos: 0 or 1.
        is_retained: Whether the broker keeps the last one.
    """

    pattern: str
    message: type[Message]
    writer: Writer
    qos: int = 1
    is_retained: bool = False


_TO_DEVICES = frozenset({Leaf.DESIRED, Leaf.BLOCKS_DATA})


def _leaf(leaf: Leaf) -> Topic:
    return Topic(
        pattern=device_topic("{site}", "{device}", leaf),
        message=MESSAGES[leaf],
        writer=Writer.COORDINATOR if leaf in _TO_DEVICES else Writer.AGENT,
        qos=QOS[leaf],
        is_retained=leaf in RETAINED,
    )


TOPICS: tuple[Topic, ...] = (
    *(_leaf(leaf) for leaf in Leaf),
    Topic(
        pattern=result_topic("{site}", "{device}", "{model}"),
        message=Result,
        writer=Writer.AGENT,
        qos=0,
    ),
    Topic(
        pattern=coordinator_status("{site}"),
        message=CoordinatorStatus,
        writer=Writer.COORDINATOR,
        is_retained=True,
    ),
    Topic(pattern=rebirth("{site}"), message=Rebirth, writer=Writer.COORDINATOR),
    Topic(
        pattern=model_topic("{site}", "{model}"),
        message=Ladder,
        writer=Writer.COORDINATOR,
        is_retained=True,
    ),
    Topic(
        pattern=rollout_topic("{site}", "{rollout}"),
        message=RolloutStatus,
        writer=Writer.COORDINATOR,
        is_retained=True,
    ),
    Topic(pattern=control_request("{site}"), message=ControlRequest, writer=Writer.OPERATOR),
    Topic(
        pattern=control_response("{site}", "{client}"),
        message=ControlResponse,
        writer=Writer.COORDINATOR,
    ),
)
"""Every topic, in the order of the tree."""
