"""What the device is and what it has left. A missing sensor is ``None``, never a guess."""

import json
import math
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, ValidationError

from secateur_agent.adapters.kernel import cpu, memory, network, power
from secateur_agent.adapters.kernel.cgroup import ControlGroup
from secateur_agent.adapters.kernel.files import KernelFiles
from secateur_agent.settings import SimulationSettings
from secateur_protocols.info import Hardware
from secateur_protocols.message import Message
from secateur_protocols.telemetry import Bytes, Ratio, Resources


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

    def __init__(self, disk_path: Path, files: KernelFiles | None = None) -> None:
        """Begin to measure.

        Args:
            disk_path: Whose disk's free space is told.
            files: The kernel's. ``None``: this machine's.
        """
        self._disk_path = disk_path
        self._files = files or KernelFiles()
        self._group = ControlGroup(self._files)
        self._share = cpu.CpuShare(self._files, self._group)

    def hardware(self) -> Hardware:
        """Name the device's class by processor and cores: like devices share it."""
        model = _one_line(cpu.cpu_model(self._files) or platform.machine())
        cores = self._cores()
        return Hardware(
            machine=platform.machine(),
            cpu_model=model,
            cores=cores,
            memory_bytes=memory.memory_total_bytes(self._files, self._group) or 0,
            hardware_class=_class_name(model, cores),
            cpu_features=cpu.cpu_features(self._files),
        )

    def read(self) -> Resources:
        """Measure; what cannot be read is ``None``."""
        files, group = self._files, self._group
        link = network.read_link(files)
        return Resources(
            cpu_share=self._share.read(),
            cpu_pressure=cpu.pressure(files, "cpu"),
            memory_pressure=cpu.pressure(files, "memory"),
            io_pressure=cpu.pressure(files, "io"),
            memory_total_bytes=memory.memory_total_bytes(files, group),
            memory_available_bytes=memory.memory_available_bytes(files, group),
            temperature_c=power.hottest_c(files),
            throttled=cpu.is_throttled(files),
            low_voltage=cpu.has_low_voltage(files),
            battery_ratio=power.battery_ratio(files),
            on_mains=power.is_on_mains(files),
            disk_free_bytes=_disk_free_bytes(self._disk_path),
            link_speed_mbit=link.speed_mbit if link else None,
            link_received_bytes=link.received_bytes if link else None,
            link_sent_bytes=link.sent_bytes if link else None,
        )

    def _cores(self) -> int:
        """Count the cores that we may use, by affinity and by the group's quota."""
        allowed = len(os.sched_getaffinity(0))
        quota = self._group.cpu_limit_cores()
        return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))

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


def _class_name(cpu_model: str, cores: int) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", f"{cpu_model}-{cores}".lower()).strip("-")
    return words[-64:].strip("-")


def _one_line(text: str) -> str:
    """Keep what a peer accepts as words: the kernel passes on what firmware says."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _disk_free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
