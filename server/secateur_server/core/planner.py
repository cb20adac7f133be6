"""Which levels fit a device now: the best total accuracy that its limits allow.

A pure function of one telemetry message, the ladders, the policies and the beliefs about
latency. Down at once, up only after patience:

    pinned                  the pinned level, whatever the limits say
    no measurement yet      the level desired last; else what is comfortable on like devices;
                            else the narrowest
    no answers              no change
    all keep every limit    stay, unless a comfortable combination is worth more
    one must leave          at once the best comfortable combination
    too hot                 one level narrower per period
    nothing is comfortable  the most relaxed combination that keeps the limits
    nothing keeps them      the narrowest levels, marked infeasible, with the limit that binds

`standing` says where each model may go; several models share memory, disk, CPU and battery,
and `combination` finds the choice with the greatest weighted accuracy, exactly.
"""

import math
from collections.abc import Sequence

from secateur_server.core.combination import Amounts, Option, best_combination
from secateur_server.core.decision import Cause, Decision, Shortage
from secateur_server.core.needs import budget_of, needs_of, scale, shortage_of, total_needs
from secateur_server.core.situation import Situation, Task
from secateur_server.core.standing import Exits, Standing, find_exits, stand

TOLERATED_SHARE = 0.95
"""Of what there is, the share that the current combination may take before it must change."""

COMFORTABLE_SHARE = 0.85
"""Of what there is, the share that a new combination may take; the gap between the two keeps
noise from flapping."""

WORTHWHILE = 1e-9
"""A combination must be worth more than this beyond the current one: rounding is no gain."""


def decide(situation: Situation) -> tuple[Decision, ...]:
    """Choose the level of every model on one device, in the order of its tasks."""
    standings = [stand(situation, task) for task in situation.tasks]
    budget = budget_of(situation)
    current = [standing.level for standing in standings]
    tolerated = scale(budget, TOLERATED_SHARE)
    shortage = shortage_of(total_needs(situation, current), tolerated)
    may_stay = shortage is None and not [each for each in standings if each.must_leave]
    if may_stay and not [each for each in standings if each.better]:
        return _decide_all(situation, standings, current, None)
    exits = [
        find_exits(situation, task, standing)
        for task, standing in zip(situation.tasks, standings, strict=True)
    ]
    best = best_combination(
        [
            [_option(situation, task, level) for level in exit_.comfortable]
            for task, exit_ in zip(situation.tasks, exits, strict=True)
        ],
        scale(budget, COMFORTABLE_SHARE),
    )
    if may_stay and (best is None or _gain(situation.tasks, current, best) <= WORTHWHILE):
        return _decide_all(situation, standings, current, None)
    if best is not None:
        return _decide_all(situation, standings, best, shortage)
    return _fall_back(situation, standings, exits, tolerated)


def _fall_back(
    situation: Situation,
    standings: Sequence[Standing],
    exits: Sequence[Exits],
    tolerated: Amounts,
) -> tuple[Decision, ...]:
    """Choose where nothing is comfortable: the most relaxed, else the narrowest of all."""
    tasks = situation.tasks
    relaxed = best_combination(
        [
            [
                Option(level, -share, needs_of(situation, task, level))
                for level, share in exit_.relaxed
            ]
            for task, exit_ in zip(tasks, exits, strict=True)
        ],
        tolerated,
    )
    if relaxed is not None:
        wished = [standing.level for standing in standings]
        shortage = shortage_of(total_needs(situation, wished), tolerated)
        return _decide_all(situation, standings, relaxed, shortage)
    last = [max(level for level, _ in exit_.relaxed) for exit_ in exits]
    binding = shortage_of(total_needs(situation, last), tolerated)
    return _decide_all(situation, standings, last, binding, is_last_resort=True)


def _decide_all(
    situation: Situation,
    standings: Sequence[Standing],
    levels: Sequence[int],
    shortage: Shortage | None,
    *,
    is_last_resort: bool = False,
) -> tuple[Decision, ...]:
    return tuple(
        [
            _decide(situation, task, standing, level, shortage, is_last_resort=is_last_resort)
            for task, standing, level in zip(situation.tasks, standings, levels, strict=True)
        ]
    )


def _option(situation: Situation, task: Task, level: int) -> Option:
    manifest = task.ladder.levels[level]
    value = task.policy.weight * manifest.accuracy.value
    return Option(level, value, needs_of(situation, task, level), manifest.latency.p50_ms)


def _gain(tasks: Sequence[Task], current: Sequence[int], best: Sequence[int]) -> float:
    return sum(
        task.policy.weight
        * (task.ladder.levels[new].accuracy.value - task.ladder.levels[old].accuracy.value)
        for task, old, new in zip(tasks, current, best, strict=True)
    )


def _decide(
    situation: Situation,
    task: Task,
    standing: Standing,
    level: int,
    shortage: Shortage | None,
    *,
    is_last_resort: bool = False,
) -> Decision:
    cause = _cause(standing, level, shortage, is_last_resort=is_last_resort)
    deadline_ms, step = task.policy.deadline_ms, situation.predict(task, level)
    now_ms = predicted_ms = None
    if task.running is not None and task.pace is not None:
        now_ms = task.pace.now_ms
        predicted_ms = now_ms * math.exp(step.mean)
    is_late = predicted_ms is not None and predicted_ms > deadline_ms
    is_pinned = standing.cause is Cause.PINNED
    return Decision(
        level,
        Cause.DEADLINE if is_late and not is_pinned else cause,
        deadline_ms,
        is_infeasible=(is_late or is_last_resort) and not is_pinned,
        running=task.running,
        p95_ms=now_ms,
        predicted_ms=predicted_ms,
        deviation=step.deviation,
        accuracy=task.ladder.levels[level].accuracy.value,
        temperature_c=situation.resources.temperature_c,
        shortage=shortage if shortage is not None and shortage.cause is cause else None,
    )


def _cause(
    standing: Standing, level: int, shortage: Shortage | None, *, is_last_resort: bool
) -> Cause:
    if standing.cause is Cause.PINNED:
        return Cause.PINNED
    if is_last_resort and shortage is not None:
        return shortage.cause
    if standing.must_leave is not None:
        return standing.must_leave
    if level == standing.level:
        return standing.cause
    if level < standing.level:
        return Cause.WIDER
    return Cause.ELSEWHERE if shortage is None else shortage.cause
