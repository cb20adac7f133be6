"""Which levels are of use on a device's machine and engine."""

import re
from functools import lru_cache

from secateur_protocols.ids import Digest
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder, Requirements

_NUMBER = re.compile(r"\d+")


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
