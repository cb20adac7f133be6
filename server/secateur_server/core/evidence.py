"""What one device of a rollout shows: a fold over its messages.

Two sides are kept: the baseline, from before the device was told to change, and the
candidate. On each, what was measured is kept by level, because a wider level is slower and
more accurate by design.

A count is taken only where this message and the one before it speak of the same artifact
without a switch between them; else it could belong to either version. Lost messages thin the
evidence out and never falsify it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from secateur_protocols.ids import Digest
from secateur_protocols.manifest import Ladder
from secateur_protocols.ota import Ota, ReasonCode, Update, UpdateState
from secateur_protocols.rollout import Gate
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import ModelTelemetry, Telemetry
from secateur_server.core.proof import ExpectedOutputs, Proof, check_proof

T = TypeVar("T")

MAX_SAMPLES = 16
"""Periods kept per level and quantity: as many as a device's own history has."""

MIN_PERIODS = 5
"""Periods without which nothing is compared."""

MAX_LEVELS = 8
"""Levels kept per side; the one seen longest ago goes first."""

MAX_COUNT = 10**9
"""One message counts no more than this, whatever it says (rule W12)."""

MAX_CONTRADICTIONS = 5
"""Messages in a row that tell of the old version's answers after the new one was reported."""

OWN_FAULTS = frozenset(
    {
        ReasonCode.NO_SPACE,
        ReasonCode.OOM,
        ReasonCode.OOM_PREDICTED,
        ReasonCode.HTTP_STATUS,
        ReasonCode.DIGEST_MISMATCH,
        ReasonCode.SIGNATURE_INVALID,
        ReasonCode.VERSION_FLOOR,
        ReasonCode.UNSUPPORTED_ENGINE,
        ReasonCode.LOAD_FAILED,
        ReasonCode.WARMUP_FAILED,
        ReasonCode.GOLDEN_MISMATCH,
        ReasonCode.SLO_LATENCY,
        ReasonCode.SLO_MEMORY,
        ReasonCode.SLO_TEMPERATURE,
    }
)
"""Reasons that speak against the version. The others (a link that broke, a battery, a budget)
speak of the moment: the device tries again, until the rollout's deadline."""

UNSUITED = frozenset({ReasonCode.UNSUPPORTED_HARDWARE})
"""Reasons that say that a version was not made for this device."""

