"""The few readings that cannot wait for a telemetry period, taken many times a second."""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from secateur_agent.adapters.kernel import cpu, memory, power
from secateur_agent.adapters.kernel.cgroup import ControlGroup
from secateur_agent.adapters.kernel.files import KernelFiles
from secateur_agent.adapters.sensors import Overrides
from secateur_agent.core.guard import Crossing, Limits, Reading, crossing
from secateur_agent.settings import SimulationSettings

ZONES_S = 1.0
"""How often the thermal zones are read, seconds: some sensors take milliseconds to answer, and
heat does not hurry."""


class Pressure:
    """Compares the device with its limits. A sensor that is missing or fails says nothing."""

    def __init__(self, limits: Limits, read: Callable[[], Reading]) -> None:
        self._limits = limits
        self._read = read

    def crossing(self) -> Crossing | None:
        """Say which limit is crossed now; ``None``: none is."""
        return crossing(self._read(), self._limits)


class KernelReadings:
    """A real device's memory and heat."""

    def __init__(self, files: KernelFiles | None = None) -> None:
        self._files = files or KernelFiles()
        group = ControlGroup(self._files)
        # Most devices have no limit to look at, and this is read many times a second.
        self._group = group if group.memory_limit_bytes() is not None else None
        self._heat_c: float | None = None
        self._throttled: bool | None = None
        self._heat_due_s = 0.0

    def read(self) -> Reading:
        """Measure; a few hundred microseconds at most."""
        now_s = time.monotonic()
        if now_s >= self._heat_due_s:
            self._heat_due_s = now_s + ZONES_S
            self._heat_c = power.hottest_c(self._files)
            self._throttled = cpu.is_throttled(self._files)
        return Reading(
            memory_available_ratio=memory.available_ratio(self._files, self._group),
            temperature_c=self._heat_c,
            is_throttled=self._throttled,
        )


class SimulatedReadings:
    """What a simulated device's settings and overrides file say; nothing of this machine."""

    def __init__(self, settings: SimulationSettings) -> None:
        self._settings = settings
        self._read_at_ns = -1
        self._overrides = Overrides()

    def read(self) -> Reading:
        """Read the file again if it has changed."""
        overrides = self._current()
        total = self._settings.memory_total_bytes
        available = overrides.memory_available_bytes
        ratio = min(1.0, available / total) if total and available is not None else None
        heat_c = overrides.temperature_c
        return Reading(
            memory_available_ratio=ratio,
            temperature_c=self._settings.temperature_c if heat_c is None else heat_c,
        )

    def _current(self) -> Overrides:
        path = self._settings.overrides
        try:
            changed_ns = -1 if path is None else path.stat().st_mtime_ns
        except OSError:
            changed_ns = -1  # no file: no pressure
        if changed_ns != self._read_at_ns:
            self._read_at_ns = changed_ns
            self._overrides = _read_overrides(path)
        return self._overrides


def _read_overrides(path: Path | None) -> Overrides:
    if path is None:
        return Overrides()
    try:
        return Overrides.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Overrides()
