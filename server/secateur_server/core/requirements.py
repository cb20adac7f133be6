"""Which levels of a ladder are meant for a device."""

import re

from secateur_protocols.ids import Digest
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder, Requirements


def unmet(ladder: Ladder, info: Info) -> frozenset[Digest]:
    """Give the artifacts whose requirements a device does not meet."""
    return frozenset(
        each.digest
        for each in ladder.levels
        if each.requires is not None and not meets(each.requires, info)
    )


def meets(requires: Requirements, info: Info) -> bool:
    """Whether a device is one that an artifact was made for."""
    if requires.machines and info.hardware.machine not in requires.machines:
        return False
    if requires.engine is not None and info.engine.name != requires.engine:
        return False
    least = requires.engine_version
    return least is None or _numbers(info.engine.version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """Read 2.10.1 as (2, 10, 1); a part that does not begin with digits ends it."""
    numbers = []
    for part in version.split("."):
        digits = re.match(r"[0-9]{1,9}", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
    return tuple(numbers)
