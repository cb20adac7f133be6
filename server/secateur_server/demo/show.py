"""The demo's live table and its summary."""

from rich.table import Table

from secateur_server.demo.observer import Observer, Seen


def table(observer: Observer, title: str) -> Table:
    """Draw the fleet as it is now."""
    drawn = Table(title=title, expand=True)
    for heading in (
        "device",
        "cpu, free memory",
        "level",
        "precision",
        "p95 / deadline ms",
        "accuracy",
    ):
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column("last reason from the planner")
    for name, seen in observer.devices.items():
        drawn.add_row(
            name,
            _resources(seen),
            _level(seen),
            _precision(seen),
            _latency(seen),
            _accuracy(seen),
            seen.reason,
        )
    return drawn


def _resources(seen: Seen) -> str:
    share, free = seen.resources.cpu_share, seen.resources.memory_available_bytes
    cpu = "-" if share is None else f"{share:.0%}"
    memory = "-" if free is None else f"{free / 1e9:.1f} GB"
    return f"{cpu}, {memory}"


def _level(seen: Seen) -> str:
    if seen.level is None:
        return "-"
    return f"{seen.level}" if seen.is_settled else f"{seen.level} -> {seen.desired_level}"


def _precision(seen: Seen) -> str:
    return seen.model.precision if seen.model else "-"


def _latency(seen: Seen) -> str:
    if seen.model is None or seen.model.p95_ms is None:
        return "-"
    text = f"{seen.model.p95_ms:.1f} / {seen.model.deadline_ms:.1f}"
    return f"[red]{text}[/red]" if seen.model.p95_ms > seen.model.deadline_ms else text


def _accuracy(seen: Seen) -> str:
    return "-" if seen.accuracy is None else f"{seen.accuracy:.3f}"
