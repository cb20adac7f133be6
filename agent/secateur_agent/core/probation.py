"""The verdict on a new artifact from its first answers."""

from dataclasses import dataclass

from secateur_protocols.manifest import Manifest
from secateur_protocols.ota import ReasonCode

ANSWERS = 20
"""Answers that make a verdict."""

LIMIT_S = 10.0
"""How long to wait for them, seconds: a quiet source must not hold an update up."""

UNSEEN = f"no frame came in {LIMIT_S:g} s: it is the probe's word alone"
"""What is said of an artifact that was committed without an answer."""

LATE_RATIO = 2.0
"""Latency over the promise that speaks against an artifact: more than what two runs of one
model on one busy device differ by."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the artifact did under watch.

    Attributes:
        answered: Frames that were answered while it served.
        faults: Frames among them that it could not answer itself, or with NaN or infinity.
        detail: What the last fault was.
        p95_ms: Of its inferences, without waiting, milliseconds. ``None``: no answers.
        incumbent_p95_ms: Of the last inferences of the artifact before it, on this device.
            ``None``: there were none.
    """

    answered: int
    faults: int
    detail: str
    p95_ms: float | None = None
    incumbent_p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What the artifact should do here.

    Attributes:
        ratio: Its latency as a share of the incumbent's, both from their manifests: they
            were measured on one machine, which is not this one. ``None``: no incumbent.
        deadline_ms: Of the model, milliseconds.
        is_proven: Whether the probe has run it on this device, with the golden outputs.
    """

    ratio: float | None
    deadline_ms: float
    is_proven: bool = True


@dataclass(frozen=True, slots=True)
class Objection:
    """Why the artifact must not stay."""

    reason: ReasonCode
    detail: str


def promise(
    candidate: Manifest, incumbent: Manifest | None, *, deadline_ms: float, is_proven: bool
) -> Promise:
    """Derive what a candidate should do on this device."""
    ratio = None
    if incumbent is not None and incumbent.latency.p50_ms > 0:
        ratio = candidate.latency.p50_ms / incumbent.latency.p50_ms
    return Promise(ratio, deadline_ms, is_proven)


def objection(evidence: Evidence, promised: Promise) -> Objection | None:
    """Say what speaks against committing the artifact; ``None``: nothing.

    One fault is enough: the probe has shown that it can run here, so a frame it cannot
    answer is not chance. Latency counts only if it breaks both the promise and the
    deadline: late but in time harms nobody, and a deadline that the incumbent missed too
    is not the candidate's fault. No frame at all is no fault either: a device that is asked
    seldom must get its updates too, and the probe has shown outputs, latency and memory.
    Without the probe's word it is one: nothing is known of the artifact then.
    """
    if evidence.faults:
        detail = f"{evidence.faults} of {evidence.answered} frames failed: {evidence.detail}"
        return Objection(ReasonCode.WARMUP_FAILED, detail)
    if evidence.answered == 0 and not promised.is_proven:
        return Objection(ReasonCode.TIMEOUT, "no frame came, and no probe has run it")
    measured_ms, before_ms = evidence.p95_ms, evidence.incumbent_p95_ms
    if measured_ms is None or before_ms is None or promised.ratio is None:
        return None
    promised_ms = promised.ratio * before_ms
    if measured_ms > max(LATE_RATIO * promised_ms, promised.deadline_ms):
        detail = f"p95 {measured_ms:.3g} ms, {promised_ms:.3g} ms promised"
        return Objection(ReasonCode.SLO_LATENCY, detail)
    return None
