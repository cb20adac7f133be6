"""Rollouts: what an operator plans, and where one stands.

A new version of a model reaches devices in waves. Each wave is watched before the next one
opens; a gate that fails halts the rollout, and its devices get the old version again.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import DeviceId, ModelName, Name, Version
from secateur_protocols.message import Message
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Ratio

RolloutId = Name
"""One attempt to bring one version of one model to a site."""

WaveSize = Annotated[
    str, Field(pattern=r"^([1-9][0-9]{0,6}|(100|[1-9]?[0-9](\.[0-9]{1,3})?)%)$")
]
"""How many devices have the new version in all once a wave has opened: ``1``, or ``5%`` of
each hardware class."""

Waves = Annotated[tuple[WaveSize, ...], Field(min_length=1, max_length=16)]

Duration = Annotated[float, Field(ge=0, le=31_536_000)]
"""Seconds, up to a year."""

MAX_TROUBLES = 16
"""Devices that a status names; counts have no such limit."""


MAX_WARNINGS = 8
"""Sentences about what the versions' own manifests say."""


class RolloutState(StrEnum):
    """Where a rollout stands."""

    WATCHING = "watching"
    """A wave is open: its devices change and are watched."""
    AWAITING = "awaiting"
    """The wave did well; the next one waits for an operator's approval."""
    PAUSED = "paused"
    """No further device changes; those that have changed stay and are watched."""
    SUCCEEDED = "succeeded"
    """The new version is the stable one."""
    HALTED = "halted"
    """A gate failed or an operator halted it: every device goes back to the stable version."""
    SUPERSEDED = "superseded"
    """A newer rollout of the model began; likewise."""


ENDED = frozenset({RolloutState.SUCCEEDED, RolloutState.HALTED, RolloutState.SUPERSEDED})
"""States that nothing follows."""


class Gate(StrEnum):
    """What a device of a rollout is judged by."""

    UPDATE = "update"
    """The update failed on the device by the new version's own fault."""
    PROOF = "proof"
    """What it says it runs is not what it runs."""
    P95 = "p95"
    MISSES = "misses"
    ACCURACY = "accuracy"
    MEMORY = "memory"
    TEMPERATURE = "temperature"


class RolloutGates(Message):
    """From where on a device's new version counts as bad.

    All but the last compare a device with itself before the change, at the same level.
    """

    max_p95_ratio: Annotated[float, Field(gt=1, le=1000)] = 1.5
    """p95 latency, as a multiple: more than a busy device differs from itself by."""
    max_miss_rise: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Rise of the share of answers past the deadline."""
    max_accuracy_drop: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Fall of the share of labelled frames that are answered right."""
    max_memory_rise: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Rise of the memory in use, as a share of all there is."""
    max_temperature_rise_c: Annotated[float, Field(gt=0, le=200)] = 10.0
    max_bad_ratio: Ratio = 0.1
    """Share of a wave's devices that may be bad; one more halts the rollout. A bad device
    goes back at once, whatever the others do."""


class RolloutPlan(Message):
    """How a rollout goes about it."""

    waves: Waves = ("1", "5%", "25%", "100%")
    soak_s: Duration = 600.0
    """How long each device is watched with the new version before it counts as good."""
    baseline_s: Duration = 120.0
    """How long a device may be watched before the change, for something to compare with; it
    changes sooner where enough is known."""
    deadline_s: Duration = 3600.0
    """How long a device may take to run the new version, or to show enough to be judged;
    after that the wave goes on without it."""
    approve_each_wave: bool = False
    """Whether an operator must say so before each further wave."""
    gates: RolloutGates = RolloutGates()


class WaveStatus(Message):
    """One wave's devices, by where they stand. A device belongs to the wave that took it."""

    size: WaveSize
    devices: Counter
    waiting: Counter = 0
    """Watched with the old version still, for something to compare with."""
    told: Counter = 0
    """The new version is wanted of them and not shown to run yet."""
    soaking: Counter = 0
    good: Counter = 0
    bad: Counter = 0
    expired: Counter = 0
    """Took too long; they catch up by themselves once the new version is the stable one."""
    unsuited: Counter = 0
    """The version was not made for their hardware; they keep the old one."""
    back: Counter = 0
    """Of those that must not have the new version: no longer run it."""


class GateStatus(Message):
    """How often a gate has failed a device."""

    gate: Gate
    failed: Counter


class Trouble(Message):
    """One bad device, and why."""

    device: DeviceId
    gate: Gate
    detail: Annotated[str, Field(max_length=200)]


class RolloutStatus(Message):
    """Where a rollout stands; its size does not grow with the fleet."""

    rollout: RolloutId
    revision: Counter
    """Grows with every change."""
    model: ModelName
    version: Version
    from_version: Version
    """What its devices had before, and get again if it is halted."""
    state: RolloutState
    reason: Annotated[str, Field(max_length=512)]
    wave: Annotated[int, Field(ge=0, le=15)]
    """The wave that is open, from 0."""
    waves: Annotated[tuple[WaveStatus, ...], Field(min_length=1, max_length=16)]
    gates: Annotated[tuple[GateStatus, ...], Field(max_length=16)]
    troubles: Annotated[tuple[Trouble, ...], Field(max_length=MAX_TROUBLES)] = ()
    warnings: Annotated[
        tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=MAX_WARNINGS)
    ] = ()
    """Where the new version is worse by its manifests; devices without labels cannot see it."""
    started_at: str
    """The coordinator's UTC clock, ISO 8601."""
    watched_s: Annotated[float, Field(ge=0)]
    """How long the coordinator has watched it; time that it was down does not count."""
    plan: RolloutPlan