FAILED = frozenset({UpdateState.FAILED, UpdateState.REJECTED, UpdateState.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a device counts as bad."""

    gate: Gate
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one level of one version showed.

    Attributes:
        p95_ms: Of its newest periods; likewise the hottest ``temperature_c`` and the memory
            ``available_bytes`` of ``total_bytes``. 0: not known.
        answered: Answers that were counted; ``missed`` of them past the deadline.
        labelled: Answers to frames with a label; ``correct`` of them right.
    """

    p95_ms: tuple[float, ...] = ()
    temperature_c: tuple[float, ...] = ()
    available_bytes: tuple[int, ...] = ()
    total_bytes: int = 0
    answered: int = 0
    missed: int = 0
    labelled: int = 0
    correct: int = 0


class Mark(NamedTuple):
    """The message that was taken last: what the next one is compared with."""

    boot: int
    sequence: int
    digest: Digest
    switches: int
    answered: int
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one device in one rollout.

    Attributes:
        is_told: Whether the new version is wanted of it.
        level: Of the new version, that it measured last. ``None``: none yet.
        proven: It has shown to run the new version, at some level.
        on_target: By its last word it runs the new version.
        contradictions: Messages in a row that tell otherwise.
        ota_order: Of the last update message that was taken; (-1, -1): none.
        objection: What speaks against the version whatever is measured.
        is_unsuited: The version was not made for this device.
    """

    is_told: bool = False
    baseline: Mapping[int, Sample] = field(default_factory=dict)
    candidate: Mapping[int, Sample] = field(default_factory=dict)
    level: int | None = None
    mark: Mark | None = None
    proven: bool = False
    on_target: bool = False
    contradictions: int = 0
    ota_order: tuple[int, int] = (-1, -1)
    objection: Objection | None = None
    is_unsuited: bool = False


@dataclass(frozen=True, slots=True)
class Versions:
    """The two versions of a rollout, and what the new one's golden inputs must give."""

    stable: Ladder
    target: Ladder
    expected: Mapping[Digest, ExpectedOutputs] = field(default_factory=dict)


def observe(evidence: Evidence, telemetry: Telemetry, versions: Versions) -> Evidence:
    """Take a telemetry message into account; it is newer than the last one."""
    model = versions.target.model
    measured = next((each for each in telemetry.models if each.model == model), None)
    if measured is None:
        return evidence
    before = evidence.mark
    mark = Mark(
        telemetry.boot,
        telemetry.sequence,
        measured.digest,
        measured.switches,
        measured.answered,
        measured.deadline_misses,
    )
    evidence = replace(evidence, mark=mark)
    on_target = _level_of(versions.target, measured.digest)
    if evidence.is_told and on_target is not None:
        sides = _add(evidence.candidate, on_target, telemetry, measured, before)
        return replace(evidence, candidate=sides, level=on_target, contradictions=0)
    on_stable = _level_of(versions.stable, measured.digest)
    if on_stable is None:
        return evidence
    if not evidence.is_told:
        sides = _add(evidence.baseline, on_stable, telemetry, measured, before)
        return replace(evidence, baseline=sides)
    return _contradict(evidence) if evidence.on_target else evidence


def hear_reported(evidence: Evidence, reported: Reported, versions: Versions) -> Evidence:
    """Take over what a device says it runs, and whether it shows so."""
    model = versions.target.model
    told = next((each for each in reported.models if each.model == model), None)
    level = None if told is None else _level_of(versions.target, told.digest)
    if told is None or level is None:
        return replace(evidence, on_target=False, contradictions=0)
    evidence = replace(evidence, on_target=True)
    if not evidence.is_told:
        return evidence
    proof, detail = check_proof(told, versions.expected.get(told.digest))
    if proof is Proof.WRONG:
        return replace(evidence, objection=Objection(Gate.PROOF, detail))
    return replace(evidence, proven=True) if proof is Proof.GOOD else evidence


def hear_ota(evidence: Evidence, ota: Ota, versions: Versions) -> Evidence:
    """Take over how updates went; one that the new version itself failed is an objection."""
    order = (ota.boot, ota.sequence)
    if order <= evidence.ota_order:
        return evidence
    evidence = replace(evidence, ota_order=order)
    if not evidence.is_told or evidence.objection is not None:
        return evidence
    for update in ota.updates:
        if not _is_of_target(update, versions):
            continue
        if update.reason in UNSUITED:
            return replace(evidence, is_unsuited=True)
        if update.state in FAILED and update.reason in OWN_FAULTS:
            detail = f"level {update.level} {update.state}: {update.reason} {update.detail}"
            return replace(evidence, objection=Objection(Gate.UPDATE, detail[:200].rstrip()))
    return evidence


def tell(evidence: Evidence) -> Evidence:
    """Note that the new version is wanted from now on: what is measured is the candidate's."""
    return replace(evidence, is_told=True)


def _is_of_target(update: Update, versions: Versions) -> bool:
    """Say whether an update is to the new version.

    One that failed before the ladder was read names no artifact; it speaks of the new
    version only if it says that this was not made for the device.
    """
    if update.model != versions.target.model:
        return False
    if update.digest is None:
        return update.reason in UNSUITED
    is_old = _level_of(versions.stable, update.digest) is not None
    return not is_old and _level_of(versions.target, update.digest) is not None


def _contradict(evidence: Evidence) -> Evidence:
    count = evidence.contradictions + 1
    evidence = replace(evidence, contradictions=count)
    if count < MAX_CONTRADICTIONS:
        return evidence
    detail = "reports the new version, and its telemetry tells of the old one"
    return replace(evidence, objection=Objection(Gate.PROOF, detail))


def _level_of(ladder: Ladder, digest: Digest) -> int | None:
    return next((each.level for each in ladder.levels if each.digest == digest), None)


def _add(
    side: Mapping[int, Sample],
    level: int,
    telemetry: Telemetry,
    measured: ModelTelemetry,
    before: Mark | None,
) -> Mapping[int, Sample]:
    """Add one message to one level's sample."""
    sample = side.get(level, Sample())
    sample = replace(sample, p95_ms=_newer(sample.p95_ms, measured.recent_p95_ms))
    if _is_continued(telemetry, measured, before):
        sample = _count(sample, level, measured, before)
        resources = telemetry.resources
        sample = replace(
            sample,
            temperature_c=_remember(sample.temperature_c, resources.temperature_c),
            available_bytes=_remember(sample.available_bytes, resources.memory_available_bytes),
            total_bytes=resources.memory_total_bytes or sample.total_bytes,
        )
    others = [(key, value) for key, value in side.items() if key != level]
    return dict([*others[-(MAX_LEVELS - 1) :], (level, sample)])


def _newer(kept: tuple[float, ...], recent: tuple[float, ...]) -> tuple[float, ...]:
    """Take the device's own history, unless it has only just begun anew."""
    is_enough = len(recent) >= min(len(kept), MIN_PERIODS)
    return recent[-MAX_SAMPLES:] if is_enough else kept


def _is_continued(telemetry: Telemetry, measured: ModelTelemetry, before: Mark | None) -> bool:
    return before is not None and (before.boot, before.digest, before.switches) == (
        telemetry.boot,
        measured.digest,
        measured.switches,
    )


def _count(sample: Sample, level: int, measured: ModelTelemetry, before: Mark | None) -> Sample:
    if before is not None:
        answered = _bounded(measured.answered - before.answered)
        missed = min(answered, _bounded(measured.deadline_misses - before.missed))
        sample = replace(
            sample, answered=sample.answered + answered, missed=sample.missed + missed
        )
    for served in measured.served:
        if served.level == level:
            labelled = _bounded(served.labelled)
            sample = replace(
                sample,
                labelled=sample.labelled + labelled,
                correct=sample.correct + min(labelled, _bounded(served.correct)),
            )
    return sample


def _bounded(count: int) -> int:
    return max(0, min(MAX_COUNT, count))


def _remember(kept: tuple[T, ...], value: T | None) -> tuple[T, ...]:
    return kept if value is None else (*kept, value)[-MAX_SAMPLES:]
