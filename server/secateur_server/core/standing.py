"""Where one model on a device stands, and where it may go.

The current level is the one desired: where the device is still on its way there, or has
stepped down by itself, it is judged by prediction, and nothing wider is looked for.

A level is comfortable if its predicted p95, one deviation worse than expected, leaves the
headroom free. A wider one must also have kept the deadline in each of the last `patience`
periods, on a device that is neither warm nor in its quiet hours. What one period adds or
takes by chance is left out first (`pace`).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from secateur_protocols.manifest import Ladder
from secateur_server.core.beliefs import Estimate, predict_cold
from secateur_server.core.decision import Cause
from secateur_server.core.situation import Situation, Task

WARM_MARGIN_C = 5.0
"""Nothing goes wider within so much of the temperature limit: a Raspberry Pi begins to
throttle at 80 C, five below its hard limit."""

SURE_DEVIATIONS = 0.25
"""How many deviations worse than expected a prediction is taken. More would leave levels
untried that are only unsure; what is tried in vain is known afterwards."""


class Standing(NamedTuple):
    """Where one model stands.

    Attributes:
        level: The current level.
        cause: Why the model would stay there.
        must_leave: Why it may not. ``None``: it may.
        better: Comfortable levels that are worth more than the current one.
    """

    level: int
    cause: Cause
    must_leave: Cause | None = None
    better: tuple[int, ...] = ()


class Exits(NamedTuple):
    """Where one model may go, if it or what it shares with others cannot stay as it is.

    Attributes:
        comfortable: Levels to go to, or to stay at; never none.
        relaxed: Levels to fall back to where nothing comfortable fits what models share,
            each with its share of the deadline, at most 1; or the narrowest, whatever its
            share is. Never none.
    """

    comfortable: tuple[int, ...]
    relaxed: tuple[tuple[int, float], ...]


HELD = frozenset(
    {
        Cause.WAITING,
        Cause.LIKE_DEVICES,
        Cause.NARROWEST_FIRST,
        Cause.NO_ANSWERS,
    }
)
"""Without a measurement of time, only what models share can drive one narrower."""


def stand(situation: Situation, task: Task) -> Standing:
    """Find where one model stands."""
    pin = task.policy.pinned_level
    if pin is not None:
        return Standing(min(pin, len(task.ladder.levels) - 1), Cause.PINNED)
    if task.measured is None or task.running is None:
        return _begin(situation, task)
    level = task.running if task.desired is None else task.desired
    if task.pace is None:
        is_held = level in task.allowed
        return Standing(level, Cause.NO_ANSWERS) if is_held else _begin(situation, task)
    must_leave = _must_leave(situation, task, level, task.pace.now_ms)
    barrier = _barrier(situation, task, level)
    better = () if must_leave else _better(situation, task, level, barrier)
    return Standing(level, barrier or Cause.FITS, must_leave, better)


def find_exits(situation: Situation, task: Task, standing: Standing) -> Exits:
    """Find where one model may go."""
    level, allowed = standing.level, task.allowed
    if standing.cause is Cause.PINNED:
        return Exits((level,), ((level, 0.0),))
    if standing.cause in HELD:
        levels = (level, *(each for each in allowed if each > level))
        return Exits(levels, tuple((each, 0.0) for each in levels))
    shares = [
        (each, share_of_deadline(task, situation.predict(task, each)))
        for each in allowed
        if each >= _widest(task, standing)
        and (each != level or standing.must_leave is Cause.HOT)
    ]
    free = 1 - task.policy.headroom_ratio
    comfortable = [*standing.better, *(each for each, share in shares if share <= free)]
    narrowest = max(allowed)
    relaxed = [(each, share) for each, share in shares if share <= 1 or each == narrowest]
    if standing.must_leave is None:
        comfortable.append(level)
        relaxed.append((level, 1.0))
    return Exits(tuple(comfortable) or (narrowest,), tuple(relaxed) or ((narrowest, 1.0),))


def most_accurate(ladder: Ladder, levels: Iterable[int]) -> int:
    """Choose by accuracy; of equals, the faster one."""
    return max(
        levels,
        key=lambda level: (
            ladder.levels[level].accuracy.value,
            -ladder.levels[level].latency.p50_ms,
        ),
    )


def _begin(situation: Situation, task: Task) -> Standing:
    allowed = task.allowed
    if task.desired is not None and task.desired in allowed:
        return Standing(task.desired, Cause.WAITING)
    likely = [level for level in allowed if _is_likely(situation, task, level)]
    if likely:
        return Standing(most_accurate(task.ladder, likely), Cause.LIKE_DEVICES)
    return Standing(max(allowed), Cause.NARROWEST_FIRST)


def _is_likely(situation: Situation, task: Task, level: int) -> bool:
    """Say whether a level is comfortable on like devices."""
    known = predict_cold(situation.beliefs, situation.fingerprint, task.ladder, level)
    return known is not None and math.exp(known.upper(SURE_DEVIATIONS)) <= _comfortable_ms(task)


def _better(
    situation: Situation, task: Task, level: int, barrier: Cause | None
) -> tuple[int, ...]:
    levels, accuracy = task.ladder.levels, task.ladder.levels[level].accuracy.value
    free, better = 1 - task.policy.headroom_ratio, []
    for each in task.allowed:
        if levels[each].accuracy.value <= accuracy or (each <= level and barrier is not None):
            continue
        step = situation.predict(task, each)
        if share_of_deadline(task, step) <= free and (
            each > level or _is_steadily_in_time(task, step)
        ):
            better.append(each)
    return tuple(better)


def share_of_deadline(task: Task, step: Estimate) -> float:
    """Predict which share of its deadline a level takes, somewhat worse than expected.

    Args:
        task: The model.
        step: To that level, from the running one.
    """
    if task.pace is None:
        return 0.0
    unsure = math.hypot(step.deviation, task.pace.scatter)
    upper = math.exp(step.mean + SURE_DEVIATIONS * unsure)
    return task.pace.now_ms * upper / task.policy.deadline_ms


def _is_steadily_in_time(task: Task, step: Estimate) -> bool:
    """Say whether a level would have kept the deadline in each of the last periods."""
    worst_ms = max(_recent_ms(task), default=0.0)
    return worst_ms * math.exp(step.mean) <= task.policy.deadline_ms


def _widest(task: Task, standing: Standing) -> int:
    """Give the widest level to retreat to."""
    match standing.must_leave:
        case Cause.HOT:
            return _widest_while_hot(task, standing.level)
        case Cause.NOT_ALLOWED:
            return 0
        case _:
            return standing.level


def _comfortable_ms(task: Task) -> float:
    return task.policy.deadline_ms * (1 - task.policy.headroom_ratio)


def _recent_ms(task: Task) -> tuple[float, ...]:
    return task.measured.recent_p95_ms[-task.policy.patience :] if task.measured else ()


def _barrier(situation: Situation, task: Task, level: int) -> Cause | None:
    """Say why nothing wider is looked for; ``None``: it is."""
    if level != task.running:
        return Cause.ON_ITS_WAY
    if is_hot(situation, task) or _is_warm(situation, task):
        return Cause.WARM
    if task.policy.is_quiet(situation.minute_of_day):
        return Cause.QUIET
    if len(_recent_ms(task)) < task.policy.patience:
        return Cause.IMPATIENT
    return Cause.WARY if _is_wary(situation, task) else None


def _is_wary(situation: Situation, task: Task) -> bool:
    """Say whether going wider has failed of late.

    Once may be chance. From the second time in a row on, each makes it wait twice as long.
    Whatever makes a wider level fail, be it heat or a limit that only the device knows,
    does not make the device go to and fro.
    """
    setbacks = 0 if task.experience is None else task.experience.setbacks
    if setbacks <= 1 or task.measured is None:
        return False
    wait_s = task.policy.patience * (1 << setbacks - 1) * situation.period_s
    return task.measured.since_switch_s < wait_s


def _must_leave(situation: Situation, task: Task, level: int, now_ms: float) -> Cause | None:
    if level not in task.allowed:
        return Cause.NOT_ALLOWED
    if now_ms * math.exp(situation.predict(task, level).mean) > task.policy.deadline_ms:
        return Cause.DEADLINE
    if is_hot(situation, task) and _widest_while_hot(task, level) != level:
        return Cause.HOT
    return None


def _widest_while_hot(task: Task, level: int) -> int:
    """Step one level down from where the device is; where it went by itself, follow it."""
    running = level if task.running is None else task.running
    allowed = task.allowed
    goal = level + 1 if running == level else max(level, running)
    return min((each for each in allowed if each >= goal), default=max(allowed))


def _is_warm(situation: Situation, task: Task) -> bool:
    limit_c = task.policy.temperature_limit_c - WARM_MARGIN_C
    return (situation.resources.temperature_c or -math.inf) > limit_c


def is_hot(situation: Situation, task: Task) -> bool:
    """Say whether the device is above its temperature limit, or slowed down by its heat."""
    temperature_c = situation.resources.temperature_c or -math.inf
    return (
        temperature_c > task.policy.temperature_limit_c or situation.resources.throttled is True
    )
