"""Which pruning method fits which shortage, and why.

Rules:

1. Nothing is said to help that was measured to help little (`LITTLE`).
2. Weight pruning is advised for what travels and what is stored, never for latency or
   memory: the stock engines compute with zeros as with any other number. Where it might
   help on another processor, that is said to be unmeasured.
3. Latency is advised on as measured, and with the engine's name; unmeasured, it is said to
   be unmeasured.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from secateur_server.pruning.facts import Facts, SparseKernels, Travel

LITTLE = 0.9
"""What leaves more than this share of a cost, with half of all channels gone, helps little."""

OWN_SHARE = 0.2
"""Share of the memory that is the model's own, below which the engine's own dominates."""

ASKED = 0.6
"""Budget that is proposed where it can be met."""

SLOWEST = 3
"""How many operators a sentence names."""

ZEROS_RUN_AS_ANY = (
    "Zeros among the weights do not help: the stock wheels compute with them as with any "
    "number; their sparse kernels are off on every x86 processor with AVX."
)


class Shortage(StrEnum):
    """What a device may be short of."""

    LATENCY = "latency"
    MEMORY = "memory"
    LINK = "link"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do about one shortage.

    Attributes:
        method: Of ``secateur prune``; ``None``: pruning does not help, or hardly.
        options: Of that command, the amount being a proposal.
        reasons: Sentences, what was measured first.
    """

    shortage: Shortage
    method: str | None
    options: str
    reasons: tuple[str, ...]


def recommend(facts: Facts) -> tuple[Recommendation, ...]:
    """Give a recommendation for each shortage."""
    return (_for_latency(facts), _for_memory(facts), _for_link(facts), _for_disk(facts))


def _for_latency(facts: Facts) -> Recommendation:
    half, timing = facts.reach_at(0.5), facts.timing
    if half is None:
        told = ["No channel may leave, and only fewer channels make operators faster."]
        options = ""
    elif timing is None or half.latency_ratio is None:
        told = [f"Not measured: {_refused(facts)}."]
        options = _budget("macs", half.macs_ratio)
    else:
        where = f"{timing.engine}, {timing.machine}, {timing.threads} thread"
        left = f"{half.latency_ratio:.0%} of the operators' latency is left"
        told = [f"Measured on {where}: {left} with half of all channels."]
        is_worth_it = half.latency_ratio <= LITTLE
        options = _budget("latency", half.latency_ratio) if is_worth_it else ""
        elsewhere = "Another engine or processor may differ: inspect it there."
        told.append(_slowest(facts) if is_worth_it else elsewhere)
    method = "network" if options else None
    if facts.precision in {"float32", "float16"}:
        told.append(
            f"Int8 is often faster than floats: --precision {facts.precision},int8 adds such "
            "levels and measures them."
        )
    zeros = (ZEROS_RUN_AS_ANY, *_elsewhere(facts.sparse_kernels))
    return Recommendation(Shortage.LATENCY, method, options, (*told, *zeros))


def _elsewhere(kernels: SparseKernels | None) -> tuple[str, ...]:
    """Say what zeros may do on other processors; nothing of it is measured here."""
    if kernels is None:
        return ()
    might = "On Arm more than two thirds of zeros may help"
    if not kernels.obstacles:
        return (f"{might}: measure it there.",)
    if kernels.is_rewritable:
        rewritten = "once the graph is rewritten (--rewrite sparse-stem)"
        return (f"{might} {rewritten}: measure it there.",)
    return (f"Nor do those kernels take this graph elsewhere: {kernels.obstacles[0]}.",)


def _refused(facts: Facts) -> str:
    return f"the engine does not run it ({facts.refusal})" if facts.refusal else "unknown"


def _slowest(facts: Facts) -> str:
    timed = sorted(facts.operators, key=lambda each: -(each.latency_ms or 0.0))[:SLOWEST]
    total = max(facts.operators_ms, 1e-12)
    told = [
        f"{each.kind} #{each.index} {(each.latency_ms or 0) / total:.0%}"
        f"{'' if each.can_shrink else ' (cannot shrink)'}"
        for each in timed
    ]
    return f"Most of it is in {', '.join(told)}."


def _budget(resource: str, reachable: float) -> str:
    """Propose a budget that can be met: that half of the channels meets it is known."""
    asked = max(ASKED, min(0.95, math.ceil(reachable * 20) / 20))
    return f"--method network --budget {resource}={asked:g}"


