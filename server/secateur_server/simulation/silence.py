"""Which periods simulated agents say: the rule of real agents, for all devices at once.

What changes little is not said, what matters is said at once; `secateur_agent.core.quiet`
has the rule and its reasons. Left out is the budget of bytes: a simulated period costs none.
"""

from typing import NamedTuple

import numpy as np

from secateur_server.simulation.scenario import SilenceSpec
from secateur_server.simulation.world import Booleans, Floats, Integers

WARM_C = 80.0
"""To be on the other side of it is urgent."""


class Moment(NamedTuple):
    """One period of all devices, each an array over them."""

    p95_ms: Floats
    level: Integers
    cpu_share: Floats
    temperature_c: Floats
    is_throttled: Booleans


class Silence:
    """What each device said last, and how long ago."""

    def __init__(self, spec: SilenceSpec, deadline_ms: Floats, period_s: float) -> None:
        count = deadline_ms.size
        self._spec = spec
        self._deadline_ms = deadline_ms
        self._period_s = period_s
        self._said = Moment(
            np.zeros(count),
            np.zeros(count, np.int64),
            np.zeros(count),
            np.zeros(count),
            np.zeros(count, bool),
        )
        self._has_said = np.zeros(count, bool)
        self._silent_periods = np.zeros(count, np.int64)
        self._following = np.zeros(count, np.int64)

    def end_with(self, seen: Moment, is_away: Booleans) -> Booleans:
        """Take a period into account.

        Who is away says nothing, and the first period after that whatever it holds.

        Returns:
            Who says it, [devices].
        """
        spec = self._spec
        self._silent_periods += 1
        silent_s = self._silent_periods * self._period_s
        is_due = ~self._has_said | (silent_s >= spec.silence_s)
        matters = ~is_due & (self._are_urgent(seen) | self._have_left_band(seen))
        is_refreshed = self._silent_periods >= spec.refresh_periods
        says: Booleans = ~is_away & (is_due | matters | (self._following > 0) | is_refreshed)
        left = np.where(matters, spec.following, np.maximum(0, self._following - 1))
        self._following = np.where(says, left, self._following)
        self._silent_periods[says] = 0
        self._has_said = ~is_away & (self._has_said | says)
        for said, now in zip(self._said, seen, strict=True):
            np.copyto(said, now, where=says)
        return says

    def _are_urgent(self, seen: Moment) -> Booleans:
        said, deadline_ms = self._said, self._deadline_ms
        are_urgent: Booleans = (
            (seen.level != said.level)
            | (seen.is_throttled != said.is_throttled)
            | ((seen.temperature_c > WARM_C) != (said.temperature_c > WARM_C))
            | ((seen.p95_ms > deadline_ms) != (said.p95_ms > deadline_ms))
        )
        return are_urgent

    def _have_left_band(self, seen: Moment) -> Booleans:
        said, spec = self._said, self._spec
        band_ms = spec.latency_ratio * np.maximum(said.p95_ms, self._deadline_ms / 5)
        have_left: Booleans = (
            (np.abs(seen.p95_ms - said.p95_ms) > band_ms)
            | (np.abs(seen.cpu_share - said.cpu_share) > spec.resource_ratio)
            | (np.abs(seen.temperature_c - said.temperature_c) > spec.celsius)
        )
        return have_left
