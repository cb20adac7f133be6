"""What the device has left, from psutil and the kernel. A missing sensor is ``None``."""

import json
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Protocol

import psutil
from pydantic import Field, ValidationError

from secateur_agent.settings import SimulationSettings
from secateur_protocols.info import Hardware
from secateur_protocols.message import Message
from secateur_protocols.telemetry import Bytes, Ratio, Resources

PRESSURE_PATH = Path("/proc/pressure/cpu")
ZONES_PATH = Path("/sys/class/thermal")


class Sensors(Protocol):
    """What the driver asks once per period."""

    def hardware(self) -> Hardware:
        """Say what the device is made of."""

    def read(self) -> Resources:
        """Measure what is left; CPU share is since the last call."""

    def slowdown(self) -> float:
        """Say how many times longer an inference takes than on this machine; 1 on a device."""


class KernelSensors:
    """A real device's sensors."""

    def __init__(self, disk_path: Path) -> None:
        self._disk_path = disk_path
        psutil.cpu_percent()  # the first call has nothing to compare with

    def hardware(self) -> Hardware:
        """Name the device's class by processor and cores: like devices share it."""
        cpu_model, cores = _cpu_model(), os.cpu_count() or 1
        return Hardware(
            machine=platform.machine(),
            cpu_model=cpu_model,
            cores=cores,
            memory_bytes=psutil.virtual_memory().total,
            hardware_class=_class_name(cpu_model, cores),
        )

    def read(self) -> Resources:
        """Measure; what cannot be read is ``None``."""
        memory = psutil.virtual_memory()
        battery = _battery()
        return Resources(
            cpu_share=min(1.0, psutil.cpu_percent() / 100),
            cpu_pressure=_pressure(),
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            temperature_c=_hottest_c(),
            battery_ratio=battery[0],
            on_mains=battery[1],
            disk_free_bytes=_disk_free_bytes(self._disk_path),
        )

    def slowdown(self) -> float:
        """Give 1: a device is as fast as it is."""
        return 1.0


class Overrides(Message):
    """What a simulated device's file may say."""

    slowdown_factor: Annotated[float, Field(ge=1, le=1000)] = 1.0
    cpu_share: Ratio | None = None
    memory_available_bytes: Bytes | None = None
    temperature_c: float | None = None


class SimulatedSensors:
    """A device that this machine plays. What is not simulated is this machine's own."""

    def __init__(self, settings: SimulationSettings, real: KernelSensors) -> None:
        self._settings = settings
        self._real = real

    def hardware(self) -> Hardware:
        """Say what is played, and that it is played."""
        real = self._real.hardware()
        return real.model_copy(
            update={
                "hardware_class": self._settings.hardware_class,
                "memory_bytes": self._settings.memory_total_bytes or real.memory_bytes,
                "simulated": True,
            }
        )

    def read(self) -> Resources:
        """Measure this machine and put the simulated values over it."""
        overrides, settings = self._overrides(), self._settings
        total = settings.memory_total_bytes
        available = overrides.memory_available_bytes
        simulated = {
            "cpu_share": overrides.cpu_share,
            "memory_total_bytes": total,
            "memory_available_bytes": available if available is not None else total,
            "temperature_c": overrides.temperature_c or settings.temperature_c,
        }
        known = {name: value for name, value in simulated.items() if value is not None}
        return self._real.read().model_copy(update=known)

    def slowdown(self) -> float:
        """Give the simulated device's slowness times the pressure it is under."""
        return self._settings.slowdown * self._overrides().slowdown_factor

    def _overrides(self) -> Overrides:
        path = self._settings.overrides
        if path is None:
            return Overrides()
        try:
            return Overrides.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, json.JSONDecodeError):
            return Overrides()  # no file: no pressure


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.machine()
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip()[:128] if found else platform.machine()


def _class_name(cpu_model: str, cores: int) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", f"{cpu_model}-{cores}".lower()).strip("-")
    return words[-64:].strip("-")


def _pressure() -> float | None:
    try:
        found = re.search(r"^some avg10=([0-9.]+)", PRESSURE_PATH.read_text(encoding="ascii"))
    except OSError:
        return None
    return min(1.0, float(found.group(1)) / 100) if found else None


def _hottest_c() -> float | None:
    readings = []
    for zone in ZONES_PATH.glob("thermal_zone*/temp"):
        try:
            readings.append(int(zone.read_text(encoding="ascii")) / 1000)
        except (OSError, ValueError):
            continue
    plausible = [reading for reading in readings if -100 <= reading <= 250]  # noqa: PLR2004 - as Resources
    return max(plausible, default=None)


def _battery() -> tuple[float | None, bool | None]:
    try:
        battery = psutil.sensors_battery()
    except (OSError, AttributeError):  # psutil has it only where the kernel does
        return None, None
    if battery is None:
        return None, None
    return min(1.0, max(0.0, battery.percent / 100)), battery.power_plugged


def _disk_free_bytes(path: Path) -> int | None:
    try:
        return psutil.disk_usage(str(path)).free
    except OSError:
        return None
