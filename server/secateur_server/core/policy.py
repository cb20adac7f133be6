"""What operators want: the effective policy of one model on one device."""

from collections.abc import Mapping
from dataclasses import dataclass

from secateur_protocols.control import PolicyChange

HEADROOM_RATIO = 0.2
"""Free share of the deadline demanded before going wider. Measurements that scatter by 10 %
either way then cannot make a device flap: 0.9 / 1.1 of the deadline is 0.82."""

PATIENCE = 3
"""Periods that must agree before going wider: one good period may be chance."""

Scope = tuple[str | None, str | None]
"""(device, model); ``None`` stands for every one."""

Policies = Mapping[Scope, PolicyChange]
"""What operators have set, by scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for one model on one device.

    Attributes:
        deadline_ms: p95 must stay below it.
        accuracy_floor: Levels below are not used. ``None``: every level may be.
        headroom_ratio: Free share of the deadline demanded before going wider.
        patience: Periods that must agree before going wider.
        pinned_level: Overrides the planner. ``None``: the planner decides.
    """

    deadline_ms: float
    accuracy_floor: float | None = None
    headroom_ratio: float = HEADROOM_RATIO
    patience: int = PATIENCE
    pinned_level: int | None = None


def effective_policy(
    policies: Policies, device: str, model: str, *, own_deadline_ms: float
) -> Policy:
    """Merge what applies, field by field; the more particular wins.

    From weak to strong: the defaults and the device's own deadline, every device, this
    model everywhere, this device, this model on this device.
    """
    merged: dict[str, float | int] = {}
    for scope in ((None, None), (None, model), (device, None), (device, model)):
        change = policies.get(scope)
        if change is not None:
            merged |= change.model_dump(exclude_none=True)
    floor, pin = merged.get("accuracy_floor"), merged.get("pinned_level")
    return Policy(
        deadline_ms=merged.get("deadline_ms", own_deadline_ms),
        accuracy_floor=floor,
        headroom_ratio=merged.get("headroom", HEADROOM_RATIO),
        patience=int(merged.get("patience", PATIENCE)),
        pinned_level=None if pin is None else int(pin),
    )


def change_policy(
    policies: Policies, scope: Scope, change: PolicyChange, *, is_cleared: bool
) -> Policies:
    """Set what a change says in its scope; ``is_cleared`` forgets what was set there first."""
    before = {} if is_cleared else policies.get(scope, PolicyChange()).model_dump()
    after = {**before, **change.model_dump(exclude_none=True)}
    others = {known: value for known, value in policies.items() if known != scope}
    if not any(value is not None for value in after.values()):
        return others
    return {**others, scope: PolicyChange.model_validate(after)}
