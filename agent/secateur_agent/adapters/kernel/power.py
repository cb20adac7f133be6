"""Heat, battery and mains.

Sources: Linux, Documentation/driver-api/thermal/sysfs-api.rst and
Documentation/ABI/testing/sysfs-class-power.
"""

from secateur_agent.adapters.kernel.files import KernelFiles

_PLAUSIBLE_C = (-100.0, 250.0)
"""As the wire's `Resources`: a zone that says more is broken."""


def hottest_c(files: KernelFiles) -> float | None:
    """Give the hottest thermal zone, degrees Celsius."""
    readings = [
        files.number(f"{zone}/temp")
        for zone in files.folders("/sys/class/thermal/thermal_zone*")
    ]
    degrees = [reading / 1000 for reading in readings if reading is not None]
    lowest, highest = _PLAUSIBLE_C
    return max((each for each in degrees if lowest <= each <= highest), default=None)


def battery_ratio(files: KernelFiles) -> float | None:
    """Give the fullest battery's charge, 0 to 1. ``None``: there is none."""
    charges = [files.number(f"{supply}/capacity") for supply in _supplies(files, {"Battery"})]
    known = [charge for charge in charges if charge is not None]
    return min(1.0, max(0, *known, 0) / 100) if known else None


def is_on_mains(files: KernelFiles) -> bool | None:
    """Say whether power comes from outside. ``None``: nothing here can tell."""
    online = [files.number(f"{each}/online") for each in _supplies(files, {"Mains", "USB"})]
    known = [each for each in online if each is not None]
    if known:
        return any(known)
    states = [files.text(f"{supply}/status") for supply in _supplies(files, {"Battery"})]
    told = [state for state in states if state not in {None, "Unknown"}]
    return all(state != "Discharging" for state in told) if told else None


def _supplies(files: KernelFiles, kinds: set[str]) -> list[str]:
    """List the supplies of these types, without those of mice and headsets."""
    return [
        folder
        for folder in files.folders("/sys/class/power_supply/*")
        if files.text(f"{folder}/type") in kinds and files.text(f"{folder}/scope") != "Device"
    ]
