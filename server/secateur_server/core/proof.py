"""Whether a device shows that it runs what it says it runs.

The golden inputs of an artifact are known, and so are the outputs it gives. A device that
kept the old file gives the old file's outputs. A hostile one that has read the golden outputs
can say them without running anything: proof of run finds faults and sloth, not malice.
"""

from dataclasses import dataclass
from enum import Enum, auto

from secateur_protocols.ids import Digest
from secateur_protocols.state import ReportedModel

ROUNDING = 1e-5
"""Relative: values travel with six digits."""


@dataclass(frozen=True, slots=True)
class ExpectedOutputs:
    """What an artifact's golden inputs give.

    Attributes:
        digest: SHA-256 of the outputs as the publisher's engine gave them, bit by bit.
        values: Their first values, decoded to real numbers.
        tolerances: Of each value, the largest absolute difference that still counts as the
            same.
    """

    digest: Digest
    values: tuple[float, ...]
    tolerances: tuple[float, ...]


class Proof(Enum):
    """What a reported state shows."""

    GOOD = auto()
    WRONG = auto()
    MISSING = auto()
    """Nothing either way: loaded after a restart and not probed since, or an agent that does
    not tell its outputs and whose processor rounds otherwise."""


def check_proof(told: ReportedModel, expected: ExpectedOutputs | None) -> tuple[Proof, str]:
    """Compare a proof with what is known of the artifact.

    Returns:
        What it shows, and in words why it is wrong; else no words.
    """
    proof = told.proof
    if proof is None or expected is None:
        return Proof.MISSING, ""
    if proof.digest != told.digest:
        return Proof.WRONG, f"reports {told.digest[:12]} and proves {proof.digest[:12]}"
    if proof.golden_digest == expected.digest:
        return Proof.GOOD, ""
    return _compare(proof.outputs, expected)


def _compare(outputs: tuple[float, ...], expected: ExpectedOutputs) -> tuple[Proof, str]:
    if not outputs:
        return Proof.MISSING, ""
    if len(outputs) != len(expected.values):
        return Proof.WRONG, "its golden outputs are of another number"
    for differs, allowed in zip(
        map(_excess, outputs, expected.values), expected.tolerances, strict=True
    ):
        if differs > allowed:
            words = f"its golden outputs differ by {differs:.3g}, {allowed:.3g} allowed"
            return Proof.WRONG, words
    return Proof.GOOD, ""


def _excess(told: float, expected: float) -> float:
    return max(0.0, abs(told - expected) - ROUNDING * abs(expected))
