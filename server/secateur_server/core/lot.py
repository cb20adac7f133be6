"""A number that looks drawn by lot and is the same in every process, for ever."""

from functools import lru_cache
from zlib import crc32


@lru_cache(maxsize=65_536)
def lot_of(name: str) -> int:
    """Draw for a name: 0 to 2**32 - 1, alike for nothing that is merely named alike."""
    # CRC-32 is linear: without the mixing, names that differ alike would draw alike.
    mixed = crc32(name.encode())
    mixed ^= mixed >> 16
    mixed = mixed * 0x7FEB352D & 0xFFFFFFFF
    mixed ^= mixed >> 15
    mixed = mixed * 0x846CA68B & 0xFFFFFFFF
    return mixed ^ mixed >> 16
