"""Who is in a wave: a hash, not a die.

Every replica and every restart chooses the same devices, and another rollout begins with
others. Each hardware class sends its share: what fails on one kind of device only is met as
early as what fails on all.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from math import ceil

from secateur_protocols.ids import DeviceId
from secateur_protocols.rollout import RolloutId, WaveSize


def place_of(rollout: RolloutId, device: DeviceId) -> bytes:
    """Give a device's place in the order in which a rollout takes devices."""
    return hashlib.sha256(f"{rollout}/{device}".encode()).digest()


def is_everybody(size: WaveSize) -> bool:
    """Say whether a wave is the whole fleet."""
    return size == "100%"


def allowed_count(size: WaveSize, class_sizes: Mapping[str, int]) -> int:
    """Say how many devices of a fleet may have the new version once a wave has opened."""
    return sum(_quotas(size, class_sizes).values()) if size.endswith("%") else int(size)


def choose(
    rollout: RolloutId,
    size: WaveSize,
    *,
    fleet: Mapping[DeviceId, str],
    taken: Iterable[DeviceId],
    candidates: Iterable[DeviceId],
) -> tuple[DeviceId, ...]:
    """Choose who joins, so that with the taken ones no more than ``size`` are in.

    Args:
        rollout: Its id seeds the order.
        size: How many may be in, in all.
        fleet: Each device's hardware class.
        taken: Who is in already.
        candidates: Who may be chosen; all of the fleet.
    """
    taken_by_class = Counter(fleet.get(device, "") for device in taken)
    queues: dict[str, list[DeviceId]] = defaultdict(list)
    for device in sorted(candidates, key=lambda each: place_of(rollout, each)):
        queues[fleet[device]].append(device)
    if size.endswith("%"):
        quotas = _quotas(size, Counter(fleet.values()))
        return tuple(
            device
            for name, queue in queues.items()
            for device in queue[: max(0, quotas[name] - taken_by_class[name])]
        )
    free = max(0, int(size) - taken_by_class.total())
    return tuple(_in_turn(queues.values()))[:free]


def _quotas(size: WaveSize, class_sizes: Mapping[str, int]) -> dict[str, int]:
    """Give each class its share, rounded up: no class is left out of a wave."""
    thousandths = round(float(size.rstrip("%")) * 1000)
    return {name: ceil(count * thousandths / 100_000) for name, count in class_sizes.items()}


def _in_turn(queues: Iterable[list[DeviceId]]) -> Iterable[DeviceId]:
    """Take one of each class before a second one of any."""
    rounds = zip_longest(*queues)
    return (device for device in chain.from_iterable(rounds) if device is not None)
