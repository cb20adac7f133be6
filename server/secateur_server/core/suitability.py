"""Which levels may be chosen on a device: by policy, by what it refused, by its engine."""

import re
from collections.abc import Sequence
from functools import lru_cache

from secateur_protocols.ids import Digest
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder, Requirements

_NUMBER = re.compile(r"\d+")


NONE_EXCLUDED: frozenset[Digest] = frozenset()


def allowed_levels(
    ladder: Ladder, floor: float | None, excluded: frozenset[Digest] = NONE_EXCLUDED
) -> Sequence[int]:
    """List the levels that may be chosen, widest first; never none.

    Args:
        ladder: Of the model.
        floor: Of accuracy. Where nothing reaches it, the widest level does.
        excluded: Artifacts that are not wanted, unless there are no others.
    """
    levels = ladder.levels
    if floor is None and not excluded:
        return range(len(levels))
    accurate = [each for each in levels if each.accuracy.value >= (floor or 0.0)]
    accurate = accurate or [levels[0]]
    accepted = [each.level for each in accurate if each.digest not in excluded]
    return accepted or [each.level for each in accurate]


def unsuited_levels(ladder: Ladder, info: Info) -> frozenset[Digest]:
    """List the artifacts whose requirements a device does not meet."""
    return frozenset(
        manifest.digest
        for manifest in ladder.levels
        if manifest.requires is not None
        and not _meets(
            manifest.requires, info.hardware.machine, info.engine.name, info.engine.version
        )
    )


@lru_cache(maxsize=1024)
def _meets(requires: Requirements, machine: str, engine: str, version: str) -> bool:
    return (
        (not requires.machines or machine in requires.machines)
        and requires.engine in {None, engine}
        and (
            requires.engine_version is None
            or _numbers(version) >= _numbers(requires.engine_version)
        )
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _NUMBER.findall(version))
