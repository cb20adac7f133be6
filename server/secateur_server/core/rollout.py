"""The rollout: how a new version of a model reaches the fleet, wave by wave, and goes back.

``step`` takes a rollout and one event and returns the next rollout and the effects to run. It
decides; the driver does. Time arrives with `Looked`, chance not at all, and the same events
always give the same effects.

                     +--- Approved --- AWAITING <---+ did well, approval is wanted
                     v                              |
    (start) ----> WATCHING -------------------------+
                  |  ^  |
           Paused |  |  +--- did well: the next wave opens; the last one did: SUCCEEDED
                  v  |
                 PAUSED   (Resumed: back to where it was)

    WATCHING, AWAITING, PAUSED --- a gate fails, Halted --> HALTED      } every device gets
                               --- Superseded ------------> SUPERSEDED  } the stable version

    a device:  WAITING --baseline--> TOLD --proven--> SOAKING --soaked, judged--> GOOD
                  |                   |                  |                          |
                  |                   +-- objection -----+---------> BAD <----------+
                  +----- too long ----+------------------+--> EXPIRED

Rule 1: every transition is in this file; what a device's evidence says
is `verdict`'s.
Rule 2: the target is wanted of a device only while the rollout has not ended and the device is
TOLD, SOAKING or GOOD. So a BAD or EXPIRED device goes back at once, and all do on a halt.
Rule 3: a wave takes no more devices than its size; an expired one frees its place.
Rule 4: the next wave opens only when every device of this one is GOOD, BAD or EXPIRED, at
least one is GOOD if any was to be had, and no wave has more BAD ones than allowed.
Rule 5: GOOD is not for ever: an objection makes a device BAD as long as the rollout goes on.
Rule 6: time is the rollout's own: it goes on only while somebody looks, so that what happened
while the coordinator was down counts as watched for nobody.
Rule 7: a look shows all there is, so a lost one costs nothing; what an operator says twice
changes nothing the second time.
Rule 8: a device is taken once per wave; again only where a wave has nothing to show for itself
and nobody else is left to try.
Rule 9: a device on which the target was BAD, or that it was not made for, keeps the old version
when the others succeed, until another rollout takes it. The latter, UNSUITED, counts for
nothing and against nobody; two of a class, and nobody else, speak for all of the class.
Rule 10: a rollout halts when more than the allowed share of a wave is BAD, or more than half of
a wave's devices of one hardware class, which may be a small part of the wave.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from secateur_protocols.ids import DeviceId
from secateur_protocols.rollout import RolloutPlan, RolloutState
from secateur_server.core import cohort
from secateur_server.core.rollout_event import (
    Approved,
    Effect,
    Event,
    Halted,
    Looked,
    Paused,
    Promote,
    Replan,
    Resumed,
    Seen,
    Superseded,
)
from secateur_server.core.rollout_state import (
    FRUITLESS,
    SETTLED,
    VACANT,
    Member,
    Rollout,
    Stand,
    changed_devices,
    held_back,
    may_run_target,
    must_go_back,
    wants_target,
)

__all__ = [
    "Approved",
    "Effect",
    "Event",
    "Halted",
    "Looked",
    "Member",
    "Paused",
    "Promote",
    "Replan",
    "Resumed",
    "Rollout",
    "Seen",
    "Stand",
    "Step",
    "Superseded",
    "changed_devices",
    "held_back",
    "may_run_target",
    "must_go_back",
    "step",
    "wants_target",
]
"""With what this module defines, the whole machine: its callers need no other."""

MIN_OF_CLASS = 2
"""Devices of one hardware class that speak for it; a single one may be broken, or lie."""

MAX_LOOK_S = 5.0
"""Of the time between two looks, no more than this counts as watched, seconds."""


AFTER = {
    Stand.WAITING: Stand.TOLD,
    Stand.TOLD: Stand.SOAKING,
    Stand.SOAKING: Stand.GOOD,
}
"""Where a device that does well goes next."""


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one event."""

    rollout: Rollout
    effects: tuple[Effect, ...] = ()


def step(before: Rollout, event: Event) -> Step:
    """Advance a rollout by one event; the effects are to be run in their order."""
    after = _advance(before, event)
    effects: list[Effect] = []
    if after.state is RolloutState.SUCCEEDED and not before.has_ended:
        effects.append(Promote(after.target))
    moved = changed_devices(before) ^ changed_devices(after)
    if moved:
        effects.append(Replan(moved))
    return Step(after, tuple(effects))


def _advance(rollout: Rollout, event: Event) -> Rollout:  # noqa: PLR0911 - one per event
    if isinstance(event, Looked):
        return _look(rollout, event)
    if rollout.has_ended:
        return rollout
    match event:
        case Paused():
            return _pause(rollout)
        case Resumed():
            is_paused = rollout.state is RolloutState.PAUSED
            return _turn(rollout, rollout.resumes, "resumed") if is_paused else rollout
        case Approved():
            return _approve(rollout, event.wave)
        case Halted():
            return _turn(rollout, RolloutState.HALTED, event.reason)
        case Superseded():
            return _turn(rollout, RolloutState.SUPERSEDED, f"rollout {event.by} began")
        case _:
            assert_never(event)


