"""What levels need of the limits that a device's models share, and what there is of each."""

import math
from collections.abc import Sequence
from functools import reduce

from secateur_protocols.manifest import Manifest
from secateur_server.core.combination import Amounts
from secateur_server.core.decision import Cause, Shortage
from secateur_server.core.situation import Situation, Task

SHARED_LIMITS = (Cause.MEMORY, Cause.DISK, Cause.CPU, Cause.BATTERY)
"""The order of all `Amounts` here: bytes, bytes, share of all cores, compute per second."""


def memory_bytes(manifest: Manifest) -> int:
    """Say what a level needs; where it was not measured, twice its file as a floor."""
    return manifest.peak_memory_bytes or 2 * manifest.size_bytes


def needs_of(situation: Situation, task: Task, level: int) -> Amounts:
    """Say what a level takes of each shared limit."""
    manifest = task.ladder.levels[level]
    is_held = task.measured is not None and (
        manifest.digest == task.measured.digest or manifest.digest in task.measured.prefetched
    )
    return (
        float(memory_bytes(manifest)),
        0.0 if is_held else float(manifest.size_bytes),
        _cpu_share(situation, task, level),
        _work(situation, task, level),
    )


def total_needs(situation: Situation, levels: Sequence[int]) -> Amounts:
    """Say what levels, one per task, take together of each shared limit."""
    needs = [
        needs_of(situation, task, level)
        for task, level in zip(situation.tasks, levels, strict=True)
    ]
    return reduce(add, needs)


def budget_of(situation: Situation) -> Amounts:
    """Say what there is of each shared limit, what the running levels hold included."""
    resources = situation.resources
    available, free = resources.memory_available_bytes, resources.disk_free_bytes
    held_bytes = 0
    for task in situation.tasks:
        if task.running is not None:
            held_bytes += memory_bytes(task.ladder.levels[task.running])
    return (
        math.inf if available is None else float(available + held_bytes),
        math.inf if free is None else float(free),
        _cpu_budget(situation),
        _battery_budget(situation),
    )


def shortage_of(needs: Amounts, limits: Amounts) -> Shortage | None:
    """Name the limit that is missed by most; ``None``: all are kept."""
    if all(map(float.__le__, needs, limits)):
        return None
    missed = [
        Shortage(cause, needed, limit)
        for cause, needed, limit in zip(SHARED_LIMITS, needs, limits, strict=True)
        if needed > limit
    ]
    return max(missed, key=lambda each: each.needed / max(each.limit, 1e-9))


def add(first: Amounts, second: Amounts) -> Amounts:
    """Add limit by limit."""
    return tuple(map(float.__add__, first, second))


def scale(amounts: Amounts, share: float) -> Amounts:
    """Take a share of each amount."""
    return tuple([share * amount for amount in amounts])


def _cpu_budget(situation: Situation) -> float:
    cpu_share = situation.resources.cpu_share
    limits = [
        each.policy.cpu_limit for each in situation.tasks if each.policy.cpu_limit is not None
    ]
    if not limits or cpu_share is None:
        return math.inf
    held = sum(
        _cpu_share(situation, each, each.running)
        for each in situation.tasks
        if each.running is not None
    )
    return min(limits) - max(0.0, cpu_share - held)


def _battery_budget(situation: Situation) -> float:
    """Below the floor, allow the share of the greatest work that the charge is of the floor."""
    resources = situation.resources
    if resources.on_mains is not False or resources.battery_ratio is None:
        return math.inf
    floor = max((each.policy.battery_floor for each in situation.tasks), default=0.0)
    if resources.battery_ratio >= floor:
        return math.inf
    most = sum(
        max(_work(situation, task, level) for level in task.allowed) for task in situation.tasks
    )
    return most * resources.battery_ratio / floor


def _rate_hz(situation: Situation, task: Task) -> float:
    """Say how often the model infers; where nobody counted, once a second."""
    served = task.measured.served if task.measured is not None else ()
    answered = sum(each.answered for each in served)
    return answered / situation.period_s if answered else 1.0


def _cpu_share(situation: Situation, task: Task, level: int) -> float:
    measured = task.measured
    if task.policy.cpu_limit is None or measured is None or not measured.p50_ms:
        return 0.0
    busy_ms = measured.p50_ms * math.exp(situation.predict(task, level).mean)
    share = _rate_hz(situation, task) * busy_ms / 1000 / situation.cores
    return min(1.0, share)


def _work(situation: Situation, task: Task, level: int) -> float:
    """Say what energy a level needs: time on the machine that pruned it, per second."""
    if situation.resources.on_mains is not False:
        return 0.0
    return _rate_hz(situation, task) * task.ladder.levels[level].latency.p50_ms
