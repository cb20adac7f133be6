"""What two versions' own manifests say of each other, before any device has changed.

Nothing is refused for it: a manifest was measured elsewhere, and an operator may want the
trade. But devices without labels cannot see a fall of accuracy, and here it shows.
"""

from collections.abc import Iterator

from secateur_protocols.manifest import Ladder
from secateur_protocols.rollout import MAX_WARNINGS, RolloutGates
from secateur_server.core.verdict import peer_level


def foresee(stable: Ladder, target: Ladder, gates: RolloutGates) -> tuple[str, ...]:
    """Say in words where the target is worse by its manifests than a gate would allow."""
    return tuple(_compare(stable, target, gates))[:MAX_WARNINGS]


def _compare(stable: Ladder, target: Ladder, gates: RolloutGates) -> Iterator[str]:
    for after in target.levels:
        before = stable.levels[peer_level(stable, target, after.level)]
        place = f"level {after.level}, compared with {before.level} of {stable.version}"
        fall = before.accuracy.value - after.accuracy.value
        is_like = before.accuracy.metric is after.accuracy.metric
        if is_like and fall > gates.max_accuracy_drop:
            yield f"{place}: {100 * fall:.1f} points less accurate by its manifest"
        usual_ms, now_ms = before.latency.p50_ms, after.latency.p50_ms
        if usual_ms > 0 and now_ms > gates.max_p95_ratio * usual_ms:
            yield f"{place}: {now_ms / usual_ms:.2g} times as slow by its manifest"
