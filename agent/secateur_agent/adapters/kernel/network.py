"""The link that leads out: its speed, and what has passed it.

Sources: proc(5) for /proc/net/route; Linux, Documentation/ABI/testing/sysfs-class-net.
"""

from dataclasses import dataclass

from secateur_agent.adapters.kernel.files import KernelFiles, whole

_UP_AND_GATEWAY = 0x3

_SPEEDS = range(1, 10_000_001)
"""A link that does not know its speed says -1."""


@dataclass(frozen=True, slots=True)
class Link:
    """The interface of the default route.

    Attributes:
        speed_mbit: Megabits per second, as negotiated. ``None``: wireless, or it does not say.
        received_bytes: Since the interface came up; likewise ``sent_bytes``.
    """

    speed_mbit: int | None
    received_bytes: int | None
    sent_bytes: int | None


def read_link(files: KernelFiles) -> Link | None:
    """Read the interface of the default route; ``None``: there is no such route."""
    name = _default_interface(files)
    if name is None:
        return None
    folder = f"/sys/class/net/{name}"
    speed_mbit = files.number(f"{folder}/speed")
    return Link(
        speed_mbit=speed_mbit if speed_mbit is not None and speed_mbit in _SPEEDS else None,
        received_bytes=_count(files, f"{folder}/statistics/rx_bytes"),
        sent_bytes=_count(files, f"{folder}/statistics/tx_bytes"),
    )


def _count(files: KernelFiles, path: str) -> int | None:
    count = files.number(path)
    return count if count is not None and count >= 0 else None


def _default_interface(files: KernelFiles) -> str | None:
    """Find the route to everywhere with the lowest metric."""
    routes: list[tuple[int, str]] = []
    for line in (files.text("/proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or words[1] != "00000000" or words[7] != "00000000":  # noqa: PLR2004
            continue
        flags, metric = whole(words[3], 16), whole(words[6])
        usable = flags is not None and flags & _UP_AND_GATEWAY == _UP_AND_GATEWAY
        if usable and metric is not None and "/" not in words[0]:
            routes.append((metric, words[0]))
    return min(routes)[1] if routes else None
