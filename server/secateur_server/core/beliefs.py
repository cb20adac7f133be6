"""What latency a device would have at a level that it does not run, and how sure that is.

Three sources, from weak to strong, each a normal distribution of log latency:

    the ladder's reference latencies    measured on one machine; less sure the further
                                        apart two levels are
    like devices                        the median over devices of the same fingerprint
    the device's own steps              how two levels compared when it went wider

The first two are alternatives: where enough like devices have compared two levels, what the
ladder says of other hardware no longer counts. The device's own word is added by precision
(inverse variance), and it ages: what was measured long ago weighs less.

Rule W12: of like devices the median counts, one voice per device, and only with
`MIN_VOICES` of them. A minority that lies moves it no further than honest voices differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import median
from typing import NamedTuple

from secateur_protocols.ids import Digest
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_server.core.experience import Experience, Step
from secateur_server.core.lot import lot_of

MIN_VOICES = 3
"""Fewer like devices are not believed: with three, one liar is outvoted."""

MAX_VOICES = 63
"""Per subject. Of more devices, so many are drawn by lot: to speak more often does not help."""

MAX_SUBJECTS = 20_000
"""Beliefs about more are not begun: hardware classes can be invented."""

REFERENCE_DEVIATION = 0.25
"""How wrong the reference may be about two levels, per unit of their log ratio: another
processor gains less, or more, from narrower layers than the one that measured."""

LEAST_DEVIATION = 0.03
"""No prediction is surer than this: p95 of a period scatters by itself."""

OWN_DEVIATION = 0.12
"""Of one own step: both ends are medians of a few periods under changing load."""

FORGET_PERIODS = 2_000
"""An own step of this age counts half."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

WORTH_SAYING = 0.05
"""A voice that moves by less, in log latency, is not counted anew."""

Subject = tuple[str, Digest] | tuple[str, Digest, Digest]
"""A fingerprint and one artifact (log latency in ms) or a step (log ratio)."""


class Estimate(NamedTuple):
    """A log latency or log ratio, and its standard deviation."""

    mean: float
    deviation: float

    def upper(self, deviations: float = 1.0) -> float:
        """Give a bound that is exceeded with the probability of so many deviations."""
        return self.mean + deviations * self.deviation


SAME = Estimate(0.0, 0.0)
"""How a level compares with itself."""


