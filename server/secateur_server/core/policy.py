"""What operators want: the effective policy of one model on one device.

A rule says for whom (a scope) and what (a change). Where several rules apply, the more
particular wins, option by option. From weak to strong:

    1. the defaults, and the device's own deadline
    2. rules for every device
    3. rules for a selector, the more terms the stronger
    4. rules for one device by name

and among these, a rule for one model beats one for every model; of equals, the one that was
set last.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from secateur_protocols.control import PolicyChange

HEADROOM_RATIO = 0.03
"""Free share of the deadline demanded of a level to move to. How much a device scatters and how
unsure a prediction is comes on top, so that quiet devices need not leave much free."""

PATIENCE = 3
"""Periods that must agree before going wider: one good period may be chance."""

TEMPERATURE_LIMIT_C = 85.0
"""A Raspberry Pi's hard limit."""

BATTERY_FLOOR_RATIO = 0.2
"""Below it a device on battery is spared, the more the emptier it is."""

MINUTES_PER_DAY = 24 * 60

MAX_TERMS = 8
"""Of a selector."""

_TERM = re.compile(r"[A-Za-z0-9_.-]{1,64}=[^,=\x00-\x1f\x7f]{1,200}\Z")


_NAMES = {"headroom": "headroom_ratio"}
"""Options that a policy calls by another name: units go in names, options are short."""


class Scope(NamedTuple):
    """For whom a rule is; ``None`` and the empty selector stand for every one."""

    device: str | None = None
    model: str | None = None
    selector: str = ""
    """Terms ``key=value``, sorted, joined by commas: all must be among a device's labels."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an operator set in one scope.

    Attributes:
        version: Of all policy, when this was set last.
    """

    change: PolicyChange
    version: int
    options: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    """What the change says, by the names of `Policy`: read once, not with each message."""

    def __post_init__(self) -> None:
        said = self.change.model_dump(exclude_none=True)
        options = {_NAMES.get(option, option): value for option, value in said.items()}
        if "quiet_hours" in options:
            options["quiet_hours"] = parse_quiet_hours(options["quiet_hours"])
        object.__setattr__(self, "options", options)


