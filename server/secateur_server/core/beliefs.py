"""What latency a device would have at a level that it does not run."""

from secateur_protocols.manifest import Ladder


def predict_p95_ms(ladder: Ladder, *, running: int, measured_ms: float, level: int) -> float:
    """Predict a level's p95 on a device from what it measures at another level.

    The ladder's reference latencies, measured on one machine in one run, say how levels
    compare; the device's own measurement says how fast and how busy the device is.

    Args:
        ladder: Its manifests' reference p50 in milliseconds.
        running: The level that ``measured_ms`` was measured at.
        measured_ms: p95 of one period.
        level: The level in question.

    Returns:
        Milliseconds: ``measured_ms`` x reference(level) / reference(running).
    """
    reference_ms = ladder.levels[running].latency.p50_ms
    if reference_ms <= 0:
        return measured_ms
    return measured_ms * ladder.levels[level].latency.p50_ms / reference_ms
