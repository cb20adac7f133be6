"""From what the configuration says of a model to what the inference process is told."""

from typing import assert_never

from secateur_agent.inference.commands import (
    ExecSpec,
    LaneSpec,
    PluginSpec,
    ReplaySpec,
    ResultSpec,
    SourceSpec,
    TopicSpec,
)
from secateur_agent.settings import (
    ExecSettings,
    LimitSettings,
    ModelSettings,
    MqttSettings,
    PluginSettings,
    ReplaySettings,
    ResultSettings,
)


def lane_spec(model: ModelSettings, limits: LimitSettings) -> LaneSpec:
    """Describe one model's lane."""
    return LaneSpec(
        model=model.name,
        deadline_ms=model.deadline_ms,
        source=_source_spec(model.source) if model.source is not None else None,
        queue=model.queue,
        results=_result_spec(model.results),
        drops_late=model.late == "drop",
        miss_ratio=limits.miss_ratio,
    )


def _result_spec(results: ResultSettings) -> ResultSpec | None:
    if results.lines is None and results.mqtt_rate_hz == 0:
        return None
    return ResultSpec(**results.model_dump())


def _source_spec(
    source: ReplaySettings | ExecSettings | MqttSettings | PluginSettings,
) -> SourceSpec:
    match source:
        case ReplaySettings():
            return ReplaySpec(path=str(source.path), rate_hz=source.rate_hz)
        case ExecSettings():
            return ExecSpec(command=source.command, dtype=source.dtype, shape=source.shape)
        case MqttSettings():
            return TopicSpec(topic=source.topic, dtype=source.dtype, shape=source.shape)
        case PluginSettings():
            return PluginSpec(name=source.name, options=source.options)
        case _:
            assert_never(source)
