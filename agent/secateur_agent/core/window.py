"""What one telemetry period says: ranks of latencies, history of periods."""

from collections.abc import Sequence

from secateur_protocols.plain import MAX_HISTORY


def nearest_rank(ordered: Sequence[float], ratio: float) -> float:
    """Give the smallest value that at least ``ratio`` of all values do not exceed.

    Args:
        ordered: Values, ascending, at least one.
        ratio: In (0, 1]; 0.95 for p95.

    Source:
        The nearest-rank definition of a percentile: rank = ceil(ratio x n).
    """
    # Rounded first, so that 0.95 * 20 is 19 and not 19.000000000000004, one rank too far.
    rank = -int(-round(ratio * len(ordered), 9) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def remember(history: tuple[float, ...], p95_ms: float | None) -> tuple[float, ...]:
    """Append one period's p95, oldest first; a period without answers is left out."""
    if p95_ms is None:
        return history
    return (*history, p95_ms)[-MAX_HISTORY:]