def _turn(rollout: Rollout, state: RolloutState, reason: str) -> Rollout:
    return replace(rollout, state=state, reason=reason[:512])


def _pause(rollout: Rollout) -> Rollout:
    if rollout.state is RolloutState.PAUSED:
        return rollout
    paused = replace(rollout, resumes=rollout.state)
    return _turn(paused, RolloutState.PAUSED, "paused by an operator")


def _approve(rollout: Rollout, wave: int) -> Rollout:
    is_awaited = wave == rollout.wave and rollout.approved == wave + 1
    awaits = RolloutState.AWAITING in {rollout.state, rollout.resumes}
    if not is_awaited or not awaits:
        return rollout
    approved = replace(rollout, approved=wave + 2, resumes=RolloutState.WATCHING)
    if rollout.state is RolloutState.PAUSED:
        return approved
    return _turn(approved, RolloutState.WATCHING, "approved by an operator")


def _look(rollout: Rollout, looked: Looked) -> Rollout:
    passed_s = min(MAX_LOOK_S, max(0.0, looked.at_s - rollout.seen_at_s))
    seen_at_s = max(looked.at_s, rollout.seen_at_s)
    rollout = replace(rollout, seen_at_s=seen_at_s)
    if rollout.has_ended:
        return _watch_return(rollout, looked.fleet)
    rollout = replace(rollout, clock_s=rollout.clock_s + passed_s)
    rollout = _follow(rollout, looked.fleet)
    failure = _failure(rollout)
    if failure is not None:
        return _turn(rollout, RolloutState.HALTED, failure)
    if rollout.state is not RolloutState.WATCHING:
        return rollout
    return _close_wave(_enrol(_pass_over(rollout, looked.fleet), looked.fleet))


def _watch_return(rollout: Rollout, fleet: Mapping[DeviceId, Seen]) -> Rollout:
    members = {
        device: _note_back(member, fleet.get(device))
        for device, member in rollout.members.items()
    }
    return _with_members(rollout, members)


def _note_back(member: Member, seen: Seen | None) -> Member:
    if seen is None or member.is_back is not seen.is_on_target:
        return member
    return replace(member, is_back=not seen.is_on_target)


def _follow(rollout: Rollout, fleet: Mapping[DeviceId, Seen]) -> Rollout:
    """Let each device go where what it shows leads."""
    members = {
        device: _follow_member(rollout, member, fleet.get(device))
        for device, member in rollout.members.items()
    }
    return _with_members(rollout, members)


def _with_members(rollout: Rollout, members: Mapping[DeviceId, Member]) -> Rollout:
    is_same = all(members[name] is member for name, member in rollout.members.items())
    return rollout if is_same else replace(rollout, members=members)


def _follow_member(rollout: Rollout, member: Member, seen: Seen | None) -> Member:
    member = _note_back(member, seen)
    if member.stand in FRUITLESS:
        return member
    if seen is not None and seen.is_unsuited and member.stand is not Stand.WAITING:
        return _place(rollout, member, Stand.UNSUITED)
    if seen is not None and seen.objection is not None and member.stand is not Stand.WAITING:
        bad = replace(member, objection=seen.objection)
        return _place(rollout, bad, Stand.BAD)
    if member.stand is Stand.GOOD:
        return member
    following = _following(rollout, member, seen)
    return member if following is None else _place(rollout, member, following)


def _following(rollout: Rollout, member: Member, seen: Seen | None) -> Stand | None:
    """Say where a device that is on its way goes next; ``None``: it stays."""
    limit_s = rollout.plan.deadline_s
    waited_s = rollout.clock_s - member.since_s
    match member.stand:
        case Stand.WAITING:
            if rollout.state is not RolloutState.WATCHING:
                return None
            limit_s += rollout.plan.baseline_s
            following = _may_change(rollout.plan, seen, waited_s)
        case Stand.TOLD:
            following = seen is not None and seen.is_proven and seen.is_on_target
        case _:
            limit_s += rollout.plan.soak_s
            following = _has_soaked(rollout.plan, seen, waited_s)
    if following:
        return AFTER[member.stand]
    return Stand.EXPIRED if waited_s >= limit_s else None


def _may_change(plan: RolloutPlan, seen: Seen | None, waited_s: float) -> bool:
    if seen is None or not seen.is_online:
        return False
    return seen.has_baseline or waited_s >= plan.baseline_s


def _has_soaked(plan: RolloutPlan, seen: Seen | None, waited_s: float) -> bool:
    if seen is None or not (seen.is_online and seen.is_on_target):
        return False
    return seen.is_judged and waited_s >= plan.soak_s


def _place(rollout: Rollout, member: Member, stand: Stand) -> Member:
    return replace(member, stand=stand, since_s=rollout.clock_s)


