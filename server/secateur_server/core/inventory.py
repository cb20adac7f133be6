"""Whom we know, or have heard of, and have not heard in full on this connection (rule W8).

A broker does not hand over all retained messages at once: Mosquitto and EMQX queue 1,000 for
a client and drop the rest. So each device's own topics are asked for by name, some devices at
a time, and asked again; and who stays silent is asked for a rebirth.

    missing --asked `MAX_ROUNDS` times in vain--> silent --heard--> complete
       |-------------------heard in full-----------------------------^
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secateur_protocols.topics import Leaf

LEAVES = (Leaf.PRESENCE, Leaf.INFO, Leaf.REPORTED)
"""What makes a device known in full; all retained."""

MAX_ROUNDS = 2
"""How often a device's topics are asked for before a rebirth is."""


@dataclass(slots=True)
class _Missing:
    leaves: set[Leaf]
    rounds: int = 0


class Inventory:
    """A checklist: changed by what is heard, read by who asks. Deterministic, no clock."""

    def __init__(self) -> None:
        self._missing: OrderedDict[str, _Missing] = OrderedDict()
        self._silent: dict[str, _Missing] = {}

    def begin(self, devices: Iterable[str]) -> None:
        """Start anew: these are known, and none has been heard on this connection."""
        self._silent.clear()
        self._missing = OrderedDict((name, _Missing(set(LEAVES))) for name in devices)

    def expect(self, device: str) -> None:
        """Note a device that was heard of without its birth."""
        if device not in self._missing and device not in self._silent:
            self._missing[device] = _Missing(set(LEAVES))

    def hear(self, device: str, leaf: Leaf) -> None:
        """Cross out one leaf of a device."""
        for waiting in (self._missing, self._silent):
            found = waiting.get(device)
            if found is not None:
                found.leaves.discard(leaf)
                if not found.leaves:
                    del waiting[device]

    def forget(self, device: str) -> None:
        """Expect nothing of a device any more."""
        self._missing.pop(device, None)
        self._silent.pop(device, None)

    def next_round(self, most: int) -> Sequence[tuple[str, Leaf]]:
        """Give the topics to ask for next, of at most so many devices, each in its turn."""
        asked: list[tuple[str, Leaf]] = []
        for device in list(self._missing)[:most]:
            missing = self._missing[device]
            missing.rounds += 1
            asked += [(device, leaf) for leaf in LEAVES if leaf in missing.leaves]
            self._missing.move_to_end(device)
        return asked

    def take_silent(self) -> Sequence[str]:
        """Give, once, the devices whose topics were asked for in vain."""
        fallen = [device for device, each in self._missing.items() if each.rounds > MAX_ROUNDS]
        for device in fallen:
            self._silent[device] = self._missing.pop(device)
        return fallen

    @property
    def missing_count(self) -> int:
        """How many devices are still being asked for."""
        return len(self._missing)

    @property
    def silent_count(self) -> int:
        """How many devices have not said everything although they were asked."""
        return len(self._silent)
