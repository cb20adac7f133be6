"""The few readings that cannot wait for a telemetry period, taken many times a second."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from secateur_agent.adapters.sensors import ZONES_PATH, Overrides
from secateur_agent.core.guard import Crossing, Limits, Reading, crossing
from secateur_agent.settings import SimulationSettings

MEMORY_PATH = Path("/proc/meminfo")

ZONES_S = 1.0
"""How often the thermal zones are read, seconds: some sensors take milliseconds to answer, and
heat does not hurry."""

_TOTAL = re.compile(rb"^MemTotal:\s+(\d+) kB", re.MULTILINE)
_AVAILABLE = re.compile(rb"^MemAvailable:\s+(\d+) kB", re.MULTILINE)


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

    def __init__(self) -> None:
        self._heat_c: float | None = None
        self._heat_due_s = 0.0

    def read(self) -> Reading:
        """Measure; a few hundred microseconds at most."""
        now_s = time.monotonic()
        if now_s >= self._heat_due_s:
            self._heat_due_s = now_s + ZONES_S
            self._heat_c = _hottest_c()
        return Reading(memory_available_ratio=_available_ratio(), temperature_c=self._heat_c)


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


def _available_ratio() -> float | None:
    try:
        descriptor = os.open(MEMORY_PATH, os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 512)  # both lines are among the first three
    except OSError:
        return None
    finally:
        os.close(descriptor)
    total, available = _TOTAL.search(text), _AVAILABLE.search(text)
    if total is None or available is None or int(total[1]) == 0:
        return None
    return int(available[1]) / int(total[1])


def _hottest_c() -> float | None:
    readings = []
    for path in ZONES_PATH.glob("thermal_zone*/temp"):
        try:
            readings.append(int(path.read_text(encoding="ascii")) / 1000)
        except (OSError, ValueError):
            continue
    return max((each for each in readings if -100 <= each <= 250), default=None)  # noqa: PLR2004 - as Resources