@dataclass(frozen=True)
class Policies:
    """All rules of a site.

    Attributes:
        version: Grows by one with every change.
    """

    rules: Mapping[Scope, Rule] = field(default_factory=dict)
    version: int = 0
    # Found by name, so that a rule for each of many devices costs nothing to the others.
    _general: Sequence[tuple[Scope, Rule]] = field(init=False, repr=False, compare=False)
    _by_device: Mapping[str, Sequence[tuple[Scope, Rule]]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        general, by_device = [], dict[str, list[tuple[Scope, Rule]]]()
        for scope, rule in self.in_order():
            if scope.device is None:
                general.append((scope, rule))
            else:
                by_device.setdefault(scope.device, []).append((scope, rule))
        object.__setattr__(self, "_general", general)
        object.__setattr__(self, "_by_device", by_device)

    def in_order(self) -> list[tuple[Scope, Rule]]:
        """List all rules, from weak to strong."""
        return sorted(self.rules.items(), key=_strength)

    def apply_to(self, device: str, labels: Mapping[str, str], model: str) -> list[Rule]:
        """List the rules that hold, from weak to strong."""
        if not self.rules:
            return []
        candidates = [*self._general, *self._by_device.get(device, ())]
        return [
            rule
            for scope, rule in candidates
            if scope.model in {None, model}
            and (not scope.selector or _selects(scope.selector, labels))
        ]


def _strength(item: tuple[Scope, Rule]) -> tuple[bool, int, bool, int]:
    scope, rule = item
    terms = len(_terms(scope.selector))
    return (scope.device is not None, terms, scope.model is not None, rule.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for one model on one device.

    Attributes:
        deadline_ms: p95 must stay below it.
        accuracy_floor: Levels below are not used. ``None``: every level may be.
        headroom_ratio: Free share of the deadline demanded of a level to move to.
        patience: Periods that must agree before going wider.
        pinned_level: Overrides the planner. ``None``: the planner decides.
        weight: How much this model's accuracy counts beside others' on the same device.
        cpu_limit: Busy share of all cores that the device may reach. ``None``: any.
        temperature_limit_c: Narrower at once above it; nothing wider within
            `planner.WARM_MARGIN_C` of it.
        battery_floor: Charge below which a device on battery is spared.
        quiet_hours: Minutes of the day (UTC), begin and end, in which nothing goes wider.
    """

    deadline_ms: float
    accuracy_floor: float | None = None
    headroom_ratio: float = HEADROOM_RATIO
    patience: int = PATIENCE
    pinned_level: int | None = None
    weight: float = 1.0
    cpu_limit: float | None = None
    temperature_limit_c: float = TEMPERATURE_LIMIT_C
    battery_floor: float = BATTERY_FLOOR_RATIO
    quiet_hours: tuple[int, int] | None = None

    def is_quiet(self, minute_of_day: int) -> bool:
        """Say whether a minute (UTC) is within the quiet hours, which may span midnight."""
        if self.quiet_hours is None:
            return False
        begin, end = self.quiet_hours
        if begin <= end:
            return begin <= minute_of_day < end
        return minute_of_day >= begin or minute_of_day < end


def effective_policy(
    policies: Policies,
    device: str,
    model: str,
    *,
    own_deadline_ms: float,
    labels: Mapping[str, str] | None = None,
) -> Policy:
    """Merge the rules that hold, option by option; the module's text says which wins."""
    rules = policies.apply_to(device, labels or {}, model)
    if not rules:
        return _default_policy(own_deadline_ms)
    merged: dict[str, Any] = {"deadline_ms": own_deadline_ms}
    for rule in rules:
        merged.update(rule.options)
    return Policy(**merged)


@lru_cache(maxsize=4096)
def _default_policy(deadline_ms: float) -> Policy:
    return Policy(deadline_ms=deadline_ms)


def parse_quiet_hours(text: str) -> tuple[int, int]:
    """Read ``HH:MM-HH:MM``, whose form the message has checked, as minutes of the day."""
    begin, end = ((int(part[:2]) * 60 + int(part[3:])) for part in text.split("-"))
    return begin % MINUTES_PER_DAY, end % MINUTES_PER_DAY


def normalize_selector(text: str) -> str:
    """Sort a selector's terms, so that two ways to write it are one.

    Raises:
        ValueError: It is none; says what one looks like.
    """
    terms = sorted({term.strip() for term in text.split(",") if term.strip()})
    if len(terms) > MAX_TERMS or not all(_TERM.match(term) for term in terms):
        msg = f"selector {text[:100]!r}: write key=value, or several joined by commas"
        raise ValueError(msg)
    if len({term.partition("=")[0] for term in terms}) < len(terms):
        msg = f"selector {text[:100]!r} wants two values of one label: no device has both"
        raise ValueError(msg)
    return ",".join(terms)


@lru_cache(maxsize=1024)
def _terms(selector: str) -> tuple[tuple[str, str], ...]:
    pairs = (term.partition("=") for term in selector.split(",") if term)
    return tuple((key, value) for key, _, value in pairs)


def _selects(selector: str, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in _terms(selector))


def change_policy(
    policies: Policies,
    scope: Scope,
    change: PolicyChange,
    *,
    is_cleared: bool,
    unset: Sequence[str] = (),
) -> Policies:
    """Set what a change says in its scope.

    Args:
        policies: Before.
        scope: Where.
        change: What to set.
        is_cleared: Forget first all that was set there.
        unset: Names of options; forget these of it first.

    Returns:
        Policies of the next version, or the same ones where nothing changes.
    """
    known = policies.rules.get(scope)
    before = {} if is_cleared or known is None else known.change.model_dump()
    kept = {option: value for option, value in before.items() if option not in unset}
    after = {**kept, **change.model_dump(exclude_none=True)}
    rules = {other: rule for other, rule in policies.rules.items() if other != scope}
    version = policies.version + 1
    if any(value is not None for value in after.values()):
        rules[scope] = Rule(PolicyChange.model_validate(after), version)
    now, then = rules.get(scope), policies.rules.get(scope)
    if (now and now.change) == (then and then.change):
        return policies
    return replace(policies, rules=rules, version=version)
