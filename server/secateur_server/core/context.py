"""What holds for every device of a site: its models, its policies, what is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secateur_protocols.ids import DeviceId, ModelName
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import LadderRef
from secateur_server.core.beliefs import Beliefs
from secateur_server.core.policy import Policies

if TYPE_CHECKING:
    from secateur_server.core.assignment import Assignment


@dataclass(frozen=True, slots=True)
class Published:
    """A ladder that the registry holds."""

    ref: LadderRef
    ladder: Ladder
    is_choosy: bool = field(init=False)
    """Whether a level is not for every machine and engine."""

    def __post_init__(self) -> None:
        is_choosy = any(each.requires is not None for each in self.ladder.levels)
        object.__setattr__(self, "is_choosy", is_choosy)


@dataclass(frozen=True, slots=True)
class Context:
    """What holds for every device.

    Attributes:
        published: The stable version of each model.
        moved: Devices that a rollout has given another one, by model.
        minute_of_day: UTC, for quiet hours.
    """

    published: Mapping[ModelName, Published]
    policies: Policies
    artifacts_url: str
    beliefs: Beliefs = field(default_factory=Beliefs)
    minute_of_day: int = 0
    moved: Mapping[ModelName, Mapping[DeviceId, Published]] = field(default_factory=dict)
    assignments: dict[DeviceId, "Assignment"] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What was found last for each device; `core.assignment` looks whether it still holds."""

    def version_for(self, device: DeviceId, model: ModelName) -> Published:
        """Give the version of a published model that a device is to run."""
        moved = self.moved.get(model)
        return moved.get(device, self.published[model]) if moved else self.published[model]