def _failure(rollout: Rollout) -> str | None:
    """Say why the rollout must halt; ``None``: it need not (rule 10)."""
    if all(member.objection is None for member in rollout.members.values()):
        return None
    taken: Counter[tuple[int, str]] = Counter()
    bad: dict[tuple[int, str], list[str]] = {}
    limit = rollout.plan.gates.max_bad_ratio
    for device, member in rollout.members.items():
        groups = ((member.wave, ""), (member.wave, member.hardware_class))
        if member.stand not in VACANT:
            taken.update(groups)
        if member.objection is not None:
            told = f"{device}: {member.objection.gate}: {member.objection.detail}"
            for group in groups:
                bad.setdefault(group, []).append(told)
    for group in sorted(bad):
        count, size = len(bad[group]), taken[group]
        is_much = count > size / 2 and count >= MIN_OF_CLASS if group[1] else False
        if is_much or (not group[1] and count > limit * size):
            of_class = f", class {group[1]}" if group[1] else ""
            return f"{count} of {size} bad in wave {group[0]}{of_class}; {min(bad[group])}"
    return None


def _enrol(rollout: Rollout, fleet: Mapping[DeviceId, Seen]) -> Rollout:
    """Take the devices that the open wave has room for (rule 3)."""
    is_last = rollout.wave == len(rollout.plan.waves) - 1
    free = [
        device
        for device, seen in fleet.items()
        if _is_free(rollout, device) and (seen.is_online or is_last)
    ]
    if not free and all(each.stand in FRUITLESS for each in rollout.members.values()):
        free = [
            device for device, seen in fleet.items() if _may_try_again(rollout, device, seen)
        ]
    if not free:
        return rollout
    taken = [device for device, member in rollout.members.items() if member.stand not in VACANT]
    chosen = cohort.choose(
        rollout.rollout,
        rollout.plan.waves[rollout.wave],
        fleet={device: seen.hardware_class for device, seen in fleet.items()},
        taken=taken,
        candidates=free,
    )
    if not chosen:
        return rollout
    joined = {device: _member(rollout, fleet[device], Stand.WAITING) for device in chosen}
    return replace(rollout, members={**rollout.members, **joined})


def _member(rollout: Rollout, seen: Seen, stand: Stand) -> Member:
    return Member(
        wave=rollout.wave,
        hardware_class=seen.hardware_class,
        stand=stand,
        since_s=rollout.clock_s,
        is_back=not seen.is_on_target,
    )


def _pass_over(rollout: Rollout, fleet: Mapping[DeviceId, Seen]) -> Rollout:
    """Take those of a class that the target is not made for as UNSUITED, untried (rule 9)."""
    stands: dict[str, Counter[Stand]] = {}
    for member in rollout.members.values():
        stands.setdefault(member.hardware_class, Counter())[member.stand] += 1
    unsuited = {
        name
        for name, counts in stands.items()
        if counts[Stand.UNSUITED] >= MIN_OF_CLASS
        and not counts.keys() & {Stand.SOAKING, Stand.GOOD, Stand.BAD}
    }
    joined = {
        device: _member(rollout, seen, Stand.UNSUITED)
        for device, seen in fleet.items()
        if seen.hardware_class in unsuited and device not in rollout.members
    }
    return replace(rollout, members={**rollout.members, **joined}) if joined else rollout


def _is_free(rollout: Rollout, device: DeviceId) -> bool:
    """Say whether a wave may take a device: a new one, or one that an earlier wave let go."""
    member = rollout.members.get(device)
    return member is None or (member.stand is Stand.EXPIRED and member.wave < rollout.wave)


def _may_try_again(rollout: Rollout, device: DeviceId, seen: Seen) -> bool:
    return seen.is_online and rollout.members[device].stand is Stand.EXPIRED


def _close_wave(rollout: Rollout) -> Rollout:
    """Go on to the next wave if this one did well (rule 4)."""
    members = rollout.members.values()
    if any(member.stand not in SETTLED for member in members):
        return rollout
    ours = [member for member in members if member.wave == rollout.wave]
    is_shown = any(member.stand is Stand.GOOD for member in ours)
    is_last = rollout.wave == len(rollout.plan.waves) - 1
    if not is_shown and not _may_be_empty(rollout, ours, is_last=is_last):
        return rollout
    if is_last:
        return _turn(rollout, RolloutState.SUCCEEDED, "every wave did well")
    following = rollout.wave + 1
    if rollout.plan.approve_each_wave and rollout.approved <= following:
        reason = f"wave {rollout.wave} did well; wave {following} waits for approval"
        return _turn(rollout, RolloutState.AWAITING, reason)
    return replace(rollout, wave=following, reason=f"wave {rollout.wave} did well")


def _may_be_empty(rollout: Rollout, ours: list[Member], *, is_last: bool) -> bool:
    """Say whether a wave in which nobody is GOOD may close: there was nobody for it to take.

    The last one may also hold none but devices that are away.
    """
    is_known = any(member.stand is Stand.GOOD for member in rollout.members.values())
    has_none = all(member.stand is Stand.UNSUITED for member in ours)
    return is_known and (is_last or has_none)
