"""Memory: the machine's or the control group's, whichever is less."""

import re

from secateur_agent.adapters.kernel.cgroup import ControlGroup
from secateur_agent.adapters.kernel.files import KernelFiles


def memory_total_bytes(files: KernelFiles, group: ControlGroup) -> int | None:
    """Give what we could use at most."""
    return _smaller(_meminfo(files, "MemTotal"), group.memory_limit_bytes())


def memory_available_bytes(files: KernelFiles, group: ControlGroup) -> int | None:
    """Give what we could still take without swapping."""
    return _smaller(_meminfo(files, "MemAvailable"), group.memory_available_bytes())


def available_ratio(files: KernelFiles, group: ControlGroup | None) -> float | None:
    """Give the available share of the machine's memory or, if less, of the group's limit.

    Args:
        files: The kernel's.
        group: ``None``: without a limit.
    """
    text = files.text("/proc/meminfo")
    ratios = [_ratio(_field(text, "MemAvailable"), _field(text, "MemTotal"))]
    if group is not None:
        ratios.append(_ratio(group.memory_available_bytes(), group.memory_limit_bytes()))
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else min(1.0, part / whole)


def _meminfo(files: KernelFiles, name: str) -> int | None:
    return _field(files.text("/proc/meminfo"), name)


def _field(text: str | None, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d{{1,12}}) kB$", text or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _smaller(machine: int | None, group: int | None) -> int | None:
    return min((each for each in (machine, group) if each is not None), default=None)
