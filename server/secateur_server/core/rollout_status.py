"""Where a rollout stands, in words and counts, for whoever watches."""

from collections import Counter
from datetime import UTC, datetime

from secateur_protocols.rollout import (
    MAX_TROUBLES,
    Gate,
    GateStatus,
    RolloutState,
    RolloutStatus,
    Trouble,
    WaveStatus,
)
from secateur_server.core.rollout import Member, Rollout, must_go_back

DETAIL = 200
"""Characters of a trouble that travel."""


def describe(rollout: Rollout, revision: int) -> RolloutStatus:
    """Say where a rollout stands; the size does not grow with its devices."""
    by_wave: dict[int, list[tuple[str, Member]]] = {}
    for device, member in rollout.members.items():
        by_wave.setdefault(member.wave, []).append((device, member))
    return RolloutStatus(
        rollout=rollout.rollout,
        revision=revision,
        model=rollout.model,
        version=rollout.target.version,
        from_version=rollout.stable.version,
        state=rollout.state,
        reason=rollout.reason or _first_reason(rollout),
        wave=rollout.wave,
        waves=tuple(
            _describe_wave(rollout, size, by_wave.get(number, []))
            for number, size in enumerate(rollout.plan.waves)
        ),
        gates=_count_gates(rollout),
        troubles=_name_troubles(rollout),
        warnings=rollout.warnings,
        started_at=datetime.fromtimestamp(rollout.started_at_s, UTC).isoformat(
            timespec="seconds"
        ),
        watched_s=round(rollout.clock_s, 1),
        plan=rollout.plan,
    )


def _first_reason(rollout: Rollout) -> str:
    if rollout.state is RolloutState.WATCHING and not rollout.members:
        return "no device to begin with is online"
    return f"wave {rollout.wave} is watched"


def _describe_wave(
    rollout: Rollout, size: str, members: list[tuple[str, Member]]
) -> WaveStatus:
    counts = Counter(str(member.stand) for _, member in members)
    back = sum(member.is_back and must_go_back(rollout, member) for _, member in members)
    return WaveStatus(size=size, devices=len(members), back=back, **counts)


def _count_gates(rollout: Rollout) -> tuple[GateStatus, ...]:
    failed = Counter(
        member.objection.gate
        for member in rollout.members.values()
        if member.objection is not None
    )
    return tuple(GateStatus(gate=gate, failed=failed[gate]) for gate in Gate)


def _name_troubles(rollout: Rollout) -> tuple[Trouble, ...]:
    found = [
        Trouble(
            device=device, gate=member.objection.gate, detail=member.objection.detail[:DETAIL]
        )
        for device, member in rollout.members.items()
        if member.objection is not None
    ]
    return tuple(sorted(found, key=lambda each: each.device)[:MAX_TROUBLES])
