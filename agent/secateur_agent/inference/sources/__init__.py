"""Sources of frames: a file, a command, an MQTT topic, or a third party's."""

from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import (
    ExecSpec,
    PluginSpec,
    ReplaySpec,
    SourceSpec,
    TopicSpec,
)
from secateur_agent.inference.sources.topic import TopicSource
from secateur_agent.source import ENTRY_POINTS, Source, SourceError


def open_source(spec: SourceSpec) -> Source:
    """Open what a configuration names; nothing is offered yet.

    Raises:
        ConfigError: It cannot be opened.
    """
    # Each is imported where it is used: a device has one kind of source, mostly.
    match spec:
        case ReplaySpec():
            from secateur_agent.inference.sources import replay  # noqa: PLC0415 - see above

            return replay.ReplaySource(spec)
        case ExecSpec():
            from secateur_agent.inference.sources import command  # noqa: PLC0415 - see above

            return command.CommandSource(spec)
        case TopicSpec():
            return TopicSource(spec)
        case PluginSpec():
            return _open_plugin(spec)


def _open_plugin(spec: PluginSpec) -> Source:
    # Here alone: it brings 60 modules, and most devices have no plugin.
    import importlib.metadata  # noqa: PLC0415 - see above

    found = importlib.metadata.entry_points(group=ENTRY_POINTS, name=spec.name)
    if not found:
        known = sorted(
            each.name for each in importlib.metadata.entry_points(group=ENTRY_POINTS)
        )
        text = ", ".join(known) or "none"
        raise ConfigError(f"no source {spec.name!r} is installed (there are: {text})")
    try:
        source: Source = next(iter(found)).load()(**spec.options)
    # A third party's code: whatever it raises means that this source cannot be used.
    except Exception as error:
        kind = "" if isinstance(error, SourceError) else f"{type(error).__name__}: "
        raise ConfigError(f"source {spec.name!r}: {kind}{error}") from error
    if not callable(getattr(source, "run", None)) or not hasattr(source, "sample"):
        raise ConfigError(f"source {spec.name!r} has no run() or no sample: it is no Source")
    return source
