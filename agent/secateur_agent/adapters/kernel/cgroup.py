"""Limits of the control group (version 2) that we run in: a container's, a service's.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

from secateur_agent.adapters.kernel.files import KernelFiles, whole

_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


class ControlGroup:
    """Our group and those above it: the tightest limit holds."""

    def __init__(self, files: KernelFiles) -> None:
        self._files = files
        self._folders = _folders(files)

    def memory_limit_bytes(self) -> int | None:
        """Give the lowest ``memory.max``. ``None``: there is no limit."""
        limits = [self._files.number(f"{folder}/memory.max") for folder in self._folders]
        return min((limit for limit in limits if limit is not None), default=None)

    def memory_available_bytes(self) -> int | None:
        """Give what is free below the limit, page cache that can go included."""
        free = [self._free_bytes(folder) for folder in self._folders]
        return min((each for each in free if each is not None), default=None)

    def cpu_limit_cores(self) -> float | None:
        """Give the lowest ``cpu.max`` in cores. ``None``: there is no limit."""
        quotas = [_cores(self._files.text(f"{folder}/cpu.max")) for folder in self._folders]
        return min((quota for quota in quotas if quota is not None), default=None)

    def cpu_used_s(self) -> float | None:
        """Give the CPU time that our group has used so far, seconds."""
        text = self._files.text(f"{self._folders[0]}/cpu.stat") if self._folders else None
        used_us = _value(text, "usage_usec")
        return None if used_us is None else used_us / 1e6

    def _free_bytes(self, folder: str) -> int | None:
        limit = self._files.number(f"{folder}/memory.max")
        used = self._files.number(f"{folder}/memory.current")
        if limit is None or used is None:
            return None
        cache = _value(self._files.text(f"{folder}/memory.stat"), "inactive_file") or 0
        return min(limit, max(0, limit - used + cache))


def _folders(files: KernelFiles) -> list[str]:
    """List our group's folder and all above it, up to the mount."""
    for line in (files.text("/proc/self/cgroup") or "").splitlines():
        number, _, path = line.partition("::")
        if number != "0":
            continue
        names = [name for name in path.split("/") if name not in {"", "..", "."}]
        for mount in _MOUNTS:
            if files.text(f"{mount}/cgroup.controllers") is not None:
                depths = range(len(names), -1, -1)
                return ["/".join([mount, *names[:depth]]) for depth in depths]
    return []


def _cores(text: str | None) -> float | None:
    quota, _, period = (text or "").partition(" ")
    quota_us, period_us = whole(quota), whole(period)
    if quota_us is None or period_us is None or quota_us <= 0 or period_us <= 0:
        return None  # "max": no limit
    return quota_us / period_us


def _value(text: str | None, name: str) -> int | None:
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return whole(value)
    return None
