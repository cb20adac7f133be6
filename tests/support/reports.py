"""A device for tests of the agent's core: what it is, and what it reports of a calm period."""

from secateur_agent.core.report import LaneReport
from secateur_protocols.info import EngineInfo, Hardware, Info, ModelTask

HARDWARE = Hardware(
    machine="x86_64", cpu_model="test", cores=2, memory_bytes=2**30, hardware_class="test-2"
)

REPORT = LaneReport(
    model="digits",
    version="1",
    level=1,
    digest="a" * 64,
    precision="float32",
    deadline_ms=50.0,
    p50_ms=9.0,
    p95_ms=10.0,
    p999_ms=12.0,
    p99_ms=11.0,
    since_switch_s=10.0,
    offered=0,
    answered=0,
    dropped=0,
    lost=0,
    deadline_misses=0,
    switches=0,
    served=(),
)


def info(*models: str) -> Info:
    """Describe a device in its third boot that runs these models."""
    return Info(
        boot=3,
        agent_version="1",
        hardware=HARDWARE,
        engine=EngineInfo(name="litert", version="2", threads=1),
        tasks=tuple(ModelTask(model=model, deadline_ms=10.0) for model in models),
        labels={},
    )
