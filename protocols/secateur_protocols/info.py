"""The birth certificate: what a device is, said once per connection."""

from typing import Annotated

from pydantic import Field

from secateur_protocols.ids import ModelName, Words
from secateur_protocols.message import Message
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Bytes, DeadlineMilliseconds


class Hardware(Message):
    """What a device is made of."""

    machine: Words
    """The architecture as the kernel names it: ``x86_64``, ``aarch64``, ``armv7l``."""
    cpu_model: Words
    cores: Annotated[int, Field(ge=1, le=65_536)]
    memory_bytes: Bytes
    hardware_class: Words
    """Like devices share it: beliefs about latency are shared within a class."""
    cpu_features: Annotated[tuple[Words, ...], Field(max_length=32)] = ()
    """Instruction sets that change how fast a network runs, as the kernel names them."""
    simulated: bool = False
    """Whether latency and sensors are simulated, as in the demo."""


class EngineInfo(Message):
    """What runs the models."""

    name: Words
    version: Words
    threads: Annotated[int, Field(ge=1, le=1024)]


class ModelTask(Message):
    """One thing the device infers, as its own configuration says."""

    model: ModelName
    deadline_ms: DeadlineMilliseconds
    """The device's own; the operator's policy comes first."""


class Info(Message):
    """What a device is and what it wants to run."""

    boot: Counter
    agent_version: Words
    hardware: Hardware
    engine: EngineInfo
    tasks: Annotated[tuple[ModelTask, ...], Field(max_length=64)]
    labels: Annotated[dict[Words, Words], Field(max_length=64)]