@dataclass(frozen=True, slots=True)
class Voices:
    """What like devices say of one subject."""

    by_device: Mapping[str, float]
    estimate: Estimate | None
    """``None``: too few."""
    last_lot: int | None = None
    """A device that draws more is not heard. ``None``: there is room for each."""

    def shuts_out(self, device: str) -> bool:
        """Say whether a new device is not heard: too many are, and its lot is no better."""
        return self.last_lot is not None and lot_of(device) > self.last_lot


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is known of each kind of hardware: a fold over devices' experiences."""

    voices: Mapping[Subject, Voices] = field(default_factory=dict)
    # Each message asks, and the answer is the same until somebody says something new.
    _steps: dict[tuple[str, int, int], tuple[Ladder, Sequence[Estimate]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of_artifact(self, fingerprint: str, digest: Digest) -> Estimate | None:
        """Estimate ln(p95 in ms) of an artifact on this hardware."""
        voices = self.voices.get((fingerprint, digest))
        return None if voices is None else voices.estimate

    def of_step(self, fingerprint: str, step: Step) -> Estimate | None:
        """Estimate ln(latency of the second / of the first) on this hardware."""
        there = self.voices.get((fingerprint, *step))
        if there is not None and there.estimate is not None:
            return there.estimate
        back = self.voices.get((fingerprint, step[1], step[0]))
        if back is None or back.estimate is None:
            return None
        return Estimate(-back.estimate.mean, back.estimate.deviation)

    def steps_from(self, fingerprint: str, ladder: Ladder, running: int) -> Sequence[Estimate]:
        """Estimate ln(latency at each level / latency at ``running``) on this hardware.

        Where like devices do not say, the ladder's reference does.
        """
        key = (fingerprint, id(ladder), running)
        found = self._steps.get(key)
        if found is None:
            if len(self._steps) >= MAX_SUBJECTS:
                self._steps.clear()
            # The ladder is kept, so that no other can have its id.
            found = self._steps[key] = (ladder, self._find_steps(fingerprint, ladder, running))
        return found[1]

    def _find_steps(self, fingerprint: str, ladder: Ladder, running: int) -> Sequence[Estimate]:
        begin = ladder.levels[running].digest
        return [
            SAME
            if each.level == running
            else self.of_step(fingerprint, (begin, each.digest))
            or reference_step(ladder, running, each.level)
            for each in ladder.levels
        ]


@lru_cache(maxsize=4096)
def _fingerprint(hardware_class: str, *parts: object) -> str:
    return "|".join((hardware_class, *map(str, parts)))


def fingerprint_of(info: Info) -> str:
    """Name the kind of hardware and engine that latencies are shared within."""
    hardware, engine = info.hardware, info.engine
    return _fingerprint(
        hardware.hardware_class,
        hardware.machine,
        hardware.cpu_model,
        hardware.cores,
        engine.name,
        engine.version,
        engine.threads,
    )


def learn(
    beliefs: Beliefs,
    device: str,
    fingerprint: str,
    before: Experience | None,
    after: Experience,
) -> Beliefs:
    """Count what a device has newly experienced as its voice.

    Returns:
        The same beliefs where it says nothing new.
    """
    said: list[tuple[Subject, float]] = []
    if after.is_settled:
        said.append(((fingerprint, after.digest), math.log(after.typical_ms)))
    if before is None or before.compared is not after.compared:
        said += [
            ((fingerprint, *step), each.log_ratio) for step, each in after.compared.items()
        ]
    changed: dict[Subject, Voices] = {}
    for subject, value in said:
        voices = _heard(beliefs.voices.get(subject), device, value)
        if voices is not None:
            changed[subject] = voices
    if not changed or len(beliefs.voices) + len(changed) > MAX_SUBJECTS:
        return beliefs
    return replace(beliefs, voices={**beliefs.voices, **changed})


def _heard(voices: Voices | None, device: str, value: float) -> Voices | None:
    """Count a device's voice anew; ``None``: it says nothing new, or is not heard."""
    kept = {device: value}
    if voices is not None:
        said = voices.by_device.get(device)
        is_idle = voices.shuts_out(device) if said is None else abs(said - value) < WORTH_SAYING
        if is_idle:
            return None
        kept = {**voices.by_device, device: value}
    if len(kept) > MAX_VOICES:
        del kept[max(kept, key=lot_of)]
    last_lot = max(map(lot_of, kept)) if len(kept) == MAX_VOICES else None
    return Voices(kept, _agree(list(kept.values())), last_lot)


def _agree(values: list[float]) -> Estimate | None:
    if len(values) < MIN_VOICES:
        return None
    middle = median(values)
    spread = MAD_TO_DEVIATION * median([abs(value - middle) for value in values])
    # Few voices may agree by chance.
    return Estimate(middle, max(LEAST_DEVIATION, spread) * (1 + 1 / len(values)))


def predict_step(
    beliefs: Beliefs,
    fingerprint: str,
    experience: Experience | None,
    ladder: Ladder,
    *,
    running: int,
    level: int,
) -> Estimate:
    """Predict ln(latency at ``level`` / latency at ``running``) on one device."""
    known = beliefs.steps_from(fingerprint, ladder, running)[level]
    if level == running or experience is None or not experience.compared:
        return known
    levels = ladder.levels
    own = _own(experience, (levels[running].digest, levels[level].digest))
    return known if own is None else _combine(known, own)


@lru_cache(maxsize=8192)
def _reference(running_ms: float, level_ms: float) -> Estimate:
    if running_ms <= 0 or level_ms <= 0:
        return Estimate(0.0, REFERENCE_DEVIATION)
    log_ratio = math.log(level_ms / running_ms)
    return Estimate(log_ratio, LEAST_DEVIATION + REFERENCE_DEVIATION * abs(log_ratio))


def reference_step(ladder: Ladder, running: int, level: int) -> Estimate:
    """Compare two levels as the machine that pruned them did."""
    return _reference(
        ladder.levels[running].latency.p50_ms, ladder.levels[level].latency.p50_ms
    )


def _own(experience: Experience, step: Step) -> Estimate | None:
    compared, sign = experience.compared.get(step), 1.0
    if compared is None:
        compared, sign = experience.compared.get((step[1], step[0])), -1.0
    if compared is None:
        return None
    is_of_this_boot = compared.boot == experience.boot
    age = experience.sequence - compared.sequence if is_of_this_boot else experience.sequence
    weight = compared.count * 0.5 ** (max(0, age) / FORGET_PERIODS)
    return Estimate(sign * compared.log_ratio, OWN_DEVIATION / math.sqrt(max(weight, 1e-6)))


def _combine(first: Estimate, second: Estimate) -> Estimate:
    """Multiply two normal distributions."""
    one, other = first.deviation**-2, second.deviation**-2
    mean = (one * first.mean + other * second.mean) / (one + other)
    return Estimate(mean, max(LEAST_DEVIATION, (one + other) ** -0.5))


def predict_cold(
    beliefs: Beliefs, fingerprint: str, ladder: Ladder, level: int
) -> Estimate | None:
    """Predict ln(p95 in ms) at ``level`` on a device that has measured nothing yet.

    Returns:
        From like devices that run this level or, less surely, another one.
        ``None``: there are too few.
    """
    found = [
        Estimate(known.mean + step.mean, math.hypot(known.deviation, step.deviation))
        for manifest in ladder.levels
        if (known := beliefs.of_artifact(fingerprint, manifest.digest)) is not None
        for step in [beliefs.steps_from(fingerprint, ladder, manifest.level)[level]]
    ]
    return min(found, key=lambda each: each.deviation, default=None)