def _for_memory(facts: Facts) -> Recommendation:
    half, own = facts.reach_at(0.5), facts.weight_bytes + facts.activation_bytes
    takes = (
        f"Its weights take {_size(facts.weight_bytes)}, tensors between operators at most "
        f"{_size(facts.activation_bytes)}."
    )
    told = [takes]
    if facts.peak_memory_bytes is not None:
        peak = _size(facts.peak_memory_bytes)
        told.insert(0, f"Loading and running it once took {peak} (measured).")
        if own < OWN_SHARE * facts.peak_memory_bytes:
            told.append("The rest is the engine's own, and no pruning takes that away.")
            return Recommendation(Shortage.MEMORY, None, "", tuple(told))
    if half is None or half.bytes_ratio > LITTLE:
        told.append("Only fewer channels would help, and none or hardly any may leave.")
        return Recommendation(Shortage.MEMORY, None, "", tuple(told))
    told.append("Zeros do not help: the engine keeps weights unpacked.")
    if facts.weight_bytes >= facts.activation_bytes:
        options = _budget("bytes", half.bytes_ratio)
    else:
        options = _budget("macs", half.macs_ratio)
    return Recommendation(Shortage.MEMORY, "network", options, tuple(told))


def _for_link(facts: Facts) -> Recommendation:
    travel, half = facts.travel, facts.reach_at(0.5)
    if travel is None:
        why = f"Not tried: {_refused(facts)}."
        return Recommendation(Shortage.LINK, None, "", (why,))
    told = [_tried(travel)]
    if _gains(travel):
        told.append("Such levels run as fast as before: latency is not what this saves.")
        return Recommendation(Shortage.LINK, "magnitude", _zeroed(travel), tuple(told))
    if half is not None and half.bytes_ratio <= LITTLE:
        told.append("Zeros gain little here, fewer channels more.")
        options = _budget("bytes", half.bytes_ratio)
        return Recommendation(Shortage.LINK, "network", options, tuple(told))
    return Recommendation(Shortage.LINK, None, "", (*told, "Nothing gains much here."))


def _tried(travel: Travel) -> str:
    told = (
        f"Compressed the file has {_size(travel.bytes)}; with the smallest "
        f"{travel.sparsity:.0%} of each operator's weights at zero "
        f"{_size(travel.zeroed_bytes)} (both measured; what that does to accuracy is measured "
        "by pruning)."
    )
    if travel.zeros > travel.sparsity / 2:
        told += f" {travel.zeros:.0%} of the weights are zero already."
    return told


def _gains(travel: Travel | None) -> bool:
    return travel is not None and travel.zeroed_bytes <= LITTLE * travel.bytes


def _zeroed(travel: Travel) -> str:
    return f"--method magnitude --sparsity {travel.sparsity:g}"


def _for_disk(facts: Facts) -> Recommendation:
    half, travel = facts.reach_at(0.5), facts.travel
    share = facts.weight_bytes / max(facts.bytes, 1)
    told = [f"The file has {_size(facts.bytes)}, {share:.0%} of it constants."]
    if travel is not None:
        told.append(
            f"With the smallest {travel.sparsity:.0%} of each operator's weights at zero and "
            f"stored sparsely where that pays it has {_size(travel.sparse_bytes)} (measured)."
        )
        if travel.sparse_bytes <= LITTLE * facts.bytes:
            return Recommendation(Shortage.DISK, "magnitude", _zeroed(travel), tuple(told))
    if half is not None and half.bytes_ratio * share + 1 - share <= LITTLE:
        told.append(
            f"Half of all channels leave {half.bytes_ratio:.0%} of the constants' bytes."
        )
        options = _budget("bytes", half.bytes_ratio)
        return Recommendation(Shortage.DISK, "network", options, tuple(told))
    told.append("Fewer channels would make it hardly smaller, or none may leave.")
    return Recommendation(Shortage.DISK, None, "", tuple(told))


def _size(count: int) -> str:
    """Write a number of bytes with three digits."""
    units = ("bytes", "kB", "MB", "GB")
    power = min(len(units) - 1, int(math.log10(max(count, 1)) / 3 + 1e-9))
    return f"{count / 1000**power:.4g} {units[power]}"
