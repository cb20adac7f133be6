"""Processor: what it is, how busy it is, and whether it is slowed down.

Sources: proc(5) for /proc/stat; Linux, Documentation/accounting/psi.rst;
Documentation/admin-guide/pm/cpufreq.rst; Documentation/driver-api/thermal/sysfs-api.rst;
Raspberry Pi documentation, "vcgencmd get_throttled", for the meaning of its bits.
"""

import re
import time

from secateur_agent.adapters.kernel.cgroup import ControlGroup
from secateur_agent.adapters.kernel.files import KernelFiles

PI_THROTTLED = "/sys/devices/platform/soc/soc:firmware/get_throttled"

PI_SLOWED = 0b1110
"""Frequency capped, throttled, soft temperature limit: now. Bit 0, a low voltage, alone slows
nothing down; the higher bits tell of the past."""

PI_LOW_VOLTAGE = 0b0001

_SLOWING_COOLERS = ("cpufreq", "thermal-cpufreq", "Processor", "intel_powerclamp")
"""Types of cooling devices that cool by slowing the processor; a fan does not."""

_TELLING_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "neon",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "rvv",
    "v",
)
"""Instruction sets that change how fast a network runs."""


def cpu_model(files: KernelFiles) -> str | None:
    """Name the processor, or the board where the kernel names that."""
    text = files.text("/proc/cpuinfo") or ""
    found = re.search(r"^(?:model name|Model|Hardware|uarch)\s*:\s*(.+)$", text, re.MULTILINE)
    if found is not None:
        return found.group(1).strip()[:128]
    board = files.text("/proc/device-tree/model")
    if board:
        return board[:128]
    parts = re.findall(r"^CPU (?:implementer|part)\s*:\s*(\w+)$", text, re.MULTILINE)
    return f"cpu {' '.join(parts[:2])}" if parts else None


def cpu_features(files: KernelFiles) -> tuple[str, ...]:
    """List the instruction sets that matter to an engine, sorted."""
    text = files.text("/proc/cpuinfo") or ""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    words = set(found.group(1).split()) if found else set()
    return tuple(sorted(words.intersection(_TELLING_FEATURES)))


class CpuShare:
    """How busy the processors were since the last reading."""

    def __init__(self, files: KernelFiles, group: ControlGroup) -> None:
        self._files = files
        self._group = group
        self._before = self._times()
        self._group_before = (time.monotonic(), group.cpu_used_s())

    def read(self) -> float | None:
        """Give the busy share of all cores or, if larger, of the group's quota; 0 to 1."""
        shares = [share for share in (self._machine(), self._quota()) if share is not None]
        return max(shares, default=None)

    def _machine(self) -> float | None:
        before, now = self._before, self._times()
        self._before = now
        if before is None or now is None or now[1] <= before[1]:
            return None
        return min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1])))

    def _quota(self) -> float | None:
        cores = self._group.cpu_limit_cores()
        (before_s, used_before_s), now_s = self._group_before, time.monotonic()
        used_s = self._group.cpu_used_s()
        self._group_before = (now_s, used_s)
        if cores is None or used_s is None or used_before_s is None or now_s <= before_s:
            return None
        return min(1.0, max(0.0, (used_s - used_before_s) / (now_s - before_s) / cores))

    def _times(self) -> tuple[int, int] | None:
        """Give busy and all time of all cores, in ticks."""
        line = (self._files.text("/proc/stat") or "").partition("\n")[0]
        words = line.split()
        if len(words) < 6 or words[0] != "cpu" or not all(w.isdigit() for w in words[1:]):  # noqa: PLR2004
            return None
        # user nice system idle iowait irq softirq steal; guests are in user already.
        ticks = [int(word) for word in words[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def pressure(files: KernelFiles, resource: str) -> float | None:
    """Give PSI ``some`` of the last ten seconds, 0 to 1, of ``cpu``, ``memory`` or ``io``."""
    text = files.text(f"/proc/pressure/{resource}") or ""
    found = re.match(r"some avg10=(\d{1,3}\.\d{1,4}) ", text)
    return min(1.0, float(found.group(1)) / 100) if found else None


def is_throttled(files: KernelFiles) -> bool | None:
    """Say whether heat or power slows the processor now. ``None``: nothing here can tell."""
    said = [_pi_says(files), _coolers_say(files), _frequency_says(files)]
    known = [each for each in said if each is not None]
    return any(known) if known else None


def has_low_voltage(files: KernelFiles) -> bool | None:
    """Say whether a Raspberry Pi's supply is too weak now. ``None``: it is none."""
    bits = files.number(PI_THROTTLED, 16)
    return None if bits is None else bool(bits & PI_LOW_VOLTAGE)


def _pi_says(files: KernelFiles) -> bool | None:
    bits = files.number(PI_THROTTLED, 16)
    return None if bits is None else bool(bits & PI_SLOWED)


def _coolers_say(files: KernelFiles) -> bool | None:
    states = [
        files.number(f"{folder}/cur_state")
        for folder in files.folders("/sys/class/thermal/cooling_device*")
        if (files.text(f"{folder}/type") or "").startswith(_SLOWING_COOLERS)
    ]
    known = [state for state in states if state is not None]
    return any(state > 0 for state in known) if known else None


def _frequency_says(files: KernelFiles) -> bool | None:
    """Compare what the governor may use with what the hardware can."""
    folders = list(files.folders("/sys/devices/system/cpu/cpufreq/policy*"))
    pairs = [
        (files.number(f"{f}/scaling_max_freq"), files.number(f"{f}/cpuinfo_max_freq"))
        for f in folders
    ]
    known = [(may, can) for may, can in pairs if may is not None and can is not None]
    return any(may < can for may, can in known) if known else None
