"""The demo's story: settle, disturb two devices, see them adapt, let go, see them return."""

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secateur_protocols.control import PolicyChange, SetPolicy
from secateur_protocols.manifest import Ladder
from secateur_server.adapters.operator import OperatorClient
from secateur_server.demo.fleet import Fleet
from secateur_server.demo.observer import Observer, accuracy_problem
from secateur_server.demo.scenario import OVERLOAD, Scenario
from secateur_server.errors import ServerError

SETTLE_S = 90.0
"""How long the fleet may take to fetch, prove and climb, seconds."""

ADAPT_S = 90.0
"""How long a change may take on a slow machine, seconds; a few are usual."""

HOLD_S = 4.0
"""How long each state is shown once it is reached, seconds."""

Draw = Callable[[Observer, str], None]


@dataclass(slots=True)
class Play:
    """One performance.

    Attributes:
        seconds: How long it lasts at least.
        draw: Called with what is seen and the act's title, a few times a second.
    """

    fleet: Fleet
    client: OperatorClient
    observer: Observer
    scenario: Scenario
    ladder: Ladder
    seconds: float
    draw: Draw

    def run(self) -> dict[str, Any]:
        """Play it through.

        Returns:
            The summary, by device.

        Raises:
            ServerError: An act did not reach its end; says which and why.
        """
        started_s = time.monotonic()
        pressed, hurried = self.scenario.pressed, self.scenario.hurried
        disturbed = (pressed, hurried)
        self._until(self._all_served, SETTLE_S, "starting", "not every device began to infer")
        self._until(
            self._all_settled, SETTLE_S, "settling", "not every device reached the best level"
        )
        before = {name: self._level(name) for name in disturbed}
        self._hold("settled")
        # From what is measured, not from the ladder: a machine's mood is no part of the play.
        self.fleet.press(pressed, OVERLOAD * self._deadline(pressed) / self._p95_ms(pressed))
        self._set_deadline(hurried, self._p95_ms(hurried) / OVERLOAD)
        self._until(
            lambda: all(self._level(name) > before[name] for name in disturbed),
            ADAPT_S,
            f"{pressed} is under pressure, {hurried} has a tighter deadline",
            "not both disturbed devices became narrower",
        )
        self._hold("adapted: both run a narrower level")
        self.fleet.press(pressed, None)
        self._set_deadline(hurried, None)
        self._until(
            lambda: all(self._level(name) <= before[name] for name in disturbed),
            ADAPT_S,
            "pressure is gone",
            "not both disturbed devices came back",
        )
        self._hold("back where they were")
        while time.monotonic() - started_s < self.seconds:
            self._look("back where they were")
        return self._summary()

    def linger(self) -> dict[str, Any]:
        """Let it go on until somebody interrupts us.

        Returns:
            The summary, by device.

        Raises:
            ServerError: A process has ended.
        """
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                self._look("running on; Ctrl-C ends it")
        return self._summary()

    def _level(self, name: str) -> int:
        level = self.observer.devices[name].level
        return -1 if level is None else level

    def _deadline(self, name: str) -> float:
        return next(each.deadline_ms for each in self.scenario.devices if each.name == name)

    def _p95_ms(self, name: str) -> float:
        """Give the median of what a device measured since it settled."""
        model = self.observer.devices[name].model
        if model is None or not model.recent_p95_ms:
            raise ServerError(f"{name} has measured nothing yet: {self._describe()}")
        return statistics.median(model.recent_p95_ms)

    def _all_served(self) -> bool:
        return all(seen.model is not None for seen in self.observer.devices.values())

    def _all_settled(self) -> bool:
        best = self.scenario.best
        return all(seen.level == best for seen in self.observer.devices.values())

    def _set_deadline(self, device: str, deadline_ms: float | None) -> None:
        change = PolicyChange(deadline_ms=deadline_ms)
        self.client.request(SetPolicy(device=device, change=change, clear=True))

    def _until(
        self, is_reached: Callable[[], bool], limit_s: float, title: str, problem: str
    ) -> None:
        deadline = time.monotonic() + limit_s
        while not is_reached():
            if time.monotonic() > deadline:
                raise ServerError(f"{problem} in {limit_s:.0f} s: {self._describe()}")
            self._look(title)

    def _hold(self, title: str) -> None:
        until = time.monotonic() + HOLD_S
        while time.monotonic() < until:
            self._look(title)

    def _look(self, title: str) -> None:
        received = self.client.watch(timeout_s=0.25)
        if received is not None:
            self.observer.see(received)
        self.fleet.check()
        self.draw(self.observer, title)

    def _describe(self) -> str:
        return "; ".join(
            f"{name} level {seen.level}, {seen.reason}"
            for name, seen in self.observer.devices.items()
        )

    def _summary(self) -> dict[str, Any]:
        devices: dict[str, Any] = {}
        for name, seen in self.observer.devices.items():
            problem = accuracy_problem(seen, self.ladder)
            if problem is not None:
                raise ServerError(f"{name}: {problem}")
            if seen.model is None:
                raise ServerError(f"{name} says nothing any more")
            if seen.model.lost:
                raise ServerError(f"{name} lost {seen.model.lost} inferences")
            devices[name] = {
                "switches": seen.model.switches,
                "lost_inferences": seen.model.lost,
                "dropped": seen.model.dropped,
                "answered": seen.model.answered,
                "deadline_misses": seen.model.deadline_misses,
                "accuracy": seen.accuracy,
                "accuracy_by_level": {
                    str(level): seen.correct[level] / labelled
                    for level, labelled in sorted(seen.labelled.items())
                    if labelled
                },
                "frames_by_level": {
                    str(level): labelled for level, labelled in sorted(seen.labelled.items())
                },
                "level": seen.level,
                "is_disturbed": name in {self.scenario.pressed, self.scenario.hurried},
            }
        return devices
