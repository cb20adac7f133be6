"""Levels that are meant for some devices only."""

import pytest

from secateur_protocols.info import EngineInfo, Hardware, Info
from secateur_protocols.manifest import Requirements
from secateur_server.core.requirements import meets


def device(machine: str = "aarch64", engine: str = "litert", version: str = "2.3.0") -> Info:
    return Info(
        boot=1,
        agent_version="0.1.0",
        hardware=Hardware(
            machine=machine,
            cpu_model="Cortex-A72",
            cores=4,
            memory_bytes=1 << 30,
            hardware_class="pi-4",
        ),
        engine=EngineInfo(name=engine, version=version, threads=1),
        tasks=(),
        labels={},
    )


SPARSE = Requirements(machines=("aarch64", "armv7l"), engine="litert", engine_version="1.2")


@pytest.mark.parametrize(
    ("info", "is_met"),
    [
        (device(), True),
        (device("armv7l", version="1.2"), True),
        (device(version="1.10.0"), True),
        (device(version="1.1.9"), False),
        (device(version="unknown"), False),
        (device("x86_64"), False),
        (device(engine="tflite-runtime"), False),
    ],
)
def test_a_device_meets_what_it_is(info: Info, is_met: bool) -> None:  # noqa: FBT001
    assert meets(SPARSE, info) == is_met


def test_no_requirement_is_met_by_all() -> None:
    assert meets(Requirements(), device("mips", "other", ""))
